//! Bearer tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), verified against keys that come
//! from the registry by `kid`, never from the token.

use crate::limits::{TOKEN_CACHE_MAX, TOKEN_LEEWAY_S, TOKEN_LEN_MAX};
use beeline_proto::id::sha256;
use beeline_proto::limits::TOKEN_TTL_S;
use beeline_proto::pb::auth::v1::TokenKey;
use beeline_proto::time::Now;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The claims of a token. Numbers must be whole; a claim twice is refused.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Claims {
    /// Always "beeline".
    pub iss: String,
    /// Fingerprint of the network, hexadecimal.
    pub aud: String,
    /// Fingerprint of the device, hexadecimal.
    pub sub: String,
    /// networkId.
    pub net: String,
    /// deviceId.
    pub dev: String,
    /// Made at, Unix seconds.
    pub iat: u64,
    /// Not before, Unix seconds.
    pub nbf: u64,
    /// Ends, Unix seconds.
    pub exp: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// No key of this name: perhaps a new one, worth asking the registry for.
    #[error("the token is signed by an unknown key")]
    UnknownKey,
    /// Not a JWT as we make them, or its signature does not fit.
    #[error("the token does not verify")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired; get a new one by POST /auth/challenge and /auth/token")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet; check the clock")]
    NotYet,
}

/// The registry's token keys, by `kid`.
#[derive(Default)]
pub struct Keys {
    keys: BTreeMap<String, (DecodingKey, String)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

impl Keys {
    /// From the registry's list; keys that are not 32 bytes are left out.
    pub fn new(list: &[TokenKey]) -> Self {
        let usable = list.iter().filter(|key| key.public_key.len() == 32);
        let keys = usable.map(|key| {
            let decoding = DecodingKey::from_ed_der(&key.public_key);
            let x = BASE64URL_NOPAD.encode(&key.public_key);
            (key.kid.clone(), (decoding, x))
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// `kid` and base64url public key of each, for the JWK set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys
            .iter()
            .map(|(kid, (_, x))| (kid.as_str(), x.as_str()))
    }

    /// Verifies a token's signature, issuer and time.
    pub fn verify(&self, token: &str, now: Now) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        if !is_plain(&header) {
            return Err(TokenError::Invalid);
        }
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let (key, _) = self.keys.get(&kid).ok_or(TokenError::UnknownKey)?;
        let data = decode::<Claims>(token, key, &validation()).map_err(|_| TokenError::Invalid)?;
        check_times(&data.claims, now)?;
        Ok(data.claims)
    }
}

/// A header that names EdDSA and a key, and tries to bring no key of its own.
fn is_plain(header: &Header) -> bool {
    header.alg == Algorithm::EdDSA
        && header
            .typ
            .as_deref()
            .is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"))
        && header.jwk.is_none()
        && header.jku.is_none()
        && header.x5u.is_none()
        && header.x5c.is_none()
        && header.crit.is_none()
}

/// Exactly EdDSA, and the registered claims all there. Times and audience are checked by us: the
/// library reads a clock of its own and takes fractions.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    validation.set_issuer(&["beeline"]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn check_times(claims: &Claims, now: Now) -> Result<(), TokenError> {
    let now_s = now.wall_ms / 1_000;
    if claims.nbf > now_s.saturating_add(TOKEN_LEEWAY_S) || claims.iat > now_s + TOKEN_LEEWAY_S {
        return Err(TokenError::NotYet);
    }
    if claims.exp.saturating_add(TOKEN_LEEWAY_S) <= now_s {
        return Err(TokenError::Expired);
    }
    // No token of the registry's lives longer.
    if claims.exp > now_s + TOKEN_TTL_S + TOKEN_LEEWAY_S {
        return Err(TokenError::Invalid);
    }
    Ok(())
}

/// Verified tokens until they end, by the SHA-256 of the whole token; what is remembered has been
/// verified first.
#[derive(Debug)]
pub struct TokenCache<T> {
    /// By hash: end in Unix milliseconds, and what was found.
    found: BTreeMap<[u8; 32], (u64, T)>,
    capacity: usize,
}

impl<T> Default for TokenCache<T> {
    fn default() -> Self {
        Self {
            found: BTreeMap::new(),
            capacity: TOKEN_CACHE_MAX,
        }
    }
}

impl<T: Clone> TokenCache<T> {
    /// The name of a token in the cache; `None` if it is too long to be one.
    pub fn key(token: &str) -> Option<[u8; 32]> {
        (token.len() <= TOKEN_LEN_MAX).then(|| sha256(token.as_bytes()))
    }

    /// What was found for it, if it has not ended.
    pub fn get(&self, key: &[u8; 32], wall_ms: u64) -> Option<T> {
        let (end_ms, found) = self.found.get(key)?;
        (*end_ms > wall_ms).then(|| found.clone())
    }

    /// Remembers it until `end_ms`. A full cache forgets what has ended, and then all: rather a
    /// burst of signature checks than a search at each call.
    pub fn put(&mut self, key: [u8; 32], end_ms: u64, found: T, wall_ms: u64) {
        if self.found.len() >= self.capacity {
            self.found.retain(|_, (end_ms, _)| *end_ms > wall_ms);
        }
        if self.found.len() >= self.capacity {
            self.found.clear();
        }
        self.found.insert(key, (end_ms, found));
    }

    /// Forgets everything: the keys have changed.
    pub fn clear(&mut self) {
        self.found.clear();
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
