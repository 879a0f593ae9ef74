//! Coordinators as real processes: who may be one, where it serves, and what it is good for when
//! the servers are gone.

use crate::process::{DEADLINE, Home, Running, Served, beeline, run};
use crate::serve::private_ca;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What `run --coordinator` takes in a test: any port, the same after a restart.
pub(crate) const RUN: [&str; 4] = ["run", "--coordinator", "--listen", "127.0.0.1:0"];

/// The host and port of a signalling address, and its deviceId.
fn parts(online: &Value) -> (String, String) {
    let addr = online["signalAddr"].as_str().expect("an address");
    let rest = addr.strip_prefix("ws://").expect("a WebSocket");
    let (host, device) = rest.split_once('/').expect("host and device");
    (host.to_owned(), device.to_owned())
}

/// `GET`; the whole answer.
async fn get(host: &str, path: &str, token: Option<&str>) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(host).await.expect("it listens");
        let token = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}");
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    timeout(DEADLINE, asked).await.expect("it does not hang")
}

#[tokio::test]
async fn only_who_was_invited_as_one_runs_as_a_coordinator() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let refused = alice.run(&RUN).await;
    refused.expect_code(1);
    let told = refused.only("error")["message"].as_str().expect("a text");
    assert!(told.contains("network invite --role coordinator"), "{told}");
    // It costs her nothing: she goes on as she was.
    let online = alice.start(&["run"]).event("online").await;
    assert!(online["signalAddr"].is_null(), "{online}");

    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let mut running = bob.start(&RUN);
    let online = running.event("online").await;
    let (host, device) = parts(&online);
    assert_eq!(online["device"], device, "{online}");
    assert!(
        get(&host, "/healthz", None)
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        get(&host, &format!("/{device}"), None)
            .await
            .starts_with("HTTP/1.1 426")
    );
    let status = bob.run(&["status"]).await;
    assert_eq!(
        status.only("status")["signalAddr"],
        online["signalAddr"],
        "{status}"
    );
    running.terminate().await.expect_code(0);
    let status = bob.run(&["status"]).await;
    assert!(status.only("status")["signalAddr"].is_null(), "{status}");
}

#[tokio::test]
async fn a_coordinator_comes_back_at_its_address_while_the_servers_are_gone() {
    let served = Served::start(&[]).await;
    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let mut running = bob.start(&RUN);
    let first = running.event("online").await;
    served.running.kill().await;
    running.kill().await;
    let mut again = bob.start(&RUN);
    let second = again.event("online").await;
    assert_eq!(first["signalAddr"], second["signalAddr"]);
    again.terminate().await.expect_code(0);
}

#[tokio::test]
async fn an_address_nobody_can_dial_or_that_is_taken_is_refused() {
    let served = Served::start(&[]).await;
    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let url = served.ready["url"].as_str().expect("a url");
    let taken = url.strip_prefix("http://").expect("plain");
    for (listen, says) in [("0.0.0.0:0", "--public-url"), (taken, "cannot listen")] {
        let refused = bob.run(&["run", "--coordinator", "--listen", listen]).await;
        refused.expect_code(1);
        let told = refused.only("error")["message"].as_str().expect("a text");
        assert!(told.contains(says), "{told}");
    }
    bob.run(&["run", "--listen", "127.0.0.1:0"])
        .await
        .expect_code(2);
}

#[tokio::test]
async fn serve_runs_a_coordinator_that_keeps_its_name_and_its_address() {
    let served = Served::start_with(&[]).await;
    let first = served.ready["coordinator"].clone();
    let host = |addr: &Value| parts(&serde_json::json!({ "signalAddr": addr })).0;
    assert!(get(&host(&first), "/healthz", None).await.contains(" 200 "));
    let home = served.data().join("coordinator");
    let home = home.to_str().expect("a UTF-8 path").to_owned();
    let status = async || {
        let status = run(beeline(&["--home", &home, "status"])).await;
        status.only("status").clone()
    };
    let before = status().await;
    assert_eq!(
        (&before["user"], &before["signalAddr"]),
        (&"coordinator_1".into(), &first)
    );
    let served = served.restart().await;
    assert_eq!(served.ready["coordinator"], first);
    assert_eq!(status().await["device"], before["device"]);
    // It is a member like any other, and one only.
    let data = served.data().to_str().expect("a UTF-8 path");
    let members = run(beeline(&["network", "members", "--data", data])).await;
    assert_eq!(members.only("member")["role"], "coordinator", "{members}");
    served.running.terminate().await.expect_code(0);
}

#[tokio::test]
async fn serve_says_why_its_coordinator_cannot_start() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let taken = taken.local_addr().expect("bound").to_string();
    let mut serve = beeline(&["serve", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]);
    serve
        .args(["--coordinator-listen", &taken, "--data"])
        .arg(data.path());
    let refused = run(serve).await;
    refused.expect_code(1);
    let told = refused.only("error")["message"].as_str().expect("a text");
    assert!(
        told.contains(&taken) && told.contains("--no-coordinator"),
        "{told}"
    );
    assert!(refused.all("ready").is_empty(), "{refused}");
}

#[tokio::test]
async fn serve_behind_a_certificate_of_a_private_authority() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [ca, cert, key] = private_ca(dir.path());
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let served = Served::start_with(&[&tls[..], &["--ca", &ca]].concat()).await;
    let addr = served.ready["coordinator"].as_str().expect("an address");
    assert!(addr.starts_with("wss://127.0.0.1:"), "{addr}");
    served.running.terminate().await.expect_code(0);

    let data = tempfile::tempdir().expect("a temporary directory");
    let mut serve = beeline(&["serve", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]);
    serve.args(tls).arg("--data").arg(data.path());
    let refused = run(serve).await;
    refused.expect_code(1);
    let told = refused.only("error")["message"].as_str().expect("a text");
    assert!(told.contains("--ca FILE"), "{told}");
}

/// Asks until a coordinator is linked to a home.
pub(crate) async fn linked(home: &Home) {
    let asking = async {
        loop {
            let status = home.run(&["status"]).await;
            let coordinators = status.only("status")["coordinators"].clone();
            let mut linked = coordinators.as_array().into_iter().flatten();
            if linked.any(|one| one["linked"] == true) {
                return;
            }
        }
    };
    timeout(DEADLINE, asking).await.expect("a link comes about");
}

/// Sends until a message went by the path wanted; every one of them must be delivered.
async fn delivered_by(home: &Home, to: &str, path: &str) {
    let sending = async {
        loop {
            let sent = home.run(&["send", to, "again"]).await;
            sent.expect_code(0);
            if sent.all("state").pop().expect("states")["path"] == *path {
                return;
            }
        }
    };
    timeout(DEADLINE, sending)
        .await
        .expect("the path comes about");
}

/// Carol and Alice, who listen, linked to the coordinator Bob; the servers are dead.
struct Friends {
    bob: Home,
    _carol: Home,
    alice: Home,
    coordinator: Running,
    listen: Running,
    alices: Running,
}

async fn without_servers() -> Friends {
    let served = Served::start(&[]).await;
    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let mut coordinator = bob.start(&RUN);
    coordinator.event("online").await;
    let listen = carol.listening(&[]).await;
    let alices = alice.listening(&[]).await;
    for home in [&carol, &alice] {
        linked(home).await;
    }
    served.running.kill().await;
    Friends {
        bob,
        _carol: carol,
        alice,
        coordinator,
        listen,
        alices,
    }
}

/// The promise of the peer fabric: ask friends first, servers last.
#[tokio::test]
async fn friends_are_asked_where_the_servers_are_dead() {
    let mut at = without_servers().await;

    // Alice has never spoken to Carol.
    let sent = at.alice.run(&["send", "carol", "Hello Carol!"]).await;
    sent.expect_code(0);
    let last = sent.all("state").pop().expect("states").clone();
    assert_eq!(
        (&last["state"], &last["foundBy"]),
        (&"delivered".into(), &"peers".into()),
        "{sent}"
    );
    assert_eq!(at.listen.event("message").await["text"], "Hello Carol!");
    delivered_by(&at.alice, "carol", "direct").await;

    // A new process of hers finds its way back into the fabric.
    at.alices.kill().await;
    let sent = at.alice.run(&["send", "carol", "I am back"]).await;
    sent.expect_code(0);
    let back = at
        .listen
        .until("the last message", |line| line["text"] == "I am back");
    assert_eq!(back.await["from"], "alice");
    at.listen.terminate().await.expect_code(0);
    at.coordinator.terminate().await.expect_code(0);
}

/// Asks the gateway over REST, in a member's name, until the answer fits.
async fn until(served: &Served, member: &Home, path: &str, fits: impl Fn(&Value) -> bool) {
    let url = served.ready["url"].as_str().expect("a URL");
    let host = url.strip_prefix("http://").expect("plain").to_owned();
    let token = member.run(&["token"]).await;
    let token = token.only("token")["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let path = format!("/network/{}{path}", served.network());
    let asking = async {
        loop {
            let answer = get(&host, &path, Some(&token)).await;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if serde_json::from_str(body).is_ok_and(|body| fits(&body)) {
                return;
            }
        }
    };
    timeout(DEADLINE, asking)
        .await
        .expect("the registry hears of it");
}

#[tokio::test]
async fn the_registry_knows_who_coordinates_and_whom() {
    let served = Served::start(&[]).await;
    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let mut coordinator = bob.start(&[&RUN[..], &["--links", "7"]].concat());
    let device = coordinator.event("online").await["device"].clone();
    until(&served, &alice, "/coordinators", |list| {
        let one = &list["coordinators"][0];
        one["deviceId"] == device && one["capacity"] == 7
    })
    .await;
    let listen = carol.listening(&[]).await;
    linked(&carol).await;
    until(&served, &alice, "/peer/carol", |peer| {
        peer["lastCoordinators"][0] == device
    })
    .await;
    listen.terminate().await.expect_code(0);
    coordinator.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_network_heals_when_its_coordinator_returns_though_the_servers_do_not() {
    let mut at = without_servers().await;
    at.coordinator.kill().await;
    let mut send = at
        .alice
        .start(&["send", "carol", "Is anybody there?", "--timeout", "90s"]);
    send.state("queued").await;
    let mut coordinator = at.bob.start(&RUN);
    coordinator.event("online").await;
    assert_eq!(
        at.listen.event("message").await["text"],
        "Is anybody there?"
    );
    send.end().await.expect_code(0);
    at.alices.terminate().await.expect_code(0);
    coordinator.terminate().await.expect_code(0);
}
