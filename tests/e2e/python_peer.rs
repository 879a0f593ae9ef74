//! A peer that is not ours: in Python, over aiortc, from docs/PROTOCOL.md and the schema alone. It
//! links with Beeline clients as either side, and talks with them; several of it do for each other
//! what peers do without servers.

use crate::process::{Done, Home, Running, Served, python, run};
use serde_json::Value;

/// The one cipher suite Beeline's own clients speak, as OpenSSL names it.
const CIPHER: &str = "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305";

/// A home of the peer in Python.
struct PyHome {
    home: Home,
}

impl PyHome {
    /// Joins by an invite link.
    async fn joined(served: &Served, user: &str) -> Self {
        let home = Home::new();
        let at = home.path().to_str().expect("a UTF-8 path");
        let join = ["join", served.invite(), "--user", user, "--home", at];
        let done = run(python("spec_client", &join)).await;
        done.expect_code(0);
        assert_eq!(done.only("joined")["user"], user, "{done}");
        Self { home }
    }

    fn start(&self, args: &[&str]) -> Running {
        let at = self.home.path().to_str().expect("a UTF-8 path");
        let (command, rest) = args.split_first().expect("a command");
        let args = [&[*command, "--home", at], rest].concat();
        Running::start(python("py_peer", &args))
    }

    /// Starts `listen` and waits until it can be reached.
    async fn listening(&self, args: &[&str]) -> Running {
        let mut listen = self.start(&[&["listen"], args].concat());
        listen.event("online").await;
        listen
    }

    /// Runs a command to its end.
    async fn run(&self, args: &[&str]) -> Done {
        self.start(args).end().await
    }
}

/// What a link of the peer in Python must look like.
fn expect_link(linked: &Value, user: &str, side: &str) {
    assert_eq!(linked["user"], user, "{linked}");
    assert_eq!(linked["side"], side, "{linked}");
    assert_eq!(linked["cipher"], CIPHER, "{linked}");
}

#[tokio::test]
async fn beeline_calls_a_python_peer_and_both_talk() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut python = pia.listening(&["--count", "1", "--reply", "echo: "]).await;
    let mut listen = carol.listening(&["--count", "1"]).await;

    let sent = carol.run(&["send", "pia", "Hello Pia!"]).await;
    sent.expect_code(0);
    let delivered = sent.all("state").pop().expect("states are printed");
    assert_eq!(delivered["path"], "direct", "{sent}");

    expect_link(&python.event("linked").await, "carol", "answerer");
    let heard = python.event("message").await;
    assert_eq!(heard["id"], delivered["id"]);
    assert_eq!(
        (&heard["from"], &heard["text"]),
        (&"carol".into(), &"Hello Pia!".into())
    );
    let answered = python.state("delivered").await;
    assert_eq!(answered["path"], "direct", "{answered}");

    let answer = listen.event("message").await;
    assert_eq!(answer["id"], answered["id"]);
    assert_eq!(
        (&answer["from"], &answer["text"]),
        (&"pia".into(), &"echo: Hello Pia!".into())
    );
    python.end().await.expect_code(0);
    listen.end().await.expect_code(0);
}

#[tokio::test]
async fn a_python_peer_calls_beeline_and_both_talk() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;

    // The longest text there is: a full parcel, in a full frame, in many pieces.
    let text = "é".repeat(6_000);
    let sent = pia.run(&["send", "carol", &text]).await;
    sent.expect_code(0);
    expect_link(sent.only("linked"), "carol", "offerer");
    assert_eq!(sent.states(), ["queued", "delivered"], "{sent}");
    let heard = listen.event("message").await;
    assert_eq!(heard["text"], text.as_str(), "{heard}");

    // The same side again, and this time Beeline speaks first on the link.
    let mut python = pia.start(&[
        "listen", "--call", "carol", "--count", "1", "--reply", "re: ",
    ]);
    expect_link(&python.event("linked").await, "carol", "offerer");
    let sent = carol.run(&["send", "pia", "and you?"]).await;
    sent.expect_code(0);
    let delivered = sent.all("state").pop().expect("states are printed");
    assert_eq!(delivered["foundBy"], "connected", "{sent}");
    assert_eq!(python.event("message").await["text"], "and you?");
    assert_eq!(listen.event("message").await["text"], "re: and you?");
    listen.terminate().await.expect_code(0);
    python.end().await.expect_code(0);
}

/// Forward secrecy never costs a message: what was sealed to a key that is gone is refused with the
/// newer one, and sealed again.
#[tokio::test]
async fn a_python_peer_that_lost_its_bundle_says_so_and_gets_the_message() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let listen = pia.listening(&["--count", "1"]).await;
    carol.run(&["send", "pia", "now"]).await.expect_code(0);
    listen.end().await.expect_code(0);

    let kept = carol
        .run(&["send", "pia", "later", "--timeout", "1s"])
        .await;
    kept.expect_code(4);
    let id = kept.all("state")[0]["id"].clone();
    let mut python = pia.listening(&["--new-bundle", "--count", "1"]).await;
    let mut sender = carol.start(&["run"]);
    let dropped = python.event("dropped").await;
    assert_eq!(dropped["why"], "unknown_key", "{dropped}");
    let heard = python.event("message").await;
    assert_eq!((&heard["id"], &heard["text"]), (&id, &"later".into()));
    python.end().await.expect_code(0);
    sender.event("online").await;
    sender.terminate().await.expect_code(0);
}

#[tokio::test]
async fn python_peers_find_and_relay_and_call_without_a_server() {
    let served = Served::start(&[]).await;
    let url = served.ready["url"].as_str().expect("an address");
    let story = ["story", "--url", url, "--invite", served.invite()];
    let done = run(python("py_peer", &story)).await;
    done.expect_code(0);
    let steps = done.all("step").into_iter();
    let steps: Vec<_> = steps.filter_map(|line| line["name"].as_str()).collect();
    let told = [
        "linked", "glare", "liar", "found", "relayed", "direct", "no_route", "done",
    ];
    assert_eq!(steps, told, "{done}");
}

/// Two clients who know nobody but a Python peer, and no server: he tells one of the other, hands
/// the first message on, and the call for a link of their own.
#[tokio::test]
async fn beeline_clients_meet_through_a_python_peer_with_the_servers_dead() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let mut python = pia.listening(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let alice_listens = alice.listening(&[]).await;
    let mut carol_listens = carol.listening(&[]).await;
    for home in [&alice, &carol] {
        home.run(&["send", "pia", "hi"]).await.expect_code(0);
    }
    served.running.kill().await;

    let sent = alice.run(&["send", "carol", "first"]).await;
    sent.expect_code(0);
    let delivered = sent.all("state").pop().expect("states are printed");
    assert_eq!(delivered["foundBy"], "peers", "{sent}");
    assert_eq!(python.event("query").await["answered"], true);
    let heard = carol_listens.event("message").await;
    assert_eq!(heard["id"], delivered["id"]);
    assert_eq!(heard["text"], "first");
    let handed_on = |from: &'static str, kind: &'static str| {
        move |line: &Value| {
            line["event"] == "relayed" && line["from"] == from && line["kind"] == kind
        }
    };
    python
        .until("alice's offer", handed_on("alice", "control"))
        .await;
    python
        .until("carol's answer or ACK", handed_on("carol", "control"))
        .await;

    // The link of their own comes about through him as well; each try waits for its ACK.
    let mut direct = false;
    for _ in 0..200 {
        let sent = alice.run(&["send", "carol", "again"]).await;
        sent.expect_code(0);
        let delivered = sent.all("state").pop().expect("states are printed");
        direct = delivered["path"] == "direct";
        if direct {
            break;
        }
    }
    assert!(direct, "every message went by relay");
    for running in [alice_listens, carol_listens, python] {
        running.terminate().await.expect_code(0);
    }
}

/// The other way round: a Python peer asks, reaches and calls one Beeline client through another.
#[tokio::test]
async fn a_python_peer_meets_a_beeline_client_through_another() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let bob = Home::joined(served.invite(), "bob", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let bob_listens = bob.listening(&[]).await;
    let mut carol_listens = carol.listening(&[]).await;
    carol.run(&["send", "bob", "hi"]).await.expect_code(0);

    let sent = pia
        .run(&["send", "--through", "bob", "carol", "ahoy"])
        .await;
    sent.expect_code(0);
    assert_eq!(sent.only("found")["user"], "carol", "{sent}");
    assert_eq!(sent.only("found")["by"], "bob", "{sent}");
    let delivered = |line: &&Value| line["state"] == "delivered";
    let states = sent.all("state");
    let paths: Vec<_> = states
        .into_iter()
        .filter(delivered)
        .map(|line| &line["path"])
        .collect();
    assert_eq!(paths, ["relay", "direct"], "{sent}");
    for path in ["relay", "direct"] {
        let heard = carol_listens.event("message").await;
        assert_eq!(
            (&heard["from"], &heard["text"]),
            (&"pia".into(), &"ahoy".into())
        );
        assert_eq!(heard["path"], path, "{heard}");
    }
    for running in [bob_listens, carol_listens] {
        running.terminate().await.expect_code(0);
    }
}

/// What the page on keeping parcels says is enough: Python leaves a message with Beeline and
/// fetches one from it, and Beeline leaves one with Python and fetches it there.
#[tokio::test]
async fn python_and_beeline_keep_for_each_other() {
    let served = Served::start_with(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    // Both were there once, so their keys are known.
    let mut listen = carol.listening(&[]).await;
    pia.run(&["send", "carol", "hello"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "hello");
    listen.terminate().await.expect_code(0);

    let left = pia
        .run(&["leave", "coordinator_1", "carol", "from Python"])
        .await;
    left.expect_code(0);
    assert_eq!(left.states(), ["queued", "stored"], "{left}");
    let mut listen = carol.listening(&["--count", "1"]).await;
    let heard = listen.event("message").await;
    assert_eq!(
        (&heard["text"], &heard["path"]),
        (&"from Python".into(), &"stored".into())
    );
    listen.end().await.expect_code(0);

    let sent = carol
        .run(&["send", "pia", "from Beeline", "--wait", "stored"])
        .await;
    sent.expect_code(0);
    let mut python = pia
        .listening(&["--call", "coordinator_1", "--count", "1"])
        .await;
    assert_eq!(python.event("message").await["text"], "from Beeline");
    python.end().await.expect_code(0);
}

#[tokio::test]
async fn python_keeps_what_beeline_clients_leave() {
    let served = Served::start(&[]).await;
    let pia = PyHome::joined(&served, "pia").await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut python = pia.listening(&["--keep"]).await;
    let listen = carol.listening(&["--no-keep"]).await;
    for home in [&alice, &carol] {
        home.run(&["send", "pia", "hi"]).await.expect_code(0);
    }
    listen.terminate().await.expect_code(0);

    let sent = alice
        .run(&["send", "carol", "kept by Pia", "--wait", "stored"])
        .await;
    sent.expect_code(0);
    assert_eq!(python.event("kept").await["for"], "carol");
    let mut listen = carol.listening(&["--no-keep", "--count", "1"]).await;
    let heard = listen.event("message").await;
    assert_eq!(
        (&heard["text"], &heard["path"]),
        (&"kept by Pia".into(), &"stored".into())
    );
    let deleted = python.event("deleted").await;
    assert_eq!(
        (&deleted["count"], &deleted["left"]),
        (&1.into(), &0.into())
    );
    listen.end().await.expect_code(0);
    python.terminate().await.expect_code(0);
}
