//! A registry on PostgreSQL, killed twice and cut off from its database while people send, join
//! and coordinate: nothing is lost, and it tells the truth again once gateways, devices and
//! coordinators have told it.

use crate::apart::{Apart, text};
use crate::database::Database;
use crate::process::{DEADLINE, Home, Running};
use crate::shown::Shown;
use beeline_proto::pb::coordinator::v1::coordinator_service_client::CoordinatorServiceClient;
use beeline_proto::pb::coordinator::v1::{HeartbeatRequest, ListCoordinatorsRequest};
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use beeline_proto::pb::registry::v1::{GetPeerRequest, ListActivePeersRequest};
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Messages of each sender between two disturbances.
const BETWEEN: usize = 3;

/// How often the database drops all connections.
const CUTS: usize = 3;

/// A member's or coordinator's view of the registry, through one connection that dials again.
struct Caller {
    channel: Channel,
    bearer: String,
}

impl Caller {
    async fn new(servers: &Apart, home: &Home) -> Self {
        let token = home.run(&["token"]).await;
        token.expect_code(0);
        let endpoint = Endpoint::from_shared(format!("http://{}", servers.grpc()));
        Self {
            channel: endpoint.expect("an address").connect_lazy(),
            bearer: format!("Bearer {}", text(token.only("token"), "token")),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = self.bearer.parse().expect("a header's value");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    /// Whether a user is online, as both lookups say.
    async fn is_online(&self, user: &str) -> Result<bool, Status> {
        let mut registry = RegistryServiceClient::new(self.channel.clone());
        let request = self.request(GetPeerRequest {
            network_id: "home".to_owned(),
            user_id: user.to_owned(),
        });
        let peer = registry.get_peer(request).await?.into_inner().peer;
        let request = self.request(ListActivePeersRequest {
            network_id: "home".to_owned(),
            ..ListActivePeersRequest::default()
        });
        let active = registry.list_active_peers(request).await?.into_inner();
        let mut active = active.peers.iter();
        let is_listed = active.any(|peer| peer.user_id == user && peer.online);
        Ok(is_listed && peer.is_some_and(|peer| peer.online))
    }

    async fn are_online(&self, users: &[&str]) -> Result<bool, Status> {
        for user in users {
            if !self.is_online(user).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn coordinators(&self) -> Result<Vec<String>, Status> {
        let mut service = CoordinatorServiceClient::new(self.channel.clone());
        let request = self.request(ListCoordinatorsRequest {
            network_id: "home".to_owned(),
            page_size: 0,
        });
        let listed = service.list_coordinators(request).await?.into_inner();
        let listed = listed.coordinators.into_iter();
        Ok(listed.map(|one| one.device_id).collect())
    }
}

/// A coordinator's heartbeats, each telling what changed, and everything when that is wanted.
struct Heart {
    caller: Caller,
    seq: u64,
    is_full: bool,
    /// How often the registry had lost count.
    asked_for_all: usize,
}

impl Heart {
    async fn beat(&mut self) -> Result<(), Status> {
        self.seq += 1;
        let mut service = CoordinatorServiceClient::new(self.caller.channel.clone());
        let request = self.caller.request(HeartbeatRequest {
            network_id: "home".to_owned(),
            load: 1,
            capacity: 512,
            full: self.is_full,
            epoch: 7,
            seq: self.seq,
            ..HeartbeatRequest::default()
        });
        let answer = service.heartbeat(request).await?.into_inner();
        self.is_full = answer.want_full;
        self.asked_for_all += usize::from(answer.want_full);
        Ok(())
    }
}

/// How far each sender is, and whether to go on.
struct Load {
    sent: [watch::Sender<usize>; 2],
    stop: watch::Sender<bool>,
}

impl Load {
    fn new() -> Self {
        Self {
            sent: [watch::channel(0).0, watch::channel(0).0],
            stop: watch::channel(false).0,
        }
    }

    /// Sends by processes of their own, one after the other: each signs in, announces, looks for
    /// the other, and ends.
    async fn send(&self, of: usize, from: &Home, to: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while !*self.stop.borrow() {
            let text = format!("message {}", texts.len());
            let sent = from.run(&["send", to, &text, "--timeout", "60s"]).await;
            sent.expect_code(0);
            assert_eq!(sent.states().last(), Some(&"delivered"), "{sent}");
            texts.push(text);
            self.sent[of].send_replace(texts.len());
        }
        texts
    }

    /// Waits until each sender has delivered some more.
    async fn more(&self, count: usize) {
        for sent in &self.sent {
            let mut sent = sent.subscribe();
            let until = *sent.borrow() + count;
            let reached = timeout(DEADLINE, sent.wait_for(|count| *count >= until)).await;
            reached.expect("messages go on").expect("it sends");
        }
    }
}

/// Who is a member, as the operator sees it.
async fn members(servers: &Apart) -> BTreeSet<String> {
    let done = servers.network(&["members"]).await;
    let all = done.all("member").into_iter();
    all.map(|line| text(line, "user")).collect()
}

/// Kills the registry right after somebody was told of being a member, and starts it again once
/// more was delivered without it.
async fn disturb(servers: &mut Apart, invite: &str, user: &str, load: &Load) {
    load.more(BETWEEN).await;
    Home::joined(invite, user, &[]).await;
    servers.kill_registry().await;
    load.more(BETWEEN).await;
    servers.start_registry().await;
}

/// Asks after each message until the registry tells the truth again.
async fn comes_right(heart: &mut Heart, caller: &Caller, load: &Load) {
    loop {
        load.more(1).await;
        let beaten = heart.beat().await;
        let online = caller.are_online(&["carol", "dave", "erin"]).await;
        let listed = caller.coordinators().await;
        let beats = beaten.is_ok() && !heart.is_full;
        let all_online = matches!(online, Ok(true));
        let listed = matches!(listed, Ok(all) if all == ["hub"]);
        if beats && all_online && listed {
            return;
        }
    }
}

async fn expect_shown(listen: Running, sent: &[String]) {
    let mut shown = Shown::default();
    let done = listen.terminate().await;
    done.expect_code(0);
    shown.add_all(&done);
    shown.expect_each_once(sent);
}

#[tokio::test]
async fn a_registry_on_postgresql_restarted_under_load_loses_nothing() {
    let database = Database::create("restarts").await;
    let mut servers = Apart::start(&["--database-url", database.url()]).await;
    let (invite, hub) = tokio::join!(servers.invite(), servers.invite_as("coordinator"));
    let (alice, bob, carol, dave, erin) = tokio::join!(
        Home::joined(&invite, "alice", &[]),
        Home::joined(&invite, "bob", &[]),
        Home::joined(&invite, "carol", &[]),
        Home::joined(&invite, "dave", &[]),
        Home::joined(&hub, "erin", &["--device", "hub"]),
    );
    let (mut carols, mut daves) = tokio::join!(carol.listening(&[]), dave.listening(&[]));
    let mut run = erin.start(&["run"]);
    run.event("online").await;
    let caller = Caller::new(&servers, &erin).await;
    let mut heart = Heart {
        caller: Caller::new(&servers, &erin).await,
        seq: 0,
        is_full: true,
        asked_for_all: 0,
    };
    let load = Load::new();
    let trouble = async {
        for user in ["frank", "grace"] {
            comes_right(&mut heart, &caller, &load).await;
            disturb(&mut servers, &invite, user, &load).await;
        }
        for _ in 0..CUTS {
            comes_right(&mut heart, &caller, &load).await;
            assert_ne!(database.cut_connections().await, 0);
        }
        comes_right(&mut heart, &caller, &load).await;
        load.stop.send_replace(true);
    };
    let (to_carol, to_dave, ()) = tokio::join!(
        load.send(0, &alice, "carol"),
        load.send(1, &bob, "dave"),
        trouble
    );
    // It forgot the coordinator with each kill, and nothing else made it ask.
    assert_eq!(heart.asked_for_all, 2);
    for (listen, texts) in [(&mut carols, &to_carol), (&mut daves, &to_dave)] {
        let last = texts.last().expect("some");
        listen
            .until("the last", |line| line["text"] == **last)
            .await;
    }
    expect_shown(carols, &to_carol).await;
    expect_shown(daves, &to_dave).await;
    let all = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"];
    assert_eq!(members(&servers).await, all.map(str::to_owned).into());
    run.terminate().await.expect_code(0);
    servers.end().await;
}
