//! Envelopes under test: what opens, and everything that must not.

use super::*;
use crate::pb::peer::v1::{ChatMessage, Nack};
use prost::Message as _;

const NETWORK: NetworkFp = NetworkFp([1; 32]);
const AUDIENCE: [u8; 32] = [2; 32];

fn message() -> ChatMessage {
    let context = Context::unordered(NETWORK, AUDIENCE, MessageId([3; 16]));
    ChatMessage {
        context: Some(context.to_pb()),
        content: "Hello Carol!".into(),
        timestamp: 1_642_684_800,
        timestamp_ms: 0,
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn try_open(bytes: &[u8]) -> Result<Verified<ChatMessage>, OpenError> {
    open(bytes, &Expect::new(NETWORK, &[AUDIENCE]))
}

#[test]
fn what_was_signed_opens() {
    let bytes = sign(&key(), &message());
    let verified = try_open(&bytes).expect("valid");
    assert_eq!(verified.payload(), &message());
    assert_eq!(verified.bytes(), bytes);
    assert_eq!(verified.signer(), &key().verify_key());
}

#[test]
fn any_changed_bit_is_refused() {
    let bytes = sign(&key(), &message());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(try_open(&changed).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn any_cut_or_longer_form_is_refused() {
    let bytes = sign(&key(), &message());
    for len in 0..bytes.len() {
        assert!(try_open(&bytes[..len]).is_err(), "cut to {len}");
    }
    // An unknown field, a repeated field, and fields in another order.
    let unknown = [bytes.as_slice(), &[0x28, 1]].concat();
    let repeated = [bytes.as_slice(), &bytes[34..36]].concat();
    let reordered = [&bytes[34..36], &bytes[..34], &bytes[36..]].concat();
    // The type as a two-byte varint says the same number.
    let long_varint = [&bytes[..35], &[bytes[35] | 0x80, 0], &bytes[36..]].concat();
    for other in [unknown, repeated, reordered, long_varint] {
        assert_eq!(try_open(&other), Err(OpenError::Malformed));
    }
}

#[test]
fn another_type_audience_network_signer_or_session_is_refused() {
    let bytes = sign(&key(), &message());
    let audiences = [AUDIENCE];
    let right = Expect::new(NETWORK, &audiences);
    assert_eq!(
        open::<Nack>(&bytes, &right).err(),
        Some(OpenError::WrongType)
    );
    assert_eq!(
        open::<ChatMessage>(&bytes, &Expect::new(NETWORK, &[[9; 32]])).err(),
        Some(OpenError::WrongAudience)
    );
    assert_eq!(
        open::<ChatMessage>(&bytes, &Expect::new(NetworkFp([9; 32]), &audiences)).err(),
        Some(OpenError::WrongNetwork)
    );
    assert_eq!(
        open::<ChatMessage>(&bytes, &right.signer([9; 32])).err(),
        Some(OpenError::WrongSigner)
    );
    assert_eq!(
        open::<ChatMessage>(&bytes, &right.session(SessionId([9; 16]))).err(),
        Some(OpenError::WrongSession)
    );
}

#[test]
fn a_payload_at_the_limit_opens_and_one_more_byte_does_not() {
    let sized = |len: usize| {
        let mut m = message();
        let base = m.encoded_len();
        m.content = "x".repeat(len - base + m.content.len() - 1);
        while m.encoded_len() < len {
            m.content.push('x');
        }
        assert_eq!(m.encoded_len(), len);
        sign(&key(), &m)
    };
    assert!(try_open(&sized(PAYLOAD_LEN_MAX)).is_ok());
    assert_eq!(
        try_open(&sized(PAYLOAD_LEN_MAX + 1)),
        Err(OpenError::Malformed)
    );
}

#[test]
fn a_payload_without_context_is_refused() {
    let bare = ChatMessage {
        context: None,
        ..message()
    };
    assert_eq!(try_open(&sign(&key(), &bare)), Err(OpenError::BadPayload));
    let mut short = message();
    if let Some(context) = short.context.as_mut() {
        context.message_id.pop();
    }
    assert_eq!(try_open(&sign(&key(), &short)), Err(OpenError::BadPayload));
}
