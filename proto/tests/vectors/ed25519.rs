//! `ed25519.json`: which signatures count, where libraries differ. A key is usable iff it is a
//! canonically encoded point not of small order; a signature counts iff S < L, R is not of small
//! order, and encode([S]B − [k]A) equals R byte for byte.
//!
//! Every case that can be is built to satisfy a laxer rule, so a lax verifier shows itself.

use super::{array, bytes, cases, pin};
use crate::keys::VerifyKey;
use crate::tests::json::{Json, hex, object, unhex};
use crate::tests::world;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use sha2::{Digest as _, Sha512};

/// L, the order of the base point, little-endian (RFC 8032 §5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Messages tried until one has the challenge a case needs: 1 in 8 does.
const TRIES: u32 = 10_000;

/// Published examples: seed, public key, message, signature of RFC 8032 §7.1, tests 1 to 3.
const RFC_8032: [[&str; 3]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
    ],
];

/// A secret scalar and a nonce for the cases built by hand.
fn scalars() -> (Scalar, Scalar) {
    let scalar = |n: u8| Scalar::from_bytes_mod_order([n; 32]);
    (scalar(0x31), scalar(0x32))
}

/// k = SHA-512(R ‖ A ‖ message) mod L.
fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(a)
        .chain_update(message)
        .finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

fn signature(r: &[u8; 32], s: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    out[..32].copy_from_slice(r);
    out[32..].copy_from_slice(s);
    out
}

/// a + b as 256-bit little-endian numbers.
fn plus(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut carry = 0u16;
    core::array::from_fn(|i| {
        carry += u16::from(a[i]) + u16::from(b[i]);
        let byte = carry as u8;
        carry >>= 8;
        byte
    })
}

/// 2^255 − 19 + `c`: a non-canonical encoding of y = c.
fn p_plus(c: u8) -> [u8; 32] {
    let mut out = [0xff; 32];
    out[0] = 0xed + c;
    out[31] = 0x7f;
    out
}

/// The encodings of small-order points that are not canonical.
fn non_canonical_small() -> Vec<[u8; 32]> {
    let signed = |mut bytes: [u8; 32]| {
        bytes[31] |= 0x80;
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = p_plus(0);
    minus_one[0] -= 1;
    vec![
        signed(one),
        signed(minus_one),
        p_plus(0),
        signed(p_plus(0)),
        p_plus(1),
        signed(p_plus(1)),
    ]
}

/// Non-canonical encodings of points that are not of small order.
fn non_canonical_large() -> Vec<[u8; 32]> {
    let on_curve = |bytes: &[u8; 32]| {
        let point = CompressedEdwardsY(*bytes).decompress();
        point.is_some_and(|p| !p.is_small_order())
    };
    (2..=18).map(p_plus).filter(on_curve).take(3).collect()
}

struct Case {
    name: String,
    public: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
    key_ok: bool,
    valid: bool,
}

impl Case {
    fn json(self) -> Json {
        object! { "name": self.name, "public": hex(self.public), "message": hex(self.message),
        "signature": hex(self.signature), "key_ok": self.key_ok, "valid": self.valid }
    }
}

/// A case under a usable key.
fn case(
    name: impl Into<String>,
    public: [u8; 32],
    message: &[u8],
    signature: [u8; 64],
    valid: bool,
) -> Case {
    let (name, message) = (name.into(), message.to_vec());
    Case {
        name,
        public,
        message,
        signature,
        key_ok: true,
        valid,
    }
}

/// Signs by hand for key point `a·B + t_a` and nonce point `r·B + t_r`, over the first message for
/// which `wanted` likes t_r + k·t_a, by which the equation without cofactor is missed.
fn by_hand(
    t_a: EdwardsPoint,
    t_r: EdwardsPoint,
    wanted: impl Fn(&EdwardsPoint) -> bool,
) -> ([u8; 32], Vec<u8>, [u8; 64]) {
    let (a, r) = scalars();
    let public = (a * B + t_a).compress().to_bytes();
    let nonce = (r * B + t_r).compress().to_bytes();
    for n in 0..TRIES {
        let message = format!("beeline {n}").into_bytes();
        let k = challenge(&nonce, &public, &message);
        if wanted(&(t_r + k * t_a)) {
            let s = r + k * a;
            return (public, message, signature(&nonce, s.as_bytes()));
        }
    }
    panic!("no message found; the case cannot be made")
}

fn published() -> Vec<Case> {
    let case = |(n, [seed, public, message]): (usize, &[&str; 3])| {
        let seed: [u8; 32] = unhex(seed).try_into().expect("32 bytes");
        let key = crate::keys::SigningKey::from_seed(&seed);
        let made = key.verify_key().to_bytes();
        assert_eq!(hex(made), *public);
        let message = unhex(message);
        let name = format!("RFC 8032 test {}", n + 1);
        case(name, made, &message, key.sign(&message), true)
    };
    RFC_8032.iter().enumerate().map(case).collect()
}

/// An honest signature, and what becomes of it.
fn altered() -> Vec<Case> {
    let key = world::key(world::ALICE_DEVICE);
    let public = key.verify_key().to_bytes();
    let good = key.sign(b"beeline");
    let r: [u8; 32] = good[..32].try_into().expect("32 bytes");
    let s: [u8; 32] = good[32..].try_into().expect("32 bytes");
    let changed = |at: usize, bits: u8| {
        let mut bytes = good;
        bytes[at] ^= bits;
        bytes
    };
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let stranger = world::key(world::STRANGER).verify_key().to_bytes();
    let refused = |name: &str, signed: [u8; 64]| case(name, public, b"beeline", signed, false);
    vec![
        case("good", public, b"beeline", good, true),
        case("another message", public, b"beelinf", good, false),
        case("another key", stranger, b"beeline", good, false),
        refused("a bit of R flipped", changed(5, 1)),
        refused("a bit of S flipped", changed(40, 1)),
        refused("S + L", signature(&r, &plus(&s, &L))),
        refused("S + 2L", signature(&r, &plus(&plus(&s, &L), &L))),
        refused("S with its three top bits set", changed(63, 0xe0)),
        refused("S = L", signature(&r, &L)),
        refused("all zero", [0; 64]),
        refused("all one bits", [0xff; 64]),
        refused("R is no point", signature(&no_point, &s)),
    ]
}

/// A of small order: R = rB and S = r fit whenever k·A vanishes, for a message anyone can find.
fn small_keys() -> Vec<Case> {
    let (_, r) = scalars();
    let nonce = (r * B).compress().to_bytes();
    let canonical = EIGHT_TORSION.iter().map(|t| t.compress().to_bytes());
    let mut all = Vec::new();
    for (n, public) in canonical.chain(non_canonical_small()).enumerate() {
        let point = CompressedEdwardsY(public).decompress().expect("a point");
        let fits = |m: &Vec<u8>| (challenge(&nonce, &public, m) * point).is_identity();
        let mut messages = (0..TRIES).map(|n| format!("beeline {n}").into_bytes());
        let message = messages.find(fits).expect("one in eight fits");
        let kind = if n < 8 {
            "small order"
        } else {
            "small order, not canonical"
        };
        all.push(Case {
            name: format!("key of {kind} {n}, equation holds"),
            public,
            message,
            signature: signature(&nonce, r.as_bytes()),
            key_ok: false,
            valid: false,
        });
    }
    for (n, public) in non_canonical_large().into_iter().enumerate() {
        all.push(Case {
            name: format!("key not canonical {n}"),
            public,
            message: b"beeline".to_vec(),
            signature: signature(&nonce, r.as_bytes()),
            key_ok: false,
            valid: false,
        });
    }
    let mut no_point = [0; 32];
    no_point[0] = 2;
    all.push(Case {
        name: "key that is no point".into(),
        public: no_point,
        message: b"beeline".to_vec(),
        signature: signature(&nonce, r.as_bytes()),
        key_ok: false,
        valid: false,
    });
    all
}

/// R of small order under an honest key: S = k·a fits the equation with cofactor, always, and
/// without it for the neutral point.
fn small_nonces() -> Vec<Case> {
    let (a, _) = scalars();
    let public = (a * B).compress().to_bytes();
    let canonical = EIGHT_TORSION.iter().map(|t| t.compress().to_bytes());
    let mut all = Vec::new();
    for (n, nonce) in canonical.chain(non_canonical_small()).enumerate() {
        let k = challenge(&nonce, &public, b"beeline");
        let kind = if n < 8 {
            "small order"
        } else {
            "small order, not canonical"
        };
        let signed = signature(&nonce, (k * a).as_bytes());
        all.push(case(
            format!("R of {kind} {n}"),
            public,
            b"beeline",
            signed,
            false,
        ));
    }
    // The same where even the equation without cofactor holds: the key's own torsion cancels R's.
    let (a_point, t) = (a * B + EIGHT_TORSION[1], EIGHT_TORSION[1]);
    let public = a_point.compress().to_bytes();
    for (n, torsion) in EIGHT_TORSION.iter().enumerate().skip(1) {
        let nonce = torsion.compress().to_bytes();
        let holds = |m: &Vec<u8>| (torsion + challenge(&nonce, &public, m) * t).is_identity();
        let mut messages = (0..TRIES).map(|n| format!("beeline {n}").into_bytes());
        let message = messages.find(holds).expect("one in eight fits");
        let k = challenge(&nonce, &public, &message);
        let signed = signature(&nonce, (k * a).as_bytes());
        let name = format!("R of small order {n}, equation holds");
        all.push(case(name, public, &message, signed, false));
    }
    all
}

/// A and R with a part of small order, but not of small order themselves.
fn mixed() -> Vec<Case> {
    let (zero, t) = (EIGHT_TORSION[0], EIGHT_TORSION[1]);
    let exact = |d: &EdwardsPoint| d.is_identity();
    let missed = |d: &EdwardsPoint| !d.is_identity();
    let mut all = Vec::new();
    let mut add = |name: &str, (public, message, signed): ([u8; 32], Vec<u8>, [u8; 64]), valid| {
        all.push(case(name, public, &message, signed, valid));
    };
    add(
        "mixed-order key, equation holds",
        by_hand(t, zero, exact),
        true,
    );
    add(
        "mixed-order key and R, equation holds",
        by_hand(t, t, exact),
        true,
    );
    add(
        "mixed-order key, holds with cofactor only",
        by_hand(t, zero, missed),
        false,
    );
    add(
        "mixed-order R, holds with cofactor only",
        by_hand(zero, t, missed),
        false,
    );
    add(
        "mixed-order key and R, holds with cofactor only",
        by_hand(t, t, missed),
        false,
    );
    let (a, r) = scalars();
    let public = (a * B).compress().to_bytes();
    for (n, nonce) in non_canonical_large().into_iter().enumerate() {
        let signed = signature(&nonce, r.as_bytes());
        all.push(case(
            format!("R not canonical {n}"),
            public,
            b"beeline",
            signed,
            false,
        ));
    }
    all
}

#[test]
fn signatures_count_where_they_should() {
    let all = [
        published(),
        altered(),
        small_keys(),
        small_nonces(),
        mixed(),
    ];
    let list: Vec<Json> = all.into_iter().flatten().map(Case::json).collect();
    let file = pin(
        "ed25519.json",
        &object! {
            "about": "key_ok: the key is a canonical point not of small order. valid: the key is, \
                      S < L, R is not of small order, and encode([S]B - [k]A) equals R byte for \
                      byte. Many cases satisfy a laxer rule on purpose.",
            "cases": list,
        },
    );
    let (mut good, mut refused) = (0, 0);
    for case in cases(&file, "cases") {
        let key = VerifyKey::from_bytes(&bytes(case, "public"));
        assert_eq!(Some(key.is_ok()), case["key_ok"].as_bool(), "{case}");
        let valid = key.is_ok_and(|k| k.verify(&bytes(case, "message"), &array(case, "signature")));
        assert_eq!(Some(valid), case["valid"].as_bool(), "{case}");
        *(if valid { &mut good } else { &mut refused }) += 1;
    }
    assert!(good >= 6 && refused >= 50, "{good} good, {refused} refused");
}
