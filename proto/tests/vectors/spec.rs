//! `rest.json` and `datachannel.json`: the specification's REST answer and DataChannel examples,
//! and where each of their fields is on Beeline's wire.

use super::{bytes, cases, pin, text};
use crate::pb::coordinator::v1::{HeartbeatRequest, HeartbeatResponse};
use crate::pb::peer::v1::{PeerFrame, PeerItem, peer_item::Kind};
use crate::pb::registry::v1::{AnnounceRequest, AnnounceResponse, Peer, PeerDevice};
use crate::tests::json::{Json, hex, object};
use crate::tests::samples;
use crate::time::Timestamp;
use data_encoding::BASE64;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The specification's answer of `GET /network/{networkId}/peer/carol`.
const SPEC_PEER: &str = r#"{
  "online": false,
  "lastSeen": "2024-01-20T08:00:00Z",
  "lastCoordinators": [
    "bob_device_123",
    "eve_device_789"
  ]
}"#;

/// 2024-01-20T08:00:00Z, Unix milliseconds.
const SPEC_LAST_SEEN_MS: u64 = 1_705_737_600_000;

fn spec_peer() -> Peer {
    Peer {
        last_seen: Some(Timestamp::from_ms(SPEC_LAST_SEEN_MS)),
        last_coordinators: vec!["bob_device_123".into(), "eve_device_789".into()],
        ..Default::default()
    }
}

fn full_peer() -> Peer {
    Peer {
        user_id: "carol".into(),
        online: true,
        devices: vec![PeerDevice {
            device_id: "carol_device_456".into(),
            online: true,
            last_seen: Some(Timestamp::from_ms(SPEC_LAST_SEEN_MS + 1)),
            signal_addr: "wss://signal.example/carol_device_456".into(),
            record: vec![1, 2, 3],
        }],
        chain: vec![4, 5],
        ..spec_peer()
    }
}

fn body<T: Message + Serialize>(name: &str, message: &str, body: &T) -> Json {
    let json = serde_json::to_string(body).expect("JSON");
    object! { "name": name, "message": message, "json": json, "binary": hex(body.encode_to_vec()) }
}

fn check_body<T>(case: &Value)
where
    T: Message + Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug,
{
    let from_json: T = serde_json::from_str(text(case, "json")).expect("JSON");
    let from_binary = T::decode(bytes(case, "binary").as_slice()).expect("protobuf");
    assert_eq!(from_json, from_binary);
    assert_eq!(from_binary.encode_to_vec(), bytes(case, "binary"));
    assert_eq!(
        serde_json::to_string(&from_binary).expect("JSON"),
        text(case, "json")
    );
}

fn bodies() -> Vec<Json> {
    let announce = AnnounceRequest {
        network_id: "home".into(),
        record: vec![1, 2, 3],
        coordinators: vec!["bob_device_123".into()],
    };
    let lease = AnnounceResponse {
        expire_time: Some(Timestamp::from_ms(SPEC_LAST_SEEN_MS)),
        reannounce_after: 300,
        versions: None,
    };
    let beat = HeartbeatRequest {
        network_id: "home".into(),
        load: 3,
        capacity: 200,
        connected: vec!["alice_device_123".into()],
        disconnected: vec![],
        full: true,
        epoch: u64::MAX,
        seq: 1,
    };
    let pace = HeartbeatResponse {
        next_heartbeat_s: 10,
        expire_time: Some(Timestamp::from_ms(SPEC_LAST_SEEN_MS + 500)),
        want_full: false,
    };
    vec![
        body(
            "the specification's peer",
            "beeline.registry.v1.Peer",
            &spec_peer(),
        ),
        body("a peer in full", "beeline.registry.v1.Peer", &full_peer()),
        body("announce", "beeline.registry.v1.AnnounceRequest", &announce),
        body("lease", "beeline.registry.v1.AnnounceResponse", &lease),
        body(
            "heartbeat",
            "beeline.coordinator.v1.HeartbeatRequest",
            &beat,
        ),
        body("pace", "beeline.coordinator.v1.HeartbeatResponse", &pace),
    ]
}

#[test]
fn rest_bodies_both_ways() {
    let file = pin(
        "rest.json",
        &object! {
            "about": "specification: the example answer as written there; reading it gives the \
                      first body. bodies: json and binary say the same, both ways.",
            "specification": SPEC_PEER,
            "bodies": bodies(),
        },
    );
    for case in cases(&file, "bodies") {
        match text(case, "message") {
            "beeline.registry.v1.Peer" => check_body::<Peer>(case),
            "beeline.registry.v1.AnnounceRequest" => check_body::<AnnounceRequest>(case),
            "beeline.registry.v1.AnnounceResponse" => check_body::<AnnounceResponse>(case),
            "beeline.coordinator.v1.HeartbeatRequest" => check_body::<HeartbeatRequest>(case),
            "beeline.coordinator.v1.HeartbeatResponse" => check_body::<HeartbeatResponse>(case),
            other => panic!("{other} has no check"),
        }
    }
    let read: Peer = serde_json::from_str(text(&file, "specification")).expect("JSON");
    assert_eq!(read, spec_peer());
    // What the specification shows stands in our answer under the same names, word for word.
    let ours: Value = serde_json::from_str(text(&cases(&file, "bodies")[0], "json")).expect("JSON");
    let spec: Value = serde_json::from_str(SPEC_PEER).expect("JSON");
    for (name, value) in spec.as_object().expect("an object") {
        assert_eq!(ours.get(name), Some(value), "{name}");
    }
}

/// One example of the specification: its text, the arm of `PeerItem`, the payload's message, and
/// for each member (but `type`) the place of it, as a path into the proto3 JSON.
struct Example {
    spec: &'static str,
    arm: &'static str,
    message: &'static str,
    fields: &'static [(&'static str, &'static str, &'static str)],
}

/// `in`: the payload itself, or the envelope around it.
const EXAMPLES: [Example; 4] = [
    Example {
        spec: r#"{"type":"PEER_QUERY","lookingFor":"carol_id","requestId":"req_123"}"#,
        arm: "peerQuery",
        message: "beeline.peer.v1.PeerQuery",
        fields: &[
            ("lookingFor", "payload", "/lookingFor"),
            ("requestId", "payload", "/requestId"),
        ],
    },
    Example {
        spec: r#"{"type":"PEER_FOUND","userId":"carol_id",
            "signalAddr":"wss://signal.yourapp.com/carol_dev_456","canRelay":true}"#,
        arm: "peerFound",
        message: "beeline.peer.v1.PeerFound",
        fields: &[
            ("userId", "payload", "/userId"),
            ("signalAddr", "payload", "/signalAddr"),
            ("canRelay", "payload", "/canRelay"),
        ],
    },
    Example {
        spec: r#"{"type":"CHAT_MESSAGE","id":"msg_789","content":"Hello Carol!",
            "timestamp":1642684800,"signature":"ed25519:..."}"#,
        arm: "chatMessage",
        message: "beeline.peer.v1.ChatMessage",
        fields: &[
            ("id", "payload", "/context/messageId"),
            ("content", "payload", "/content"),
            ("timestamp", "payload", "/timestamp"),
            ("signature", "envelope", "/signature"),
        ],
    },
    Example {
        spec: r#"{"type":"ACK","msgId":"789"}"#,
        arm: "ack",
        message: "beeline.peer.v1.Ack",
        fields: &[("msgId", "payload", "/items/0/msgId")],
    },
];

/// Every kind of frame the specification names, and the arm that carries it.
const KINDS: [(&str, &str); 7] = [
    ("PEER_QUERY", "peerQuery"),
    ("PEER_FOUND", "peerFound"),
    ("NETWORK_STATE", "networkState"),
    ("CHAT_MESSAGE", "chatMessage"),
    ("ACK", "ack"),
    ("FILE_CHUNK", "fileChunk"),
    ("STORE_MESSAGE", "storeMessage"),
];

fn example(example: &Example) -> Json {
    let sample = samples::of(example.message);
    let field = |(spec, place, path): &(&str, &str, &str)| {
        object! { "spec": *spec, "in": *place, "path": *path }
    };
    object! { "spec": example.spec, "arm": example.arm, "message": example.message,
    "fields": example.fields.iter().map(field).collect::<Vec<_>>(),
    "payload_json": sample.json.clone(), "envelope": hex(&sample.envelope) }
}

/// `PEER_QUERY` of the arm `peerQuery`.
fn kind_name(arm: &str) -> String {
    let mut out = String::new();
    for c in arm.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn frames() -> Vec<Json> {
    let case = |name: &str, items: Vec<Kind>| {
        let items = items
            .into_iter()
            .map(|kind| PeerItem { kind: Some(kind) })
            .collect();
        let frame = PeerFrame { items };
        object! { "name": name, "json": Json::of(&frame), "binary": hex(frame.encode_to_vec()) }
    };
    let query = samples::of("beeline.peer.v1.PeerQuery").envelope.clone();
    vec![
        case("a query", vec![Kind::PeerQuery(query.clone())]),
        case(
            "two items in one frame",
            vec![Kind::PeerQuery(query), Kind::Relay(vec![1, 2, 3])],
        ),
    ]
}

fn check_example(case: &Value) {
    let spec: Value = serde_json::from_str(text(case, "spec")).expect("JSON");
    let members = spec.as_object().expect("an object");
    assert_eq!(
        spec["type"].as_str().map(str::to_owned),
        Some(kind_name(text(case, "arm")))
    );
    let frame = format!(r#"{{"items":[{{"{}":""}}]}}"#, text(case, "arm"));
    let frame: PeerFrame = serde_json::from_str(&frame).expect("the arm is known");
    assert!(
        frame.items[0].kind.is_some(),
        "{} is an arm",
        text(case, "arm")
    );

    let envelope = bytes(case, "envelope");
    let envelope = crate::pb::envelope::v1::Envelope::decode(envelope.as_slice()).expect("ours");
    let outer = serde_json::to_value(&envelope).expect("JSON");
    let fields = cases(case, "fields");
    assert_eq!(
        fields.len(),
        members.len() - 1,
        "every member but type has its place"
    );
    for field in fields {
        assert!(members.contains_key(text(field, "spec")), "{field}");
        let place = if text(field, "in") == "payload" {
            &case["payload_json"]
        } else {
            &outer
        };
        let value = place.pointer(text(field, "path"));
        assert!(value.is_some_and(|v| !v.is_null()), "{field} is nowhere");
    }
}

#[test]
fn the_data_channel_says_what_the_specification_shows() {
    let signature = crate::envelope::split(&samples::of("beeline.peer.v1.ChatMessage").envelope)
        .map(|raw| format!("ed25519:{}", BASE64.encode(raw.signature)))
        .expect("our own");
    let kinds = KINDS
        .map(|(kind, arm)| object! { "type": kind, "arm": arm })
        .to_vec();
    let file = pin(
        "datachannel.json",
        &object! {
            "about": "examples: each member of the specification's example, and its place in the \
                      proto3 JSON of the payload or of the envelope around it. shown_signature: \
                      the ChatMessage's signature as people see it.",
            "kinds": kinds,
            "examples": EXAMPLES.iter().map(example).collect::<Vec<_>>(),
            "shown_signature": signature,
            "frames": frames(),
        },
    );
    for case in cases(&file, "kinds") {
        assert_eq!(text(case, "type"), kind_name(text(case, "arm")));
    }
    cases(&file, "examples").iter().for_each(check_example);
    for case in cases(&file, "frames") {
        let frame = PeerFrame::decode(bytes(case, "binary").as_slice()).expect("protobuf");
        assert_eq!(serde_json::to_value(&frame).expect("JSON"), case["json"]);
        let read: PeerFrame = serde_json::from_value(case["json"].clone()).expect("JSON");
        assert_eq!(read.encode_to_vec(), bytes(case, "binary"));
    }
}
