//! Networks, descriptors, invites and members, as operators and admins handle them.

use super::world::{NETWORK, ORIGIN, Person, World, code, fresh, with};
use beeline_proto::chain::Descriptor;
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::MessageId;
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::{NetworkDescriptor, Role};
use beeline_proto::pb::registry::v1 as pb;
use tonic::Status;

fn descriptor(
    authority: &SigningKey,
    label: &str,
    version: u64,
    registrars: &[Vec<u8>],
    origin: &str,
) -> Vec<u8> {
    let network = authority.verify_key().network_fp();
    let context = Context::unordered(network, network.0, MessageId(fresh()));
    let payload = NetworkDescriptor {
        context: Some(context.to_pb()),
        label: label.into(),
        version,
        registrar_keys: registrars.to_vec(),
        gateway_origins: vec![origin.into()],
        registry_origins: vec![],
    };
    sign(authority, &payload)
}

async fn create(
    world: &World,
    label: &str,
    descriptor: Vec<u8>,
) -> Result<pb::CreateNetworkResponse, Status> {
    let message = pb::CreateNetworkRequest {
        network_id: label.into(),
        descriptor,
    };
    let request = with(&world.operator(), message);
    world
        .registry()
        .create_network(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn put(world: &World, label: &str, descriptor: Vec<u8>) -> Result<u64, Status> {
    let message = pb::PutDescriptorRequest {
        network_id: label.into(),
        descriptor,
    };
    let request = with(&world.operator(), message);
    world
        .registry()
        .put_descriptor(request)
        .await
        .map(|r| r.into_inner().version)
}

async fn invite(world: &World, who: &str, ask: pb::CreateInviteRequest) -> Result<(), Status> {
    world
        .registry()
        .create_invite(with(who, ask))
        .await
        .map(drop)
}

fn ask_invite(network: &str) -> pb::CreateInviteRequest {
    pb::CreateInviteRequest {
        network_id: network.into(),
        invite_key: SigningKey::from_seed(&fresh())
            .verify_key()
            .to_bytes()
            .to_vec(),
        role: Role::Member as i32,
        uses: 0,
        ttl_s: 0,
    }
}

#[tokio::test]
async fn a_network_without_a_name_gets_one_and_its_descriptor_verifies() {
    let world = World::start().await;
    let made = create(&world, "", vec![]).await.unwrap();
    assert!(made.network_id.starts_with("net_"), "{}", made.network_id);
    let raw = beeline_proto::envelope::split(&made.descriptor).unwrap();
    let authority = beeline_proto::keys::VerifyKey::from_bytes(raw.signer_key).unwrap();
    let opened = Descriptor::open(&made.descriptor, authority.network_fp()).unwrap();
    assert_eq!(opened.registrars[0].to_bytes().to_vec(), made.registrar_key);
    assert_eq!(opened.verified.payload().gateway_origins, [ORIGIN]);
    let taken = create(&world, &made.network_id, vec![]).await.unwrap_err();
    assert_eq!(code(&taken), ErrorCode::AlreadyExists);
    let bad = create(&world, "a b", vec![]).await.unwrap_err();
    assert_eq!(code(&bad), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn an_authority_key_can_stay_offline() {
    let world = World::start().await;
    let authority = SigningKey::from_seed(&fresh());
    let own = authority.verify_key().to_bytes().to_vec();
    let first = descriptor(&authority, "quiet", 1, std::slice::from_ref(&own), ORIGIN);
    let made = create(&world, "quiet", first.clone()).await.unwrap();
    let again = create(&world, "quiet", first).await.unwrap();
    assert_eq!(
        made.registrar_key, again.registrar_key,
        "asked again after a lost answer"
    );

    // Until a descriptor names the registry's key, it signs nothing.
    let refused = invite(&world, &world.operator(), ask_invite("quiet"))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Conflict);
    let hex = data_encoding::HEXLOWER.encode(&made.registrar_key);
    assert!(refused.message().contains(&hex), "{}", refused.message());
    let without = descriptor(&authority, "quiet", 2, std::slice::from_ref(&own), ORIGIN);
    let refused = put(&world, "quiet", without).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidArgument);

    let named = descriptor(&authority, "quiet", 2, &[own, made.registrar_key], ORIGIN);
    assert_eq!(put(&world, "quiet", named).await.unwrap(), 2);
    let alice = world.person("quiet", "alice", Role::Member).await;
    assert!(world.peer(&alice, "alice").await.is_ok());
}

#[tokio::test]
async fn the_highest_descriptor_wins() {
    let world = World::start().await;
    let authority = SigningKey::from_seed(&fresh());
    let own = authority.verify_key().to_bytes().to_vec();
    let made = create(
        &world,
        "n",
        descriptor(&authority, "n", 1, std::slice::from_ref(&own), ORIGIN),
    )
    .await;
    let keys = [own.clone(), made.unwrap().registrar_key];
    let make = |version, origin| descriptor(&authority, "n", version, &keys, origin);
    let third = make(3, ORIGIN);
    assert_eq!(put(&world, "n", third.clone()).await.unwrap(), 3);
    assert_eq!(put(&world, "n", third).await.unwrap(), 3, "the same again");
    for worse in [make(2, ORIGIN), make(3, "http://elsewhere.example")] {
        assert_eq!(
            code(&put(&world, "n", worse).await.unwrap_err()),
            ErrorCode::Conflict
        );
    }
    let stranger = SigningKey::from_seed(&fresh());
    for bad in [
        descriptor(&stranger, "n", 9, &keys, ORIGIN),
        descriptor(&authority, "m", 9, &keys, ORIGIN),
        make(9, "HTTP://Loud.example"),
        make(u64::MAX, ORIGIN),
    ] {
        assert_eq!(
            code(&put(&world, "n", bad).await.unwrap_err()),
            ErrorCode::InvalidArgument
        );
    }
    let refused = put(&world, "nowhere", make(9, ORIGIN)).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::NotFound);
}

#[tokio::test]
async fn changed_origins_make_a_newer_descriptor_at_the_next_start() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let version = async |world: &World| {
        let ask = pb::GetNetworkRequest {
            network_id: NETWORK.into(),
        };
        let lists = world
            .registry()
            .get_network(with(&alice.bearer(), ask))
            .await
            .unwrap();
        let lists = lists.into_inner();
        let opened = Descriptor::open(&lists.descriptor, alice.network).unwrap();
        (
            opened.version(),
            opened.verified.payload().gateway_origins.clone(),
        )
    };
    assert_eq!(version(&world).await, (1, vec![ORIGIN.to_owned()]));
    let ensure = async |world: &World, origins: &[&str]| {
        let origins: Vec<String> = origins.iter().map(|o| (*o).to_owned()).collect();
        world.running.ensure_network(None, &origins, &[]).await
    };
    assert_eq!(ensure(&world, &[ORIGIN]).await.unwrap(), NETWORK);
    assert_eq!(version(&world).await.0, 1, "nothing changed");
    let world = world.restart().await;
    ensure(&world, &["wss://Signal.Example:443/x", ORIGIN])
        .await
        .unwrap();
    let origins = vec!["https://signal.example".to_owned(), ORIGIN.to_owned()];
    assert_eq!(version(&world).await, (2, origins));
    ensure(&world, &[]).await.unwrap();
    assert_eq!(version(&world).await.0, 2, "nothing given leaves it");
    assert!(ensure(&world, &["ftp://x"]).await.is_err());
}

#[tokio::test]
async fn invites_keep_to_their_limits() {
    let world = World::start().await;
    let operator = world.operator();
    let good = ask_invite(NETWORK);
    for (uses, ttl_s) in [(10_000, 30 * 24 * 3600), (1, 1)] {
        let ask = pb::CreateInviteRequest {
            uses,
            ttl_s,
            ..ask_invite(NETWORK)
        };
        invite(&world, &operator, ask).await.expect("at the limit");
    }
    let spoilt: [fn(&mut pb::CreateInviteRequest); 6] = [
        |ask| ask.uses = 10_001,
        |ask| ask.uses = u32::MAX,
        |ask| ask.ttl_s = 30 * 24 * 3600 + 1,
        |ask| ask.role = 0,
        |ask| ask.role = 77,
        |ask| ask.invite_key = vec![0; 32],
    ];
    for spoil in spoilt {
        let mut ask = good.clone();
        spoil(&mut ask);
        let refused = invite(&world, &operator, ask).await.unwrap_err();
        assert_eq!(code(&refused), ErrorCode::InvalidArgument);
    }
    let admin = world.person(NETWORK, "ada", Role::Admin).await;
    invite(&world, &admin.bearer(), good)
        .await
        .expect("an admin may");
}

#[tokio::test]
async fn members_are_listed_in_pages_with_those_revoked() {
    let world = World::start().await;
    for name in ["cleo", "abel", "bert"] {
        world.member(name).await;
    }
    let revoke = pb::RevokeMemberRequest {
        network_id: NETWORK.into(),
        user_id: "bert".into(),
    };
    world
        .registry()
        .revoke_member(with(&world.operator(), revoke))
        .await
        .unwrap();
    let page = async |page_size, page_token: String| {
        let ask = pb::ListMembersRequest {
            network_id: NETWORK.into(),
            page_size,
            page_token,
        };
        let answer = world
            .registry()
            .list_members(with(&world.operator(), ask))
            .await;
        answer.map(tonic::Response::into_inner)
    };
    let first = page(2, String::new()).await.unwrap();
    let second = page(2, first.next_page_token).await.unwrap();
    assert!(second.next_page_token.is_empty());
    let members = [first.members, second.members].concat();
    let told: Vec<_> = members
        .iter()
        .map(|m| (m.user_id.as_str(), m.revoked))
        .collect();
    assert_eq!(told, [("abel", false), ("bert", true), ("cleo", false)]);
    assert_eq!(members[0].device_ids, ["abel_device"]);
    for (size, token) in [(101, ""), (u32::MAX, ""), (2, "garbage"), (2, "YWJi")] {
        let refused = page(size, token.to_owned()).await.unwrap_err();
        assert_eq!(
            code(&refused),
            ErrorCode::InvalidArgument,
            "{size} {token:?}"
        );
    }
}

#[tokio::test]
async fn a_revoked_user_cannot_come_back_by_the_same_name() {
    let world = World::start().await;
    let bob = world.member("bob").await;
    let revoke = pb::RevokeMemberRequest {
        network_id: NETWORK.into(),
        user_id: "bob".into(),
    };
    world
        .registry()
        .revoke_member(with(&world.operator(), revoke))
        .await
        .unwrap();
    let link = world.invite(NETWORK, Role::Member, 3).await;
    let refused = world
        .registry()
        .join(bob.join_request(&link))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Revoked);
    let namesake = Person::new(link.network, "bob");
    let refused = world
        .registry()
        .join(namesake.join_request(&link))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::AlreadyExists);
}
