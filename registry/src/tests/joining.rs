//! Joining and device lists, as those who join see them.

use super::world::{NETWORK, Person, World, code, with};
use beeline_proto::chain::{DeviceList, VerifiedChain};
use beeline_proto::code::ErrorCode;
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::{Chain, Role};
use beeline_proto::pb::registry::v1::PutDeviceListRequest;
use prost::Message as _;

#[tokio::test]
async fn a_joiner_gets_a_chain_that_verifies_against_the_link() {
    let world = World::start().await;
    let link = world.invite(NETWORK, Role::Coordinator, 1).await;
    let carol = Person::new(link.network, "carol");
    let request = carol.join_request(&link);
    let list = request.device_list.clone();
    let joined = world.registry().join(request).await.unwrap().into_inner();
    let chain = Chain {
        descriptor: joined.descriptor,
        membership: joined.membership,
        device_list: list,
    };
    let chain = VerifiedChain::open(&chain.encode_to_vec(), link.network).expect("valid");
    assert_eq!(chain.membership.handle.as_str(), "carol");
    assert_eq!(chain.membership.role(), Role::Coordinator);
    assert_eq!(chain.membership.serial(), 1);
    assert!(joined.revocations.is_empty());
}

#[tokio::test]
async fn an_invite_for_one_used_twice_at_the_same_moment_admits_one() {
    let world = World::start().await;
    for round in 0..10 {
        let link = world.invite(NETWORK, Role::Member, 1).await;
        let joiners = ["a", "b", "c", "d"].map(|name| {
            let person = Person::new(link.network, &format!("{name}{round}"));
            let request = person.join_request(&link);
            let mut client = world.registry();
            async move { client.join(request).await }
        });
        let answers = futures::future::join_all(joiners).await;
        let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(good.len(), 1);
        for refused in bad {
            assert_eq!(code(&refused.unwrap_err()), ErrorCode::InviteInvalid);
        }
    }
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_can_be_asked_again() {
    let world = World::start().await;
    let link = world.invite(NETWORK, Role::Member, 1).await;
    let alice = Person::new(link.network, "alice");
    let request = alice.join_request(&link);
    let first = world
        .registry()
        .join(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = world.registry().join(request).await.unwrap().into_inner();
    assert_eq!(first.membership, again.membership);
}

#[tokio::test]
async fn names_that_are_taken_are_refused_and_cost_no_use() {
    let world = World::start().await;
    world.member("alice").await;
    let link = world.invite(NETWORK, Role::Member, 1).await;
    let thief = Person::new(link.network, "alice");
    let refused = world
        .registry()
        .join(thief.join_request(&link))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::AlreadyExists);
    assert!(refused.message().contains("alice"), "{}", refused.message());

    let mut thief = Person::new(link.network, "mallory");
    thief.device_label = "alice_device".into();
    let refused = world
        .registry()
        .join(thief.join_request(&link))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::AlreadyExists);

    // The invite's one use is still there.
    let mallory = Person::new(link.network, "mallory");
    world
        .registry()
        .join(mallory.join_request(&link))
        .await
        .unwrap();
}

#[tokio::test]
async fn invites_end_and_belong_to_their_network() {
    let world = World::start().await;
    world
        .running
        .ensure_network(Some("other"), &["http://x".into()], &[])
        .await
        .unwrap();
    let link = world.invite(NETWORK, Role::Member, 5).await;
    let mut foreign = link.clone();
    let other = world.invite("other", Role::Member, 1).await;
    foreign.network = other.network;
    foreign.network_id = other.network_id.clone();
    let person = Person::new(other.network, "eve");
    let refused = world
        .registry()
        .join(person.join_request(&foreign))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InviteInvalid);

    world.hands.forward(8 * 24 * 3600 * 1000);
    let late = Person::new(link.network, "late");
    let refused = world
        .registry()
        .join(late.join_request(&link))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InviteInvalid);
}

#[tokio::test]
async fn a_proof_for_another_list_or_by_another_key_is_refused() {
    let world = World::start().await;
    let link = world.invite(NETWORK, Role::Member, 1).await;
    let alice = Person::new(link.network, "alice");
    let mut request = alice.join_request(&link);
    request.device_list = alice.device_list(2);
    let refused = world.registry().join(request).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidArgument);

    let mut forged = link.clone();
    forged.key = SigningKey::from_seed(&[9; 32]);
    let refused = world
        .registry()
        .join(alice.join_request(&forged))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InviteInvalid);

    // A list that somebody else's key signed.
    let mallory = Person::new(link.network, "alice");
    let request = alice.join_request_for(&link, mallory.device_list(1));
    let refused = world.registry().join(request).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn the_highest_device_list_wins_and_a_lower_one_is_answered_with_it() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let put = async |list: Vec<u8>| {
        let message = PutDeviceListRequest {
            network_id: NETWORK.into(),
            device_list: list,
        };
        let request = with(&alice.bearer(), message);
        world
            .registry()
            .put_device_list(request)
            .await
            .map(|r| r.into_inner().version)
    };
    let second = SigningKey::from_seed(&[77; 32]);
    let both = [("alice_device", &alice.device), ("alice_laptop", &second)];
    let list = alice.device_list_of(3, &both);
    assert_eq!(put(list.clone()).await.unwrap(), 3);
    assert_eq!(put(list.clone()).await.unwrap(), 3, "the same again");

    let refused = put(alice.device_list(2)).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Conflict);
    let known = refused
        .metadata()
        .get_bin("beeline-device-list-bin")
        .unwrap();
    let known = known.to_bytes().unwrap();
    assert_eq!(known, list);
    let user = alice.user.verify_key();
    assert_eq!(
        DeviceList::open(&known, alice.network, &user)
            .unwrap()
            .version(),
        3
    );

    let refused = put(alice.device_list(3)).await.unwrap_err();
    assert_eq!(
        code(&refused),
        ErrorCode::Conflict,
        "same version, other bytes"
    );

    // A device that the newest list leaves out is revoked at once.
    let only = alice.device_list_of(4, &[("alice_laptop", &second)]);
    assert_eq!(put(only).await.unwrap(), 4);
    let refused = put(alice.device_list(5)).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Revoked);
}

#[tokio::test]
async fn a_device_label_of_another_user_cannot_be_claimed_later() {
    let world = World::start().await;
    world.member("alice").await;
    let bob = world.member("bob").await;
    let second = SigningKey::from_seed(&[78; 32]);
    let both = [("bob_device", &bob.device), ("alice_device", &second)];
    let message = PutDeviceListRequest {
        network_id: NETWORK.into(),
        device_list: bob.device_list_of(2, &both),
    };
    let request = with(&bob.bearer(), message);
    let refused = world.registry().put_device_list(request).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::AlreadyExists);
    // Nothing of it was kept.
    let peer = world.peer(&bob, "bob").await.unwrap();
    assert_eq!(peer.devices.len(), 1);
}
