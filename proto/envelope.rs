//! Envelopes: who said it.
//!
//! Sign the serialized bytes and carry exactly those; verify before parsing; forward and store the
//! buffer as received. A [`Verified`] payload can only be made by [`open`], so unverified data
//! cannot reach code that asks for one.
//!
//! An envelope has one encoding only: its four fields in order, minimal lengths, nothing else. What
//! deviates is refused, so the hash of an envelope names what was signed.

use crate::id::{EnvelopeHash, MessageId, NetworkFp, SessionId, sha256};
use crate::keys::{SigningKey, VerifyKey};
use crate::limits::PAYLOAD_LEN_MAX;
use crate::payload::Payload;
use crate::pb::envelope::v1::{Context as PbContext, PayloadType};
use crate::sign::pre_image;

/// Why an envelope is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too long, or not the one encoding an envelope has.
    #[error("the envelope is malformed")]
    Malformed,
    /// Another payload type than the one asked for.
    #[error("the envelope holds another type of payload than expected")]
    WrongType,
    /// The signer key is weak, or the signature does not fit.
    #[error("the envelope's signature is not valid")]
    BadSignature,
    /// Signed, but not by whom it should be.
    #[error("the envelope was signed by somebody else")]
    WrongSigner,
    /// The payload cannot be decoded, or lacks a well-formed context.
    #[error("the envelope's payload is malformed")]
    BadPayload,
    /// Made for another network.
    #[error("the envelope belongs to another network")]
    WrongNetwork,
    /// Made for somebody else.
    #[error("the envelope is for another audience")]
    WrongAudience,
    /// Made for another link.
    #[error("the envelope belongs to another link")]
    WrongSession,
}

/// What every signature is bound to: the checked form of the wire's `Context`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The network.
    pub network: NetworkFp,
    /// Fingerprint of the user, device or network it is for.
    pub audience: [u8; 32],
    /// Names the message for ever, together with its signer.
    pub message_id: MessageId,
    /// Generation of the sender's database.
    pub incarnation: u64,
    /// Order within the incarnation and audience, from 1; 0 where order has no meaning.
    pub seq: u64,
    /// The link it is valid on, if on one only.
    pub link_session: Option<SessionId>,
}

impl Context {
    /// A context without order or link, as records and signalling use.
    pub fn unordered(network: NetworkFp, audience: [u8; 32], message_id: MessageId) -> Self {
        Self {
            network,
            audience,
            message_id,
            incarnation: 0,
            seq: 0,
            link_session: None,
        }
    }

    /// The same, bound to one link.
    pub fn on_link(mut self, session: SessionId) -> Self {
        self.link_session = Some(session);
        self
    }

    /// The wire form.
    pub fn to_pb(self) -> PbContext {
        PbContext {
            network: self.network.to_vec(),
            audience: self.audience.to_vec(),
            message_id: self.message_id.to_vec(),
            incarnation: self.incarnation,
            seq: self.seq,
            link_session: self.link_session.map(SessionId::to_vec).unwrap_or_default(),
        }
    }

    /// Checks the wire form's lengths.
    pub fn from_pb(pb: &PbContext) -> Option<Self> {
        let link_session = match pb.link_session.as_slice() {
            [] => None,
            bytes => Some(SessionId::try_from(bytes).ok()?),
        };
        Some(Self {
            network: NetworkFp::try_from(pb.network.as_slice()).ok()?,
            audience: pb.audience.as_slice().try_into().ok()?,
            message_id: MessageId::try_from(pb.message_id.as_slice()).ok()?,
            incarnation: pb.incarnation,
            seq: pb.seq,
            link_session,
        })
    }
}

/// What a verifier demands beside a valid signature.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    network: NetworkFp,
    audiences: Option<&'a [[u8; 32]]>,
    signer: Option<[u8; 32]>,
    session: Option<SessionId>,
}

impl<'a> Expect<'a> {
    /// An envelope of `network` for one of `audiences`.
    pub fn new(network: NetworkFp, audiences: &'a [[u8; 32]]) -> Self {
        Self {
            network,
            audiences: Some(audiences),
            signer: None,
            session: None,
        }
    }

    /// An envelope of `network` whose audience follows from its payload: the caller compares the
    /// two once the payload is verified.
    pub(crate) fn audience_inside(network: NetworkFp) -> Self {
        Self {
            network,
            audiences: None,
            signer: None,
            session: None,
        }
    }

    /// Also signed by the key with this fingerprint.
    pub fn signer(mut self, fp: [u8; 32]) -> Self {
        self.signer = Some(fp);
        self
    }

    /// Also valid on this link: its session is this one.
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }
}

/// A payload whose signature and context have been checked, with the bytes it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified<T> {
    payload: T,
    context: Context,
    signer: VerifyKey,
    hash: EnvelopeHash,
    bytes: Vec<u8>,
}

impl<T> Verified<T> {
    /// The payload.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// What it is bound to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Who signed it.
    pub fn signer(&self) -> &VerifyKey {
        &self.signer
    }

    /// SHA-256 of the envelope as received.
    pub fn hash(&self) -> EnvelopeHash {
        self.hash
    }

    /// The envelope as received: what is stored and forwarded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The four fields of an envelope, borrowed from its bytes, nothing verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEnvelope<'a> {
    /// Ed25519 public key of the claimed signer.
    pub signer_key: &'a [u8; 32],
    /// Claimed payload type.
    pub payload_type: PayloadType,
    /// Payload bytes.
    pub payload: &'a [u8],
    /// Claimed signature.
    pub signature: &'a [u8; 64],
}

/// Takes `tag` and a length-delimited field off the front.
fn take_field<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let body = rest.strip_prefix(&[tag])?;
    let (len, width) = match body {
        [a, ..] if *a < 0x80 => (usize::from(*a), 1),
        [a, b, ..] if (1..0x80).contains(b) => (usize::from(*a & 0x7f) | usize::from(*b) << 7, 2),
        _ => return None,
    };
    let field = body.get(width..width + len)?;
    *rest = &body[width + len..];
    Some(field)
}

/// Splits an envelope without verifying anything.
pub fn split(bytes: &[u8]) -> Result<RawEnvelope<'_>, OpenError> {
    if bytes.len() > crate::limits::ENVELOPE_LEN_MAX {
        return Err(OpenError::Malformed);
    }
    split_fields(bytes).ok_or(OpenError::Malformed)
}

fn split_fields(bytes: &[u8]) -> Option<RawEnvelope<'_>> {
    let mut rest = bytes;
    let signer_key = take_field(&mut rest, 0x0a)?.try_into().ok()?;
    let [0x10, code @ 1..0x80, ..] = rest else {
        return None;
    };
    let payload_type = PayloadType::try_from(i32::from(*code)).ok()?;
    rest = &rest[2..];
    let payload = take_field(&mut rest, 0x1a)?;
    let signature = take_field(&mut rest, 0x22)?.try_into().ok()?;
    let whole = rest.is_empty() && !payload.is_empty() && payload.len() <= PAYLOAD_LEN_MAX;
    whole.then_some(RawEnvelope {
        signer_key,
        payload_type,
        payload,
        signature,
    })
}

/// Signs `payload` and returns the envelope's bytes.
///
/// # Panics
/// Never for payloads within [`PAYLOAD_LEN_MAX`]; a longer one makes an envelope every verifier
/// refuses, so callers check sizes first.
pub fn sign<T: Payload>(key: &SigningKey, payload: &T) -> Vec<u8> {
    sign_bytes(key, T::TYPE, &payload.encode_to_vec())
}

/// [`sign`] for payload bytes that are already serialized.
pub fn sign_bytes(key: &SigningKey, payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    use prost::Message as _;
    let verify_key = key.verify_key();
    let signature = key.sign(&pre_image(payload_type, &verify_key.fp(), payload));
    crate::pb::envelope::v1::Envelope {
        signer_key: verify_key.to_bytes().to_vec(),
        r#type: payload_type as i32,
        payload: payload.to_vec(),
        signature: signature.to_vec(),
    }
    .encode_to_vec()
}

/// Verifies `bytes` as an envelope of `T`, then parses it.
pub fn open<T: Payload>(bytes: &[u8], expect: &Expect<'_>) -> Result<Verified<T>, OpenError> {
    let raw = split(bytes)?;
    if raw.payload_type != T::TYPE {
        return Err(OpenError::WrongType);
    }
    let signer = VerifyKey::from_bytes(raw.signer_key).map_err(|_| OpenError::BadSignature)?;
    let fp = signer.fp();
    if expect.signer.is_some_and(|want| want != fp) {
        return Err(OpenError::WrongSigner);
    }
    if !signer.verify(&pre_image(T::TYPE, &fp, raw.payload), raw.signature) {
        return Err(OpenError::BadSignature);
    }
    let payload = T::decode(raw.payload).map_err(|_| OpenError::BadPayload)?;
    let context = payload
        .context()
        .and_then(Context::from_pb)
        .ok_or(OpenError::BadPayload)?;
    check_context(&context, expect)?;
    let hash = EnvelopeHash(sha256(bytes));
    Ok(Verified {
        payload,
        context,
        signer,
        hash,
        bytes: bytes.to_vec(),
    })
}

fn check_context(context: &Context, expect: &Expect<'_>) -> Result<(), OpenError> {
    if context.network != expect.network {
        return Err(OpenError::WrongNetwork);
    }
    if expect
        .audiences
        .is_some_and(|wanted| !wanted.contains(&context.audience))
    {
        return Err(OpenError::WrongAudience);
    }
    if expect
        .session
        .is_some_and(|want| context.link_session != Some(want))
    {
        return Err(OpenError::WrongSession);
    }
    Ok(())
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
