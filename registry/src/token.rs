//! Bearer tokens: JWT (RFC 7519) signed with EdDSA, ten minutes, bound to the device's key.

use crate::error::Error;
use crate::limits::{TOKEN_LEEWAY_S, TOKEN_LEN_MAX, TOKENS_CACHED_MAX};
use beeline_proto::id::{DeviceFp, Label, NetworkFp, UserFp, sha256};
use beeline_proto::keys::{SigningKey, VerifyKey};
use beeline_proto::limits::TOKEN_TTL_S;
use beeline_proto::pb::auth::v1::TokenKey;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::time::Now;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hashlink::LruCache;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// Who a token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The network.
    pub network: NetworkFp,
    /// Its networkId.
    pub network_label: Label,
    /// The device.
    pub device_key: VerifyKey,
    /// Its deviceId.
    pub device_label: Label,
    /// The user.
    pub user: UserFp,
    /// The userId.
    pub handle: Label,
    /// The user's role.
    pub role: Role,
}

/// What a verified token says, as far as the registry uses it; the rest is looked up anew.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    /// The network.
    pub network: NetworkFp,
    /// The device.
    pub device: DeviceFp,
    /// The user.
    pub user: UserFp,
    /// The userId.
    pub handle: Label,
    /// When it ends, Unix seconds.
    exp: u64,
}

/// The claims on the wire. A missing, repeated or wrongly typed one makes the token invalid.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    net: String,
    dev: String,
    usr: String,
    uid: String,
    role: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    cnf: Confirmation,
}

/// RFC 7800.
#[derive(Debug, Serialize, Deserialize)]
struct Confirmation {
    jkt: String,
}

const ISSUER: &str = "beeline";

struct Key {
    kid: String,
    public: VerifyKey,
    decoding: DecodingKey,
}

/// Signs and verifies tokens. Verified ones are remembered by the SHA-256 of the whole token.
pub struct Tokens {
    signing: EncodingKey,
    /// Newest first.
    keys: Vec<Key>,
    validation: Validation,
    known: Mutex<LruCache<[u8; 32], Arc<Access>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({} keys)", self.keys.len())
    }
}

/// PKCS #8 (RFC 5958) around an Ed25519 seed, as RFC 8410 §7 prints it.
fn pkcs8(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&head);
    der.extend_from_slice(key.to_seed().as_slice());
    der
}

/// The JWK thumbprint (RFC 7638) of an Ed25519 key (RFC 8037), base64url.
pub fn thumbprint(key: &VerifyKey) -> String {
    let x = BASE64URL_NOPAD.encode(&key.to_bytes());
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL_NOPAD.encode(&sha256(jwk.as_bytes()))
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Coordinator => "coordinator",
        Role::Member | Role::Unspecified => "member",
    }
}

impl Tokens {
    /// Signs with the first of `keys` and accepts all; `None` without any.
    pub fn new(keys: &[SigningKey]) -> Option<Self> {
        let signing = EncodingKey::from_ed_der(&pkcs8(keys.first()?));
        let keys = keys.iter().map(|key| {
            let public = key.verify_key();
            Key {
                kid: thumbprint(&public),
                decoding: DecodingKey::from_ed_der(&public.to_bytes()),
                public,
            }
        });
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_issuer(&[ISSUER]);
        // Times and audience are checked below: against the time we are told, and against the
        // networks there are.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Some(Self {
            signing,
            keys: keys.collect(),
            validation,
            known: Mutex::new(LruCache::new(TOKENS_CACHED_MAX)),
        })
    }

    /// The public keys, newest first.
    pub fn public(&self) -> Vec<TokenKey> {
        let keys = self.keys.iter().map(|key| TokenKey {
            kid: key.kid.clone(),
            public_key: key.public.to_bytes().to_vec(),
        });
        keys.collect()
    }

    /// A token for `subject` and its end in Unix milliseconds. `jti` is fresh randomness.
    pub fn issue(
        &self,
        now: Now,
        subject: &Subject,
        jti: [u8; 16],
    ) -> Result<(String, u64), Error> {
        let iat = now.wall_ms / 1_000;
        let exp = iat + TOKEN_TTL_S;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: subject.network.to_string(),
            sub: subject.device_key.device_fp().to_string(),
            net: subject.network_label.to_string(),
            dev: subject.device_label.to_string(),
            usr: subject.handle.to_string(),
            uid: subject.user.to_string(),
            role: role_name(subject.role).to_owned(),
            iat,
            nbf: iat,
            exp,
            jti: HEXLOWER.encode(&jti),
            cnf: Confirmation {
                jkt: thumbprint(&subject.device_key),
            },
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = self.keys.first().map(|key| key.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing);
        let token = token.map_err(|_| Error::Damaged("token key"))?;
        Ok((token, exp * 1_000))
    }

    /// Checks a token, or remembers having done so.
    pub fn verify(&self, now: Now, token: &str) -> Result<Arc<Access>, Error> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(Error::BadCredential);
        }
        let hash = sha256(token.as_bytes());
        let known = match self.known.lock() {
            Ok(mut known) => known.get(&hash).cloned(),
            Err(_) => None,
        };
        let access = match known {
            Some(access) => access,
            None => {
                let access = Arc::new(self.check(now, token).ok_or(Error::BadCredential)?);
                if let Ok(mut known) = self.known.lock() {
                    known.insert(hash, Arc::clone(&access));
                }
                access
            }
        };
        if now.wall_ms / 1_000 >= access.exp + TOKEN_LEEWAY_S {
            return Err(Error::BadCredential);
        }
        Ok(access)
    }

    fn check(&self, now: Now, token: &str) -> Option<Access> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // A token that brings a key of its own was not made here.
        let brings_key = header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some();
        if brings_key || header.x5c.is_some() {
            return None;
        }
        let kid = header.kid.as_ref()?;
        let key = self.keys.iter().find(|key| key.kid == *kid)?;
        let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation).ok()?;
        let claims = data.claims;
        let now_s = now.wall_ms / 1_000;
        let lives = claims.nbf <= claims.exp && claims.exp - claims.nbf <= TOKEN_TTL_S;
        if claims.iss != ISSUER || !lives || claims.nbf > now_s + TOKEN_LEEWAY_S {
            return None;
        }
        Some(Access {
            network: claims.aud.parse().ok()?,
            device: claims.sub.parse().ok()?,
            user: claims.uid.parse().ok()?,
            handle: Label::new(&claims.usr).ok()?,
            exp: claims.exp,
        })
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
