//! `chains.json`: a good chain, each way to break one, revocation and expiry.

use super::{array, bytes, cases, pin, text};
use crate::chain::{Descriptor, VerifiedChain};
use crate::envelope::sign;
use crate::id::NetworkFp;
use crate::pb::identity::v1 as pb;
use crate::tests::json::{Json, hex, object};
use crate::tests::world::{self, chain, device_list, fp, key, membership};
use prost::Message as _;
use serde_json::Value;

fn refusal(name: &str, chain: &pb::Chain, error: &str) -> Json {
    object! { "name": name, "error": error, "chain": hex(chain.encode_to_vec()) }
}

fn good(name: &str, chain: &pb::Chain, serial: i64) -> Json {
    let bytes = chain.encode_to_vec();
    let verified = VerifiedChain::open(&bytes, world::network()).expect("a good chain");
    let device = |d: &crate::chain::Device| {
        object! { "label": d.label.as_str(), "fp": hex(d.fp().0),
        "control_key": hex(d.control_key.0), "key_id": hex(d.control_key.key_id().0) }
    };
    let role = verified.membership.role().as_str_name();
    object! { "name": name, "user_fp": hex(verified.user().0), "user_id": "alice", "role": role,
    "serial": serial, "devices": verified.devices.devices.iter().map(device).collect::<Vec<_>>(),
    "chain": hex(bytes) }
}

/// The chain with another descriptor, signed by `signer`.
fn with_descriptor(signer: u8, change: impl Fn(&mut pb::NetworkDescriptor)) -> pb::Chain {
    let mut payload = world::descriptor();
    change(&mut payload);
    pb::Chain {
        descriptor: sign(&key(signer), &payload),
        ..chain()
    }
}

fn with_membership(signer: u8, change: impl Fn(&mut pb::Membership)) -> pb::Chain {
    let mut payload = membership();
    change(&mut payload);
    pb::Chain {
        membership: sign(&key(signer), &payload),
        ..chain()
    }
}

fn with_devices(signer: u8, change: impl Fn(&mut pb::DeviceList)) -> pb::Chain {
    let mut payload = device_list(2);
    change(&mut payload);
    pb::Chain {
        device_list: sign(&key(signer), &payload),
        ..chain()
    }
}

/// Links signed by the wrong key: each part's neighbours in the hierarchy, and a stranger.
fn broken_links() -> Vec<Json> {
    use world::{ALICE, ALICE_DEVICE, AUTHORITY, CAROL, REGISTRAR, STRANGER};
    let mut all = Vec::new();
    for (signer, who) in [(STRANGER, "a stranger"), (REGISTRAR, "the registrar")] {
        let chain = with_descriptor(signer, |_| ());
        let name = format!("descriptor signed by {who}");
        all.push(refusal(&name, &chain, "descriptor: wrong_signer"));
    }
    let signers = [
        (STRANGER, "a stranger"),
        (AUTHORITY, "the authority"),
        (ALICE, "the user"),
    ];
    for (signer, who) in signers {
        let chain = with_membership(signer, |_| ());
        let name = format!("membership signed by {who}");
        all.push(refusal(&name, &chain, "membership: wrong_signer"));
    }
    let signers = [
        (STRANGER, "a stranger"),
        (REGISTRAR, "the registrar"),
        (ALICE_DEVICE, "the device"),
        (CAROL, "another user"),
    ];
    for (signer, who) in signers {
        let chain = with_devices(signer, |_| ());
        let name = format!("device list signed by {who}");
        all.push(refusal(&name, &chain, "device list: wrong_signer"));
    }
    let mut flipped = chain();
    *flipped.membership.last_mut().expect("not empty") ^= 1;
    all.push(refusal(
        "membership with a bit flipped",
        &flipped,
        "membership: bad_signature",
    ));
    all
}

fn missing_and_swapped() -> Vec<Json> {
    let whole = chain();
    let none = pb::Chain {
        descriptor: vec![],
        ..whole.clone()
    };
    let no_member = pb::Chain {
        membership: vec![],
        ..whole.clone()
    };
    let no_list = pb::Chain {
        device_list: vec![],
        ..whole.clone()
    };
    let swapped = pb::Chain {
        descriptor: whole.device_list.clone(),
        ..whole.clone()
    };
    let twice = pb::Chain {
        membership: whole.descriptor.clone(),
        ..whole.clone()
    };
    let large = pb::Chain {
        descriptor: vec![0; crate::limits::CHAIN_LEN_MAX],
        ..whole
    };
    vec![
        refusal("no descriptor", &none, "descriptor: missing"),
        refusal("no membership", &no_member, "membership: missing"),
        refusal("no device list", &no_list, "device list: missing"),
        refusal(
            "a device list as the descriptor",
            &swapped,
            "descriptor: wrong_type",
        ),
        refusal(
            "the descriptor as the membership",
            &twice,
            "membership: wrong_type",
        ),
        refusal("longer than a chain may be", &large, "chain: invalid"),
        object! { "name": "no protobuf", "error": "chain: invalid", "chain": hex([0xff; 40]) },
    ]
}

fn broken_descriptors() -> Vec<Json> {
    let authority = world::AUTHORITY;
    let case = |name: &str, error: &str, change: fn(&mut pb::NetworkDescriptor)| {
        refusal(name, &with_descriptor(authority, change), error)
    };
    vec![
        case("a network label with a dot", "descriptor: invalid", |d| {
            d.label = "a.b".into()
        }),
        case("no registrar key", "descriptor: invalid", |d| {
            d.registrar_keys.clear()
        }),
        case("five registrar keys", "descriptor: invalid", |d| {
            d.registrar_keys = (1..=5).map(world::public).collect();
        }),
        case("a weak registrar key", "chain: invalid", |d| {
            d.registrar_keys = vec![vec![0; 32]]
        }),
        case("nine gateway origins", "descriptor: invalid", |d| {
            d.gateway_origins = vec!["https://a".into(); 9];
        }),
        case(
            "a descriptor longer than one may be",
            "descriptor: invalid",
            |d| {
                d.gateway_origins = vec![format!("https://{}", "a".repeat(200)); 3];
            },
        ),
        case(
            "a descriptor for somebody",
            "descriptor: wrong_audience",
            |d| {
                d.context = world::context(fp(world::ALICE));
            },
        ),
    ]
}

fn broken_memberships() -> Vec<Json> {
    let registrar = world::REGISTRAR;
    let case = |name: &str, error: &str, change: fn(&mut pb::Membership)| {
        refusal(name, &with_membership(registrar, change), error)
    };
    let elsewhere = |m: &mut pb::Membership| {
        let context = m.context.as_mut().expect("a context");
        context.network = fp(world::STRANGER).to_vec();
    };
    vec![
        case(
            "a membership of another network",
            "membership: wrong_network",
            elsewhere,
        ),
        case(
            "a membership for another audience",
            "membership: wrong_audience",
            |m| {
                m.context = world::context(fp(world::CAROL));
            },
        ),
        case("a weak user key", "chain: invalid", |m| {
            m.user_key = vec![0; 32];
        }),
        case("a user key of 31 bytes", "chain: invalid", |m| {
            m.user_key.truncate(31)
        }),
        case("a reserved handle", "membership: invalid", |m| {
            m.handle = "join".into()
        }),
        case("a handle with a space", "membership: invalid", |m| {
            m.handle = "a b".into()
        }),
        case("no role", "membership: invalid", |m| m.role = 0),
        case("an unknown role", "membership: invalid", |m| m.role = 9),
        case("a salt of 15 bytes", "membership: invalid", |m| {
            m.salt.truncate(15)
        }),
    ]
}

fn broken_lists() -> Vec<Json> {
    let case = |name: &str, error: &str, change: fn(&mut pb::DeviceList)| {
        refusal(name, &with_devices(world::ALICE, change), error)
    };
    vec![
        case("seventeen devices", "device list: invalid", |l| {
            *l = device_list(17)
        }),
        case("no device", "device list: invalid", |l| l.devices.clear()),
        case("a device key twice", "device list: invalid", |l| {
            l.devices[1].device_key = l.devices[0].device_key.clone();
        }),
        case("a device label twice", "device list: invalid", |l| {
            l.devices[1].label = l.devices[0].label.clone();
        }),
        case("a malformed device label", "device list: invalid", |l| {
            l.devices[0].label = "a/b".into();
        }),
        case("a weak device key", "chain: invalid", |l| {
            l.devices[0].device_key = vec![0; 32]
        }),
        case("a control key of 31 bytes", "chain: invalid", |l| {
            l.devices[0].control_key.truncate(31);
        }),
        case(
            "a list for another audience",
            "device list: wrong_audience",
            |l| {
                l.context = world::context(fp(world::CAROL));
            },
        ),
    ]
}

fn revocations() -> Vec<Json> {
    let list = |serials: &[u64]| pb::Revocations {
        context: world::context(world::network().0),
        version: 4,
        serials: serials.to_vec(),
    };
    let signed = |signer: u8, serials: &[u64]| sign(&key(signer), &list(serials));
    let registrar = world::REGISTRAR;
    let case = |name: &str, envelope: Vec<u8>, revoked: Option<bool>, error: Option<&str>| {
        object! { "name": name, "error": error, "revokes": revoked, "envelope": hex(envelope) }
    };
    let wrong_signer = Some("revocations: wrong_signer");
    vec![
        case("empty", signed(registrar, &[]), Some(false), None),
        case("others", signed(registrar, &[3, 16, 18]), Some(false), None),
        case(
            "serial 17 among them",
            signed(registrar, &[3, 17, 20]),
            Some(true),
            None,
        ),
        case(
            "by a stranger",
            signed(world::STRANGER, &[17]),
            None,
            wrong_signer,
        ),
        case(
            "by the authority",
            signed(world::AUTHORITY, &[17]),
            None,
            wrong_signer,
        ),
        case(
            "unsorted",
            signed(registrar, &[20, 17]),
            None,
            Some("revocations: invalid"),
        ),
    ]
}

fn expiry() -> Vec<Json> {
    let end = membership().expires_ms + crate::limits::MEMBERSHIP_GRACE_MS;
    let case = |wall_ms: u64, expired: bool| {
        object! { "wall_ms": wall_ms as i64, "expired": expired }
    };
    vec![
        case(world::WHEN_MS, false),
        case(membership().expires_ms + 1, false),
        case(end, false),
        case(end + 1, true),
    ]
}

fn check_good(case: &Value, network: NetworkFp) {
    let chain = VerifiedChain::open(&bytes(case, "chain"), network).expect("a good chain");
    assert_eq!(chain.user().0, array(case, "user_fp"));
    assert_eq!(chain.membership.handle.as_str(), text(case, "user_id"));
    assert_eq!(chain.membership.role().as_str_name(), text(case, "role"));
    assert_eq!(Some(chain.membership.serial()), case["serial"].as_u64());
    let listed = cases(case, "devices");
    assert_eq!(listed.len(), chain.devices.devices.len());
    for (listed, device) in listed.iter().zip(&chain.devices.devices) {
        assert_eq!(device.label.as_str(), text(listed, "label"));
        assert_eq!(device.fp().0, array(listed, "fp"));
        assert_eq!(device.control_key.0, array(listed, "control_key"));
        assert_eq!(device.control_key.key_id().0, array(listed, "key_id"));
    }
}

#[test]
fn chains_verify_or_are_refused() {
    let parts = [
        broken_links(),
        missing_and_swapped(),
        broken_descriptors(),
        broken_memberships(),
        broken_lists(),
    ];
    let sixteen = pb::Chain {
        device_list: sign(&key(world::ALICE), &device_list(16)),
        ..chain()
    };
    let file = pin(
        "chains.json",
        &object! {
            "about": "All against the pinned network. refused: the error names the part and why. \
                      revocations and expiry are about the good chain.",
            "network": hex(world::network().0),
            "good": vec![good("one device", &chain(), 17), good("sixteen devices", &sixteen, 17)],
            "refused": parts.into_iter().flatten().collect::<Vec<Json>>(),
            "revocations": revocations(),
            "expiry": expiry(),
        },
    );
    let network = NetworkFp(array(&file, "network"));
    for case in cases(&file, "good") {
        check_good(case, network);
    }
    for case in cases(&file, "refused") {
        let error = VerifiedChain::open(&bytes(case, "chain"), network).err();
        let error = error.map(world::chain_error);
        assert_eq!(
            error.as_deref(),
            case["error"].as_str(),
            "{}",
            text(case, "name")
        );
    }
    let chain = VerifiedChain::open(&bytes(&cases(&file, "good")[0], "chain"), network);
    let chain = chain.expect("a good chain");
    let stranger = VerifiedChain::open(&chain.to_bytes(), NetworkFp(fp(world::STRANGER)));
    assert_eq!(
        stranger.err().map(world::chain_error).as_deref(),
        Some("descriptor: wrong_signer")
    );
    check_lists(&file, &chain);
}

fn check_lists(file: &Value, chain: &VerifiedChain) {
    let descriptor: &Descriptor = &chain.descriptor;
    for case in cases(file, "revocations") {
        let opened = descriptor.open_revocations(&bytes(case, "envelope"));
        match opened {
            Ok(list) => {
                let revoked = chain.membership.is_revoked_by(list.payload());
                assert_eq!(Some(revoked), case["revokes"].as_bool(), "{case}");
                assert!(case["error"].is_null());
            }
            Err(error) => {
                let error = world::chain_error(error);
                assert_eq!(Some(error.as_str()), case["error"].as_str(), "{case}");
            }
        }
    }
    for case in cases(file, "expiry") {
        let expired = chain
            .membership
            .check_expiry(case["wall_ms"].as_u64().expect("a time"));
        assert_eq!(Some(expired.is_err()), case["expired"].as_bool());
    }
}
