//! Tokens that must not pass, at both doors: REST and the upgrade; and members that are revoked.

use crate::client::{Socket, get, offer};
use crate::stack::Stack;
use crate::world::{Network, TOKEN_KEY_SEED, TOKEN_KID, claims, header, jwt, jwt_raw, key};
use beeline_proto::pb::identity::v1::Chain;
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use serde_json::{Value, json};
use sha2::Sha256;

/// `value` with one member set.
fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}

/// `value` without one member.
fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().expect("object").remove(name);
    value
}

/// The token refused by REST and by the upgrade.
async fn refused(stack: &Stack, what: &str, token: &str) {
    let answer = get(stack.addr, "/network/home/peer/carol", Some(token)).await;
    assert_eq!(answer.problem(), (401, "UNAUTHENTICATED".into()), "{what}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let upgrade = Socket::try_connect(stack.addr, "alice_1", &headers).await;
    assert_eq!(upgrade.err(), Some(401), "{what}");
}

/// HS256 with the public key as its secret: the classic confusion.
fn hs256(claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": TOKEN_KID });
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let secret = key(TOKEN_KEY_SEED).verify_key().to_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
    )
}

/// T-JWT-1: algorithms, keys and headers.
#[tokio::test]
async fn forged_headers_are_refused() {
    let stack = Stack::start().await;
    let signer = key(TOKEN_KEY_SEED);
    let good = claims(&stack.home, &stack.alice, 600);
    let good_text = good.to_string();
    refused(&stack, "HS256 with the public key", &hs256(&good)).await;
    for alg in ["none", "None", "HS256", "ES256", "RS256", "PS256", ""] {
        let token = jwt(&with(header(), "alg", json!(alg)), &good, &signer);
        refused(&stack, alg, &token).await;
        let (signed, _) = token.rsplit_once('.').expect("three parts");
        refused(&stack, "no signature", &format!("{signed}.")).await;
    }
    for kid in [json!("other"), json!(""), json!(7), Value::Null] {
        let token = jwt(&with(header(), "kid", kid.clone()), &good, &signer);
        refused(&stack, &format!("kid {kid}"), &token).await;
    }
    refused(
        &stack,
        "no kid",
        &jwt(&without(header(), "kid"), &good, &signer),
    )
    .await;
    refused(&stack, "another key", &jwt(&header(), &good, &key(3))).await;
    let x = BASE64URL_NOPAD.encode(&key(3).verify_key().to_bytes());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MA=="])),
        ("crit", json!(["exp"])),
        ("typ", json!("at+jwt")),
    ] {
        let header = with(header(), name, value);
        refused(&stack, name, &jwt(&header, &good, &signer)).await;
        refused(&stack, name, &jwt(&header, &good, &key(3))).await;
    }
    let doubled = format!(r#"{{"alg":"EdDSA","alg":"EdDSA","kid":"{TOKEN_KID}"}}"#);
    refused(&stack, "alg twice", &jwt_raw(&doubled, &good_text, &signer)).await;
    refused(
        &stack,
        "a header that is no object",
        &jwt_raw("[]", &good_text, &signer),
    )
    .await;
    for token in ["", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d"] {
        refused(&stack, token, token).await;
    }
    let token = stack.token(&stack.alice);
    refused(&stack, "one character more", &format!("{token}A")).await;
    let peer = get(stack.addr, "/network/home/peer/carol", Some(&token)).await;
    assert_eq!(peer.status, 200, "the good one passes");
}

/// T-JWT-1: claims, each wrong in turn, under the right signature.
#[tokio::test]
async fn wrong_claims_are_refused() {
    let stack = Stack::start().await;
    let signer = key(TOKEN_KEY_SEED);
    let good = claims(&stack.home, &stack.alice, 600);
    let now = good["iat"].as_i64().expect("iat");
    let times = ["exp", "nbf", "iat"];
    let odd = [
        json!(now.to_string()),
        json!(now as f64 + 300.5),
        json!(-1),
        json!(null),
        json!([now]),
        json!(1e300),
    ];
    for (name, value) in times
        .iter()
        .flat_map(|t| odd.iter().map(move |v| (*t, v.clone())))
    {
        let what = format!("{name} {value}");
        refused(
            &stack,
            &what,
            &jwt(&header(), &with(good.clone(), name, value), &signer),
        )
        .await;
    }
    let other = &stack.other;
    for (name, value) in [
        ("exp", json!(now - 31)),
        ("exp", json!(0)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(now + 3_600)),
        ("nbf", json!(now + 60)),
        ("iat", json!(now + 60)),
        ("iss", json!("evil")),
        ("iss", json!(["evil"])),
        ("aud", json!(other.fp().to_string())),
        ("aud", json!("home")),
        ("aud", json!([stack.home.fp().to_string()])),
        ("net", json!("other")),
        ("net", json!("nowhere")),
        ("net", json!("../home")),
        ("sub", json!("")),
        ("sub", json!("alice_1")),
        ("dev", json!("a b")),
    ] {
        let what = format!("{name} {value}");
        refused(
            &stack,
            &what,
            &jwt(&header(), &with(good.clone(), name, value), &signer),
        )
        .await;
    }
    for name in ["iss", "aud", "sub", "net", "dev", "iat", "nbf", "exp"] {
        let token = jwt(&header(), &without(good.clone(), name), &signer);
        refused(&stack, &format!("no {name}"), &token).await;
    }
    let doubled = good.to_string().replacen('{', r#"{"exp":9999999999,"#, 1);
    refused(
        &stack,
        "exp twice",
        &jwt_raw(&header().to_string(), &doubled, &signer),
    )
    .await;
}

/// T-JWT-2: a token is good in its own network only.
#[tokio::test]
async fn a_token_of_another_network_opens_nothing_here() {
    let stack = Stack::start().await;
    // Of another registry: signed by its key under the same name.
    let foreign = Network::new("home", 90);
    let token = jwt(&header(), &claims(&foreign, &stack.alice, 600), &key(1));
    refused(&stack, "another registry's", &token).await;
    // Of the same registry's other network, where the label "home" is not what it says.
    let token = jwt(
        &header(),
        &claims(&foreign, &stack.alice, 600),
        &key(TOKEN_KEY_SEED),
    );
    refused(&stack, "another authority under the same label", &token).await;
    let mallory = crate::world::token(&stack.other, &stack.mallory);
    let answer = get(stack.addr, "/network/home/peer/carol", Some(&mallory)).await;
    assert_eq!(answer.problem(), (403, "PERMISSION_DENIED".into()));
    // A socket lives in the token's network, whatever it is called elsewhere.
    let mut socket = Socket::bearer(stack.addr, "mallory_1", &mallory).await;
    let _alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    socket.text(&offer("mallory_1", "alice_1")).await;
    assert_eq!(socket.error().await, "PEER_OFFLINE");
}

/// T-JWT-3: a socket lives no longer than its token.
#[tokio::test]
async fn a_bearer_socket_ends_with_its_token() {
    let stack = Stack::start().await;
    // Two seconds before the end of its leeway; on a slow machine it may already be over.
    let mut tries = 0..20;
    let mut alice = loop {
        let ending = claims(&stack.home, &stack.alice, -28);
        let ending = with(with(ending, "iat", json!(1)), "nbf", json!(1));
        let bearer = format!("Bearer {}", jwt(&header(), &ending, &key(TOKEN_KEY_SEED)));
        let headers = [("authorization", bearer.as_str())];
        match Socket::try_connect(stack.addr, "alice_1", &headers).await {
            Ok(socket) => break socket,
            Err(_) => assert!(tries.next().is_some(), "a token within its leeway is taken"),
        }
    };
    assert_eq!(alice.error().await, "UNAUTHENTICATED");
    assert_eq!(alice.until_closed().await.0, Some(4001));
}

/// T-JWT-3: revoking a member ends its open sockets, proven and bearer, by the signed list alone.
#[tokio::test]
async fn a_revoked_member_is_cut() {
    let stack = Stack::limited(|limits| limits.lists_every_ms = 100).await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::bearer(stack.addr, "bob_1", &stack.token(&stack.bob)).await;
    let mut carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    {
        let mut state = stack.registry.fake.lock();
        let home = state.networks.get_mut("home").expect("home");
        home.revoked = Some((1, vec![stack.alice.serial, stack.bob.serial]));
    }
    for socket in [&mut alice, &mut bob] {
        assert_eq!(socket.error().await, "REVOKED");
        assert_eq!(socket.until_closed().await.0, Some(4010));
    }
    carol.text(&offer("carol_1", "alice_1")).await;
    assert_eq!(carol.error().await, "PEER_OFFLINE");
    let mut again = Socket::connect(stack.addr, "alice_1", &[]).await;
    let hello = again.hello(stack.addr, &stack.home, &stack.alice);
    again.send(&hello).await;
    assert_eq!(again.error().await, "REVOKED");
    let bearer = format!("Bearer {}", stack.token(&stack.bob));
    let refused = Socket::try_connect(stack.addr, "bob_1", &[("authorization", &bearer)]).await;
    assert_eq!(refused.err(), Some(403));
}

/// A device taken off its user's list has no socket and gets none, though nobody is revoked.
#[tokio::test]
async fn a_device_off_its_list_cannot_sign_in() {
    let stack = Stack::start().await;
    {
        let mut state = stack.registry.fake.lock();
        let id = ("home".to_owned(), "alice_1".to_owned());
        let (member, device) = state.devices.get_mut(&id).expect("alice");
        device.chain = stack.home.chain_with(member, &[("alice_2", &key(9))]);
        assert!(Chain::decode(device.chain.as_slice()).is_ok());
    }
    let mut alice = Socket::connect(stack.addr, "alice_1", &[]).await;
    // The old chain is still true to its signatures; the registry's word is newer.
    let hello = alice.hello(stack.addr, &stack.home, &stack.alice);
    alice.send(&hello).await;
    assert_eq!(alice.error().await, "UNAUTHENTICATED");
    let bearer = format!("Bearer {}", stack.token(&stack.alice));
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        Socket::try_connect(stack.addr, "alice_1", &headers)
            .await
            .err(),
        Some(401)
    );
}

/// A device taken off its list while its socket is open is cut, by the look-up that never stops.
#[tokio::test]
async fn a_device_taken_off_its_list_is_cut() {
    let stack = Stack::limited(|limits| limits.recheck_every_s = 1).await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    {
        let mut state = stack.registry.fake.lock();
        let id = ("home".to_owned(), "alice_1".to_owned());
        let (member, device) = state.devices.get_mut(&id).expect("alice");
        device.chain = stack.home.chain_with(member, &[("alice_2", &key(9))]);
    }
    assert_eq!(alice.error().await, "UNAUTHENTICATED");
    assert_eq!(alice.until_closed().await.0, Some(4001));
    bob.text(&offer("bob_1", "bob_1")).await;
    assert!(bob.message().await.is_text());
}
