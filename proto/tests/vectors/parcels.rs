//! `parcels.json`: sealing with known randomness, opening, ids, and parcels that must not open.

use super::hpke_by_hand::{Shared, derive_secret, schedule, x25519, x25519_public};
use super::{array, bytes, cases, pin, text};
use crate::envelope::sign;
use crate::id::{DeviceFp, KeyId, NetworkFp, sha256};
use crate::keys::{SealPublic, SealSecret};
use crate::limits::{FILE_PART_LEN, PARCEL_BUCKETS, PARCEL_TTL_MAX_S};
use crate::parcel::{Content, Header, INFO, Kind, Parcel, SealError, seal};
use crate::pb::envelope::v1 as pb;
use crate::pb::peer::v1::FilePart;
use crate::tests::json::{Json, hex, object};
use crate::tests::samples::chat;
use crate::tests::world::{self, fp, key, seal_secret};
use curve25519_dalek::constants::X25519_LOW_ORDER_POINTS;
use prost::Message as _;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use std::convert::Infallible;

/// Randomness that is known: HPKE draws exactly 32 bytes, once, as `ikm` of DeriveKeyPair.
struct Known(Option<[u8; 32]>);

impl TryRng for Known {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("sealing draws bytes only")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("sealing draws bytes only")
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        dst.copy_from_slice(&self.0.take().expect("sealing draws once"));
        Ok(())
    }
}

impl TryCryptoRng for Known {}

/// The randomness of every case.
const IKM: [u8; 32] = [0xe0; 32];

fn header(kind: Kind) -> Header {
    let secret = match kind {
        Kind::Message => world::CAROL_BUNDLE,
        _ => world::CAROL_CONTROL,
    };
    Header {
        network: world::network(),
        from: DeviceFp(fp(world::ALICE_DEVICE)),
        to: DeviceFp(fp(world::CAROL_DEVICE)),
        kind,
        key_id: seal_secret(secret).public().key_id(),
        ttl_s: 86_400,
    }
}

fn header_pb(header: &Header) -> pb::ParcelHeader {
    pb::ParcelHeader {
        version: 1,
        network: header.network.to_vec(),
        from_device: header.from.to_vec(),
        to_device: header.to.to_vec(),
        kind: header.kind as i32,
        key_id: header.key_id.to_vec(),
        ttl_s: header.ttl_s,
    }
}

fn secret_byte(kind: Kind) -> u8 {
    if kind == Kind::Message {
        world::CAROL_BUNDLE
    } else {
        world::CAROL_CONTROL
    }
}

/// A sealed case. Large parcels are given by length and id, which hashes every byte of them.
fn sealed(name: &str, kind: Kind, content: &Content) -> Json {
    let (header, secret) = (header(kind), [secret_byte(kind); 32]);
    let recipient = x25519_public(secret);
    let bytes = seal(
        &header,
        &SealPublic(recipient),
        content,
        &mut Known(Some(IKM)),
    );
    let bytes = bytes.expect("it fits");
    let parcel = pb::Parcel::decode(bytes.as_slice()).expect("our own");
    let id = Parcel::parse(&bytes).expect("our own").id();
    let sk_e = derive_secret(&IKM);
    let enc = x25519_public(sk_e);
    assert_eq!(
        parcel.enc, enc,
        "the library derives the ephemeral key from 32 bytes"
    );
    let shared = schedule(&x25519(sk_e, recipient), &enc, &recipient, INFO);
    let small = bytes.len() <= 1_024;
    object! {
        "name": name, "header_json": Json::of(&header_pb(&header)), "header": hex(&parcel.header),
        "recipient_secret": hex(secret), "recipient_public": hex(recipient),
        "ikm_e": hex(IKM), "sk_e": hex(sk_e), "enc": hex(enc),
        "shared_secret": hex(shared.shared_secret), "key": hex(shared.key),
        "base_nonce": hex(shared.base_nonce), "envelope": hex(&content.envelope),
        "chain": hex(&content.chain), "length": bytes.len() as i64, "id": hex(id.0),
        "ciphertext": small.then(|| hex(&parcel.ciphertext)), "parcel": small.then(|| hex(&bytes)),
    }
}

/// A part of a file of so many bytes.
fn part(len: usize) -> Content {
    let part = FilePart {
        offer_id: vec![0xf1; 16],
        index: (1 << 24) - 1,
        at: 4 * FILE_PART_LEN as u32,
        data: vec![0xda; len],
        closed: false,
    };
    Content {
        envelope: part.encode_to_vec(),
        chain: Vec::new(),
    }
}

fn all_sealed() -> Vec<Json> {
    let envelope = sign(&key(world::ALICE_DEVICE), &chat());
    let bare = Content {
        envelope: envelope.clone(),
        chain: Vec::new(),
    };
    let first = Content {
        envelope,
        chain: world::chain().encode_to_vec(),
    };
    let sized = |len: usize| Content {
        envelope: vec![0xee; len],
        chain: Vec::new(),
    };
    let mut all = vec![
        sealed("a message", Kind::Message, &bare),
        sealed("a message with the sender's chain", Kind::Message, &first),
        sealed("a control parcel", Kind::Control, &bare),
        sealed("nothing inside", Kind::Control, &sized(0)),
        sealed("a part of a file", Kind::File, &part(FILE_PART_LEN)),
        sealed("the last part of a chunk", Kind::File, &part(3_312)),
    ];
    for bucket in PARCEL_BUCKETS {
        let last = last_length_in(bucket);
        all.push(sealed(
            &format!("{last} bytes, the most in {bucket}"),
            Kind::Control,
            &sized(last),
        ));
    }
    all
}

/// The longest envelope that still makes a parcel of `bucket` bytes.
fn last_length_in(bucket: usize) -> usize {
    let recipient = seal_secret(world::CAROL_CONTROL).public();
    let fits = |len: usize| {
        let content = Content {
            envelope: vec![0xee; len],
            chain: Vec::new(),
        };
        let sealed = seal(
            &header(Kind::Control),
            &recipient,
            &content,
            &mut Known(Some(IKM)),
        );
        sealed.is_ok_and(|bytes| bytes.len() <= bucket)
    };
    let (mut fitting, mut too_long) = (0, bucket);
    while too_long - fitting > 1 {
        let middle = fitting.midpoint(too_long);
        *(if fits(middle) {
            &mut fitting
        } else {
            &mut too_long
        }) = middle;
    }
    fitting
}

/// A parcel sealed by hand with whatever plaintext, header and info.
struct ByHand {
    header: Vec<u8>,
    enc: [u8; 32],
    shared: Shared,
}

fn by_hand(info: &[u8]) -> ByHand {
    let recipient = x25519_public([world::CAROL_CONTROL; 32]);
    let sk_e = derive_secret(&IKM);
    let enc = x25519_public(sk_e);
    let shared = schedule(&x25519(sk_e, recipient), &enc, &recipient, info);
    ByHand {
        header: header_pb(&header(Kind::Control)).encode_to_vec(),
        enc,
        shared,
    }
}

impl ByHand {
    fn parcel(&self, plain: &[u8]) -> Vec<u8> {
        let ciphertext = self.shared.seal(&self.header, plain);
        let (header, enc) = (self.header.clone(), self.enc.to_vec());
        pb::Parcel {
            header,
            enc,
            ciphertext,
        }
        .encode_to_vec()
    }
}

/// u32be(len) ‖ content ‖ padding.
fn plain(claimed: u32, content: &[u8], padding: &[u8]) -> Vec<u8> {
    [&claimed.to_be_bytes(), content, padding].concat()
}

fn refusal(name: &str, parcel: impl AsRef<[u8]>, error: &str) -> Json {
    object! { "name": name, "error": error,
    "recipient_secret": hex([world::CAROL_CONTROL; 32]), "parcel": hex(parcel) }
}

/// Sealed well, filled badly.
fn bad_contents() -> Vec<Json> {
    let content = pb::ParcelContent {
        envelope: vec![0xee; 20],
        chain: Vec::new(),
    };
    let content = content.encode_to_vec();
    let len = content.len() as u32;
    let hand = by_hand(INFO);
    let mut one_at_end = [0; 40];
    one_at_end[39] = 1;
    let mut one_first = [0; 40];
    one_first[0] = 1;
    let case = |name: &str, plain: Vec<u8>| refusal(name, hand.parcel(&plain), "bad_content");
    vec![
        case(
            "padding not zero, last byte",
            plain(len, &content, &one_at_end),
        ),
        case(
            "padding not zero, first byte",
            plain(len, &content, &one_first),
        ),
        case(
            "a length beyond the end",
            plain(len + 41, &content, &[0; 40]),
        ),
        case("a length of 4 GiB", plain(u32::MAX, &content, &[0; 40])),
        case(
            "content that is no protobuf",
            plain(8, &[0xff; 8], &[0; 40]),
        ),
        case("a chain over its limit", {
            let chain = vec![0; crate::limits::CHAIN_LEN_MAX + 1];
            let large = pb::ParcelContent {
                envelope: Vec::new(),
                chain,
            }
            .encode_to_vec();
            plain(large.len() as u32, &large, &[])
        }),
    ]
}

/// A sender's key for which every shared secret is zero: without the check, anyone could seal so
/// that anyone opens. The ciphertext fits the zero secret, so a verifier without it opens it.
fn zero_secrets() -> Vec<Json> {
    let header = header_pb(&header(Kind::Control)).encode_to_vec();
    let content = pb::ParcelContent {
        envelope: vec![0xee; 20],
        chain: Vec::new(),
    };
    let content = content.encode_to_vec();
    let plain = plain(content.len() as u32, &content, &[0; 40]);
    let recipient = x25519_public([world::CAROL_CONTROL; 32]);
    let case = |(n, point): (usize, &curve25519_dalek::MontgomeryPoint)| {
        let enc = point.to_bytes();
        let dh = x25519([world::CAROL_CONTROL; 32], enc);
        assert_eq!(dh, [0; 32], "low order");
        let ciphertext = schedule(&dh, &enc, &recipient, INFO).seal(&header, &plain);
        let (header, enc) = (header.clone(), enc.to_vec());
        let parcel = pb::Parcel {
            header,
            enc,
            ciphertext,
        }
        .encode_to_vec();
        refusal(
            &format!("all-zero shared secret {n}"),
            parcel,
            "does_not_open",
        )
    };
    X25519_LOW_ORDER_POINTS
        .iter()
        .enumerate()
        .map(case)
        .collect()
}

/// A good control parcel, in its parts.
fn good_parts() -> pb::Parcel {
    let content = Content {
        envelope: sign(&key(world::ALICE_DEVICE), &chat()),
        chain: vec![],
    };
    let recipient = seal_secret(world::CAROL_CONTROL).public();
    let mut rng = Known(Some(IKM));
    let good = seal(&header(Kind::Control), &recipient, &content, &mut rng).expect("it fits");
    pb::Parcel::decode(good.as_slice()).expect("our own")
}

/// The good parcel under another header.
fn other_headers() -> Vec<Json> {
    let case = |name: &str, error: &str, change: fn(&mut pb::ParcelHeader)| {
        let mut header = header_pb(&header(Kind::Control));
        change(&mut header);
        let header = header.encode_to_vec();
        let parcel = pb::Parcel {
            header,
            ..good_parts()
        };
        refusal(name, parcel.encode_to_vec(), error)
    };
    let unsealed = "does_not_open";
    vec![
        case("the lifetime altered", unsealed, |h| h.ttl_s += 1),
        case("the sender altered", unsealed, |h| h.from_device[0] ^= 1),
        case("the kind altered", unsealed, |h| h.kind = 1),
        case("the key id altered", unsealed, |h| h.key_id[0] ^= 1),
        case("version 2", "wrong_version", |h| h.version = 2),
        case("version left out", "wrong_version", |h| h.version = 0),
        case("no kind", "malformed", |h| h.kind = 0),
        case("an unknown kind", "malformed", |h| h.kind = 9),
        case("a network of 31 bytes", "malformed", |h| {
            h.network.truncate(31)
        }),
        case("a key id of 17 bytes", "malformed", |h| h.key_id.push(0)),
    ]
}

/// The good parcel with other parts, and what is no parcel.
fn other_parts() -> Vec<Json> {
    let case = |name: &str, error: &str, change: fn(&mut pb::Parcel)| {
        let mut parcel = good_parts();
        change(&mut parcel);
        refusal(name, parcel.encode_to_vec(), error)
    };
    let unsealed = "does_not_open";
    let other_info = by_hand(b"beeline/parcel/v2").parcel(&plain(0, &[], &[0; 40]));
    vec![
        swap_secret(case("another key", unsealed, |_| ())),
        case("enc altered", unsealed, |p| p.enc[3] ^= 1),
        case("ciphertext altered", unsealed, |p| p.ciphertext[0] ^= 1),
        case("tag altered", unsealed, |p| {
            *p.ciphertext.last_mut().expect("not empty") ^= 1;
        }),
        refusal("sealed with another info", other_info, unsealed),
        case("enc of 31 bytes", "malformed", |p| p.enc.truncate(31)),
        case("a ciphertext of 19 bytes", "malformed", |p| {
            p.ciphertext.truncate(19)
        }),
        refusal("no parcel at all", [0xff; 64], "malformed"),
        refusal("nothing", [], "wrong_version"),
    ]
}

/// The same case with the secret of the bundle.
fn swap_secret(case: Json) -> Json {
    let Json::Object(mut members) = case else {
        unreachable!("a case is an object")
    };
    let secret = members
        .iter_mut()
        .find(|(name, _)| name == "recipient_secret");
    secret.expect("it has one").1 = hex([world::CAROL_BUNDLE; 32]).into();
    Json::Object(members)
}

fn check_sealed(case: &Value) {
    let header = Header {
        kind: Kind::from_str_name(text(&case["header_json"], "kind")).expect("a kind"),
        ..header(Kind::Control)
    };
    let recipient = SealPublic(array(case, "recipient_public"));
    let header = Header {
        key_id: KeyId(recipient.key_id().0),
        ..header
    };
    let content = Content {
        envelope: bytes(case, "envelope"),
        chain: bytes(case, "chain"),
    };
    let mut rng = Known(Some(array(case, "ikm_e")));
    let sealed = seal(&header, &recipient, &content, &mut rng).expect("it fits");
    assert_eq!(
        sealed.len() as u64,
        case["length"].as_u64().expect("a length")
    );
    let parcel = Parcel::parse(&sealed).expect("our own");
    assert_eq!(parcel.id().0, array(case, "id"));
    let secret = SealSecret::from_bytes(array(case, "recipient_secret"));
    assert_eq!(parcel.open(&secret), Ok(content));
    if !case["parcel"].is_null() {
        assert_eq!(sealed, bytes(case, "parcel"));
        let parts = pb::Parcel::decode(sealed.as_slice()).expect("our own");
        assert_eq!(parts.ciphertext, bytes(case, "ciphertext"));
        let prefixed = [&parts.header, &parts.enc, &parts.ciphertext]
            .map(|part| [&(part.len() as u32).to_be_bytes(), part.as_slice()].concat());
        assert_eq!(sha256(&prefixed.concat()), parcel.id().0);
    }
}

#[test]
fn parcels_open_or_are_refused() {
    let refused = [
        other_headers(),
        other_parts(),
        bad_contents(),
        zero_secrets(),
    ];
    let unusable = X25519_LOW_ORDER_POINTS
        .iter()
        .map(|p| Json::from(hex(p.to_bytes())));
    let file = pin(
        "parcels.json",
        &object! {
            "about": "sealed: with ikm_e as the 32 random bytes of DeriveKeyPair, sealing gives \
                      exactly this parcel; a large one is given by length and id. refused: parsing \
                      or opening fails. unusable: recipient keys sealing must refuse.",
            "info": hex(INFO),
            "sealed": all_sealed(),
            "refused": refused.into_iter().flatten().collect::<Vec<Json>>(),
            "unusable": unusable.collect::<Vec<Json>>(),
        },
    );
    cases(&file, "sealed").iter().for_each(check_sealed);
    for case in cases(&file, "refused") {
        let secret = SealSecret::from_bytes(array(case, "recipient_secret"));
        let opened = Parcel::parse(&bytes(case, "parcel")).and_then(|p| p.open(&secret));
        let error = opened.err().map(world::parcel_error);
        assert_eq!(error, case["error"].as_str(), "{}", text(case, "name"));
    }
    for unusable in cases(&file, "unusable") {
        let public = crate::tests::json::unhex(unusable.as_str().expect("a key"));
        let public = SealPublic::from_bytes(&public).expect("32 bytes");
        let sealed = seal(
            &header(Kind::Control),
            &public,
            &Content::default(),
            &mut Known(Some(IKM)),
        );
        assert_eq!(sealed, Err(SealError::BadKey));
    }
}

#[test]
fn a_lifetime_beyond_the_limit_is_read_as_the_limit() {
    let mut pb = header_pb(&header(Kind::Control));
    pb.ttl_s = u32::MAX;
    let parcel = pb::Parcel {
        header: pb.encode_to_vec(),
        enc: vec![1; 32],
        ciphertext: vec![0; 20],
    };
    let read = Parcel::parse(&parcel.encode_to_vec()).expect("well formed");
    assert_eq!(read.header().ttl_s, PARCEL_TTL_MAX_S);
    assert_eq!(read.header().network, NetworkFp(fp(world::AUTHORITY)));
}
