//! `keys.json`: seeds to public keys to fingerprints, key ids, labels, and ids as people see them.

use super::{array, bytes, cases, pin, text};
use crate::id::{KeyId, Label, LabelError, MessageId, RESERVED_LABELS, sha256};
use crate::keys::{SealSecret, SigningKey};
use crate::tests::json::{Json, hex, object};
use crate::tests::world;

const SIGNERS: [(&str, u8); 8] = [
    ("the authority", world::AUTHORITY),
    ("the registrar", world::REGISTRAR),
    ("Alice", world::ALICE),
    ("Alice's device", world::ALICE_DEVICE),
    ("Carol", world::CAROL),
    ("Carol's device", world::CAROL_DEVICE),
    ("the invite", world::INVITE),
    ("a stranger", world::STRANGER),
];

fn signing() -> Vec<Json> {
    let case = |who: &str, seed: [u8; 32]| {
        let public = SigningKey::from_seed(&seed).verify_key();
        object! { "who": who, "seed": hex(seed), "public": hex(public.to_bytes()),
        "fp": hex(public.fp()) }
    };
    let mut all: Vec<Json> = SIGNERS.iter().map(|(who, n)| case(who, [*n; 32])).collect();
    all.extend([0u8, 1, 2].map(|n| case("anyone", sha256(&[n]))));
    all
}

fn sealing() -> Vec<Json> {
    let secrets = [
        [world::CAROL_CONTROL; 32],
        [world::CAROL_BUNDLE; 32],
        [0xff; 32],
        [0; 32],
    ];
    let case = |secret: [u8; 32]| {
        let public = SealSecret::from_bytes(secret).public();
        object! { "secret": hex(secret), "public": hex(public.0),
        "key_id": hex(public.key_id().0) }
    };
    secrets.map(case).to_vec()
}

fn labels() -> Vec<Json> {
    let longest = "a".repeat(64);
    let longer = "a".repeat(65);
    let good = [
        "a",
        "0",
        "alice",
        "alice_device_123",
        "A-b_9",
        "Auth",
        longest.as_str(),
    ];
    let bad = [
        "",
        "_a",
        "-a",
        "a b",
        "a.b",
        "a/b",
        "ä",
        "a\n",
        "%61",
        longer.as_str(),
    ];
    let refusals = bad
        .iter()
        .map(|l| object! { "label": *l, "error": "pattern" });
    let reserved = RESERVED_LABELS
        .iter()
        .map(|l| object! { "label": *l, "error": "reserved" });
    let taken = good
        .iter()
        .map(|l| object! { "label": *l, "error": Json::Null });
    taken.chain(refusals).chain(reserved).collect()
}

fn message_ids() -> Vec<Json> {
    let ids = [[0; 16], [0xff; 16], core::array::from_fn(|i| i as u8)];
    ids.map(|id| object! { "bytes": hex(id), "text": MessageId(id).to_text() })
        .to_vec()
}

#[test]
fn keys_ids_and_labels() {
    let file = pin(
        "keys.json",
        &object! {
            "about": "Ed25519 seed, public key, fingerprint; X25519 secret, public key, key \
                      id; which texts are labels; message ids as people see them.",
            "signing": signing(),
            "sealing": sealing(),
            "labels": labels(),
            "message_ids": message_ids(),
        },
    );
    for case in cases(&file, "signing") {
        let public = SigningKey::from_seed(&array(case, "seed")).verify_key();
        assert_eq!(public.to_bytes(), array(case, "public"));
        assert_eq!(public.fp(), array(case, "fp"));
    }
    for case in cases(&file, "sealing") {
        let public = SealSecret::from_bytes(array(case, "secret")).public();
        assert_eq!(public.0, array(case, "public"));
        assert_eq!(public.key_id(), KeyId(array(case, "key_id")));
    }
    for case in cases(&file, "labels") {
        let verdict = match Label::new(text(case, "label")) {
            Ok(_) => None,
            Err(LabelError::Pattern(_)) => Some("pattern"),
            Err(LabelError::Reserved(_)) => Some("reserved"),
        };
        assert_eq!(verdict, case["error"].as_str(), "{case}");
    }
    for case in cases(&file, "message_ids") {
        let id = MessageId::from_text(text(case, "text")).expect("a message id");
        assert_eq!(id.to_vec(), bytes(case, "bytes"));
        assert_eq!(id.to_text(), text(case, "text"));
    }
}
