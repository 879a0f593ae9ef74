//! `preimages.json` and `envelopes.json`: the bytes under each signature, one good envelope of each
//! type, and envelopes that must not open.

use super::{array, bytes, cases, pin, text};
use crate::envelope::{Context, Expect, sign, sign_bytes, split};
use crate::id::{EnvelopeHash, MessageId, NetworkFp, SessionId, sha256};
use crate::keys::SigningKey;
use crate::pb::envelope::v1::{Envelope, PayloadType};
use crate::sign::{domain, pre_image, pre_image_in};
use crate::tests::json::{Json, hex, object};
use crate::tests::samples::{self, Sample, chat};
use crate::tests::world::{self, fp, key};
use prost::Message as _;
use serde_json::Value;

#[test]
fn every_type_has_its_pre_image() {
    let case = |sample: &Sample| {
        let image = pre_image(sample.payload_type, &fp(sample.signer), &sample.payload);
        object! { "type_name": sample.payload_type.as_str_name(),
        "type": i64::from(sample.payload_type as i32), "domain": domain(sample.payload_type),
        "signer_fp": hex(fp(sample.signer)), "payload": hex(&sample.payload),
        "pre_image": hex(image) }
    };
    let file = pin(
        "preimages.json",
        &object! {
            "about": "pre_image = u32be(len) domain, u32be(type), u32be(32) signer_fp, u32be(len) \
                      payload.",
            "cases": samples::all().iter().map(case).collect::<Vec<_>>(),
        },
    );
    for case in cases(&file, "cases") {
        let code = u32::try_from(case["type"].as_u64().expect("a number")).expect("small");
        let (fp, payload) = (array(case, "signer_fp"), bytes(case, "payload"));
        let image = pre_image_in(text(case, "domain"), code, &fp, &payload);
        assert_eq!(image, bytes(case, "pre_image"));
        let known = PayloadType::from_str_name(text(case, "type_name")).expect("a type");
        assert_eq!(
            (known as i32 as u32, domain(known)),
            (code, text(case, "domain"))
        );
    }
}

fn good(sample: &Sample) -> Json {
    let image = pre_image(sample.payload_type, &fp(sample.signer), &sample.payload);
    let signature = key(sample.signer).sign(&image);
    object! { "type_name": sample.payload_type.as_str_name(), "message": sample.message,
    "seed": hex([sample.signer; 32]), "network": hex(world::network().0),
    "audience": hex(sample.audience), "payload_json": sample.json.clone(),
    "payload": hex(&sample.payload), "signature": hex(signature),
    "envelope": hex(&sample.envelope), "hash": hex(sha256(&sample.envelope)) }
}

/// What the verifier of a refusal expects; as [`standard`] unless the case says otherwise.
struct Wants {
    payload_type: PayloadType,
    network: [u8; 32],
    audience: [u8; 32],
    signer: Option<[u8; 32]>,
    session: Option<[u8; 16]>,
}

fn standard() -> Wants {
    Wants {
        payload_type: PayloadType::ChatMessage,
        network: world::network().0,
        audience: fp(world::CAROL),
        signer: Some(fp(world::ALICE_DEVICE)),
        session: None,
    }
}

fn refusal(name: &str, envelope: Vec<u8>, wants: Wants, error: &str) -> Json {
    object! { "name": name, "error": error, "expect": object! {
    "type_name": wants.payload_type.as_str_name(), "network": hex(wants.network),
    "audience": hex(wants.audience), "signer": wants.signer.map(hex),
    "session": wants.session.map(hex) }, "envelope": hex(envelope) }
}

fn signer() -> SigningKey {
    key(world::ALICE_DEVICE)
}

/// An envelope with any parts, in the one encoding.
fn assemble(public: &[u8], code: i32, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let (signer_key, payload) = (public.to_vec(), payload.to_vec());
    Envelope {
        signer_key,
        r#type: code,
        payload,
        signature: signature.to_vec(),
    }
    .encode_to_vec()
}

/// Altered encodings of the good envelope: same meaning to a lenient parser, other bytes.
fn other_encodings() -> Vec<Json> {
    let good = sign(&signer(), &chat());
    let raw = split(&good).expect("our own");
    let payload_len = raw.payload.len();
    assert!((0x20..0x100).contains(&payload_len));
    let long_key_len = [&[0x0a, 0xa0, 0x00], &good[2..]].concat();
    let case = |name: &str, bytes: Vec<u8>| refusal(name, bytes, standard(), "malformed");
    vec![
        case("nothing", Vec::new()),
        case("a zero byte behind", [good.as_slice(), &[0]].concat()),
        case(
            "an unknown field behind",
            [good.as_slice(), &[0x28, 1]].concat(),
        ),
        case(
            "an unknown field in front",
            [&[0x28, 1], good.as_slice()].concat(),
        ),
        case("the type twice", [&good[..36], &good[34..]].concat()),
        case(
            "a second signature",
            [good.as_slice(), &good[good.len() - 66..]].concat(),
        ),
        case(
            "type before key",
            [&good[34..36], &good[..34], &good[36..]].concat(),
        ),
        case(
            "the type as two bytes",
            [&good[..35], &[good[35] | 0x80, 0], &good[36..]].concat(),
        ),
        case("the key's length as two bytes", long_key_len),
        case("cut by one byte", good[..good.len() - 1].to_vec()),
        case(
            "a key of 31 bytes",
            assemble(&raw.signer_key[1..], 21, raw.payload, raw.signature),
        ),
        case("a signature of 63 bytes", {
            assemble(raw.signer_key, 21, raw.payload, &raw.signature[1..])
        }),
        case(
            "no payload",
            assemble(raw.signer_key, 21, &[], raw.signature),
        ),
        case(
            "type 0, left out",
            assemble(raw.signer_key, 0, raw.payload, raw.signature),
        ),
        case(
            "an unknown type",
            assemble(raw.signer_key, 127, raw.payload, raw.signature),
        ),
    ]
}

/// The chat message as signed payload bytes, the parts of its envelope given.
fn assemble_chat(code: PayloadType, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    assemble(
        &signer().verify_key().to_bytes(),
        code as i32,
        payload,
        signature,
    )
}

/// Signatures by the right key, over something else than the pre-image of this envelope.
fn other_images() -> Vec<Json> {
    let (signer, payload) = (signer(), chat().encode_to_vec());
    let device = signer.verify_key().fp();
    let over = |name: &str, image: &[u8]| {
        let envelope = assemble_chat(PayloadType::ChatMessage, &payload, &signer.sign(image));
        refusal(name, envelope, standard(), "bad_signature")
    };
    let image = |domain: &str, code: u32, fp: &[u8; 32]| pre_image_in(domain, code, fp, &payload);
    let (domain, other) = ("beeline/message/v1", fp(world::CAROL_DEVICE));
    vec![
        over(
            "signed in the domain of ACK",
            &image("beeline/ack/v1", 21, &device),
        ),
        over(
            "signed in the domain of version 2",
            &image("beeline/message/v2", 21, &device),
        ),
        over("signed without a domain", &image("", 21, &device)),
        over("signed as another type", &image(domain, 22, &device)),
        over("signed for another signer", &image(domain, 21, &other)),
        over("the payload signed bare", &payload),
    ]
}

/// The good envelope with its signature or payload altered afterwards.
fn bad_signatures() -> Vec<Json> {
    let payload = chat().encode_to_vec();
    let good = sign(&signer(), &chat());
    let s_at = good.len() - 32;
    let altered = |change: fn(&mut [u8], usize)| {
        let mut bytes = good.clone();
        change(&mut bytes, s_at);
        bytes
    };
    let signature = &good[s_at - 32..];
    let longer = [payload.as_slice(), &[0xf8, 0x07, 1]].concat();
    let longer = assemble_chat(PayloadType::ChatMessage, &longer, signature);
    let as_ack = assemble_chat(PayloadType::Ack, &payload, signature);
    let wants_ack = Wants {
        payload_type: PayloadType::Ack,
        ..standard()
    };
    let case = |name: &str, bytes: Vec<u8>| refusal(name, bytes, standard(), "bad_signature");
    vec![
        case("an unknown field in the payload after signing", longer),
        case("S + L", altered(add_l)),
        case(
            "S all ones",
            altered(|bytes, s_at| bytes[s_at..].fill(0xff)),
        ),
        case(
            "R of small order",
            altered(|bytes, s_at| {
                bytes[s_at - 32..s_at].fill(0);
                bytes[s_at - 32] = 1;
            }),
        ),
        refusal("relabelled as ACK", as_ack, wants_ack, "bad_signature"),
    ]
}

/// Adds L to the S of an envelope's signature, its last 32 bytes.
fn add_l(envelope: &mut [u8], s_at: usize) {
    const L: [u8; 16] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14,
    ];
    let mut carry = 0u16;
    for (i, byte) in envelope[s_at..].iter_mut().enumerate() {
        let l = if i == 31 {
            0x10
        } else {
            *L.get(i).unwrap_or(&0)
        };
        carry += u16::from(*byte) + u16::from(l);
        *byte = carry as u8;
        carry >>= 8;
    }
}

/// Keys nobody may sign with; the signatures fit a lax verifier's equation (R = rB, S = r).
fn weak_keys() -> Vec<Json> {
    use curve25519_dalek::{constants::ED25519_BASEPOINT_POINT as B, scalar::Scalar};
    let r = Scalar::from_bytes_mod_order([0x32; 32]);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice((r * B).compress().as_bytes());
    signature[32..].copy_from_slice(r.as_bytes());
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xee, 0x7f);
    let case = |name: &str, public: [u8; 32]| {
        let code = PayloadType::ChatMessage as i32;
        let envelope = assemble(&public, code, &chat().encode_to_vec(), &signature);
        refusal(
            name,
            envelope,
            Wants {
                signer: None,
                ..standard()
            },
            "bad_signature",
        )
    };
    vec![
        case("a key of small order, equation holds", neutral),
        case(
            "a key of small order, not canonical, equation holds",
            not_canonical,
        ),
        case("a key that is no point", [2; 32]),
    ]
}

/// Well signed, but not what this verifier waits for.
fn not_for_us() -> Vec<Json> {
    let good = sign(&signer(), &chat());
    let nack = samples::of("beeline.peer.v1.Nack").envelope.clone();
    let goodbye = samples::of("beeline.peer.v1.Goodbye").envelope.clone();
    let on_link = |session: u8| Wants {
        payload_type: PayloadType::Goodbye,
        audience: fp(world::CAROL_DEVICE),
        session: Some([session; 16]),
        ..standard()
    };
    let stranger = sign(&key(world::STRANGER), &chat());
    let elsewhere = Wants {
        network: fp(world::STRANGER),
        ..standard()
    };
    let device = Wants {
        audience: fp(world::CAROL_DEVICE),
        ..standard()
    };
    let no_session = Wants {
        session: Some([0x5e; 16]),
        ..standard()
    };
    vec![
        refusal("a NACK", nack, standard(), "wrong_type"),
        refusal("by somebody else", stranger, standard(), "wrong_signer"),
        refusal(
            "of another network",
            good.clone(),
            elsewhere,
            "wrong_network",
        ),
        refusal(
            "for the user, not this device",
            good.clone(),
            device,
            "wrong_audience",
        ),
        refusal("of another link", goodbye, on_link(0x5f), "wrong_session"),
        refusal("of no link", good, no_session, "wrong_session"),
    ]
}

/// Well signed payloads that are none.
fn bad_payloads() -> Vec<Json> {
    let context = Context::unordered(world::network(), fp(world::CAROL), MessageId([3; 16]));
    let with = |change: fn(&mut crate::pb::envelope::v1::Context)| {
        let mut message = chat();
        let mut pb = context.to_pb();
        change(&mut pb);
        message.context = Some(pb);
        message.encode_to_vec()
    };
    let case = |name: &str, payload: &[u8]| {
        let envelope = sign_bytes(&signer(), PayloadType::ChatMessage, payload);
        refusal(name, envelope, standard(), "bad_payload")
    };
    let bare = crate::pb::peer::v1::ChatMessage {
        context: None,
        ..chat()
    };
    let mut not_utf8 = chat().encode_to_vec();
    let at = not_utf8
        .windows(5)
        .position(|w| w == b"Hello")
        .expect("the text");
    not_utf8[at] = 0xff;
    vec![
        case("no context", &bare.encode_to_vec()),
        case("a network of 31 bytes", &with(|c| c.network.truncate(31))),
        case("an audience of 33 bytes", &with(|c| c.audience.push(0))),
        case(
            "a message id of 15 bytes",
            &with(|c| c.message_id.truncate(15)),
        ),
        case(
            "a link session of 1 byte",
            &with(|c| c.link_session = vec![1]),
        ),
        case("text that is not UTF-8", &not_utf8),
        case("no protobuf", &[0xff; 40]),
    ]
}

/// Checks one refusal through the public interface.
fn check_refusal(case: &Value, openers: &[Sample]) {
    let expect = &case["expect"];
    let audiences = [array(expect, "audience")];
    let mut want = Expect::new(NetworkFp(array(expect, "network")), &audiences);
    if !expect["signer"].is_null() {
        want = want.signer(array(expect, "signer"));
    }
    if !expect["session"].is_null() {
        want = want.session(SessionId(array(expect, "session")));
    }
    let wanted = PayloadType::from_str_name(text(expect, "type_name")).expect("a type");
    let opener = openers
        .iter()
        .find(|s| s.payload_type == wanted)
        .expect("an opener");
    let error = (opener.open)(&bytes(case, "envelope"), &want)
        .err()
        .map(world::open_error);
    assert_eq!(error, case["error"].as_str(), "{}", text(case, "name"));
}

#[test]
fn envelopes_open_or_are_refused() {
    let parts = [
        other_encodings(),
        other_images(),
        bad_signatures(),
        weak_keys(),
        not_for_us(),
        bad_payloads(),
    ];
    let file = pin(
        "envelopes.json",
        &object! {
            "about": "good: signing payload with seed gives exactly envelope; payload_json is the \
                      payload's proto3 JSON. refused: opening envelope with expect fails.",
            "good": samples::all().iter().map(good).collect::<Vec<_>>(),
            "refused": parts.into_iter().flatten().collect::<Vec<Json>>(),
        },
    );
    let openers = samples::all();
    for case in cases(&file, "good") {
        let kind = PayloadType::from_str_name(text(case, "type_name")).expect("a type");
        let key = SigningKey::from_seed(&array(case, "seed"));
        let (payload, envelope) = (bytes(case, "payload"), bytes(case, "envelope"));
        assert_eq!(sign_bytes(&key, kind, &payload), envelope);
        assert_eq!(
            split(&envelope).expect("good").signature,
            &array::<64>(case, "signature")
        );
        assert_eq!(
            EnvelopeHash(sha256(&envelope)),
            EnvelopeHash(array(case, "hash"))
        );
        let audiences = [array(case, "audience")];
        let want = Expect::new(NetworkFp(array(case, "network")), &audiences);
        let opener = openers
            .iter()
            .find(|s| s.payload_type == kind)
            .expect("an opener");
        let verdict = (opener.open)(&envelope, &want.signer(key.verify_key().fp()));
        assert_eq!(verdict, Ok(()), "{}", text(case, "message"));
    }
    for case in cases(&file, "refused") {
        check_refusal(case, openers);
    }
}
