//! One gateway and its registry, with two networks: Alice, Bob and Carol in `home`, Mallory in
//! `other`.

use crate::fake_registry::{FakeRegistry, GATEWAY_TOKEN, Server};
use crate::world::{Member, Network, token};
use beeline_gateway::limits::Limits;
use beeline_gateway::{Config, Gateway, Running};
use std::net::SocketAddr;
use tempfile::TempDir;

pub(crate) struct Stack {
    pub(crate) registry: Server,
    pub(crate) gateway: Running,
    pub(crate) addr: SocketAddr,
    pub(crate) home: Network,
    pub(crate) other: Network,
    pub(crate) alice: Member,
    pub(crate) bob: Member,
    pub(crate) carol: Member,
    pub(crate) mallory: Member,
    pub(crate) dir: TempDir,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With other limits.
    pub(crate) async fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with(|config| change(&mut config.limits)).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (home, other) = (Network::new("home", 10), Network::new("other", 20));
        let member = |name, seed| Member::new(name, seed);
        let (alice, bob) = (member("alice", 41), member("bob", 42));
        let (carol, mallory) = (member("carol", 43), member("mallory", 44));
        let fake = FakeRegistry::new();
        fake.enrol(&home, &[&alice, &bob, &carol]);
        fake.enrol(&other, &[&mallory]);
        let registry = Server::start(fake).await;
        let dir = TempDir::new().expect("directory");
        let mut config = config(&registry, &dir);
        change(&mut config);
        let gateway = Gateway::start(config).await.expect("the gateway starts");
        Self {
            addr: gateway.addr,
            registry,
            gateway,
            home,
            other,
            alice,
            bob,
            carol,
            mallory,
            dir,
        }
    }

    pub(crate) fn token(&self, member: &Member) -> String {
        token(&self.home, member)
    }
}

/// A gateway on a free port for this registry.
pub(crate) fn config(registry: &Server, dir: &TempDir) -> Config {
    let secret = dir.path().join("gateway.token");
    std::fs::write(&secret, format!("{GATEWAY_TOKEN}\n")).expect("write");
    Config {
        listen: "127.0.0.1:0".parse().expect("address"),
        registry: format!("http://{}", registry.addr),
        gateway_token_file: secret,
        cache_dir: Some(dir.path().join("cache")),
        ..Config::default()
    }
}
