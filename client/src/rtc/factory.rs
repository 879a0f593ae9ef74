//! Opens links, each with its own runtime wrapper, crypto wrapper and certificate.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use webrtc::peer_connection::crypto::{self, RTCCryptoProvider};
use webrtc::peer_connection::{
    CipherSuiteId, PeerConnection, PeerConnectionBuilder, RTCConfiguration,
    RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy, SettingEngine,
    SettingEngineBuilder,
};
use webrtc::runtime::{Runtime, default_runtime};

use super::assembly::AssemblyGuard;
use super::bind::BindPlan;
use super::config::{ConfigError, RtcConfig};
use super::guess::Guesses;
use super::handler::{Handler, Signal};
use super::landing::Landing;
use super::limits;
use super::link::Link;
use super::peer::RtcPeer;
use super::provider::GuardedProvider;
use super::reach::{IceMode, Reach};
use super::runtime::LinkRuntime;
use super::shared::LinkShared;
use super::{FileEvent, LinkId, RtcEvent};

/// The crate's own limit for each channel must not be what holds a file up: it looks again only
/// every 50 ms.
const FILE_SEND_LIMIT: usize = limits::FILE_WINDOW_MAX + limits::MAX_MESSAGE_BYTES;

/// Why no factory could be made.
#[derive(Debug, Error)]
pub enum FactoryError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The crate was built without a runtime.
    #[error("no asynchronous runtime for WebRTC")]
    NoRuntime,
    /// The crate was built without cryptography.
    #[error("no cryptography for WebRTC: {0}")]
    NoCrypto(String),
}

/// Opens links of one configuration.
#[derive(Clone)]
pub struct RtcFactory {
    config: Arc<RtcConfig>,
    runtime: Arc<dyn Runtime>,
    crypto: Arc<dyn RTCCryptoProvider>,
    landing: Landing,
    guesses: Guesses,
    links: TaskTracker,
}

impl RtcFactory {
    /// A factory on the tokio runtime its links are opened in, and real sockets.
    ///
    /// # Errors
    /// [`FactoryError`].
    pub fn new(config: RtcConfig) -> Result<Self, FactoryError> {
        let runtime = default_runtime().ok_or(FactoryError::NoRuntime)?;
        let crypto = crypto::default_provider()
            .map_err(|error| FactoryError::NoCrypto(error.to_string()))?;
        Self::with_parts(config, runtime, crypto)
    }

    /// A factory on another runtime and cryptography; the tests run it in virtual time.
    ///
    /// # Errors
    /// [`FactoryError::Config`].
    pub fn with_parts(
        config: RtcConfig,
        runtime: Arc<dyn Runtime>,
        crypto: Arc<dyn RTCCryptoProvider>,
    ) -> Result<Self, FactoryError> {
        config.check()?;
        Ok(Self {
            config: Arc::new(config),
            runtime,
            crypto,
            landing: Landing::default(),
            guesses: Guesses::default(),
            links: TaskTracker::new(),
        })
    }

    /// The same with another configuration, which is of the links opened from now on.
    ///
    /// # Errors
    /// [`FactoryError::Config`].
    pub fn configured(&self, config: RtcConfig) -> Result<Self, FactoryError> {
        config.check()?;
        Ok(Self {
            config: Arc::new(config),
            ..self.clone()
        })
    }

    /// The same without TURN: its links are direct, or never open.
    #[must_use]
    pub fn without_turn(&self) -> Self {
        let mut config = RtcConfig::clone(&self.config);
        for server in &mut config.ice_servers {
            server.urls.retain(|url| !url.starts_with("turn"));
        }
        config.ice_servers.retain(|server| !server.urls.is_empty());
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// Opens a link; nothing is sent before the first command. Its events arrive on `events`
    /// under `id`; a full queue holds the link up, and through SCTP the peer. Must be called
    /// inside a tokio runtime. File frames of the peer are thrown away.
    pub fn open(&self, id: LinkId, events: mpsc::Sender<(LinkId, RtcEvent)>) -> RtcPeer {
        self.open_link(id, events, None)
    }

    /// The same with the channel `file`, whose events arrive on `files`. A full queue holds up all
    /// of the link, chat too: what a peer may have under way towards us must fit into it.
    pub fn open_with_files(
        &self,
        id: LinkId,
        events: mpsc::Sender<(LinkId, RtcEvent)>,
        files: mpsc::Sender<(LinkId, FileEvent)>,
    ) -> RtcPeer {
        self.open_link(id, events, Some(files))
    }

    fn open_link(
        &self,
        id: LinkId,
        events: mpsc::Sender<(LinkId, RtcEvent)>,
        files: Option<mpsc::Sender<(LinkId, FileEvent)>>,
    ) -> RtcPeer {
        let config = &self.config;
        let assembly = AssemblyGuard::new(limits::SCTP_WINDOW, config.max_message_size);
        let reach = Reach {
            mode: config.mode,
            tcp: config.tcp,
            loopback: config.accept_loopback && BindPlan::new(config, 0).has_loopback(),
            servers: config.own_servers.clone(),
        };
        let shared = LinkShared::new(assembly, config.max_message_size, reach);
        let (commands, command_rx) = mpsc::channel(limits::COMMAND_QUEUE);
        let (outbox, outbox_rx) = mpsc::channel(limits::MAX_OUTBOX_MESSAGES);
        let (file_outbox, file_outbox_rx) = mpsc::channel(limits::MAX_FILE_OUTBOX);
        let link = Link {
            id,
            events,
            files,
            shared: Arc::clone(&shared),
            budget: config.send_budget,
        };
        let outboxes = (outbox_rx, file_outbox_rx);
        self.links
            .spawn(link.run(self.clone(), command_rx, outboxes));
        RtcPeer {
            id,
            commands,
            outbox,
            file_outbox,
            shared,
            budget: config.send_budget,
            max_message: config.max_message_size,
            candidates: AtomicUsize::new(0),
            tcp_candidates: AtomicUsize::new(0),
        }
    }

    /// Waits until every link has ended. They end when their handles are closed or dropped, or
    /// the receiver of their events is.
    pub async fn drained(&self) {
        self.links.close();
        self.links.wait().await;
        self.links.reopen();
    }

    /// The host is in another network: what was found out about the one before is forgotten.
    pub fn forget_network(&self) {
        self.guesses.forget();
    }

    /// What STUN said of our addresses; nothing is learned from it, nor told, where addresses are
    /// to be hidden as far as a STUN server does not show them now.
    pub(super) fn guesses(&self) -> Option<Guesses> {
        (self.config.mode == IceMode::All).then(|| self.guesses.of_now())
    }

    pub(super) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.runtime)
    }

    /// Builds the crate's connection for one link.
    pub(super) async fn build(
        &self,
        shared: &Arc<LinkShared>,
        signals: mpsc::Sender<Signal>,
    ) -> webrtc::error::Result<Arc<dyn PeerConnection>> {
        if self.config.mode == IceMode::RelayOnly && !self.config.has_turn() {
            let why = "only TURN may be used (--ice relay-only), and no TURN server is known";
            return Err(webrtc::error::Error::Other(why.to_owned()));
        }
        let base = Arc::clone(&self.runtime);
        let runtime = LinkRuntime::new(base, Arc::clone(shared), self.landing.clone());
        let mut start = [0u8; 4];
        // Without randomness the first port of the range is as good as any.
        let _ = self.crypto.random().fill(&mut start);
        let start = u32::from_be_bytes(start);
        let tcp = match shared.reach.dials_tcp() {
            true => vec![BindPlan::for_tcp(&self.config, start)],
            false => Vec::new(),
        };
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration(&self.config))
            .with_setting_engine(self.setting_engine(shared))
            .with_handler(Arc::new(Handler::new(signals, Arc::clone(shared))))
            .with_runtime(Arc::new(runtime))
            .with_udp_addrs(vec![BindPlan::new(&self.config, start)])
            .with_tcp_addrs(tcp)
            .with_data_channel_send_buffer_limit(self.config.send_budget.max(FILE_SEND_LIMIT))
            .build()
            .await?;
        Ok(Arc::new(connection))
    }

    fn setting_engine(&self, shared: &Arc<LinkShared>) -> SettingEngine {
        let crypto = GuardedProvider::new(Arc::clone(&self.crypto), Arc::clone(shared));
        let max_message = u32::try_from(self.config.max_message_size).unwrap_or(u32::MAX);
        SettingEngineBuilder::new()
            .with_crypto_provider(Arc::new(crypto))
            // The crate takes the first suite of the client's list, so an order does not protect
            // a server: only suites whose nonces cannot repeat are on the list at all.
            .with_dtls_cipher_suites(vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            ])
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(
                Some(limits::ICE_CHECK_INTERVAL),
                Some(limits::ICE_MAX_CHECKS),
            )
            .with_ice_timeouts(
                Some(limits::ICE_DISCONNECTED),
                Some(limits::ICE_FAILED),
                Some(limits::ICE_KEEPALIVE),
            )
            .with_srflx_acceptance_min_wait(Some(limits::ACCEPT_REFLEXIVE_AFTER))
            .with_prflx_acceptance_min_wait(Some(limits::ACCEPT_REFLEXIVE_AFTER))
            .with_relay_acceptance_min_wait(Some(limits::ACCEPT_RELAY_AFTER))
            .with_turn_allocation_refresh_interval_cap(limits::TURN_REFRESH)
            .with_sctp_max_receive_buffer_size(limits::SCTP_WINDOW)
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(max_message))
            .build()
    }
}

fn configuration(config: &RtcConfig) -> RTCConfiguration {
    let servers = config.ice_servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let policy = match config.mode {
        IceMode::RelayOnly => RTCIceTransportPolicy::Relay,
        IceMode::All | IceMode::NoPrivate => RTCIceTransportPolicy::All,
    };
    RTCConfigurationBuilder::default()
        .with_ice_servers(servers.collect())
        .with_ice_transport_policy(policy)
        .build()
}
