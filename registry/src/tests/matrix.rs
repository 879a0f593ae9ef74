//! Every method of the schema × everyone who might call it.

use super::raw::call;
use super::world::{NETWORK, World, code, with};
use beeline_proto::FILE_DESCRIPTOR_SET;
use beeline_proto::code::ErrorCode;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1::RevokeMemberRequest;
use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Status;

/// How a call ends, as far as the credential decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The method was reached.
    Reached,
    /// Signed in, but not allowed, or not in that network.
    Denied,
    /// Not signed in.
    Unknown,
    /// The caller is revoked.
    Revoked,
}

/// A column: who calls.
const CALLERS: [&str; 9] = [
    "self",
    "same network",
    "other network",
    "revoked",
    "none",
    "gateway",
    "operator",
    "coordinator",
    "admin",
];

/// What is meant: one letter per caller (Reached, Denied, Unknown, reVoked). Written from the
/// schema's comments, not from the policy's table.
const MEANT: &[(&str, &str)] = &[
    ("AuthService/GetChallenge", "RRRRRRRRR"),
    ("AuthService/CreateToken", "RRRRRRRRR"),
    ("AuthService/ListTokenKeys", "RRRVURDRR"),
    ("CoordinatorService/Heartbeat", "DDDVUDDRR"),
    ("CoordinatorService/ListCoordinators", "RRDVUDDRR"),
    ("RegistryService/Join", "RRRRRRRRR"),
    ("RegistryService/GetNetwork", "RRDVURDRR"),
    ("RegistryService/Announce", "RRDVUDDRR"),
    ("RegistryService/GetPeer", "RRDVUDDRR"),
    ("RegistryService/ListActivePeers", "RRDVUDDRR"),
    ("RegistryService/PutDeviceList", "RRDVUDDRR"),
    ("RegistryService/RenewMembership", "RRDVUDDRR"),
    ("RegistryService/CreateNetwork", "DDDVUDRDD"),
    ("RegistryService/PutDescriptor", "DDDVUDRDR"),
    ("RegistryService/CreateInvite", "DDDVUDRDR"),
    ("RegistryService/ListMembers", "DDDVUDRDR"),
    ("RegistryService/RevokeMember", "DDDVUDRDR"),
    ("RegistryService/ReportSockets", "DDDVURDDD"),
    ("RegistryService/GetDevice", "DDDVURDDD"),
];

/// A method as the schema has it.
struct Method {
    path: String,
    input: DescriptorProto,
}

fn methods() -> Vec<Method> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let message = |name: &str| {
        let mut all = set.file.iter().flat_map(|file| {
            let package = format!(".{}.", file.package());
            file.message_type
                .iter()
                .map(move |m| (format!("{package}{}", m.name()), m))
        });
        all.find(|(full, _)| full == name)
            .expect("a message of the schema")
            .1
            .clone()
    };
    let mut methods = Vec::new();
    for file in set
        .file
        .iter()
        .filter(|f| f.package() != "beeline.client.v1")
    {
        for service in &file.service {
            for method in &service.method {
                methods.push(Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    input: message(method.input_type()),
                });
            }
        }
    }
    methods
}

/// A request whose ids are filled in, wherever the schema has them; the rest stays empty.
fn request(input: &DescriptorProto, ids: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in &input.field {
        let id = ids.iter().find(|(name, _)| *name == field.name());
        if let (Some((_, value)), Type::String) = (id, field.r#type()) {
            let tag = u32::try_from(field.number()).unwrap();
            prost::encoding::string::encode(tag, &(*value).to_owned(), &mut bytes);
        }
    }
    bytes
}

fn end(result: &Result<Vec<u8>, Status>) -> End {
    let Err(status) = result else {
        return End::Reached;
    };
    match code(status) {
        ErrorCode::PermissionDenied => End::Denied,
        ErrorCode::Revoked => End::Revoked,
        // CreateToken refuses a proof that is empty: it was reached, and says another thing.
        ErrorCode::Unauthenticated if status.message().contains("challenge") => End::Reached,
        ErrorCode::Unauthenticated => End::Unknown,
        _ => End::Reached,
    }
}

fn meant(path: &str) -> Vec<End> {
    let row = MEANT.iter().find(|(name, _)| path.ends_with(name));
    let (_, letters) = row.unwrap_or_else(|| panic!("{path} has no row: who may call it?"));
    assert_eq!(letters.len(), CALLERS.len());
    let ends = letters.chars().map(|letter| match letter {
        'R' => End::Reached,
        'D' => End::Denied,
        'U' => End::Unknown,
        'V' => End::Revoked,
        other => panic!("{other} means nothing"),
    });
    ends.collect()
}

/// One credential for each column.
async fn credentials(world: &World) -> Vec<String> {
    let alice = world.member("alice").await;
    let bob = world.member("bob").await;
    let origins = [
        "http://other.example".to_owned(),
        super::world::ORIGIN.to_owned(),
    ];
    world
        .running
        .ensure_network(Some("other"), &origins, &[])
        .await
        .unwrap();
    let mallory = world.person("other", "mallory", Role::Admin).await;
    let rita = world.member("rita").await;
    let revoke = RevokeMemberRequest {
        network_id: NETWORK.into(),
        user_id: "rita".into(),
    };
    world
        .registry()
        .revoke_member(with(&world.operator(), revoke))
        .await
        .unwrap();
    let coordinator = world.person(NETWORK, "carl", Role::Coordinator).await;
    let admin = world.person(NETWORK, "ada", Role::Admin).await;
    vec![
        alice.bearer(),
        bob.bearer(),
        mallory.bearer(),
        rita.bearer(),
        String::new(),
        world.gateway(),
        world.operator(),
        coordinator.bearer(),
        admin.bearer(),
    ]
}

#[tokio::test]
async fn every_method_lets_in_whom_it_should_and_nobody_else() {
    let world = World::start().await;
    let credentials = credentials(&world).await;
    let about_alice = [
        ("network_id", NETWORK),
        ("user_id", "alice"),
        ("device_id", "alice_device"),
    ];
    // Who may administer asks about somebody who is not there, so that nobody is revoked.
    let about_nobody = [
        ("network_id", NETWORK),
        ("user_id", "nobody"),
        ("device_id", "nobody_device"),
    ];
    let methods = methods();
    assert_eq!(methods.len(), MEANT.len());
    let mut wrong = Vec::new();
    for method in &methods {
        let meant = meant(&method.path);
        for (column, caller) in CALLERS.iter().enumerate() {
            let ids = if column < 5 {
                &about_alice
            } else {
                &about_nobody
            };
            let message = request(&method.input, ids);
            let request = with(&credentials[column], message);
            let result = call(&world.channel, &method.path, request).await;
            if end(&result) != meant[column] {
                wrong.push(format!("{} by {caller}: {result:?}", method.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_foreign_network_reads_like_one_that_does_not_exist() {
    let world = World::start().await;
    let credentials = credentials(&world).await;
    for method in methods() {
        // Foreign member and admin alike; and nobody at all.
        for credential in [&credentials[2], &credentials[4]] {
            let mut answers = Vec::new();
            for (network, user) in [
                (NETWORK, "alice"),
                (NETWORK, "nobody"),
                ("nowhere", "alice"),
            ] {
                let device = format!("{user}_device");
                let ids = [
                    ("network_id", network),
                    ("user_id", user),
                    ("device_id", device.as_str()),
                ];
                let request = with(credential, request(&method.input, &ids));
                let answer = call(&world.channel, &method.path, request).await;
                answers.push(
                    answer
                        .map(drop)
                        .map_err(|s| (code(&s), s.message().to_owned())),
                );
            }
            assert_eq!(answers[0], answers[1], "{}", method.path);
            assert_eq!(answers[0], answers[2], "{}", method.path);
        }
    }
}

#[tokio::test]
async fn other_forms_of_a_credential_are_refused() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let gateway = world.gateway();
    let secret = gateway.strip_prefix("Gateway ").unwrap();
    let path = "/beeline.auth.v1.AuthService/ListTokenKeys";
    let forms = [
        alice.token.clone(),
        format!("Basic {}", alice.token),
        format!("Bearer  {}", alice.token),
        format!("Bearer {}x", alice.token),
        "Bearer ".to_owned(),
        format!("Bearer {}", "a".repeat(3_000)),
        format!("Operator {secret}"),
        format!("Bearer {secret}"),
        format!("Gateway {}", secret.to_uppercase()),
        format!("Gateway {}", &secret[..63]),
        "Gateway".to_owned(),
    ];
    for form in forms {
        let result = call(&world.channel, path, with(&form, vec![])).await;
        assert_eq!(
            code(&result.unwrap_err()),
            ErrorCode::Unauthenticated,
            "{form}"
        );
    }
    let mut twice = with(&alice.bearer(), vec![]);
    twice
        .metadata_mut()
        .append("authorization", gateway.parse().unwrap());
    let result = call(&world.channel, path, twice).await;
    assert_eq!(
        code(&result.unwrap_err()),
        ErrorCode::Unauthenticated,
        "two of them"
    );
}
