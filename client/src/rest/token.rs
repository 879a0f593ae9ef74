//! Bearer tokens: challenge, device signature, JWT; one per origin, kept until shortly before its
//! end, renewed when next needed.

use super::http::{Http, Method, encode};
use crate::clock;
use crate::error::RestError;
use crate::identity::{Identity, random};
use crate::limits::TOKEN_RENEW_BEFORE;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::MessageId;
use beeline_proto::limits::{ORIGINS_MAX, TOKEN_TTL_S};
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A bearer token. It prints as its origin and end only.
#[derive(Clone)]
pub struct Token {
    text: Arc<Zeroizing<String>>,
    /// The origin it was asked at.
    pub origin: String,
    /// When it ends by the registry's clock, Unix ms.
    pub expires_ms: u64,
    /// When to stop using it, by our own clock from its receipt.
    renew_at: Instant,
}

impl Token {
    /// The token itself, for an `Authorization` header.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(for {}, until {})", self.origin, self.expires_ms)
    }
}

/// The tokens of one device, by origin.
pub(super) struct Tokens {
    identity: Arc<Identity>,
    held: Mutex<BTreeMap<String, Token>>,
    /// One challenge at a time: callers behind the first find its token.
    asking: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            held: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The token for `origin`, a normalized one the descriptor names.
    pub(super) async fn get(&self, http: &Http, origin: &str) -> Result<Token, RestError> {
        if let Some(token) = self.held(origin) {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        if let Some(token) = self.held(origin) {
            return Ok(token);
        }
        let token = self.ask(http, origin).await?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= ORIGINS_MAX {
            held.clear();
        }
        held.insert(origin.to_owned(), token.clone());
        Ok(token)
    }

    /// Drops a token that was refused.
    pub(super) fn forget(&self, origin: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(origin);
    }

    fn held(&self, origin: &str) -> Option<Token> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let token = held.get(origin)?;
        (clock::instant() < token.renew_at).then(|| token.clone())
    }

    async fn ask(&self, http: &Http, origin: &str) -> Result<Token, RestError> {
        let identity = &self.identity;
        let asked = auth::GetChallengeRequest {
            network_id: identity.network_label.to_string(),
            device_id: identity.device.to_string(),
        };
        let body = encode(&asked)?;
        let post = Method::Post;
        let challenge: auth::GetChallengeResponse = http
            .send(origin, post, "/auth/challenge", &body, None)
            .await?;
        let asked = auth::CreateTokenRequest {
            network_id: identity.network_label.to_string(),
            device_id: identity.device.to_string(),
            proof: prove(identity, origin, challenge.nonce)?,
        };
        let body = encode(&asked)?;
        let answer: auth::CreateTokenResponse =
            http.send(origin, post, "/auth/token", &body, None).await?;
        let lifetime = Duration::from_secs(TOKEN_TTL_S);
        Ok(Token {
            text: Arc::new(Zeroizing::new(answer.token)),
            origin: origin.to_owned(),
            expires_ms: answer.expire_time.map_or(0, Timestamp::to_ms),
            // Our own clock from receipt on: a wrong wall clock must not lock us out.
            renew_at: clock::instant() + lifetime.saturating_sub(TOKEN_RENEW_BEFORE),
        })
    }
}

/// Signs a challenge. The origin as dialled is inside, so that a challenge handed on by another
/// host gains it nothing.
fn prove(identity: &Identity, origin: &str, nonce: Vec<u8>) -> Result<Vec<u8>, RestError> {
    let protocol = |why: &str| RestError::Protocol {
        origin: origin.to_owned(),
        why: why.to_owned(),
    };
    if nonce.len() != 32 {
        return Err(protocol("its challenge is not 32 bytes"));
    }
    let id = random().map_err(RestError::Unreachable)?;
    let device = identity.device_key.verify_key().fp();
    let context = Context::unordered(identity.network, device, MessageId(id));
    let proof = auth::TokenProof {
        context: Some(context.to_pb()),
        origin: origin.to_owned(),
        nonce,
    };
    Ok(sign(&identity.device_key, &proof))
}
