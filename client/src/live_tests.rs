//! Two clients over a real registry and a real gateway, in one process on loopback.

use crate::error::{HomeError, JoinError, StartError};
use crate::join::join;
use crate::report::{ClientEvent, Fact};
use crate::{Client, Options};
use beeline_gateway::Gateway;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::pb::identity::v1::Role;
use beeline_registry::Registry;
use client_core::event::{DeliveryState, Event, Path};
use std::time::Duration;
use tokio::sync::broadcast;

/// Registry, gateway, one network, and an invite link.
struct Servers {
    dir: tempfile::TempDir,
    registry: beeline_registry::Running,
    gateway: beeline_gateway::Running,
    invite: String,
}

async fn servers() -> Servers {
    let dir = tempfile::tempdir().expect("a directory");
    let any = "127.0.0.1:0".parse().expect("an address");
    let registry = Registry::start(beeline_registry::Config {
        grpc: any,
        data: dir.path().join("registry"),
        ..Default::default()
    });
    let registry = registry.await.expect("the registry starts");
    let gateway = Gateway::start(beeline_gateway::Config {
        listen: any,
        registry: format!("http://{}", registry.grpc_addr),
        gateway_token_file: registry.gateway_token_path.clone(),
        ..Default::default()
    });
    let gateway = gateway.await.expect("the gateway starts");
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
    }
}

impl Servers {
    fn options(&self, user: &str) -> Options {
        Options {
            home: self.dir.path().join(user),
            command: format!("test {user}"),
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

    let status = alice.status().await.expect("asked");
    assert!(status.core.online && status.gateway.is_some());
    assert_eq!((status.counts.outbox, status.core.links_open), (0, 1));
    carol.shutdown().await;
    alice.shutdown().await;
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
    assert!(!crate::home::Home::at(&servers.options("other").home).is_joined());

    let token = crate::rest::token(&servers.options("alice"))
        .await
        .expect("signed in");
    assert_eq!(token.text().split('.').count(), 3);
    assert_eq!(token.origin, servers.gateway.public_url);
    assert!(!format!("{token:?}").contains(token.text()));
    alice.shutdown().await;
    servers.stop().await;
}
