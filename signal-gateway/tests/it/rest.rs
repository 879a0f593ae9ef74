//! The REST edge: what passes on to the registry, and what is refused before it.

use crate::client::{get, post, request};
use crate::stack::Stack;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::MessageId;
use beeline_proto::pb::auth::v1 as auth;
use data_encoding::BASE64;
use serde_json::json;

#[tokio::test]
async fn a_device_gets_its_token_and_uses_it() {
    let stack = Stack::start().await;
    let ids = json!({ "networkId": "home", "deviceId": "alice_1" });
    let challenge = post(stack.addr, "/auth/challenge", None, &ids).await;
    assert_eq!(challenge.status, 200);
    let nonce = challenge.json()["nonce"]
        .as_str()
        .expect("nonce")
        .to_owned();
    let fp = stack.alice.fp().0;
    let proof = auth::TokenProof {
        context: Some(Context::unordered(stack.home.fp(), fp, MessageId([1; 16])).to_pb()),
        origin: stack.gateway.public_url.clone(),
        nonce: BASE64.decode(nonce.as_bytes()).expect("base64"),
    };
    let proof = BASE64.encode(&sign(&stack.alice.device_key, &proof));
    let body = json!({ "networkId": "home", "deviceId": "alice_1", "proof": proof });
    let token = post(stack.addr, "/auth/token", None, &body).await.json();
    assert!(token["expireTime"].as_str().expect("time").ends_with('Z'));
    let token = token["token"].as_str().expect("token");

    let record = json!({ "record": "AQ==", "coordinators": ["bob_1"] });
    let lease = post(stack.addr, "/network/home/announce", Some(token), &record).await;
    assert_eq!(
        (lease.status, lease.json()["reannounceAfter"].as_u64()),
        (200, Some(300))
    );
    let peer = get(stack.addr, "/network/home/peer/carol", Some(token))
        .await
        .json();
    // The specification's example, flat.
    assert_eq!(peer["online"], false);
    assert_eq!(peer["lastSeen"], "2024-01-20T08:00:00Z");
    assert_eq!(
        peer["lastCoordinators"],
        json!(["bob_device_123", "eve_device_789"])
    );
    let target = "/network/home/active-peers?pageSize=7&pageToken=next";
    let page = get(stack.addr, target, Some(token)).await.json();
    assert_eq!(
        (&page["peers"][0]["userId"], &page["nextPageToken"]),
        (&json!("user7"), &json!("next"))
    );
    let beat = json!({ "load": 1, "capacity": 8 });
    let beat = post(stack.addr, "/coordinator/heartbeat", Some(token), &beat).await;
    assert_eq!(
        (beat.status, beat.json()["nextHeartbeatS"].as_u64()),
        (200, Some(10))
    );

    let calls = std::mem::take(&mut stack.registry.fake.lock().calls);
    let methods: Vec<_> = calls.iter().map(|(method, _)| *method).collect();
    assert_eq!(
        methods,
        ["Announce", "GetPeer", "ListActivePeers", "Heartbeat"]
    );
    let bearer = format!("Bearer {token}");
    assert!(calls.iter().all(|(_, credential)| *credential == bearer));
}

#[tokio::test]
async fn members_list_the_coordinators_that_live() {
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice);
    let target = "/network/home/coordinators?pageSize=3";
    let live = get(stack.addr, target, Some(&token)).await.json();
    let bob = json!({
        "deviceId": "bob_1", "record": "AQ==", "chain": "Ag==", "load": 3, "capacity": 512,
    });
    assert_eq!(live["coordinators"], json!([bob]));
    let elsewhere = get(stack.addr, "/network/other/coordinators", Some(&token)).await;
    assert_eq!(elsewhere.problem(), (403, "PERMISSION_DENIED".into()));
}

#[tokio::test]
async fn refusals_are_problem_documents() {
    let stack = Stack::start().await;
    let good = stack.token(&stack.alice);
    let token = Some(good.as_str());
    for (target, token, want) in [
        ("/network/home/peer/carol", None, (401, "UNAUTHENTICATED")),
        (
            "/network/home/peer/carol",
            Some("x.y.z"),
            (401, "UNAUTHENTICATED"),
        ),
        (
            "/network/other/peer/carol",
            token,
            (403, "PERMISSION_DENIED"),
        ),
        ("/network/nowhere/peer/x", token, (403, "PERMISSION_DENIED")),
        ("/network/home/peer/nobody", token, (404, "NOT_FOUND")),
        ("/network/home/peer/a%20b", token, (400, "INVALID_ARGUMENT")),
        ("/network/%ff/peer/x", token, (400, "INVALID_ARGUMENT")),
        (
            "/network/home/active-peers?pageSize=x",
            token,
            (400, "INVALID_ARGUMENT"),
        ),
        ("/no/such/thing", None, (404, "NOT_FOUND")),
        ("/auth/token", None, (405, "UNIMPLEMENTED")),
        ("/alice_1", None, (426, "INVALID_ARGUMENT")),
    ] {
        let (status, code) = get(stack.addr, target, token).await.problem();
        assert_eq!((status, code.as_str()), want, "{target}");
    }
    let elsewhere = json!({ "networkId": "other" });
    for (target, body, want) in [
        ("/auth/challenge", json!([]), (400, "INVALID_ARGUMENT")),
        ("/auth/challenge", json!({}), (400, "INVALID_ARGUMENT")),
        ("/network/home/join", json!({}), (403, "INVITE_INVALID")),
        (
            "/coordinator/heartbeat",
            elsewhere.clone(),
            (403, "PERMISSION_DENIED"),
        ),
        (
            "/network/home/announce",
            elsewhere,
            (400, "INVALID_ARGUMENT"),
        ),
    ] {
        let (status, code) = post(stack.addr, target, token, &body).await.problem();
        assert_eq!((status, code.as_str()), want, "{target} {body}");
    }
    let doubled = r#"{"networkId":"home","networkId":"other","deviceId":"a"}"#;
    let answer = request(stack.addr, "POST", "/auth/challenge", &[], doubled).await;
    assert_eq!(answer.problem().0, 400);
    let large = vec![b' '; 64 * 1024 + 1];
    let answer = request(stack.addr, "POST", "/auth/challenge", &[], large).await;
    assert_eq!(answer.problem(), (413, "TOO_LARGE".into()));
    let long = format!("/network/home/peer/{}", "a".repeat(2_048));
    let answer = get(stack.addr, &long, token).await;
    assert_eq!(answer.problem(), (414, "TOO_LARGE".into()));
}

#[tokio::test]
async fn rates_are_per_device_and_say_when_to_come_back() {
    let stack = Stack::limited(|limits| {
        limits.request_rate.burst = 3;
        limits.ice_rate.burst = 1;
    })
    .await;
    let (alice, bob) = (stack.token(&stack.alice), stack.token(&stack.bob));
    let target = "/network/home/ice-servers";
    assert_eq!(get(stack.addr, target, Some(&alice)).await.status, 200);
    let limited = get(stack.addr, target, Some(&alice)).await;
    assert_eq!(limited.problem(), (429, "RATE_LIMITED".into()));
    let wait: u32 = limited.headers["retry-after"]
        .to_str()
        .expect("ascii")
        .parse()
        .expect("s");
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(get(stack.addr, target, Some(&bob)).await.status, 200);
}

#[tokio::test]
async fn turn_credentials_and_token_keys_are_handed_out() {
    let stack = Stack::with(|config| {
        let secret = config.gateway_token_file.with_file_name("turn.secret");
        std::fs::write(&secret, "north\n").expect("write");
        config.edge.stun = vec!["stun:127.0.0.1:3478".into()];
        config.edge.turn_urls = vec!["turn:127.0.0.1:3478".into()];
        config.edge.turn_secret_file = Some(secret);
    })
    .await;
    let token = stack.token(&stack.alice);
    let servers = get(stack.addr, "/network/home/ice-servers", Some(&token))
        .await
        .json();
    assert_eq!(
        servers["iceServers"][0]["urls"],
        json!(["stun:127.0.0.1:3478"])
    );
    let username = servers["iceServers"][1]["username"]
        .as_str()
        .expect("username");
    assert!(username.ends_with(":alice_1"), "{username}");
    let jwks = get(stack.addr, "/.well-known/jwks.json", None).await.json();
    let key = &jwks["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
    );
    let x = crate::world::key(crate::world::TOKEN_KEY_SEED)
        .verify_key()
        .to_bytes();
    assert_eq!(key["x"], data_encoding::BASE64URL_NOPAD.encode(&x));
    assert_eq!(get(stack.addr, "/healthz", None).await.status, 200);
    assert_eq!(
        get(stack.addr, "/readyz", None).await.json()["status"],
        "ready"
    );
    let page = get(stack.addr, "/join", None).await;
    assert!(String::from_utf8_lossy(&page.body).contains("beeline join"));
}

/// CORS: the pages of the allow-list, and nobody else's, may read answers.
#[tokio::test]
async fn only_listed_web_origins_may_read_answers() {
    let stack = Stack::with(|config| {
        config.edge.allow_origins = vec!["https://app.example".into()];
    })
    .await;
    for (origin, allowed) in [
        ("https://app.example", true),
        ("https://evil.example", false),
        ("http://app.example", false),
        ("null", false),
    ] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        for (method, target, headers) in [
            ("OPTIONS", "/network/home/announce", &preflight[..]),
            ("GET", "/healthz", &preflight[..1]),
        ] {
            let answer = request(stack.addr, method, target, headers, "").await;
            let echoed = answer.headers.get("access-control-allow-origin");
            assert_eq!(
                echoed.is_some_and(|o| o == origin),
                allowed,
                "{method} {origin}"
            );
            assert!(
                !answer
                    .headers
                    .contains_key("access-control-allow-credentials")
            );
        }
    }
}
