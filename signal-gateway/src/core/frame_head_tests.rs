//! Heads under test: what is read, what is refused, and that no reader of the same bytes can see
//! another sender than the gateway checked.

use super::*;
use beeline_proto::pb::signal::v1::SignalFrame;
use proptest::prelude::*;
use prost::Message as _;

fn text(json: &str) -> Result<Head, HeadError> {
    parse(Form::Text, json.as_bytes())
}

fn head(kind: Type, from: &str, to: &str) -> Head {
    Head {
        kind,
        from: Name::new(from).expect("name"),
        to: Name::new(to).expect("name"),
    }
}

#[test]
fn the_specifications_frame_is_read() {
    let offer = r#"{"type": "OFFER", "from": "alice_device_123", "to": "carol_device_456",
        "sdp": "v=0\r\no=- \"x\" {\u0007}"}"#;
    let want = head(Type::Offer, "alice_device_123", "carol_device_456");
    assert_eq!(text(offer), Ok(want));
    assert_eq!(
        text(r#"{"to":"b","from":"a","type":3}"#),
        Ok(head(Type::IceCandidate, "a", "b"))
    );
    assert_eq!(
        text(r#"{"type":"HELLO","from":null}"#),
        Ok(head(Type::Hello, "", ""))
    );
    let nested = r#"{"x":{"from":"b","type":[{"to":1}]},"type":"ANSWER","from":"a","to":"c"}"#;
    assert_eq!(text(nested), Ok(head(Type::Answer, "a", "c")));
}

#[test]
fn a_key_twice_is_refused_in_any_spelling() {
    for doubled in [
        r#"{"type":"OFFER","from":"a","from":"b","to":"c"}"#,
        r#"{"type":"OFFER","from":"a","fr\u006fm":"b","to":"c"}"#,
        r#"{"type":"OFFER","\u0066rom":"a","from":"a","to":"c"}"#,
        r#"{"type":"OFFER","from":"a","From":"b","to":"c"}"#,
        r#"{"FROM":"b","type":"OFFER","to":"c"}"#,
        r#"{"type":"OFFER","type":"ANSWER","from":"a","to":"c"}"#,
        r#"{"type":"OFFER","from":"a","to":"c","to":"d"}"#,
        r#"{"type":"OFFER","from":"a","to":"c","sdp":"1","sdp":"2"}"#,
        r#"{"type":"OFFER","from":"a","to":"c","sdpMid":"1","sdp_mid":"2"}"#,
        r#"{"type":"OFFER","from":null,"from":"b","to":"c"}"#,
    ] {
        assert_eq!(text(doubled), Err(HeadError::Twice), "{doubled}");
    }
    let mut doubled = SignalFrame {
        r#type: Type::Offer as i32,
        from: "a".into(),
        ..SignalFrame::default()
    }
    .encode_to_vec();
    doubled.extend_from_slice(&[0x12, 1, b'b']);
    assert_eq!(parse(Form::Binary, &doubled), Err(HeadError::Twice));
    // The same key, its tag in two bytes instead of one.
    doubled.truncate(doubled.len() - 3);
    doubled.extend_from_slice(&[0x92, 0x00, 1, b'b']);
    assert_eq!(parse(Form::Binary, &doubled), Err(HeadError::Twice));
}

#[test]
fn malformed_frames_are_refused() {
    for (frame, want) in [
        ("", HeadError::Malformed),
        ("[]", HeadError::Malformed),
        ("\"OFFER\"", HeadError::Malformed),
        (
            r#"{"type":"OFFER","from":"a","to":"b"} {}"#,
            HeadError::Malformed,
        ),
        (
            r#"{"type":"OFFER","from":"a","to":"b""#,
            HeadError::Malformed,
        ),
        (
            r#"{"type":"OFFER","from":"a","to":"b",}"#,
            HeadError::Malformed,
        ),
        (r#"{type:"OFFER"}"#, HeadError::Malformed),
        (r#"{"type":"OFFER","x":NaN}"#, HeadError::Malformed),
        (
            r#"{"type":"OFFER","from":["a"],"to":"b"}"#,
            HeadError::Malformed,
        ),
        (
            r#"{"type":"OFFER","from":true,"to":"b"}"#,
            HeadError::Malformed,
        ),
        (r#"{"from":"a","to":"b"}"#, HeadError::UnknownType),
        (
            r#"{"type":"offer","from":"a","to":"b"}"#,
            HeadError::UnknownType,
        ),
        (
            r#"{"type":"UNSPECIFIED","from":"a","to":"b"}"#,
            HeadError::UnknownType,
        ),
        (r#"{"type":99,"from":"a","to":"b"}"#, HeadError::UnknownType),
        (
            r#"{"type":"OFFER","from":"a b","to":"b"}"#,
            HeadError::BadName,
        ),
        (r#"{"type":"OFFER","from":7,"to":"b"}"#, HeadError::BadName),
    ] {
        assert_eq!(text(frame), Err(want), "{frame}");
    }
    for (frame, want) in [
        (&[][..], HeadError::UnknownType),
        (&[0x08, 99], HeadError::UnknownType),
        (&[0x08], HeadError::Malformed),
        (&[0x00, 1], HeadError::Malformed),
        (&[0x0a, 1, 1], HeadError::Malformed),
        (&[0x12, 5, b'a'], HeadError::Malformed),
        (&[0x12, 2, 0xff, 0xfe], HeadError::BadName),
        (&[0xa3, 0x06, 0xa4, 0x06], HeadError::Malformed),
        (
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            HeadError::Malformed,
        ),
    ] {
        assert_eq!(parse(Form::Binary, frame), Err(want), "{frame:?}");
    }
}

#[test]
fn every_field_of_the_schema_is_known() {
    // A frame with every field set, written as JSON, names only fields of the table.
    let json = serde_json::to_value(SignalFrame {
        versions: Some(beeline_proto::pb::identity::v1::Versions::default()),
        ..SignalFrame::default()
    })
    .expect("json");
    for key in json.as_object().expect("object").keys() {
        assert!(
            FIELDS.iter().any(|(name, _)| name == key),
            "{key} is not in the table"
        );
    }
    assert!(FIELDS.iter().all(|(_, field)| *field < 32));
}

fn arb_frame() -> impl Strategy<Value = SignalFrame> {
    let label = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}";
    (
        1..=8i32,
        label,
        label,
        ".{0,80}",
        any::<u32>(),
        any::<Vec<u8>>(),
    )
        .prop_map(|(kind, from, to, sdp, index, parcel)| SignalFrame {
            r#type: kind,
            from,
            to,
            sdp,
            sdp_m_line_index: index,
            parcel,
            ..SignalFrame::default()
        })
}

proptest! {
    /// Both forms of any frame give the head a full parser gives.
    #[test]
    fn heads_agree_with_the_full_parser(frame in arb_frame()) {
        let want = head(frame.r#type(), &frame.from, &frame.to);
        let json = serde_json::to_vec(&frame).expect("json");
        prop_assert_eq!(parse(Form::Text, &json), Ok(want));
        prop_assert_eq!(parse(Form::Binary, &frame.encode_to_vec()), Ok(want));
    }

    /// Random bytes never panic, and whatever is accepted as protobuf reads the same in prost.
    #[test]
    fn accepted_bytes_mean_the_same_to_prost(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let _ = parse(Form::Text, &bytes);
        if let Ok(head) = parse(Form::Binary, &bytes)
            && let Ok(frame) = SignalFrame::decode(bytes.as_slice())
        {
            prop_assert_eq!(head.kind, frame.r#type());
            prop_assert_eq!(head.from.as_str(), frame.from.as_str());
            prop_assert_eq!(head.to.as_str(), frame.to.as_str());
        }
    }
}
