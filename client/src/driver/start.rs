//! Starting: take the home, open the store, verify ourselves, spawn the driver.

use super::Driver;
use super::links::Links;
use super::outputs::credentials;
use super::registry::Registry;
use crate::clock;
use crate::coordinator::Served;
use crate::error::StartError;
use crate::files::{FileWork, place};
use crate::handle::Inner;
use crate::home::Home;
use crate::identity::{Identity, random};
use crate::limits::{COMMAND_QUEUE, EVENT_QUEUE, RTC_QUEUE};
use crate::network::Network;
use crate::options::Options;
use crate::report::Snapshot;
use crate::rest::Gateways;
use crate::rtc::{OwnServers, RtcConfig, RtcFactory};
use crate::socket::{Credentials, SocketIdentity, Sockets, socket_url};
use crate::store::{Opened, Own, Reader, Store};
use crate::{tls, unix};
use beeline_proto::id::{BootId, DeviceFp};
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
    let own_servers = OwnServers::default();
    let rtc = RtcConfig {
        own_servers: own_servers.clone(),
        ..options.rtc(&[])?
    };
    let factory = RtcFactory::new(rtc).map_err(|e| StartError::Option(e.to_string()))?;
    let (opened, reader) = open_store(&home, &identity, &options.command).await?;
    let Opened {
        store,
        loaded,
        own,
        answers,
    } = opened;
    let (sign_in, gateways) = sign_in(&home, &identity, &own)?;
    let mut tasks = JoinSet::new();
    let served = serve(&options, &home, &identity, (&own, &sign_in), &mut tasks)?;
    let boot_id: [u8; 16] = random().map_err(StartError::Random)?;
    let config = config(&options, &identity, &gateways, served.as_ref());
    let manager =
        manager(config, &identity, own, boot_id, loaded).map_err(|e| foreign(&home, e))?;
    let (credentials, credentials_rx) = watch::channel(sign_in);
    let mut sockets = sockets(&identity, boot_id, credentials_rx.clone(), &tls);
    keep_sockets(&mut sockets, &options, credentials_rx, served.as_ref());
    let files = file_work(&options, &home, identity.who().device)?;
    let (rtc_tx, rtc_events) = mpsc::channel(RTC_QUEUE);
    let (command_tx, commands) = mpsc::channel(COMMAND_QUEUE);
    let (events, _) = broadcast::channel(EVENT_QUEUE);
    let (snapshot, snapshot_rx) = watch::channel(Snapshot::default());
    let mut who = identity.who();
    who.served = served.as_ref().map(|served| served.signal_addr.clone());
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
        links: Links::new(factory, rtc_tx, files.frames()),
        files,
        rtc_events,
        sockets,
        credentials,
        served,
        registry: Registry::new(identity, options.clone(), tls, gateways, own_servers),
        network: Network::new(),
        draining: None,
    };
    tasks.spawn(driver.run());
    Ok(Inner {
        commands: command_tx,
        events,
        snapshot: snapshot_rx,
        who,
        options,
        reader: Arc::new(Mutex::new(reader)),
        store,
        driver: Mutex::new(tasks),
    })
}

/// The threads for files, and the folder they are received into.
fn file_work(options: &Options, home: &Home, device: DeviceFp) -> Result<FileWork, StartError> {
    let problem = |error: String| StartError::Option(format!("--files: {error}"));
    let inbox = place::open(home, options.files.as_ref());
    let inbox = inbox.map_err(|e| problem(e.to_string()))?;
    let mut owner = [0; 16];
    owner.copy_from_slice(&device.0[..16]);
    let inbox = inbox.map(|inbox| inbox.owned_by(owner));
    FileWork::start(inbox).map_err(|e| problem(e.to_string()))
}

/// The signalling server, where this is to be a coordinator.
fn serve(
    options: &Options,
    home: &Home,
    identity: &Identity,
    (own, sign_in): (&Own, &Credentials),
    tasks: &mut JoinSet<()>,
) -> Result<Option<Served>, StartError> {
    let how = options.coordinator.as_ref();
    how.map(|how| Served::start(how, home, identity, (own, sign_in), tasks))
        .transpose()
}

/// What sockets and REST go by, from our own chain.
fn sign_in(
    home: &Home,
    identity: &Identity,
    own: &Own,
) -> Result<(Credentials, Gateways), StartError> {
    let (chain, revocations) = (&own.chain, &own.revocations);
    let found = credentials(identity.network, &identity.gateways, chain, revocations);
    found.map_err(|e| foreign(home, e.to_string()))
}

/// No sockets yet, and who they speak for.
fn sockets(
    identity: &Identity,
    boot_id: [u8; 16],
    credentials: watch::Receiver<Credentials>,
    tls: &Arc<rustls::ClientConfig>,
) -> Sockets {
    let who = SocketIdentity {
        network: identity.network,
        device: identity.device.clone(),
        device_key: identity.device_key.clone(),
        boot_id: BootId(boot_id),
    };
    Sockets::new(who, credentials, Arc::clone(tls))
}

/// The sockets that stay: the gateway's, and a coordinator's at its own server.
fn keep_sockets(
    sockets: &mut Sockets,
    options: &Options,
    credentials: watch::Receiver<Credentials>,
    served: Option<&Served>,
) {
    if !options.offline {
        sockets.keep(SocketId::GATEWAY, credentials);
    }
    if let Some(served) = served {
        sockets.keep(SocketId::OWN, served.own_credentials());
    }
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

/// Where we are found: at our own server, or at the gateway's.
fn config(
    options: &Options,
    identity: &Identity,
    gateways: &Gateways,
    served: Option<&Served>,
) -> Config {
    let device = identity.device.as_str();
    let at_gateway = || gateways.dial.iter().find_map(|g| socket_url(g, device));
    let own = served.map(|served| served.signal_addr.clone());
    let signal_addr = own.or_else(at_gateway).unwrap_or_default();
    let config = Config::new(identity.network, &signal_addr);
    let relay_files_per_s = options.relay_files_per_s;
    Config {
        coordinator: served.is_some(),
        relay_files_per_s: relay_files_per_s.unwrap_or(config.relay_files_per_s),
        can_store: options.keep.is_some(),
        keep: options.keep.unwrap_or_default(),
        files: options.files.as_ref().map(|files| files.policy.clone()),
        files_ask: options.files.as_ref().is_some_and(|files| files.ask),
        links_max: options.links_max.unwrap_or(config.links_max),
        ..config
    }
}

fn manager(
    config: Config,
    identity: &Identity,
    own: Own,
    boot_id: [u8; 16],
    loaded: state::Loaded,
) -> Result<PeerManager, String> {
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
