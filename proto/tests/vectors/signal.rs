//! `signal.json`: frames of the signalling socket as JSON text and as protobuf, both ways: the
//! specification's OFFER, every other type, what a reader must accept, and what it must refuse.

use super::{bytes, cases, pin, text};
use crate::envelope::sign;
use crate::pb::identity::v1::{Revocations, Versions};
use crate::pb::signal::v1::SignalFrame;
use crate::pb::signal::v1::signal_frame::Type;
use crate::tests::json::{Json, hex, object};
use crate::tests::samples;
use crate::tests::world::{self, key};
use prost::Message as _;

/// The specification's example, with the quotes JSON wants.
pub(super) const SPEC_OFFER: &str =
    r#"{"type":"OFFER","from":"alice_device_123","to":"carol_device_456","sdp":"..."}"#;

/// A frame from Alice's device to Carol's.
fn frame(kind: Type) -> SignalFrame {
    SignalFrame {
        r#type: kind as i32,
        from: "alice_device_123".into(),
        to: "carol_device_456".into(),
        ..Default::default()
    }
}

/// A frame between a device and its gateway.
fn local(kind: Type) -> SignalFrame {
    SignalFrame {
        r#type: kind as i32,
        ..Default::default()
    }
}

/// The signed proof of Alice's device, from the samples.
fn socket_proof() -> Vec<u8> {
    samples::of("beeline.signal.v1.SocketProof")
        .envelope
        .clone()
}

fn plain_frames() -> Vec<(&'static str, SignalFrame)> {
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host";
    vec![
        (
            "OFFER, plain, as in the specification",
            SignalFrame {
                sdp: "...".into(),
                ..frame(Type::Offer)
            },
        ),
        (
            "ANSWER, plain",
            SignalFrame {
                sdp: "v=0\r\n".into(),
                ..frame(Type::Answer)
            },
        ),
        (
            "ICE_CANDIDATE, plain",
            SignalFrame {
                candidate: candidate.into(),
                sdp_mid: "0".into(),
                sdp_m_line_index: 1,
                username_fragment: "uFrag".into(),
                ..frame(Type::IceCandidate)
            },
        ),
        ("ICE_CANDIDATE, plain, the end", frame(Type::IceCandidate)),
        (
            "OFFER, sealed",
            SignalFrame {
                parcel: vec![0xfb; 5],
                ..frame(Type::Offer)
            },
        ),
        (
            "RELAY_REQUEST",
            SignalFrame {
                parcel: vec![0xfb; 4],
                ..frame(Type::RelayRequest)
            },
        ),
    ]
}

fn hellos() -> Vec<(&'static str, SignalFrame)> {
    let revocations = Revocations {
        context: world::context(world::network().0),
        version: 4,
        serials: vec![3],
    };
    let challenge = SignalFrame {
        nonce: vec![0x0f; 32],
        ..local(Type::Hello)
    };
    let proof = SignalFrame {
        proof: socket_proof(),
        chain: world::chain().encode_to_vec(),
        versions: Some(Versions {
            descriptor: 3,
            revocations: 4,
            device_list: 2,
        }),
        ..local(Type::Hello)
    };
    let token = SignalFrame {
        token: "e30.e30.e30".into(),
        ..local(Type::Hello)
    };
    let ready = SignalFrame {
        ready: true,
        descriptor: sign(&key(world::AUTHORITY), &world::descriptor()),
        revocations: sign(&key(world::REGISTRAR), &revocations),
        ..local(Type::Hello)
    };
    vec![
        ("HELLO, the gateway's challenge", challenge),
        ("HELLO, the device's proof", proof),
        ("HELLO, a token instead", token),
        ("HELLO, ready", ready),
    ]
}

fn notices() -> Vec<(&'static str, SignalFrame)> {
    let offline = SignalFrame {
        code: "PEER_OFFLINE".into(),
        message: "The device is not connected".into(),
        ..frame(Type::Error)
    };
    let wait = SignalFrame {
        code: "RATE_LIMITED".into(),
        message: "Too many requests".into(),
        retry_after_ms: 1_500,
        ..local(Type::Error)
    };
    let superseded = SignalFrame {
        proof: socket_proof(),
        ..local(Type::Superseded)
    };
    let going = SignalFrame {
        retry_after_ms: 3_000,
        ..local(Type::Goaway)
    };
    vec![
        ("ERROR", offline),
        ("ERROR with a wait", wait),
        ("SUPERSEDED", superseded),
        ("GOAWAY", going),
    ]
}

fn both_ways((name, frame): (&'static str, SignalFrame)) -> Json {
    let json = serde_json::to_string(&frame).expect("JSON");
    object! { "name": name, "json": json, "binary": hex(frame.encode_to_vec()) }
}

/// Text a reader must accept, though no writer of ours makes it.
fn lenient() -> Vec<Json> {
    let case = |name: &str, json: &str, frame: &SignalFrame| {
        object! { "name": name, "json": json, "binary": hex(frame.encode_to_vec()) }
    };
    let offer = SignalFrame {
        sdp: "...".into(),
        ..frame(Type::Offer)
    };
    let index = SignalFrame {
        sdp_m_line_index: 1,
        ..local(Type::IceCandidate)
    };
    let parcel = SignalFrame {
        parcel: vec![0xfb, 0xff],
        ..local(Type::Offer)
    };
    let escaped = SignalFrame {
        sdp: "ä\n".into(),
        ..local(Type::Offer)
    };
    let unknown = SPEC_OFFER.replace('}', r#","x":{"y":[1]}}"#);
    let numbered = SPEC_OFFER.replace(r#""OFFER""#, "1");
    let named = r#"{"type":"ICE_CANDIDATE","sdp_m_line_index":1}"#;
    let as_text = r#"{"type":"ICE_CANDIDATE","sdpMLineIndex":"1"}"#;
    vec![
        case("the specification's OFFER", SPEC_OFFER, &offer),
        case("with spaces", &SPEC_OFFER.replace(',', " ,\n\t"), &offer),
        case("an unknown member", &unknown, &offer),
        case("the type as a number", &numbered, &offer),
        case("names as in the schema", named, &index),
        case("a number as text", as_text, &index),
        case("base64", r#"{"type":"OFFER","parcel":"+/8="}"#, &parcel),
        case("base64url", r#"{"type":"OFFER","parcel":"-_8="}"#, &parcel),
        case(
            "base64url, not padded",
            r#"{"type":"OFFER","parcel":"-_8"}"#,
            &parcel,
        ),
        case(
            "an escape",
            r#"{"type":"\u004fFFER","sdp":"\u00e4\n"}"#,
            &escaped,
        ),
    ]
}

fn refused() -> Vec<Json> {
    let texts = [
        ("nothing", ""),
        ("no object", r#"["OFFER"]"#),
        ("cut", r#"{"type":"OFFER""#),
        ("more behind", r#"{"type":"OFFER"} {}"#),
        ("a key twice", r#"{"type":"OFFER","from":"a","from":"b"}"#),
        (
            "a key in two spellings",
            r#"{"sdpMLineIndex":1,"sdp_m_line_index":2}"#,
        ),
        ("the type twice", r#"{"type":"OFFER","type":"ANSWER"}"#),
        ("an unknown type", r#"{"type":"OFFERS"}"#),
        ("a type in lower case", r#"{"type":"offer"}"#),
        ("text as a number", r#"{"type":"OFFER","sdp":1}"#),
        (
            "a negative index",
            r#"{"type":"ICE_CANDIDATE","sdpMLineIndex":-1}"#,
        ),
        (
            "an index of 2^32",
            r#"{"type":"ICE_CANDIDATE","sdpMLineIndex":4294967296}"#,
        ),
        (
            "bytes that are no base64",
            r#"{"type":"OFFER","parcel":"*"}"#,
        ),
        ("a lone surrogate", r#"{"type":"OFFER","sdp":"\ud800"}"#),
    ];
    texts
        .map(|(name, json)| object! { "name": name, "json": json })
        .to_vec()
}

#[test]
fn frames_of_the_socket_both_ways() {
    let frames = plain_frames().into_iter().chain(hellos()).chain(notices());
    let file = pin(
        "signal.json",
        &object! {
            "about": "frames: json (proto3 JSON of SignalFrame, defaults written out) and binary \
                      (protobuf) say the same, both ways. lenient: read only; refused: no reader \
                      takes it.",
            "frames": frames.map(both_ways).collect::<Vec<_>>(),
            "lenient": lenient(),
            "refused": refused(),
        },
    );
    let mut types = std::collections::BTreeSet::new();
    for case in cases(&file, "frames") {
        let from_json: SignalFrame = serde_json::from_str(text(case, "json")).expect("JSON");
        let from_binary = SignalFrame::decode(bytes(case, "binary").as_slice()).expect("protobuf");
        assert_eq!(from_json, from_binary, "{}", text(case, "name"));
        assert_eq!(from_json.encode_to_vec(), bytes(case, "binary"));
        assert_eq!(
            serde_json::to_string(&from_binary).expect("JSON"),
            text(case, "json")
        );
        types.insert(from_binary.r#type);
    }
    assert_eq!(types, (1..=8).collect(), "every type has a frame");
    for case in cases(&file, "lenient") {
        let frame: SignalFrame = serde_json::from_str(text(case, "json")).expect("JSON");
        assert_eq!(
            frame.encode_to_vec(),
            bytes(case, "binary"),
            "{}",
            text(case, "name")
        );
    }
    for case in cases(&file, "refused") {
        let frame = serde_json::from_str::<SignalFrame>(text(case, "json"));
        assert!(frame.is_err(), "{} became {frame:?}", text(case, "name"));
    }
}
