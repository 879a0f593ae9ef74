//! Two clients over a real registry and a real gateway, in one process on loopback.

use crate::error::{HomeError, JoinError, StartError};
use crate::home::Home;
use crate::identity::Identity;
use crate::join::join;
use crate::report::{ClientEvent, Fact};
use crate::socket::{Credentials, SocketEvent, SocketIdentity, Sockets};
use crate::{Client, CoordinatorOptions, FilesOptions, Options};
use beeline_gateway::Gateway;
use beeline_proto::id::{BootId, Label, MessageId};
use beeline_proto::pb::identity::v1::Role;
use beeline_registry::Registry;
use client_core::event::{DeliveryState, Event, Path};
use client_core::files::io::{FilePolicy, FileStage};
use client_core::input::SocketId;
use client_core::output::{SignalCommand, SignalKind};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Registry, gateway, one network, and an invite link.
struct Servers {
    dir: tempfile::TempDir,
    registry: beeline_registry::Running,
    gateway: beeline_gateway::Running,
    invite: String,
    ca: Option<PathBuf>,
}

async fn servers() -> Servers {
    let dir = tempfile::tempdir().expect("a directory");
    servers_in(dir, None).await
}

/// Certificate and key of a gateway, beside the authority that signed them.
struct Tls {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// An authority of our own and a certificate of it for this host.
fn private_tls(dir: &FilePath) -> Tls {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&ca_key).expect("signed");
    let issuer = Issuer::new(authority, ca_key);
    let host = CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
    let key = KeyPair::generate().expect("a key");
    let cert = host.signed_by(&key, &issuer).expect("signed");
    Tls {
        ca: write("ca.pem", ca.pem()),
        cert: write("cert.pem", cert.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}

async fn servers_in(dir: tempfile::TempDir, tls: Option<&Tls>) -> Servers {
    let any = "127.0.0.1:0".parse().expect("an address");
    let registry = Registry::start(beeline_registry::Config {
        grpc: any,
        data: dir.path().join("registry"),
        ..Default::default()
    });
    let registry = registry.await.expect("the registry starts");
    let gateway = start_gateway(&registry, any, tls).await;
    let gateways = [gateway.public_url.clone()];
    let registries = [format!("http://{}", registry.grpc_addr)];
    let network = registry.ensure_network(Some("home"), &gateways, &registries);
    let network = network.await.expect("made");
    let week = Duration::from_secs(7 * 24 * 3600);
    let invite = registry.create_invite(&network, Role::Member, 10, week);
    let invite = invite.await.expect("signed").to_text();
    Servers {
        dir,
        registry,
        gateway,
        invite,
        ca: tls.map(|tls| tls.ca.clone()),
    }
}

async fn start_gateway(
    registry: &beeline_registry::Running,
    listen: SocketAddr,
    tls: Option<&Tls>,
) -> beeline_gateway::Running {
    let gateway = Gateway::start(beeline_gateway::Config {
        listen,
        registry: format!("http://{}", registry.grpc_addr),
        gateway_token_file: registry.gateway_token_path.clone(),
        tls_cert: tls.map(|tls| tls.cert.clone()),
        tls_key: tls.map(|tls| tls.key.clone()),
        ..Default::default()
    });
    gateway.await.expect("the gateway starts")
}

impl Servers {
    fn options(&self, user: &str) -> Options {
        Options {
            home: self.dir.path().join(user),
            command: format!("test {user}"),
            ca: self.ca.clone(),
            loopback: true,
            ..Options::default()
        }
    }

    async fn member(&self, user: &str) -> Client {
        let options = self.options(user);
        join(&options, &self.invite, user, None)
            .await
            .expect("joined");
        Client::start(options).await.expect("started")
    }

    /// Somebody who may run as a coordinator, and how.
    async fn coordinator(&self, user: &str, tls: Option<&Tls>) -> Options {
        let hour = Duration::from_secs(3600);
        let link = self
            .registry
            .create_invite("home", Role::Coordinator, 1, hour);
        let link = link.await.expect("signed").to_text();
        let coordinator = CoordinatorOptions {
            listen: "127.0.0.1:0".parse().expect("an address"),
            public_url: None,
            tls_cert: tls.map(|tls| tls.cert.clone()),
            tls_key: tls.map(|tls| tls.key.clone()),
        };
        let options = Options {
            coordinator: Some(coordinator),
            ..self.options(user)
        };
        join(&options, &link, user, None).await.expect("joined");
        options
    }

    async fn stop(self) {
        self.gateway.shutdown().await;
        self.registry.shutdown().await;
    }
}

fn label(text: &str) -> Label {
    Label::new(text).expect("label")
}

/// Waits for the first event `pick` takes.
async fn wait<T>(
    events: &mut broadcast::Receiver<ClientEvent>,
    mut pick: impl FnMut(&Event) -> Option<T>,
) -> T {
    let mut seen = Vec::new();
    let found = async {
        loop {
            let event = events.recv().await.expect("not lagging, not ended");
            if let Fact::Core(event) = &event.fact
                && let Some(found) = pick(event)
            {
                return found;
            }
            seen.push(format!("{:?}", event.fact));
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), found).await {
        Ok(found) => found,
        Err(_) => panic!(
            "it did not happen within a minute; instead:\n{}",
            seen.join("\n")
        ),
    }
}

async fn delivered(events: &mut broadcast::Receiver<ClientEvent>, id: MessageId) -> Option<Path> {
    wait(events, |event| match event {
        Event::MessageState(state) if state.id == id => {
            assert_ne!(state.state, DeliveryState::Rejected, "{state:?}");
            (state.state == DeliveryState::Delivered).then_some(state.path)
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_message_is_delivered_directly_and_both_sides_say_so() {
    let servers = servers().await;
    let (alice, carol) = (servers.member("alice").await, servers.member("carol").await);
    let (mut a, mut c) = (alice.subscribe(), carol.subscribe());
    carol.wait_online().await.expect("online");
    alice.wait_online().await.expect("online");

    let sent = alice
        .send(&label("carol"), "hello", Some("k"))
        .await
        .expect("queued");
    assert!(!sent.repeated);
    assert_eq!(delivered(&mut a, sent.id).await, Some(Path::Direct));
    let text = wait(&mut c, |event| match event {
        Event::Received(message) => Some(message.text.clone()),
        _ => None,
    });
    assert_eq!(text.await, "hello");

    let again = alice
        .send(&label("carol"), "hello", Some("k"))
        .await
        .expect("known");
    assert_eq!((again.id, again.repeated), (sent.id, true));

    let unshown = carol.unshown(10).await.expect("asked");
    assert_eq!(unshown.len(), 1);
    assert_eq!((unshown[0].key.id, unshown[0].again), (sent.id, false));
    carol
        .mark_showing(&[unshown[0].key])
        .await
        .expect("committed");
    carol
        .mark_shown(&[unshown[0].key])
        .await
        .expect("committed");
    assert_eq!(carol.unshown(10).await.expect("asked"), []);

    let ours = alice.why(sent.id).await.expect("known");
    let theirs = carol.why(sent.id).await.expect("known");
    assert_eq!(ours.item.state, DeliveryState::Delivered);
    assert_eq!(
        (ours.item.path, theirs.item.path),
        (Some(Path::Direct), Some(Path::Direct))
    );
    assert_eq!(theirs.steps.last().map(|s| s.state.as_str()), Some("shown"));
    let a_digits = alice.verify(&label("carol"), false).await.expect("known");
    let c_digits = carol.verify(&label("alice"), false).await.expect("known");
    assert_eq!(a_digits.digits, c_digits.digits);
    assert_eq!((a_digits.digits.len(), a_digits.verified), (60, false));
    let compared = alice.verify(&label("carol"), true).await.expect("accepted");
    assert_eq!((compared.verified, compared.claimed), (true, None));

    let status = alice.status().await.expect("asked");
    assert!(status.core.online && status.gateway.is_some());
    assert_eq!((status.counts.outbox, status.core.links_open), (0, 1));
    carol.shutdown().await;
    alice.shutdown().await;
    servers.stop().await;
}

/// The messages of other stacks than ours end at 64 KiB, or before: a chunk is longer.
#[tokio::test]
async fn files_go_in_pieces_where_messages_end_early() {
    let servers = servers().await;
    let start = async |user: &str, message_max: Option<usize>| {
        let policy = FilePolicy {
            from: None,
            size_max: u64::MAX,
            total_max: u64::MAX,
        };
        let options = Options {
            message_max,
            files: Some(FilesOptions {
                dir: servers.dir.path().join(format!("inbox of {user}")),
                policy,
                ask: false,
            }),
            ..servers.options(user)
        };
        let joined = join(&options, &servers.invite, user, None).await;
        joined.expect("joined");
        Client::start(options).await.expect("started")
    };
    let alice = start("alice", None).await;
    let carol = start("carol", Some(64 * 1024)).await;
    let dave = start("dave", Some(16 * 1024)).await;
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| (n / 251) as u8).collect();
    let path = servers.dir.path().join("holiday.mov");
    std::fs::write(&path, &bytes).expect("written");
    for (from, to) in [
        (&alice, "carol"),
        (&carol, "alice"),
        (&alice, "dave"),
        (&carol, "dave"),
    ] {
        let mut events = from.subscribe();
        let sent = from.send_file(&label(to), &path, None, |_| true).await;
        let id = sent.expect("offered").id;
        let ended = wait(&mut events, |event| match event {
            Event::File(told) if told.id == id => match &told.stage {
                FileStage::Done { .. } => Some(None),
                FileStage::Ended { reason, .. } => Some(Some(*reason)),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(ended.await, None, "to {to}");
        let arrived = servers
            .dir
            .path()
            .join(format!("inbox of {to}/holiday.mov"));
        assert!(std::fs::read(arrived).expect("there") == bytes, "to {to}");
    }
    for client in [alice, carol, dave] {
        client.shutdown().await;
    }
    servers.stop().await;
}

#[tokio::test]
async fn a_message_to_somebody_offline_waits_and_outlives_both_processes() {
    let servers = servers().await;
    let (alice, carol) = (servers.member("alice").await, servers.member("carol").await);
    carol.wait_online().await.expect("online");
    carol.shutdown().await;
    let sent = alice
        .send(&label("carol"), "later", None)
        .await
        .expect("queued");
    alice.shutdown().await;
    alice
        .send(&label("carol"), "x", None)
        .await
        .expect_err("it has ended");

    let carol = Client::start(servers.options("carol"))
        .await
        .expect("started");
    let mut c = carol.subscribe();
    let alice = Client::start(servers.options("alice"))
        .await
        .expect("the home was given back");
    let mut a = alice.subscribe();
    delivered(&mut a, sent.id).await;
    let id = wait(&mut c, |event| match event {
        Event::Received(message) => Some(message.id),
        _ => None,
    });
    assert_eq!(id.await, sent.id);
    alice.shutdown().await;
    carol.shutdown().await;
    servers.stop().await;
}

#[tokio::test]
async fn a_home_a_name_and_an_invite_have_one_owner() {
    let servers = servers().await;
    let alice = servers.member("alice").await;
    let second = Client::start(servers.options("alice"))
        .await
        .err()
        .expect("owned");
    let StartError::Home(HomeError::Busy { pid, command, .. }) = &second else {
        panic!("{second}");
    };
    assert_eq!((*pid, command.as_str()), (std::process::id(), "test alice"));

    let again = join(&servers.options("alice"), &servers.invite, "alice", None).await;
    let again = again.expect_err("used");
    assert!(
        again.is_used_home() && again.to_string().contains("--home"),
        "{again}"
    );

    let taken = join(&servers.options("other"), &servers.invite, "alice", None).await;
    assert!(matches!(taken, Err(JoinError::UserTaken(name)) if name == "alice"));
    assert!(!Home::at(&servers.options("other").home).is_joined());

    let token = crate::rest::token(&servers.options("alice"))
        .await
        .expect("signed in");
    assert_eq!(token.text().split('.').count(), 3);
    assert_eq!(token.origin, servers.gateway.public_url);
    assert!(!format!("{token:?}").contains(token.text()));
    alice.shutdown().await;
    servers.stop().await;
}

#[tokio::test]
async fn everything_goes_over_tls_with_an_authority_of_ones_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let tls = private_tls(dir.path());
    let servers = servers_in(dir, Some(&tls)).await;
    assert!(servers.gateway.public_url.starts_with("https://"));
    let mut blind = servers.options("alice");
    blind.ca = None;
    let refused = join(&blind, &servers.invite, "alice", None)
        .await
        .expect_err("not trusted");
    assert!(refused.to_string().contains("certificate"), "{refused}");

    let (alice, carol) = (servers.member("alice").await, servers.member("carol").await);
    let mut a = alice.subscribe();
    carol.wait_online().await.expect("online over wss");
    let sent = alice
        .send(&label("carol"), "hello", None)
        .await
        .expect("queued");
    assert_eq!(delivered(&mut a, sent.id).await, Some(Path::Direct));
    carol.shutdown().await;
    alice.shutdown().await;
    servers.stop().await;
}

#[tokio::test]
async fn of_a_home_that_runs_twice_the_older_one_stops_and_says_so() {
    let servers = servers().await;
    let first = servers.member("alice").await;
    first.wait_online().await.expect("online");
    first.shutdown().await;
    let copy = servers.options("copy");
    Home::at(&copy.home).prepare().expect("made");
    for file in ["identity", "client.db"] {
        let from = servers.options("alice").home.join(file);
        std::fs::copy(from, copy.home.join(file)).expect("copied");
    }
    let first = Client::start(servers.options("alice"))
        .await
        .expect("started");
    let mut events = first.subscribe();
    first.wait_online().await.expect("online");
    let second = Client::start(copy)
        .await
        .expect("another home, as far as the lock can tell");
    let detail = wait(&mut events, |event| match event {
        Event::RunningElsewhere { detail } => Some(detail.clone()),
        _ => None,
    });
    assert!(!detail.await.is_empty());
    second.wait_online().await.expect("the newer one is online");
    let status = first.status().await.expect("asked");
    assert!(status.running_elsewhere.is_some() && !status.core.online);
    assert!(
        second
            .status()
            .await
            .expect("asked")
            .running_elsewhere
            .is_none()
    );
    first.shutdown().await;
    second.shutdown().await;
    servers.stop().await;
}

#[tokio::test]
async fn without_servers_questions_are_answered_and_messages_taken() {
    let servers = servers().await;
    let options = servers.options("alice");
    join(&options, &servers.invite, "alice", None)
        .await
        .expect("joined");
    servers.gateway.shutdown().await;
    servers.registry.shutdown().await;
    let alice = Client::start(options.clone()).await.expect("started");
    let sent = alice
        .send(&label("carol"), "some day", None)
        .await
        .expect("queued");
    let busy = Client::start(options.clone()).await.err().expect("owned");
    assert!(busy.to_string().contains("test alice"), "{busy}");
    alice.shutdown().await;

    let reader = crate::store::Reader::open(&options.home).expect("nobody owns it");
    let history = reader.history(&label("carol"), 10).expect("asked");
    assert_eq!((history.len(), history[0].id), (1, sent.id));
    assert!(history[0].state <= DeliveryState::Trying);
    let story = reader.why(sent.id).expect("known");
    assert_eq!(story.steps[0].state, "queued");
    reader
        .safety_number(&label("carol"))
        .expect_err("nothing is known of her");
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_found_again() {
    let mut servers = servers().await;
    let (alice, carol) = (servers.member("alice").await, servers.member("carol").await);
    let (mut a, mut c) = (alice.subscribe(), carol.subscribe());
    carol.wait_online().await.expect("online");
    let at = servers.gateway.addr;
    servers.gateway.shutdown().await;
    let offline = |event: &Event| matches!(event, Event::Offline { .. }).then_some(());
    wait(&mut c, offline).await;
    let sent = alice
        .send(&label("carol"), "while it is away", None)
        .await
        .expect("queued");
    servers.gateway = start_gateway(&servers.registry, at, None).await;
    assert_eq!(delivered(&mut a, sent.id).await, Some(Path::Direct));
    carol.shutdown().await;
    alice.shutdown().await;
    servers.stop().await;
}

#[tokio::test]
async fn a_coordinator_is_reached_at_its_own_socket_while_every_server_is_gone() {
    reached_alone(servers().await, None).await;
}

#[tokio::test]
async fn a_coordinators_socket_is_wss_with_a_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let tls = private_tls(dir.path());
    reached_alone(servers_in(dir, Some(&tls)).await, Some(&tls)).await;
}

async fn reached_alone(servers: Servers, with: Option<&Tls>) {
    let alice = servers.options("alice");
    join(&alice, &servers.invite, "alice", None)
        .await
        .expect("joined");
    let alice = Identity::load(&Home::at(&alice.home)).expect("joined");
    let options = servers.coordinator("bob", with).await;
    servers.gateway.shutdown().await;
    servers.registry.shutdown().await;

    let bob = Client::start(options).await.expect("started");
    let mut events = bob.subscribe();
    bob.wait_online().await.expect("online at its own address");
    let who = bob.who().clone();
    let addr = who.served.expect("it serves");
    let scheme = if with.is_some() { "wss://" } else { "ws://" };
    assert!(addr.starts_with(scheme), "{addr}");
    assert!(addr.ends_with(who.device_label.as_str()), "{addr}");

    let identity = SocketIdentity {
        network: alice.network,
        device: alice.device.clone(),
        device_key: alice.device_key.clone(),
        boot_id: BootId([1; 16]),
    };
    let (_credentials, credentials) = watch::channel(Credentials {
        chain: alice.chain.clone(),
        ..Credentials::default()
    });
    let ca = with.map(|tls| tls.ca.as_path());
    let tls = crate::tls::client_config(ca).expect("made");
    let mut sockets = Sockets::new(identity, credentials, tls);
    assert!(sockets.open(SocketId(1), &addr));
    let (_, up) = sockets.next().await;
    assert!(matches!(up, SocketEvent::Up { .. }), "{up:?}");
    assert!(sockets.send(SignalCommand {
        socket: SocketId(1),
        kind: SignalKind::Offer,
        to: who.device_label,
        parcel: vec![1, 2, 3],
    }));
    let arrived = async {
        loop {
            let event = events.recv().await.expect("not lagging, not ended");
            if let Fact::Signal {
                sent: false, peer, ..
            } = event.fact
            {
                return peer;
            }
        }
    };
    let from = tokio::time::timeout(Duration::from_secs(60), arrived).await;
    assert_eq!(from, Ok(alice.device.to_string()));
    bob.shutdown().await;
    let down = async { while !matches!(sockets.next().await.1, SocketEvent::Down { .. }) {} };
    let down = tokio::time::timeout(Duration::from_secs(60), down).await;
    down.expect("its end is noticed");
}
