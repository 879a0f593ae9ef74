//! `kill -9` of the gateway while ICE is under way, fifty times: registry and gateway as processes
//! of their own, restarted at the same address, and every message still arrives once, in order.

use crate::process::{Home, Running, beeline, binary, run};
use beeline_proto::pb::client::v1::WatchRequest;
use beeline_proto::pb::client::v1::client_service_client::ClientServiceClient;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::Streaming;

/// Kills of the gateway.
const REPEATS: usize = 50;

/// Kills one receiver lives through: each makes it wait longer before it dials again, as it should
/// with a gateway that keeps dying.
const PER_RECEIVER: usize = 3;

/// A registry and a gateway of their own.
struct Apart {
    registry: Running,
    gateway: Running,
    grpc: String,
    listen: String,
    data: TempDir,
}

fn registry_command(data: &Path, grpc: &str, more: &[&str]) -> Command {
    let mut command = Command::new(binary("BEELINE_REGISTRY_BIN", "beeline-registry"));
    command
        .arg("--json")
        .args(["--grpc", grpc, "--data"])
        .arg(data)
        .args(more);
    command
}

fn gateway_command(listen: &str, grpc: &str, token: &Path) -> Command {
    let mut command = Command::new(binary("BEELINE_GATEWAY_BIN", "beeline-gateway"));
    command
        .arg("--json")
        .args(["--listen", listen, "--registry", &format!("http://{grpc}")]);
    command.arg("--gateway-token-file").arg(token);
    command
}

fn text(line: &Value, key: &str) -> String {
    line[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {line}"))
        .to_owned()
}

impl Apart {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let dir = data.path().join("registry");
        let mut registry = Running::start(registry_command(&dir, "127.0.0.1:0", &[]));
        let ready = registry.event("ready").await;
        let grpc = text(&ready, "grpc");
        let token = PathBuf::from(text(&ready, "gatewayTokenFile"));
        let mut gateway = Running::start(gateway_command("127.0.0.1:0", &grpc, &token));
        let ready = gateway.event("ready").await;
        // Now that both addresses are known, a network can name them.
        gateway.terminate().await.expect_code(0);
        registry.terminate().await.expect_code(0);
        let (listen, origin) = (text(&ready, "listen"), format!("http://{grpc}"));
        let more = [
            "--network",
            "home",
            "--gateway-origin",
            &text(&ready, "url"),
        ];
        let more = [&more[..], &["--registry-origin", &origin]].concat();
        let mut registry = Running::start(registry_command(&dir, &grpc, &more));
        registry.event("ready").await;
        let mut gateway = Running::start(gateway_command(&listen, &grpc, &token));
        gateway.event("ready").await;
        Self {
            registry,
            gateway,
            grpc,
            listen,
            data,
        }
    }

    fn dir(&self) -> PathBuf {
        self.data.path().join("registry")
    }

    async fn invite(&self) -> String {
        let registry = format!("http://{}", self.grpc);
        let mut command = beeline(&["network", "invite", "--uses", "9", "--network", "home"]);
        command
            .args(["--registry", &registry, "--data"])
            .arg(self.dir());
        let done = run(command).await;
        done.expect_code(0);
        text(done.only("invite"), "invite")
    }

    /// Kills the gateway and starts another at its address.
    async fn replace_gateway(&mut self) {
        let token = self.dir().join("gateway.token");
        let command = gateway_command(&self.listen, &self.grpc, &token);
        self.gateway.kill_now().await;
        self.gateway = Running::start(command);
        self.gateway.event("ready").await;
    }
}

/// What a running client tells of its connections.
async fn watch_peers(home: &Home) -> Streaming<beeline_proto::pb::client::v1::WatchResponse> {
    let uri = format!("unix://{}", home.path().join("beeline.sock").display());
    let mut service = ClientServiceClient::connect(uri)
        .await
        .expect("the socket answers");
    let events = vec!["peer".to_owned()];
    let watch = service.watch(WatchRequest { events }).await;
    watch.expect("watching").into_inner()
}

/// Waits until the watched client has reached a state with its peer.
async fn reaches(watch: &mut Streaming<beeline_proto::pb::client::v1::WatchResponse>, state: &str) {
    loop {
        let line = timeout(crate::process::DEADLINE, watch.message()).await;
        let line = line.unwrap_or_else(|_| panic!("never {state}"));
        let line = line.expect("it goes on").expect("a line");
        let line: Value = serde_json::from_str(&line.json).expect("one JSON object");
        if line["state"] == state {
            return;
        }
    }
}

#[tokio::test]
async fn a_gateway_killed_in_mid_ice_loses_and_repeats_nothing() {
    let mut servers = Apart::start().await;
    let invite = servers.invite().await;
    let alice = Home::joined(&invite, "alice", &[]).await;
    let carol = Home::joined(&invite, "carol", &[]).await;
    let (mut shown, mut sent) = (Vec::new(), Vec::new());
    for first in (0..REPEATS).step_by(PER_RECEIVER) {
        let mut listen = carol.listening(&[]).await;
        let mut watch = watch_peers(&carol).await;
        for repeat in first..REPEATS.min(first + PER_RECEIVER) {
            let text = format!("message {repeat}");
            // A process of its own for each message, so that each makes a link of its own.
            let send = alice.start(&["send", "carol", &text, "--timeout", "60s"]);
            // The offer is here and no answer out, or both are and ICE begins.
            reaches(&mut watch, ["SIGNALING", "CONNECTING"][repeat % 2]).await;
            servers.replace_gateway().await;
            send.end().await.expect_code(0);
            listen
                .until("the message", |line| line["text"] == *text)
                .await;
            sent.push(text);
        }
        let done = listen.terminate().await;
        done.expect_code(0);
        shown.extend(done.all("message").into_iter().cloned());
    }
    let again = shown.iter().find(|line| line.get("again").is_some());
    assert_eq!(again, None, "nobody was killed while showing");
    let texts: Vec<&str> = shown
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert_eq!(texts, sent, "each once, in order");
    servers.gateway.terminate().await.expect_code(0);
    servers.registry.terminate().await.expect_code(0);
}
