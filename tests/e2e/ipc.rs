//! One process owns a home; every other command works through its socket, or is told who owns it.

use crate::process::{Home, Running, Served, run};
use beeline_proto::pb::client::v1::client_service_client::ClientServiceClient;
use beeline_proto::pb::client::v1::{StatusRequest, WatchRequest};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::process::Command;

#[tokio::test]
async fn commands_work_through_the_process_that_listens() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut carols = carol.listening(&[]).await;
    let alices = alice.listening(&[]).await;
    let socket = alice.path().join("beeline.sock");
    let mode = std::fs::metadata(&socket)
        .expect("the socket is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let sent = alice.run(&["send", "carol", "through the socket"]).await;
    sent.expect_code(0);
    assert_eq!(sent.states().first(), Some(&"queued"), "{sent}");
    assert_eq!(
        sent.all("state").pop().expect("states")["path"],
        "direct",
        "{sent}"
    );
    assert_eq!(carols.event("message").await["text"], "through the socket");

    let status = alice.run(&["status"]).await;
    let line = status.only("status");
    assert_eq!(
        (&line["running"], &line["online"]),
        (&true.into(), &true.into()),
        "{status}"
    );
    assert_eq!(line["pid"], alices.pid());
    let peers = alice.run(&["peers"]).await;
    assert_eq!(peers.only("peer")["state"], "CONNECTED", "{peers}");
    let routes = alice.run(&["routes"]).await;
    assert_eq!(routes.only("route")["user"], "carol", "{routes}");
    let id = sent.all("state")[0]["id"].as_str().expect("an id");
    let why = alice.run(&["why", id]).await;
    assert_eq!(
        why.all("why").pop().expect("steps")["state"],
        "delivered",
        "{why}"
    );

    // The same answers, and the same refusals, when nobody runs the home.
    let history = alice.run(&["history", "carol"]).await;
    let unknown = alice.run(&["why", "aaaaaaaaaaaaaaaaaaaaaaaaaa"]).await;
    unknown.expect_code(1);
    alices.terminate().await.expect_code(0);
    assert!(!socket.exists(), "the socket went with its owner");
    let alone = alice.run(&["history", "carol"]).await;
    assert_eq!(history.all("history"), alone.all("history"));
    let alone = alice.run(&["why", "aaaaaaaaaaaaaaaaaaaaaaaaaa"]).await;
    alone.expect_code(1);
    assert_eq!(unknown.stderr(), alone.stderr());
    let status = alice.run(&["status"]).await;
    assert_eq!(status.only("status")["running"], false, "{status}");
    carols.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_second_owner_is_told_of_the_first() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let first = alice.listening(&[]).await;
    for second in ["listen", "run"] {
        let refused = alice.run(&[second]).await;
        refused.expect_code(1);
        assert!(
            refused.stderr().contains(&first.pid().to_string()),
            "{refused}"
        );
        assert!(refused.stderr().contains("beeline listen"), "{refused}");
        assert_eq!(refused.only("error")["event"], "error");
    }
    first.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_socket_left_by_a_killed_owner_is_replaced() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut carols = carol.listening(&[]).await;
    alice.listening(&[]).await.kill().await;
    assert!(
        alice.path().join("beeline.sock").exists(),
        "a killed process cleans nothing"
    );
    let status = alice.run(&["status"]).await;
    assert_eq!(status.only("status")["running"], false, "{status}");
    let again = alice.listening(&[]).await;
    alice.run(&["send", "carol", "hi"]).await.expect_code(0);
    assert_eq!(carols.event("message").await["text"], "hi");
    again.terminate().await.expect_code(0);
    carols.terminate().await.expect_code(0);
}

#[tokio::test]
async fn sends_of_one_home_at_the_same_moment_all_arrive_once() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&["--count", "6"]).await;
    let texts: Vec<String> = (0..6).map(|n| format!("at once {n}")).collect();
    let sends = texts
        .iter()
        .map(|text| alice.start(&["send", "carol", text]));
    let sends: Vec<Running> = sends.collect();
    for send in sends {
        let sent = send.end().await;
        sent.expect_code(0);
        assert_eq!(
            sent.states().iter().filter(|s| **s == "queued").count(),
            1,
            "{sent}"
        );
    }
    let mut got = Vec::new();
    for _ in &texts {
        let message = listen.event("message").await;
        assert!(message.get("again").is_none(), "{message}");
        got.push(message["text"].as_str().expect("text").to_owned());
    }
    got.sort();
    assert_eq!(got, texts);
    listen.end().await.expect_code(0);
}

#[tokio::test]
async fn a_copied_home_cannot_run_beside_the_original() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let copy = tempfile::tempdir().expect("a directory");
    copy_home(alice.path(), copy.path()).await;
    let first = alice.listening(&[]).await;
    let mut command = alice.command(&["listen"]);
    command.arg("--home").arg(copy.path());
    // The last --home wins, so this is the copy.
    let mut second = Running::start(command);
    second.event("online").await;
    // The newer one stays, the older one says why it goes.
    let told = first.end().await;
    told.expect_code(1);
    assert!(told.stderr().contains("runs elsewhere"), "{told}");
    second.terminate().await.expect_code(0);
}

async fn copy_home(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from.join(".")).arg(to);
    let status = command.status().await.expect("there is cp");
    assert!(status.success());
}

#[tokio::test]
async fn a_program_watches_and_asks_through_the_socket() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let run = {
        let mut run = carol.start(&["run"]);
        run.event("online").await;
        run
    };
    let uri = format!("unix://{}", carol.path().join("beeline.sock").display());
    let mut service = ClientServiceClient::connect(uri)
        .await
        .expect("the socket answers");
    let status = service
        .status(StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let status: Value = serde_json::from_str(&status.json).expect("one JSON object");
    assert_eq!(status["user"], "carol");

    let events = vec!["message".to_owned()];
    let watch = service
        .watch(WatchRequest { events })
        .await
        .expect("watching");
    let mut watch = watch.into_inner();
    alice
        .run(&["send", "carol", "seen by a program"])
        .await
        .expect_code(0);
    let line = watch.message().await.expect("no error").expect("a line");
    let line: Value = serde_json::from_str(&line.json).expect("one JSON object");
    assert_eq!(
        (&line["event"], &line["text"]),
        (&"message".into(), &"seen by a program".into())
    );
    run.terminate().await.expect_code(0);

    // Watching is not showing: `listen` still shows it, for the first time.
    let shown = run_listen_once(&carol).await;
    assert_eq!(shown["text"], "seen by a program");
    assert!(shown.get("again").is_none(), "{shown}");
}

async fn run_listen_once(home: &Home) -> Value {
    let done = run(home.command(&["listen", "--count", "1"])).await;
    done.expect_code(0);
    done.only("message").clone()
}
