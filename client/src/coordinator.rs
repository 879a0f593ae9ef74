//! A coordinator's own signalling server, and what it needs of the client: the newest signed lists
//! to let devices in by, and a socket of our own at it, so that who calls us there reaches us.

#[cfg(feature = "serve")]
mod hub;

use crate::error::StartError;
use crate::home::Home;
use crate::identity::Identity;
use crate::socket::{Credentials, socket_url};
use crate::store::Own;
use crate::unix;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::origin::normalize;
use beeline_proto::pb::identity::v1::{Chain, Role};
use prost::Message as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How a client serves as a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorOptions {
    /// Where to listen. Port 0 takes the one this home had last time, else a free one: others
    /// remember the address.
    pub listen: SocketAddr,
    /// Origin under which others reach it, such as `https://hub.example`, where port 0 stands for
    /// the port it listens on; the listen address if `None`.
    pub public_url: Option<String>,
    /// PEM certificate chain; with it, wss is served.
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    pub tls_key: Option<PathBuf>,
}

/// The lists by which devices are let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Envelope of the descriptor.
    pub(crate) descriptor: Vec<u8>,
    /// Envelope of the revocations; empty if there are none.
    pub(crate) revocations: Vec<u8>,
}

impl Lists {
    fn of(chain: &[u8], revocations: &[u8]) -> Self {
        let chain = Chain::decode(chain).unwrap_or_default();
        Self {
            descriptor: chain.descriptor,
            revocations: revocations.to_vec(),
        }
    }
}

/// A server that runs until this is dropped.
pub(crate) struct Served {
    /// Its address as our record says it: `wss://host/{our deviceId}`.
    pub(crate) signal_addr: String,
    /// The origin to dial from this process.
    local_url: String,
    lists: watch::Sender<Lists>,
    own: watch::Sender<Credentials>,
}

impl Served {
    /// Checks that we may, listens, and serves in `tasks`.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub(crate) fn start(
        options: &CoordinatorOptions,
        home: &Home,
        identity: &Identity,
        (own, sign_in): (&Own, &Credentials),
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        check_role(identity, own)?;
        check_address(options)?;
        unix::many_open_files();
        let (lists, lists_rx) = watch::channel(Lists::of(&own.chain, &own.revocations));
        let (public_url, local_url) = start_hub(options, home, identity, lists_rx, tasks)?;
        let signal_addr = socket_url(&public_url, identity.device.as_str());
        let signal_addr = signal_addr.ok_or_else(|| {
            StartError::Option(format!("{public_url} is no address others could dial"))
        })?;
        let (own, _) = watch::channel(at(&local_url, sign_in));
        Ok(Self {
            signal_addr,
            local_url,
            lists,
            own,
        })
    }

    /// What our own socket at the server signs in with.
    pub(crate) fn own_credentials(&self) -> watch::Receiver<Credentials> {
        self.own.subscribe()
    }

    /// A newer chain of our own, or newer revocations.
    pub(crate) fn update(&self, credentials: &Credentials, revocations: &[u8]) {
        replace(&self.lists, Lists::of(&credentials.chain, revocations));
        replace(&self.own, at(&self.local_url, credentials));
    }
}

/// The same credentials, for another server.
fn at(url: &str, credentials: &Credentials) -> Credentials {
    Credentials {
        gateways: vec![url.to_owned()],
        ..credentials.clone()
    }
}

/// Wakes who watches, where there is something new.
fn replace<T: PartialEq>(watched: &watch::Sender<T>, value: T) {
    watched.send_if_modified(|held| {
        let newer = *held != value;
        *held = value;
        newer
    });
}

#[cfg(feature = "serve")]
pub use hub::last_port;
#[cfg(feature = "serve")]
use hub::start as start_hub;

#[cfg(not(feature = "serve"))]
fn start_hub(
    _: &CoordinatorOptions,
    _: &Home,
    _: &Identity,
    _: watch::Receiver<Lists>,
    _: &mut JoinSet<()>,
) -> Result<(String, String), StartError> {
    let text = "this beeline was built without servers; build it with the feature `serve`";
    Err(StartError::Option(text.to_owned()))
}

/// Others believe a coordinator by the role in its membership: without it nobody would come.
fn check_role(identity: &Identity, own: &Own) -> Result<(), StartError> {
    let chain = VerifiedChain::open(&own.chain, identity.network);
    let role = chain.map_or(Role::Unspecified, |chain| chain.membership.role());
    if matches!(role, Role::Coordinator | Role::Admin) {
        return Ok(());
    }
    Err(StartError::Option(format!(
        "{} is an ordinary member here, and only coordinators and admins may serve others: have an \
         admin make a link with `beeline network invite --role coordinator`, and join with it in \
         another --home",
        identity.user
    )))
}

/// Listening everywhere is no address anybody can dial.
fn check_address(options: &CoordinatorOptions) -> Result<(), StartError> {
    match &options.public_url {
        Some(url) if normalize(url).is_none() => Err(StartError::Option(format!(
            "--public-url {url:?} is no URL such as https://hub.example.org"
        ))),
        None if options.listen.ip().is_unspecified() => Err(StartError::Option(format!(
            "{} is every address of this machine: say with --public-url under which one others \
             reach this coordinator, such as --public-url https://hub.example.org",
            options.listen
        ))),
        _ => Ok(()),
    }
}
