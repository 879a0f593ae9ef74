//! Properties: signatures bind bytes, type and purpose (T-SIG-1, T-SIG-4), and nothing that reads
//! what a peer sent can be made to panic.

use super::samples::{self, Sample};
use super::world::{self, fp, key, seal_secret};
use crate::chain::{Descriptor, DeviceList, VerifiedChain};
use crate::envelope::{Expect, OpenError, sign, sign_bytes, split};
use crate::id::{DeviceFp, Label, MessageId};
use crate::invite::InviteLink;
use crate::keys::{SigningKey, VerifyKey};
use crate::limits;
use crate::origin::normalize;
use crate::parcel::{Content, Header, Kind, Parcel, ParcelError, seal};
use crate::pb::envelope::v1::{self as pb, PayloadType};
use crate::pb::identity::v1 as identity;
use crate::pb::peer::v1::{ChatMessage, PeerFrame};
use crate::pb::registry::v1::Peer;
use crate::pb::signal::v1::SignalFrame;
use crate::sign::{domain, pre_image_in};
use crate::time::Timestamp;
use proptest::prelude::*;
use prost::Message as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// Runs of each property: a failing input is printed small, and becomes a test of its own.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Lengths tried one by one: beyond every fixed-size part, and every one-byte length.
const LENGTHS: std::ops::RangeInclusive<usize> = 0..=600;

/// An envelope with the given parts, in the one encoding.
fn assemble(signer: &SigningKey, code: PayloadType, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    pb::Envelope {
        signer_key: signer.verify_key().to_bytes().to_vec(),
        r#type: code as i32,
        payload: payload.to_vec(),
        signature: signature.to_vec(),
    }
    .encode_to_vec()
}

/// Offers bytes to a sample's own verifier, which waits for exactly this context.
fn offer(sample: &Sample, bytes: &[u8]) -> Result<(), OpenError> {
    let audiences = [sample.audience];
    (sample.open)(bytes, &Expect::new(world::network(), &audiences))
}

/// The records (tag and value) of a protobuf message, as ranges of its bytes.
fn records(payload: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut rest = payload;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let start = payload.len() - rest.len();
        let (tag, wire) = prost::encoding::decode_key(&mut rest).expect("our own");
        let context = prost::encoding::DecodeContext::default();
        prost::encoding::skip_field(wire, tag, &mut rest, context).expect("our own");
        out.push(start..payload.len() - rest.len());
    }
    out
}

/// The first record's tag as two bytes: the same number, not minimal.
fn long_tag(payload: &[u8]) -> Vec<u8> {
    [&[payload[0] | 0x80, 0], &payload[1..]].concat()
}

proptest! {
    #![proptest_config(config())]

    /// T-SIG-1: what means the same to a protobuf reader is still not what was signed.
    #[test]
    fn another_encoding_of_the_payload_is_not_signed(
        which in 0..samples::types().len(),
        pick in any::<(proptest::sample::Index, proptest::sample::Index)>(),
        field in 16u32..0x1fff_ffff,
        value in any::<u64>(),
    ) {
        let sample = &samples::all()[which];
        let signer = key(sample.signer);
        let raw = split(&sample.envelope).expect("our own");
        let parts = records(raw.payload);
        let (a, b) = (pick.0.get(&parts).clone(), pick.1.get(&parts).clone());

        let mut unknown = raw.payload.to_vec();
        prost::encoding::uint64::encode(field, &value, &mut unknown);
        let repeated = [raw.payload, &raw.payload[a.clone()]].concat();
        let mut others = vec![unknown, repeated, long_tag(raw.payload)];
        if a.end <= b.start {
            let payload = raw.payload;
            let reordered = [
                &payload[..a.start], &payload[b.clone()], &payload[a.end..b.start],
                &payload[a.clone()], &payload[b.end..],
            ];
            others.push(reordered.concat());
        }
        for other in others {
            prop_assert_ne!(&other, raw.payload);
            let envelope = assemble(&signer, sample.payload_type, &other, raw.signature);
            prop_assert_eq!(offer(sample, &envelope), Err(OpenError::BadSignature));
        }
    }

    /// One flipped bit anywhere in an envelope of any type is noticed.
    #[test]
    fn any_flipped_bit_is_noticed(
        which in 0..samples::types().len(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u32,
    ) {
        let sample = &samples::all()[which];
        let mut bytes = sample.envelope.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(offer(sample, &bytes).is_err(), "byte {} bit {}", at, bit);
    }

    /// A well-signed payload of any bytes opens or is refused, for every type.
    #[test]
    fn signed_nonsense_does_not_panic(
        which in 0..samples::types().len(),
        payload in proptest::collection::vec(any::<u8>(), 1..200),
    ) {
        let sample = &samples::all()[which];
        let envelope = sign_bytes(&key(sample.signer), sample.payload_type, &payload);
        let _ = offer(sample, &envelope);
        let chain = identity::Chain {
            descriptor: sign_bytes(&key(1), PayloadType::NetworkDescriptor, &payload),
            ..world::chain()
        };
        let _ = VerifiedChain::open(&chain.encode_to_vec(), world::network());
    }

    /// A parcel sealed well around any plaintext opens or is refused.
    #[test]
    fn sealed_nonsense_does_not_panic(plain in proptest::collection::vec(any::<u8>(), 0..100)) {
        let parcel = seal_plain(&plain);
        let opened = Parcel::parse(&parcel).and_then(|p| p.open(&seal_secret(0x16)));
        prop_assert!(matches!(
            opened,
            Ok(_) | Err(ParcelError::BadContent | ParcelError::Malformed)
        ));
    }

    /// Anything goes in; nothing but a verdict comes out.
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        feed_bytes(&bytes);
    }

    /// Likewise for valid objects with some bytes overwritten, which reach deeper.
    #[test]
    fn damaged_objects_do_not_panic(
        which in 0..4usize,
        hits in proptest::collection::vec(any::<(proptest::sample::Index, u8)>(), 1..6),
    ) {
        let mut bytes = valid_objects().swap_remove(which);
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        feed_bytes(&bytes);
    }

    /// Text of any kind.
    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,80}") {
        feed_text(&text);
    }

    /// Text that comes near what is read: JSON, times, links, origins.
    #[test]
    fn near_text_does_not_panic(
        json in json_like(),
        time in concat!(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}",
            r"(\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})?",
        ),
        link in r"https?://[a-z]{1,8}/join#[A-Za-z0-9_-]{0,120}",
        url in r"(wss?|HTTPS?)://(\[[0-9a-f:]{0,20}\]|[a-zA-Z.-]{0,12})(:[0-9]{0,6})?[/?#@a-z]{0,5}",
    ) {
        feed_text(&json);
        feed_text(&time);
        feed_text(&link);
        feed_text(&url);
    }

    /// Every time of the years 1 to 9999 survives its text.
    #[test]
    fn times_survive_their_text(
        seconds in -62_135_596_800i64..253_402_300_800,
        nanos in 0..1_000_000_000i32,
    ) {
        let at = Timestamp { seconds, nanos };
        let text = serde_json::to_string(&at).expect("JSON");
        prop_assert!(text.ends_with("Z\""));
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&text).expect("our own"), at);
    }
}

/// Objects with members of a frame and values of every kind, some malformed.
fn json_like() -> impl Strategy<Value = String> {
    let name = r"(type|from|sdpMLineIndex|sdp_mid|parcel|nonce|ready)";
    let text = r#""[A-Za-z0-9+/=_\\-]{0,8}""#;
    let value = format!(r"({text}|-?[0-9]{{1,20}}(\.[0-9])?|true|null|\[\]|\{{\}})");
    let pattern = format!(r#"\{{("{name}":{value},?){{0,4}}\}}"#);
    proptest::string::string_regex(&pattern).expect("a regular expression")
}

/// Seals a plaintext as it is, padding and lengths included, to Carol's control key.
fn seal_plain(plain: &[u8]) -> Vec<u8> {
    use hpke::{Deserializable as _, Serializable as _, kem::Kem as _};
    type Suite = hpke::kem::X25519HkdfSha256;
    let header = pb::ParcelHeader {
        version: 1,
        network: world::network().to_vec(),
        from_device: fp(world::ALICE_DEVICE).to_vec(),
        to_device: fp(world::CAROL_DEVICE).to_vec(),
        kind: Kind::Control as i32,
        key_id: seal_secret(0x16).public().key_id().to_vec(),
        ttl_s: 60,
    }
    .encode_to_vec();
    let secret = <Suite as hpke::Kem>::PrivateKey::from_bytes(&[0x16; 32]).expect("32 bytes");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (enc, ciphertext) =
        hpke::single_shot_seal_with_rng::<hpke::aead::AesGcm256, hpke::kdf::HkdfSha256, Suite>(
            &hpke::OpModeS::Base,
            &Suite::sk_to_pk(&secret),
            crate::parcel::INFO,
            plain,
            &header,
            &mut rng,
        )
        .expect("a good key");
    let enc = enc.to_bytes().to_vec();
    let parcel = pb::Parcel {
        header,
        enc,
        ciphertext,
    };
    parcel.encode_to_vec()
}

/// Gives `bytes` to everything that reads bytes from a peer.
fn feed_bytes(bytes: &[u8]) {
    let network = world::network();
    let _ = split(bytes);
    for sample in samples::all() {
        let _ = offer(sample, bytes);
    }
    let _ = Parcel::parse(bytes).map(|parcel| (parcel.id(), parcel.open(&seal_secret(0x16))));
    let _ = VerifiedChain::open(bytes, network);
    let _ = Descriptor::open(bytes, network);
    let user = key(world::ALICE).verify_key();
    let _ = DeviceList::open(bytes, network, &user);
    let _ = VerifyKey::from_bytes(bytes);
    let _ = SignalFrame::decode(bytes);
    let _ = PeerFrame::decode(bytes);
    let _ = Peer::decode(bytes);
    let _ = serde_json::from_slice::<SignalFrame>(bytes);
}

/// Gives `text` to everything that reads text.
fn feed_text(text: &str) {
    let _ = Label::new(text);
    let _ = InviteLink::parse(text);
    let _ = MessageId::from_text(text);
    let _ = normalize(text);
    let _ = text.parse::<DeviceFp>();
    let quoted = serde_json::to_string(text).expect("JSON");
    for json in [text, quoted.as_str()] {
        let _ = serde_json::from_str::<Timestamp>(json);
        let _ = serde_json::from_str::<SignalFrame>(json);
        let _ = serde_json::from_str::<Peer>(json);
        let _ = serde_json::from_str::<ChatMessage>(json);
    }
}

/// An envelope, a parcel, a chain and a frame.
fn valid_objects() -> Vec<Vec<u8>> {
    let envelope = sign(&key(world::ALICE_DEVICE), &samples::chat());
    let query = crate::pb::peer::v1::PeerItem {
        kind: Some(crate::pb::peer::v1::peer_item::Kind::PeerQuery(
            envelope.clone(),
        )),
    };
    vec![
        envelope,
        seal_plain(&[0; 40]),
        world::chain().encode_to_vec(),
        PeerFrame { items: vec![query] }.encode_to_vec(),
    ]
}

#[test]
fn every_length_up_to_600_gets_a_verdict() {
    let valid = valid_objects();
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    for len in LENGTHS {
        let mut random = vec![0; len];
        rng.fill_bytes(&mut random);
        feed_bytes(&random);
        feed_text(&"a".repeat(len));
        for fill in [0x00, 0x0a, 0x80, 0xff] {
            feed_bytes(&vec![fill; len]);
        }
        for object in &valid {
            let mut cut = object.clone();
            cut.resize(len, 0);
            feed_bytes(&cut);
        }
    }
}

/// T-SIG-4: each signed type offered to the verifier of every type.
#[test]
fn every_type_opens_for_its_own_verifier_only() {
    let all = samples::all();
    for signed in all {
        for verifier in all {
            let audiences = [signed.audience];
            let expect = Expect::new(world::network(), &audiences);
            let verdict = (verifier.open)(&signed.envelope, &expect);
            let want = match signed.payload_type == verifier.payload_type {
                true => Ok(()),
                false => Err(OpenError::WrongType),
            };
            assert_eq!(verdict, want, "{} to {}", signed.message, verifier.message);
        }
    }
}

/// T-SIG-4: each signature made for another purpose, by domain, by type, or by relabelling.
#[test]
fn no_signature_serves_another_purpose() {
    let all = samples::all();
    for sample in all {
        let signer = key(sample.signer);
        let (own, own_fp) = (sample.payload_type, fp(sample.signer));
        for other in all.iter().map(|s| s.payload_type).filter(|t| *t != own) {
            let by_domain =
                pre_image_in(domain(other), own as i32 as u32, &own_fp, &sample.payload);
            let by_type = pre_image_in(domain(own), other as i32 as u32, &own_fp, &sample.payload);
            for image in [by_domain, by_type] {
                let envelope = assemble(&signer, own, &sample.payload, &signer.sign(&image));
                assert_eq!(
                    offer(sample, &envelope),
                    Err(OpenError::BadSignature),
                    "{other:?}"
                );
            }
        }
        let signature = split(&sample.envelope).expect("our own").signature;
        for verifier in all.iter().filter(|v| v.payload_type != own) {
            let relabelled = assemble(&signer, verifier.payload_type, &sample.payload, signature);
            assert_eq!(offer(verifier, &relabelled), Err(OpenError::BadSignature));
        }
    }
}

/// A descriptor of exactly the length allowed, most of it origins.
fn longest_descriptor() -> Vec<u8> {
    let with = |len: usize| {
        let origin = |len: usize| format!("https://{}", "a".repeat(len));
        let payload = identity::NetworkDescriptor {
            version: u64::MAX,
            gateway_origins: vec![origin(240)],
            registry_origins: vec![origin(len)],
            ..world::descriptor()
        };
        sign(&key(world::AUTHORITY), &payload)
    };
    let fits = |len: &usize| with(*len).len() <= limits::DESCRIPTOR_LEN_MAX;
    with(
        (0..limits::ORIGIN_LEN_MAX - 8)
            .rev()
            .find(fits)
            .expect("some length fits"),
    )
}

/// The longest chain, and beside the longest text, still makes one parcel.
#[test]
fn the_longest_first_message_fits_one_parcel() {
    let label = |n: usize| format!("{n:064}");
    let descriptor = longest_descriptor();
    assert_eq!(descriptor.len(), limits::DESCRIPTOR_LEN_MAX);
    let mut membership = world::membership();
    membership.handle = label(2);
    (
        membership.serial,
        membership.issued_ms,
        membership.expires_ms,
    ) = (u64::MAX, u64::MAX, u64::MAX);
    let mut list = world::device_list(16);
    list.version = u64::MAX;
    for (n, device) in list.devices.iter_mut().enumerate() {
        device.label = label(n);
    }
    let chain = identity::Chain {
        descriptor,
        membership: sign(&key(world::REGISTRAR), &membership),
        device_list: sign(&key(world::ALICE), &list),
    }
    .encode_to_vec();
    assert!(
        VerifiedChain::open(&chain, world::network()).is_ok(),
        "{} bytes",
        chain.len()
    );

    let mut chat = samples::chat();
    chat.content = "x".repeat(limits::TEXT_LEN_MAX);
    (chat.timestamp, chat.timestamp_ms) = (u64::MAX, 999);
    chat.context = world::ordered_context(fp(world::CAROL), u64::MAX);
    let envelope = sign(&key(world::ALICE_DEVICE), &chat);
    let longest = vec![0; limits::CHAIN_LEN_MAX];
    let header = Header {
        network: world::network(),
        from: DeviceFp(fp(world::ALICE_DEVICE)),
        to: DeviceFp(fp(world::CAROL_DEVICE)),
        kind: Kind::Message,
        key_id: seal_secret(0x26).public().key_id(),
        ttl_s: limits::PARCEL_TTL_MAX_S,
    };
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let content = Content {
        envelope,
        chain: longest,
    };
    let sealed = seal(&header, &seal_secret(0x26).public(), &content, &mut rng).expect("it fits");
    assert_eq!(
        Parcel::parse(&sealed).and_then(|p| p.open(&seal_secret(0x26))),
        Ok(content)
    );
}
