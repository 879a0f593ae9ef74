//! `serve` as an operator knows it: ready, restarted, administered, behind TLS, on PostgreSQL.

use crate::database::Database;
use crate::process::{Home, Served, beeline, run};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use std::path::Path;

#[tokio::test]
async fn a_restarted_network_is_the_same_network() {
    let served = Served::start(&[]).await;
    for key in ["url", "grpc", "network", "invite"] {
        assert!(served.ready[key].is_string(), "{}", served.ready);
    }
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let (network, invite) = (served.network().to_owned(), served.invite().to_owned());
    let served = served.restart().await;
    assert_eq!(served.network(), network);
    assert_ne!(served.invite(), invite, "every start prints a fresh link");
    // Both links work, and who joined before still is a member.
    let carol = Home::joined(&invite, "carol", &[]).await;
    Home::joined(served.invite(), "bob", &[]).await;
    let mut listen = carol.listening(&[]).await;
    alice
        .run(&["send", "carol", "still here"])
        .await
        .expect_code(0);
    assert_eq!(listen.event("message").await["text"], "still here");
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn an_operator_invites_lists_and_revokes() {
    let served = Served::start(&[]).await;
    let data = served.data().to_str().expect("a UTF-8 path");
    let network =
        async |args: &[&str]| run(beeline(&[&["network"], args, &["--data", data]].concat())).await;
    let invited = network(&["invite", "--uses", "1", "--expires", "1h"]).await;
    invited.expect_code(0);
    let link = invited.only("invite");
    assert_eq!(
        (&link["role"], &link["uses"]),
        (&"member".into(), &1.into())
    );
    let link = link["invite"].as_str().expect("a link").to_owned();
    let alice = Home::joined(&link, "alice", &[]).await;
    let second = Home::new().run(&["join", &link, "--user", "bob"]).await;
    second.expect_code(1);
    assert!(second.stderr().contains("invite"), "{second}");
    let carol = Home::joined(served.invite(), "carol", &[]).await;

    let members = network(&["members"]).await;
    let users: Vec<&Value> = members
        .all("member")
        .iter()
        .map(|line| &line["user"])
        .collect();
    assert_eq!(users, ["alice", "carol"], "{members}");
    network(&["revoke", "alice"]).await.expect_code(0);
    let members = network(&["members"]).await;
    assert_eq!(members.all("member")[0]["revoked"], true, "{members}");
    let nobody = network(&["revoke", "nobody"]).await;
    nobody.expect_code(1);
    assert_eq!(nobody.only("error")["code"], "NOT_FOUND", "{nobody}");
    let taken = network(&["create", served.network()]).await;
    taken.expect_code(1);
    let created = network(&["create", "second"]).await;
    created.expect_code(0);
    assert_eq!(created.only("network")["network"], "second", "{created}");

    // A revoked member gets no token; the others notice nothing.
    alice.run(&["token"]).await.expect_code(1);
    let token = carol.run(&["token"]).await;
    token.expect_code(0);
    assert_eq!(
        token.only("token")["token"]
            .as_str()
            .map(|t| t.split('.').count()),
        Some(3)
    );
}

#[tokio::test]
async fn an_admin_administers_from_home_and_a_member_may_not() {
    let served = Served::start(&[]).await;
    let data = served.data().to_str().expect("a UTF-8 path");
    let invited = run(beeline(&[
        "network", "invite", "--role", "admin", "--data", data,
    ]))
    .await;
    let link = invited.only("invite")["invite"]
        .as_str()
        .expect("a link")
        .to_owned();
    let admin = Home::joined(&link, "admin", &[]).await;
    let member = Home::joined(served.invite(), "member", &[]).await;

    let invited = admin.run(&["network", "invite", "--uses", "2"]).await;
    invited.expect_code(0);
    let link = invited.only("invite")["invite"]
        .as_str()
        .expect("a link")
        .to_owned();
    Home::joined(&link, "carol", &[]).await;
    let members = admin.run(&["network", "members"]).await;
    assert_eq!(members.all("member").len(), 3, "{members}");
    let refused = member.run(&["network", "invite"]).await;
    refused.expect_code(1);
    assert_eq!(
        refused.only("error")["code"],
        "PERMISSION_DENIED",
        "{refused}"
    );
}

#[tokio::test]
async fn administering_a_server_that_does_not_run_says_so() {
    let served = Served::start(&[]).await;
    let data = served.data().to_owned();
    let line = [
        "network",
        "members",
        "--data",
        data.to_str().expect("UTF-8"),
    ];
    run(beeline(&line)).await.expect_code(0);
    served.running.terminate().await.expect_code(0);
    let refused = run(beeline(&line)).await;
    refused.expect_code(1);
    assert!(refused.stderr().contains("beeline serve"), "{refused}");
}

#[tokio::test]
async fn half_a_certificate_is_wrong_usage() {
    run(beeline(&["serve", "--tls-cert", "x.pem"]))
        .await
        .expect_code(2);
    run(beeline(&["serve", "--listen", "here"]))
        .await
        .expect_code(2);
}

/// A private certificate authority, and a certificate of its for this machine.
pub(crate) fn private_ca(dir: &Path) -> [String; 3] {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(names)
        .expect("names")
        .signed_by(&key, &ca)
        .expect("signed");
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a UTF-8 path").to_owned()
    };
    [
        write("ca.pem", ca.pem()),
        write("cert.pem", leaf.pem()),
        write("key.pem", key.serialize_pem()),
    ]
}

#[tokio::test]
async fn the_same_story_over_wss_with_a_private_ca() {
    let dir = tempfile::tempdir().expect("a directory");
    let [ca, cert, key] = private_ca(dir.path());
    let served = Served::start(&["--tls-cert", &cert, "--tls-key", &key]).await;
    assert!(
        served.ready["url"]
            .as_str()
            .is_some_and(|url| url.starts_with("https://"))
    );

    let distrustful = Home::new()
        .run(&["join", served.invite(), "--user", "alice"])
        .await;
    distrustful.expect_code(1);
    assert!(distrustful.stderr().contains("--ca"), "{distrustful}");

    let alice = Home::joined(served.invite(), "alice", &["--ca", &ca]).await;
    let carol = Home::joined(served.invite(), "carol", &["--ca", &ca]).await;
    // What the home needs it has kept.
    std::fs::remove_file(&ca).expect("removed");
    deliver_one(&alice, &carol).await;
    alice.run(&["token"]).await.expect_code(0);
}

/// Alice sends, Carol is shown it, directly.
async fn deliver_one(alice: &Home, carol: &Home) {
    let mut listen = carol.listening(&["--count", "1"]).await;
    let sent = alice.run(&["send", "carol", "Hello Carol!"]).await;
    sent.expect_code(0);
    assert_eq!(
        sent.all("state").pop().expect("states")["path"],
        "direct",
        "{sent}"
    );
    assert_eq!(listen.event("message").await["text"], "Hello Carol!");
    listen.end().await.expect_code(0);
}

#[tokio::test]
async fn the_same_story_with_the_registry_on_postgresql() {
    let database = Database::create("serve").await;
    let url = database.url();

    let served = Served::start(&["--database-url", url]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    deliver_one(&alice, &carol).await;
    let served = served.restart_with(&["--database-url", url]).await;
    deliver_one(&alice, &carol).await;
    served.running.terminate().await.expect_code(0);
}
