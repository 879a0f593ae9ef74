//! Keeps what the gateway must know fresh: token keys, each network's signed lists, and the devices
//! behind open sockets. What is revoked is cut.

use crate::authority::registry::RegistryAuthority;
use crate::limits::{KEYS_EVERY_MS, RECHECKS_MAX};
use crate::outbox::End;
use crate::switchboard::Switchboard;
use futures::{StreamExt as _, stream};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// Networks asked for at once.
const NETWORKS_AT_ONCE: usize = 4;

/// Fetches keys and lists for ever, and ends sockets that the lists revoke.
pub async fn lists(authority: &RegistryAuthority, switchboard: &Switchboard, every_ms: u64) {
    let mut ticks = interval(Duration::from_millis(every_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let keys_every = (KEYS_EVERY_MS / every_ms.max(1)).max(1);
    let mut tick = 0;
    loop {
        ticks.tick().await;
        if tick % keys_every == 0 || !authority.has_keys() {
            // A failure is logged by the client and met again at the next tick.
            let _ = authority.fetch_keys().await;
        }
        tick += 1;
        refresh(authority).await;
        switchboard.sweep(authority);
    }
}

/// Asks for every known network's lists.
pub async fn refresh(authority: &RegistryAuthority) {
    let known = authority.known_networks();
    stream::iter(known)
        .for_each_concurrent(NETWORKS_AT_ONCE, |network| async move {
            let _ = authority.fetch_network(&network.label).await;
        })
        .await;
}

/// Looks every open socket's device up again, each once in `every_s` seconds, for ever.
pub async fn devices(authority: &RegistryAuthority, switchboard: &Switchboard, every_s: u64) {
    let every_s = every_s.max(1);
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tick = 0;
    loop {
        ticks.tick().await;
        tick = (tick + 1) % every_s;
        recheck(authority, switchboard, |id| id % every_s == tick).await;
    }
}

/// Looks up the devices of the sockets whose id passes `wanted`.
pub async fn recheck(
    authority: &RegistryAuthority,
    switchboard: &Switchboard,
    wanted: impl Fn(u64) -> bool,
) {
    stream::iter(switchboard.select(wanted))
        .for_each_concurrent(RECHECKS_MAX, |outbox| async move {
            if let Some(error) = authority.recheck(&outbox.identity).await {
                outbox.end(End::Refused(error));
            }
        })
        .await;
}
