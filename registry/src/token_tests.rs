//! Tokens that were not made here, or not like this.

use super::*;
use jsonwebtoken::encode;
use serde_json::{Value, json};

const WALL_S: u64 = 1_800_000_000;

fn now() -> Now {
    Now {
        mono_ms: 5,
        wall_ms: WALL_S * 1_000,
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn subject() -> Subject {
    Subject {
        network: NetworkFp([1; 32]),
        network_label: Label::new("home").expect("label"),
        device_key: key(9).verify_key(),
        device_label: Label::new("alice_device").expect("label"),
        user: UserFp([2; 32]),
        handle: Label::new("alice").expect("label"),
        role: Role::Member,
    }
}

fn tokens() -> Tokens {
    Tokens::new(&[key(7), key(6)]).expect("keys")
}

fn issued() -> String {
    tokens()
        .issue(now(), &subject(), [3; 16])
        .expect("a token")
        .0
}

/// The claims of a good token.
fn claims() -> Value {
    let token = issued();
    let part = token.split('.').nth(1).expect("claims");
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Signs any header and claims, as JSON texts, with the key of seed 7.
fn signed(header: &str, claims: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let body = format!("{}.{}", part(header), part(claims));
    let signature = BASE64URL_NOPAD.encode(&key(7).sign(body.as_bytes()));
    format!("{body}.{signature}")
}

fn header() -> String {
    let kid = thumbprint(&key(7).verify_key());
    json!({"typ": "JWT", "alg": "EdDSA", "kid": kid}).to_string()
}

fn refused(tokens: &Tokens, token: &str) -> bool {
    matches!(tokens.verify(now(), token), Err(Error::BadCredential))
}

#[test]
fn what_was_issued_verifies_and_older_keys_still_do() {
    let tokens = tokens();
    let access = tokens.verify(now(), &issued()).expect("valid");
    assert_eq!(access.network, NetworkFp([1; 32]));
    assert_eq!(access.device, key(9).verify_key().device_fp());
    assert_eq!(access.handle.as_str(), "alice");
    let older = Tokens::new(&[key(6)]).expect("keys");
    let (token, end_ms) = older.issue(now(), &subject(), [4; 16]).expect("a token");
    assert_eq!(end_ms, (WALL_S + 600) * 1_000);
    assert!(tokens.verify(now(), &token).is_ok());
    assert!(
        refused(&older, &issued()),
        "signed by a key that came later"
    );
    // The way tokens are spoilt below makes a good one when nothing is spoilt.
    assert!(
        tokens
            .verify(now(), &signed(&header(), &claims().to_string()))
            .is_ok()
    );
}

#[test]
fn other_algorithms_and_keys_are_refused() {
    let tokens = tokens();
    let claims = claims();
    let kid = thumbprint(&key(7).verify_key());
    let public = key(7).verify_key().to_bytes();
    // The public key as the secret of an HMAC.
    let mut hmac = Header::new(Algorithm::HS256);
    hmac.kid = Some(kid.clone());
    let hmac = encode(&hmac, &claims, &EncodingKey::from_secret(&public)).expect("a token");
    assert!(refused(&tokens, &hmac));
    let text = claims.to_string();
    for header in [
        json!({"alg": "none", "kid": kid}),
        json!({"alg": "ES256", "kid": kid}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": thumbprint(&key(8).verify_key())}),
        json!({"alg": "EdDSA", "kid": kid, "jku": "https://evil.example/jwks"}),
        json!({"alg": "EdDSA", "kid": kid, "x5u": "https://evil.example/cert"}),
        json!({"alg": "EdDSA", "kid": kid, "x5c": ["AA=="]}),
        json!({"alg": "EdDSA", "kid": kid, "jwk": {
            "kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(&public),
        }}),
    ] {
        assert!(
            refused(&tokens, &signed(&header.to_string(), &text)),
            "{header}"
        );
    }
    let twice = format!(r#"{{"alg":"none","alg":"EdDSA","kid":"{kid}"}}"#);
    assert!(refused(&tokens, &signed(&twice, &text)), "alg twice");
    let good = signed(&header(), &text);
    let (body, _) = good.rsplit_once('.').expect("a signature");
    assert!(refused(&tokens, &format!("{body}.")), "no signature");
    assert!(refused(&tokens, body), "two parts");
}

#[test]
fn wrong_missing_and_odd_claims_are_refused() {
    let tokens = tokens();
    let good = claims();
    let spoilt: [(&str, Value); 17] = [
        ("iss", json!("someone")),
        ("aud", json!("home")),
        ("aud", json!(["00", "11"])),
        ("sub", json!("alice_device")),
        ("uid", json!("")),
        ("usr", json!("a b")),
        ("exp", json!((WALL_S + 600).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(1.8e9)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(WALL_S + 100_000)),
        ("exp", json!(WALL_S - 30)),
        ("nbf", json!(WALL_S + 31)),
        ("nbf", json!("now")),
        ("nbf", json!(0)),
        ("nbf", json!(WALL_S + 601)),
        ("cnf", json!("x")),
    ];
    for (name, value) in spoilt {
        let mut claims = good.clone();
        claims[name] = value;
        assert!(
            refused(&tokens, &signed(&header(), &claims.to_string())),
            "{claims}"
        );
    }
    for name in [
        "iss", "aud", "sub", "uid", "usr", "iat", "nbf", "exp", "jti", "cnf", "role",
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        assert!(
            refused(&tokens, &signed(&header(), &claims.to_string())),
            "without {name}"
        );
    }
    let text = good.to_string();
    let twice = format!("{{\"exp\":{},{}", WALL_S + 600, &text[1..]);
    assert!(refused(&tokens, &signed(&header(), &twice)), "exp twice");
    assert!(refused(&tokens, &signed(&header(), "[]")));
    assert!(refused(&tokens, &"a".repeat(TOKEN_LEN_MAX + 1)));
}

#[test]
fn a_remembered_token_still_ends() {
    let tokens = tokens();
    let token = issued();
    assert!(tokens.verify(now(), &token).is_ok());
    let at = |s: u64| Now {
        mono_ms: 5,
        wall_ms: (WALL_S + s) * 1_000,
    };
    assert!(tokens.verify(at(629), &token).is_ok(), "leeway");
    assert!(tokens.verify(at(630), &token).is_err());
    assert!(
        tokens.verify(now(), &format!("{token}x")).is_err(),
        "only the whole token counts"
    );
}
