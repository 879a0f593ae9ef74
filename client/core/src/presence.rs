//! Presence: sockets up and down, our own record and bundle, announcing ourselves in time.

use crate::backoff::pause_ms;
use crate::crypto::random_u64;
use crate::event::{Event, Rung};
use crate::input::{RegistryError, SocketId};
use crate::limits::{COORDINATOR_SOCKETS, RENEW_BEFORE_MS, SOCKETS_MAX, SWEEP_MS};
use crate::manager::PeerManager;
use crate::me::OwnRecord;
use crate::output::RegistryCall;
use crate::outputs::{Request, Write};
use crate::state::{BundleRow, RouteRow, StoreOp};
use crate::timer::Timer;
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Expect, Verified, open};
use beeline_proto::id::{KeyId, Label};
use beeline_proto::limits::PRESENCE_TTL_S;
use beeline_proto::pb::identity::v1::DeviceRecord;
use beeline_proto::pb::signal::v1::SocketProof;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// The gateway's socket.
const GATEWAY: SocketId = SocketId(0);

/// Where we stand towards the servers.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    sockets: BTreeSet<SocketId>,
    /// deviceIds of the coordinators whose own sockets are used.
    pub(crate) coordinators: BTreeMap<SocketId, Label>,
    /// Our lease is running; or the registry cannot be asked, and who knows us reaches us all the
    /// same.
    announced: bool,
    /// Tries to announce that failed in a row.
    failures: u32,
    /// What was told to the application last.
    pub(crate) online: bool,
    /// A bundle is being written.
    making_bundle: bool,
    /// Version of our device list that the registry is known to hold.
    pub(crate) list_published: u64,
    /// Whether this process has asked the registry for our own chain.
    pub(crate) looked_ourselves_up: bool,
    /// The bundle in the record that the registry is being told.
    announcing: Option<KeyId>,
    /// Version of the last record, also of earlier processes.
    record_version: u64,
}

impl Presence {
    /// The sockets that are up.
    pub(crate) fn sockets(&self) -> Vec<SocketId> {
        self.sockets.iter().copied().collect()
    }

    /// The coordinator that serves a socket, unless it is the gateway's.
    pub(crate) fn coordinator_at(&self, socket: SocketId) -> Option<Label> {
        self.coordinators.get(&socket).cloned()
    }

    pub(crate) fn forget_socket(&mut self, socket: SocketId) {
        self.sockets.remove(&socket);
        self.coordinators.remove(&socket);
    }

    pub(crate) fn gateway_up(&self) -> bool {
        self.sockets.contains(&GATEWAY)
    }

    /// Notes the version of our record as found in the store.
    pub(crate) fn remember_version(&mut self, version: u64) {
        self.record_version = self.record_version.max(version);
    }
}

impl PeerManager {
    /// After a start: a bundle, a record, the sweep.
    pub(crate) fn start_presence(&mut self, now: Now) {
        self.sweep(now);
        if !self.presence.making_bundle {
            self.make_record(now);
        }
    }

    /// Looks at everything that ages: the bundle, old secrets, messages.
    pub(crate) fn sweep(&mut self, now: Now) {
        self.expire_files(now);
        self.timers.arm(Timer::Sweep, now.mono_ms + SWEEP_MS);
        self.keep_clock(now);
        let steady_ms = self.steady_ms(now);
        if self.bundles.wants_new(steady_ms) {
            self.make_bundle(now);
        }
        let outlived = self.bundles.take_outlived(steady_ms);
        if !outlived.is_empty() {
            let ops = outlived.into_iter().map(StoreOp::EraseBundle).collect();
            self.out.write(ops, Write::Plain);
        }
        if self.has_to_keep() {
            self.expire_kept(now);
        }
        self.expire_messages(now);
        self.age_routes(now);
    }

    /// Routes of open links stay fresh; those nobody has heard of for a month are forgotten.
    fn age_routes(&mut self, now: Now) {
        let open = self.links.by_id.values().filter(|link| link.is_ready());
        for link in open {
            self.routes.hear(link.device, now.wall_ms);
        }
        self.routes.forget_old(now.wall_ms);
        self.keep_route(now, None);
    }

    /// A bundle is stored, or could not be.
    pub(crate) fn on_bundle_written(&mut self, now: Now, row: BundleRow, written: bool) {
        self.presence.making_bundle = false;
        if !written {
            // Without one nobody can seal to us: not an hour, a minute.
            return self.timers.arm(Timer::Sweep, now.mono_ms + SWEEP_MS / 60);
        }
        self.bundles.insert(row);
        self.make_record(now);
        if self.presence.gateway_up() {
            self.announce(now);
        }
    }

    /// Somebody has the bundle of our record now.
    pub(crate) fn publish_bundle(&mut self, now: Now, key_id: KeyId) {
        let at_ms = self.steady_ms(now);
        if self.bundles.publish(key_id, at_ms) {
            self.lazily(now, StoreOp::PublishBundle { key_id, at_ms });
        }
    }

    /// Makes the next bundle, unless that is under way.
    pub(crate) fn make_bundle(&mut self, now: Now) {
        if std::mem::replace(&mut self.presence.making_bundle, true) {
            return;
        }
        let at = (now.wall_ms, self.steady_ms(now));
        let row = self.bundles.make(&self.me, self.crypto.as_mut(), at);
        let op = StoreOp::PutBundle(row.clone());
        self.out.write(vec![op], Write::Bundle(Box::new(row)));
    }

    /// Signs a new record around the newest bundle, and keeps it for its version.
    pub(crate) fn make_record(&mut self, now: Now) {
        let newest = self.bundles.newest();
        let Some((key_id, bundle)) = newest.map(|row| (row.key_id, row.envelope.clone())) else {
            return;
        };
        let version = now
            .wall_ms
            .max(self.presence.record_version.saturating_add(1));
        self.presence.record_version = version;
        let record = DeviceRecord {
            context: self.me.context(self.crypto.as_mut(), self.me.network().0),
            user: self.me.user.to_vec(),
            version,
            signal_addr: self.me.config.signal_addr.clone(),
            can_relay: self.me.config.can_relay,
            unlisted: self.me.config.unlisted,
            bundle,
            can_store: self.has_to_keep(),
        };
        let bytes = self.me.sign(self.crypto.as_mut(), &record);
        self.me.record = Some(OwnRecord {
            version,
            key_id,
            bytes: bytes.clone(),
        });
        let row = RouteRow {
            user_label: self.me.user_label.clone(),
            user: self.me.user,
            device: self.me.device,
            record: bytes,
            signal_addr: self.me.config.signal_addr.clone(),
            found_by: Rung::Connected,
            connected_ms: 0,
            seen_ms: now.wall_ms,
            demoted_until_ms: 0,
        };
        self.lazily(now, StoreOp::PutRoute(row));
    }

    pub(crate) fn on_socket_up(&mut self, now: Now, socket: SocketId) {
        let ours = (1..=COORDINATOR_SOCKETS).contains(&socket.0);
        if self.presence.sockets.len() >= SOCKETS_MAX || self.draining {
            return;
        }
        if ours && !self.on_own_socket_up(now, socket) {
            return;
        }
        self.presence.sockets.insert(socket);
        self.repeat_signals(now, socket);
        if socket == GATEWAY {
            self.announce(now);
            self.tend_soon(now, 1);
        }
        self.tell_online(now, "the socket opened");
        self.dial_over(now, socket);
        self.retry_all(now);
    }

    pub(crate) fn on_socket_down(&mut self, now: Now, socket: SocketId, reason: &str) {
        self.presence.forget_socket(socket);
        self.on_own_socket_down(now, socket);
        if socket == GATEWAY {
            self.presence.announced = false;
            self.timers.cancel(&Timer::Announce);
            self.tend_soon(now, 1);
        }
        self.on_sockets_fewer();
        self.tell_online(now, reason);
    }

    /// Tells whether we can be reached, when that changed.
    fn tell_online(&mut self, now: Now, reason: &str) {
        let listed = self.presence.announced && self.presence.gateway_up();
        // At its own address a coordinator needs nobody to be found.
        let own = self.me.config.coordinator && self.presence.sockets.contains(&SocketId::OWN);
        let online = listed || own;
        if online == self.presence.online {
            return;
        }
        self.presence.online = online;
        if online {
            self.visit_anew(now);
        }
        self.out.event(if online {
            Event::Online
        } else {
            Event::Offline {
                reason: reason.to_owned(),
            }
        });
    }

    /// Announces us, once there is a record to announce.
    pub(crate) fn announce(&mut self, now: Now) {
        if self.draining || !self.presence.gateway_up() {
            return;
        }
        self.renew_membership(now);
        self.publish_own_list();
        if self.out.asking(&Request::Announce) {
            return;
        }
        if let Some(OwnRecord {
            bytes: record,
            key_id,
            ..
        }) = self.me.record.clone()
        {
            self.presence.announcing = Some(key_id);
            self.coordinators.named = self.coordinators_named();
            let call = RegistryCall::Announce {
                record,
                coordinators: self.coordinators.named.clone(),
            };
            self.out.ask(call, Request::Announce);
        }
    }

    fn renew_membership(&mut self, now: Now) {
        let expires_ms = self.me.chain.membership.verified.payload().expires_ms;
        let due = expires_ms < now.wall_ms.saturating_add(RENEW_BEFORE_MS);
        if due && !self.out.asking(&Request::Renew) {
            self.out.ask(RegistryCall::RenewMembership, Request::Renew);
        }
    }

    /// Our lease runs.
    pub(crate) fn on_announced(&mut self, now: Now, after_s: u32, lists: (u64, u64)) {
        self.presence.failures = 0;
        self.presence.announced = true;
        if let Some(key_id) = self.presence.announcing.take() {
            self.publish_bundle(now, key_id);
        }
        let after_ms = u64::from(after_s.clamp(1, PRESENCE_TTL_S)) * 1_000;
        if self.presence.gateway_up() {
            self.timers.arm(Timer::Announce, now.mono_ms + after_ms);
        }
        self.tell_online(now, "announced");
        self.list_coordinators(now);
        self.look_ourselves_up();
        let ours = self.me.versions();
        let behind = lists.0 > ours.descriptor || lists.1 > ours.revocations;
        if behind && !self.out.asking(&Request::Network) {
            self.out.ask(RegistryCall::GetNetwork, Request::Network);
        }
    }

    /// Our announce failed: the lease may run out, and is tried for again.
    pub(crate) fn on_announce_failed(&mut self, now: Now, error: &RegistryError) {
        let detail = describe(error);
        self.presence.failures = self.presence.failures.saturating_add(1);
        let random = random_u64(self.crypto.as_mut());
        let pause = pause_ms(self.presence.failures - 1, random);
        if self.presence.gateway_up() {
            self.timers.arm(Timer::Announce, now.mono_ms + pause);
        }
        if let RegistryError::Refused { code, .. } = error {
            if *code == ErrorCode::Expired && !self.out.asking(&Request::Renew) {
                self.out.ask(RegistryCall::RenewMembership, Request::Renew);
            }
            if *code == ErrorCode::Conflict {
                let own = self.me.user_label.clone();
                self.look_up(&own);
            }
            self.presence.announced = false;
            self.tell_online(now, &detail);
            // Nobody finds us, and we can find those who keep for us all the same.
            self.visit_soon(now, 1);
        } else if self.presence.gateway_up() {
            self.presence.announced = true;
            self.tell_online(now, "the registry cannot be asked");
        }
        self.out.warn(now, "announce-failed", detail);
    }

    /// A newer socket of our device took over, as the gateway says. Believed only if our own key
    /// signed the winner's proof, in another process than this one.
    pub(crate) fn on_superseded(&mut self, now: Now, socket: SocketId, proof: &[u8]) {
        let device = self.me.device.0;
        let audiences = [device];
        let expect = Expect::new(self.me.network(), &audiences).signer(device);
        let proof: Result<Verified<SocketProof>, _> = open(proof, &expect);
        match proof {
            Ok(proof) if proof.payload().boot_id == self.me.boot_id.0 => {
                self.out.counters.count("superseded-by-ourselves");
            }
            Ok(_) => {
                let detail = "this identity is in use by another process; end one of the two";
                self.out.event(Event::RunningElsewhere {
                    detail: detail.to_owned(),
                });
                self.on_socket_down(now, socket, detail);
            }
            Err(error) => {
                let detail = format!("a gateway claimed that we run elsewhere: {error}");
                self.out.warn(now, "superseded-forged", detail);
                self.on_socket_down(now, socket, "the socket was cut with a forged reason");
            }
        }
    }

    /// The process ends.
    pub(crate) fn on_drain(&mut self, now: Now) {
        self.stop(now, "the process ends");
    }

    /// GOODBYE on every link, and nothing new from here on.
    pub(crate) fn stop(&mut self, now: Now, reason: &str) {
        self.draining = true;
        for id in self.links.ids(|_| true) {
            self.say_goodbye(id, reason);
            self.close_link(now, id, reason);
        }
        self.close_own_sockets();
        self.presence.sockets.clear();
        self.presence.announced = false;
        self.tell_online(now, reason);
        self.keep_clock(now);
        self.out.flush_lazy();
        self.timers.clear();
    }
}

/// A registry error for people.
pub(crate) fn describe(error: &RegistryError) -> String {
    match error {
        RegistryError::Refused { code, detail } => format!("{code}: {detail}"),
        RegistryError::Unreachable { detail } => format!("registry unreachable: {detail}"),
    }
}
