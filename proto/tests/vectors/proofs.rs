//! `proofs.json`: what a device signs to get a token, to prove a socket, and what a joiner signs;
//! and the thumbprint that ties a token to its device.

use super::{array, bytes, cases, pin, text};
use crate::envelope::{Expect, open, sign};
use crate::id::{NetworkFp, sha256};
use crate::origin::normalize;
use crate::pb::auth::v1::TokenProof;
use crate::pb::identity::v1::JoinProof;
use crate::pb::signal::v1::SocketProof;
use crate::tests::json::{Json, hex, object};
use crate::tests::world::{self, fp, key, public};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// The nonce handed out in every case.
const NONCE: [u8; 32] = [0x0f; 32];

/// RFC 7638 thumbprint of an Ed25519 key as an OKP key (RFC 8037).
fn thumbprint(public: &[u8]) -> String {
    let x = BASE64URL_NOPAD.encode(public);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL_NOPAD.encode(&sha256(jwk.as_bytes()))
}

fn token_proof() -> TokenProof {
    TokenProof {
        context: world::context(fp(world::ALICE_DEVICE)),
        origin: "https://signal.example".into(),
        nonce: NONCE.to_vec(),
    }
}

fn socket_proof() -> SocketProof {
    SocketProof {
        context: world::context(fp(world::ALICE_DEVICE)),
        origin: "https://signal.example".into(),
        nonce: NONCE.to_vec(),
        boot_id: vec![0xb0; 16],
        device_id: "alice_device_123".into(),
    }
}

fn case(name: &str, envelope: Vec<u8>, error: Option<&str>) -> Json {
    object! { "name": name, "error": error, "envelope": hex(envelope) }
}

fn tokens() -> Vec<Json> {
    let device = key(world::ALICE_DEVICE);
    let with = |change: fn(&mut TokenProof)| {
        let mut proof = token_proof();
        change(&mut proof);
        sign(&device, &proof)
    };
    vec![
        case("good", with(|_| ()), None),
        case(
            "for another origin",
            with(|p| p.origin = "https://evil.example".into()),
            Some("wrong_origin"),
        ),
        case(
            "an origin not normalized",
            with(|p| p.origin.push('/')),
            Some("wrong_origin"),
        ),
        case(
            "another nonce",
            with(|p| p.nonce[0] ^= 1),
            Some("wrong_nonce"),
        ),
        case(
            "a short nonce",
            with(|p| p.nonce.truncate(31)),
            Some("wrong_nonce"),
        ),
        case(
            "for another device",
            with(|p| p.context = world::context(fp(world::CAROL_DEVICE))),
            Some("wrong_audience"),
        ),
        case(
            "signed by the user key",
            sign(&key(world::ALICE), &token_proof()),
            Some("wrong_signer"),
        ),
        case(
            "a socket's proof",
            sign(&device, &socket_proof()),
            Some("wrong_type"),
        ),
    ]
}

fn sockets() -> Vec<Json> {
    let device = key(world::ALICE_DEVICE);
    let with = |change: fn(&mut SocketProof)| {
        let mut proof = socket_proof();
        change(&mut proof);
        sign(&device, &proof)
    };
    vec![
        case("good", with(|_| ()), None),
        case(
            "for another origin",
            with(|p| p.origin = "https://evil.example".into()),
            Some("wrong_origin"),
        ),
        case(
            "another nonce",
            with(|p| p.nonce[0] ^= 1),
            Some("wrong_nonce"),
        ),
        case(
            "another device label",
            with(|p| p.device_id = "carol_device_456".into()),
            Some("wrong_device"),
        ),
        case(
            "a boot id of 15 bytes",
            with(|p| p.boot_id.truncate(15)),
            Some("wrong_boot_id"),
        ),
        case(
            "a token's proof",
            sign(&device, &token_proof()),
            Some("wrong_type"),
        ),
        case(
            "signed by another device",
            sign(&key(world::CAROL_DEVICE), &socket_proof()),
            Some("wrong_signer"),
        ),
    ]
}

fn joins() -> Vec<Json> {
    let device_list = world::chain().device_list;
    let proof = JoinProof {
        context: world::context(world::network().0),
        user_id: "alice".into(),
        user_key: public(world::ALICE),
        device_list_hash: sha256(&device_list).to_vec(),
        nonce: NONCE.to_vec(),
    };
    let invite = key(world::INVITE);
    let other_list = JoinProof {
        device_list_hash: vec![0; 32],
        ..proof.clone()
    };
    vec![
        case("good", sign(&invite, &proof), None),
        case(
            "beside another device list",
            sign(&invite, &other_list),
            Some("wrong_device_list"),
        ),
        case(
            "signed by the joiner",
            sign(&key(world::ALICE), &proof),
            Some("wrong_signer"),
        ),
    ]
}

/// A verdict over one envelope.
type Check = fn(&Value, &[u8]) -> Result<(), &'static str>;

fn expect(file: &Value) -> (NetworkFp, [u8; 32]) {
    (NetworkFp(array(file, "network")), array(file, "device_fp"))
}

/// What a registry checks of a token's proof, in order.
fn check_token(file: &Value, envelope: &[u8]) -> Result<(), &'static str> {
    let (network, device) = expect(file);
    let audiences = [device];
    let expect = Expect::new(network, &audiences).signer(device);
    let proof = open::<TokenProof>(envelope, &expect).map_err(world::open_error)?;
    check_challenge(file, &proof.payload().origin, &proof.payload().nonce)
}

fn check_challenge(file: &Value, origin: &str, nonce: &[u8]) -> Result<(), &'static str> {
    if normalize(text(file, "dialled")).as_deref() != Some(origin) {
        return Err("wrong_origin");
    }
    if nonce != bytes(file, "nonce") {
        return Err("wrong_nonce");
    }
    Ok(())
}

/// What a gateway checks of a socket's proof, in order.
fn check_socket(file: &Value, envelope: &[u8]) -> Result<(), &'static str> {
    let (network, device) = expect(file);
    let audiences = [device];
    let expect = Expect::new(network, &audiences).signer(device);
    let proof = open::<SocketProof>(envelope, &expect).map_err(world::open_error)?;
    let payload = proof.payload();
    check_challenge(file, &payload.origin, &payload.nonce)?;
    if payload.device_id != text(file, "device_id") {
        return Err("wrong_device");
    }
    if payload.boot_id.len() != 16 {
        return Err("wrong_boot_id");
    }
    Ok(())
}

/// What a registry checks of a joiner's proof beside the invite itself.
fn check_join(file: &Value, envelope: &[u8]) -> Result<(), &'static str> {
    let network = NetworkFp(array(file, "network"));
    let invite = key(world::INVITE).verify_key();
    assert_eq!(invite.to_bytes(), array(file, "invite_key"));
    let audiences = [network.0];
    let expect = Expect::new(network, &audiences).signer(invite.fp());
    let proof = open::<JoinProof>(envelope, &expect).map_err(world::open_error)?;
    if proof.payload().device_list_hash != sha256(&bytes(file, "device_list")) {
        return Err("wrong_device_list");
    }
    Ok(())
}

#[test]
fn proofs_hold_for_one_challenge_only() {
    let rfc_8037 = data_encoding::HEXLOWER
        .decode(b"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
        .expect("hexadecimal");
    let thumb = |public: &[u8]| object! { "public": hex(public), "jkt": thumbprint(public) };
    let thumbprints = vec![thumb(&rfc_8037), thumb(&public(world::ALICE_DEVICE))];
    let file = pin(
        "proofs.json",
        &object! {
            "about": "tokens, sockets: verdicts of a server dialled as `dialled` that handed out \
                      `nonce` to the device. joins: the proof beside `device_list`. thumbprints: \
                      `cnf.jkt` of a token for a device key.",
            "network": hex(world::network().0),
            "device_id": "alice_device_123",
            "device_fp": hex(fp(world::ALICE_DEVICE)),
            "dialled": "wss://Signal.Example:443/alice_device_123",
            "nonce": hex(NONCE),
            "invite_key": hex(public(world::INVITE)),
            "device_list": hex(world::chain().device_list),
            "tokens": tokens(),
            "sockets": sockets(),
            "joins": joins(),
            "thumbprints": thumbprints,
        },
    );
    let lists: [(&str, Check); 3] = [
        ("tokens", check_token),
        ("sockets", check_socket),
        ("joins", check_join),
    ];
    for (list, check) in lists {
        for case in cases(&file, list) {
            let error = check(&file, &bytes(case, "envelope")).err();
            assert_eq!(
                error,
                case["error"].as_str(),
                "{list}: {}",
                text(case, "name")
            );
        }
    }
    // RFC 8037, appendix A.3.
    let first = &cases(&file, "thumbprints")[0];
    assert_eq!(
        text(first, "jkt"),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}
