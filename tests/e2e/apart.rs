//! Registry and gateway as processes of their own, each killed and started again on its own, and
//! what a running client tells of its connections.

use crate::process::{DEADLINE, Home, Running, beeline, binary, run};
use beeline_proto::pb::client::v1::client_service_client::ClientServiceClient;
use beeline_proto::pb::client::v1::{WatchRequest, WatchResponse};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::Streaming;

/// A registry and a gateway of their own.
pub(crate) struct Apart {
    registry: Running,
    gateway: Running,
    grpc: String,
    listen: String,
    more: Vec<String>,
    data: TempDir,
}

fn registry_command(data: &Path, grpc: &str, more: &[String]) -> Command {
    let mut command = Command::new(binary("BEELINE_REGISTRY_BIN", "beeline-registry"));
    command
        .env_remove("BEELINE_DATABASE_URL")
        .arg("--json")
        .args(["--grpc", grpc, "--data"])
        .arg(data.join("registry"))
        .args(more);
    command
}

/// A gateway that remembers what it needs to start while the registry is down.
fn gateway_command(data: &Path, listen: &str, grpc: &str) -> Command {
    let mut command = Command::new(binary("BEELINE_GATEWAY_BIN", "beeline-gateway"));
    command
        .arg("--json")
        .args(["--listen", listen, "--registry", &format!("http://{grpc}")])
        .arg("--gateway-token-file")
        .arg(data.join("registry").join("gateway.token"))
        .arg("--cache-dir")
        .arg(data.join("gateway"));
    command
}

/// A text in a line.
pub(crate) fn text(line: &Value, key: &str) -> String {
    line[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {line}"))
        .to_owned()
}

impl Apart {
    /// Starts both on free ports, and makes the network `home`; `more` are flags of the registry.
    pub(crate) async fn start(more: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(data.path().join("gateway")).expect("made");
        let more: Vec<String> = more.iter().map(|flag| (*flag).to_owned()).collect();
        let mut registry = Running::start(registry_command(data.path(), "127.0.0.1:0", &more));
        let ready = registry.event("ready").await;
        let grpc = text(&ready, "grpc");
        let mut gateway = Running::start(gateway_command(data.path(), "127.0.0.1:0", &grpc));
        let ready = gateway.event("ready").await;
        // Now that both addresses are known, a network can name them.
        gateway.terminate().await.expect_code(0);
        registry.terminate().await.expect_code(0);
        let (listen, url) = (text(&ready, "listen"), text(&ready, "url"));
        let origin = format!("http://{grpc}");
        let named = ["--network", "home", "--gateway-origin", &url];
        let named = [&named[..], &["--registry-origin", &origin]].concat();
        let named = named.into_iter().map(str::to_owned);
        let more: Vec<String> = more.into_iter().chain(named).collect();
        let mut registry = Running::start(registry_command(data.path(), &grpc, &more));
        registry.event("ready").await;
        let mut gateway = Running::start(gateway_command(data.path(), &listen, &grpc));
        gateway.event("ready").await;
        Self {
            registry,
            gateway,
            grpc,
            listen,
            more,
            data,
        }
    }

    /// Where gRPC is, `host:port`.
    pub(crate) fn grpc(&self) -> &str {
        &self.grpc
    }

    /// A `network` command of the operator.
    pub(crate) async fn network(&self, args: &[&str]) -> crate::process::Done {
        let registry = format!("http://{}", self.grpc);
        let mut command = beeline(&["network"]);
        command
            .args(args)
            .args(["--network", "home", "--registry", &registry, "--data"])
            .arg(self.data.path().join("registry"));
        let done = run(command).await;
        done.expect_code(0);
        done
    }

    /// An invite link for nine.
    pub(crate) async fn invite(&self) -> String {
        self.invite_as("member").await
    }

    /// An invite link for nine with a role.
    pub(crate) async fn invite_as(&self, role: &str) -> String {
        let done = self
            .network(&["invite", "--uses", "9", "--role", role])
            .await;
        text(done.only("invite"), "invite")
    }

    /// `kill -9` of the registry.
    pub(crate) async fn kill_registry(&mut self) {
        self.registry.kill_now().await;
    }

    /// Starts the registry again where it was.
    pub(crate) async fn start_registry(&mut self) {
        let command = registry_command(self.data.path(), &self.grpc, &self.more);
        self.registry = Running::start(command);
        self.registry.event("ready").await;
    }

    /// `kill -9` of the gateway.
    pub(crate) async fn kill_gateway(&mut self) {
        self.gateway.kill_now().await;
    }

    /// Starts the gateway again where it was.
    pub(crate) async fn start_gateway(&mut self) {
        let command = gateway_command(self.data.path(), &self.listen, &self.grpc);
        self.gateway = Running::start(command);
        self.gateway.event("ready").await;
    }

    /// Ends both, as an operator does.
    pub(crate) async fn end(self) {
        self.gateway.terminate().await.expect_code(0);
        self.registry.terminate().await.expect_code(0);
    }
}

/// What a running client tells of its connections.
pub(crate) async fn watch_peers(home: &Home) -> Streaming<WatchResponse> {
    let uri = format!("unix://{}", home.path().join("beeline.sock").display());
    let mut service = ClientServiceClient::connect(uri)
        .await
        .expect("the socket answers");
    let events = vec!["peer".to_owned()];
    let watch = service.watch(WatchRequest { events }).await;
    watch.expect("watching").into_inner()
}

/// Waits until the watched client has reached one of these states with its peer.
pub(crate) async fn reaches(watch: &mut Streaming<WatchResponse>, states: &[&str]) {
    loop {
        let line = timeout(DEADLINE, watch.message()).await;
        let line = line.unwrap_or_else(|_| panic!("never {states:?}"));
        let line = line.expect("it goes on").expect("a line");
        let line: Value = serde_json::from_str(&line.json).expect("one JSON object");
        if states.iter().any(|state| line["state"] == *state) {
            return;
        }
    }
}
