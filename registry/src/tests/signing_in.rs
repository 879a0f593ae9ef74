//! Challenges, tokens and what they are good for.

use super::world::{NETWORK, ORIGIN, Person, World, code, fresh, with};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::NetworkFp;
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::auth::v1::ListTokenKeysRequest;
use beeline_proto::pb::registry::v1::{
    GetNetworkRequest, RenewMembershipRequest, RevokeMemberRequest,
};
use data_encoding::BASE64URL_NOPAD;

fn json(part: &str) -> serde_json::Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_says_what_verifiers_need() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let parts: Vec<&str> = alice.token.split('.').collect();
    let header = json(parts[0]);
    assert_eq!(header["alg"], "EdDSA");
    let claims = json(parts[1]);
    assert_eq!(claims["iss"], "beeline");
    assert_eq!(claims["aud"], alice.network.to_string());
    assert_eq!(
        claims["sub"],
        alice.device.verify_key().device_fp().to_string()
    );
    assert_eq!(claims["uid"], alice.user.verify_key().user_fp().to_string());
    assert_eq!(
        (&claims["net"], &claims["usr"]),
        (&NETWORK.into(), &"alice".into())
    );
    assert_eq!(
        (&claims["dev"], &claims["role"]),
        (&"alice_device".into(), &"member".into())
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        600
    );
    let jkt = crate::token::thumbprint(&alice.device.verify_key());
    assert_eq!(claims["cnf"]["jkt"], jkt);

    let ask = with(&world.gateway(), ListTokenKeysRequest {});
    let keys = world
        .auth()
        .list_token_keys(ask)
        .await
        .unwrap()
        .into_inner()
        .keys;
    assert_eq!(header["kid"], keys[0].kid);
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_in_time() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let nonce = world
        .auth()
        .get_challenge(alice.challenge_request())
        .await
        .unwrap();
    let nonce = nonce.into_inner().nonce;
    world
        .auth()
        .create_token(alice.token_request(nonce.clone(), ORIGIN))
        .await
        .unwrap();
    let again = world
        .auth()
        .create_token(alice.token_request(nonce, ORIGIN))
        .await;
    assert_eq!(code(&again.unwrap_err()), ErrorCode::Unauthenticated);

    let nonce = world
        .auth()
        .get_challenge(alice.challenge_request())
        .await
        .unwrap();
    world.hands.forward(30_000);
    let late = alice.token_request(nonce.into_inner().nonce, ORIGIN);
    let refused = world.auth().create_token(late).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn every_wrong_sign_in_reads_the_same() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let bob = world.member("bob").await;
    let mut refusals = Vec::new();
    let try_as = async |person: &Person| world.sign_in(person).await.unwrap_err();

    let mut wrong_key = alice.clone();
    wrong_key.device = SigningKey::from_seed(&fresh());
    refusals.push(try_as(&wrong_key).await);
    let mut others_label = bob.clone();
    others_label.device_label = alice.device_label.clone();
    refusals.push(try_as(&others_label).await);
    let mut unknown_device = alice.clone();
    unknown_device.device_label = "nobody_device".into();
    refusals.push(try_as(&unknown_device).await);
    let mut unknown_network = alice.clone();
    unknown_network.network_id = "nowhere".into();
    refusals.push(try_as(&unknown_network).await);
    let mut other_fp = alice.clone();
    other_fp.network = NetworkFp([7; 32]);
    refusals.push(try_as(&other_fp).await);

    for refused in &refusals {
        assert_eq!(code(refused), ErrorCode::Unauthenticated);
        assert_eq!(refused.message(), refusals[0].message());
    }
}

#[tokio::test]
async fn a_challenge_relayed_by_another_host_gains_no_token() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    for origin in ["https://evil.example", "http://127.0.0.1:8081", "nonsense"] {
        let nonce = world
            .auth()
            .get_challenge(alice.challenge_request())
            .await
            .unwrap();
        let request = alice.token_request(nonce.into_inner().nonce, origin);
        let refused = world.auth().create_token(request).await.unwrap_err();
        assert_eq!(code(&refused), ErrorCode::Unauthenticated);
        assert!(
            refused.message().contains("origin"),
            "{}",
            refused.message()
        );
    }
    // The same origin as a socket URL is the same origin.
    let nonce = world
        .auth()
        .get_challenge(alice.challenge_request())
        .await
        .unwrap();
    let request = alice.token_request(nonce.into_inner().nonce, "ws://127.0.0.1:8080/alice_device");
    world.auth().create_token(request).await.unwrap();
}

#[tokio::test]
async fn tokens_end_after_ten_minutes_and_thirty_seconds() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    world.peer(&alice, "alice").await.unwrap();
    world.hands.forward(629_000);
    world.peer(&alice, "alice").await.unwrap();
    world.hands.forward(1_000);
    let refused = world.peer(&alice, "alice").await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_revoked_users_token_is_refused_at_once() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let bob = world.member("bob").await;
    let revoke = RevokeMemberRequest {
        network_id: NETWORK.into(),
        user_id: "bob".into(),
    };
    let request = with(&world.operator(), revoke.clone());
    let list = world
        .registry()
        .revoke_member(request)
        .await
        .unwrap()
        .into_inner()
        .revocations;
    assert_eq!(
        code(&world.peer(&bob, "alice").await.unwrap_err()),
        ErrorCode::Revoked
    );
    assert_eq!(
        code(&world.sign_in(&bob).await.unwrap_err()),
        ErrorCode::Revoked
    );
    assert_eq!(
        code(&world.peer(&alice, "bob").await.unwrap_err()),
        ErrorCode::Revoked
    );

    // Everybody else gets the list, signed.
    let ask = GetNetworkRequest {
        network_id: NETWORK.into(),
    };
    let lists = world
        .registry()
        .get_network(with(&alice.bearer(), ask))
        .await
        .unwrap();
    let lists = lists.into_inner();
    assert_eq!(lists.revocations, list);
    let descriptor =
        beeline_proto::chain::Descriptor::open(&lists.descriptor, alice.network).unwrap();
    let opened = descriptor.open_revocations(&list).unwrap();
    assert_eq!(
        (
            opened.payload().version,
            opened.payload().serials.as_slice()
        ),
        (1, &[2][..])
    );

    // Again changes nothing.
    let again = world
        .registry()
        .revoke_member(with(&world.operator(), revoke))
        .await
        .unwrap();
    assert_eq!(again.into_inner().revocations, list);
}

#[tokio::test]
async fn memberships_are_renewed_and_end() {
    let world = World::start().await;
    let mut alice = world.member("alice").await;
    let renew = async |alice: &Person| {
        let request = RenewMembershipRequest {
            network_id: NETWORK.into(),
        };
        let answer = world
            .registry()
            .renew_membership(with(&alice.bearer(), request))
            .await;
        answer.unwrap().into_inner().membership
    };
    let first = renew(&alice).await;
    assert_eq!(renew(&alice).await, first, "young memberships stay");
    world.hands.forward(364 * 24 * 3600 * 1000);
    alice.token = world.sign_in(&alice).await.unwrap();
    let second = renew(&alice).await;
    assert_ne!(first, second);
    let peer = world.peer(&alice, "alice").await.unwrap();
    assert_eq!(Person::chain(&peer).membership, second);
    world.hands.forward((365 + 31) * 24 * 3600 * 1000);
    let refused = world.sign_in(&alice).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Expired);
}
