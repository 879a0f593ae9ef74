//! Starting: take the home, open the store, verify ourselves, spawn the driver.

use super::links::Links;
use super::outputs::credentials;
use super::registry::Registry;
use super::{Driver, network_poll, source_addresses};
use crate::clock;
use crate::error::StartError;
use crate::handle::Inner;
use crate::home::Home;
use crate::identity::{Identity, random};
use crate::limits::{COMMAND_QUEUE, EVENT_QUEUE, RTC_QUEUE};
use crate::options::Options;
use crate::report::Snapshot;
use crate::rest::Gateways;
use crate::rtc::RtcFactory;
use crate::socket::{SocketIdentity, Sockets, socket_url};
use crate::store::{Opened, Own, Reader, Store};
use crate::{tls, unix};
use beeline_proto::id::BootId;
use client_core::crypto::RealCrypto;
use client_core::input::SocketId;
use client_core::{Config, PeerManager, state};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

/// Starts a client; see [`crate::Client::start`].
pub(crate) async fn start(options: Options) -> Result<Inner, StartError> {
    unix::no_core_dumps();
    let home = Home::at(&options.home);
    let identity = Arc::new(Identity::load(&home)?);
    let tls = tls::client_config(options.ca.as_deref())?;
    let factory = RtcFactory::new(options.rtc(&[])?);
    let factory = factory.map_err(|e| StartError::Option(e.to_string()))?;
    let (opened, reader) = open_store(&home, &identity, &options.command).await?;
    let Opened {
        store,
        loaded,
        own,
        answers,
    } = opened;
    let (sign_in, gateways) = credentials(
        identity.network,
        &identity.gateways,
        &own.chain,
        &own.revocations,
    )
    .map_err(|e| foreign(&home, e.to_string()))?;
    let boot_id: [u8; 16] = random().map_err(StartError::Random)?;
    let manager =
        manager(&identity, own, boot_id, loaded, &gateways).map_err(|e| foreign(&home, e))?;
    let (credentials, credentials_rx) = watch::channel(sign_in);
    let who = SocketIdentity {
        network: identity.network,
        device: identity.device.clone(),
        device_key: identity.device_key.clone(),
        boot_id: BootId(boot_id),
    };
    let mut sockets = Sockets::new(who, credentials_rx.clone(), Arc::clone(&tls));
    if !options.offline {
        sockets.keep(SocketId::GATEWAY, credentials_rx);
    }
    let (rtc_tx, rtc_events) = mpsc::channel(RTC_QUEUE);
    let (command_tx, commands) = mpsc::channel(COMMAND_QUEUE);
    let (events, _) = broadcast::channel(EVENT_QUEUE);
    let (snapshot, snapshot_rx) = watch::channel(Snapshot::default());
    let who = identity.who();
    let driver = Driver {
        manager,
        inputs: VecDeque::new(),
        commands,
        waiting: BTreeMap::new(),
        next_command: 0,
        events: events.clone(),
        snapshot,
        store: store.clone(),
        answers,
        backlog: VecDeque::new(),
        under_way: 0,
        links: Links::new(factory, rtc_tx),
        rtc_events,
        sockets,
        credentials,
        registry: Registry::new(identity, options, tls, gateways),
        addresses: source_addresses(),
        network_poll: network_poll(),
        draining: None,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    Ok(Inner {
        commands: command_tx,
        events,
        snapshot: snapshot_rx,
        who,
        reader: Arc::new(Mutex::new(reader)),
        store,
        driver: Mutex::new(tasks),
    })
}

/// Opening checks and may migrate, so it is done off the runtime's thread.
async fn open_store(
    home: &Home,
    identity: &Arc<Identity>,
    command: &str,
) -> Result<(Opened, Reader), StartError> {
    let (home, identity, command) = (home.clone(), Arc::clone(identity), command.to_owned());
    let open = move || -> Result<(Opened, Reader), StartError> {
        let lock = home.lock(&command)?;
        let first = Own {
            chain: identity.chain.clone(),
            revocations: identity.revocations.clone(),
        };
        let opened = Store::open(&home, Some(lock), &first)?;
        let reader = Reader::of(&home, &identity)?;
        Ok((opened, reader))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|e| StartError::Option(format!("the runtime is ending: {e}")))?
}

fn manager(
    identity: &Identity,
    own: Own,
    boot_id: [u8; 16],
    loaded: state::Loaded,
    gateways: &Gateways,
) -> Result<PeerManager, String> {
    let device = identity.device.as_str();
    let signal_addr = gateways.dial.iter().find_map(|g| socket_url(g, device));
    let config = Config::new(identity.network, &signal_addr.unwrap_or_default());
    let who = state::Identity {
        device_label: identity.device.clone(),
        user_label: identity.user.clone(),
        device_key: identity.device_key.clone(),
        control_key: identity.control_key.clone(),
        chain: own.chain,
        revocations: own.revocations,
        boot_id,
    };
    let crypto = Box::new(RealCrypto::new(random()?));
    PeerManager::new(config, who, loaded, crypto, clock::now()).map_err(|e| e.to_string())
}

fn foreign(home: &Home, why: String) -> StartError {
    let home = home.dir().to_owned();
    StartError::Identity { home, why }
}
