//! Rules for the signed lists that replace each other: device lists, descriptors, revocations,
//! memberships.

use crate::limits::VERSION_MAX;
use beeline_proto::chain::{ChainError, Descriptor, DeviceList};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{Label, MessageId, NetworkFp};
use beeline_proto::keys::{SigningKey, VerifyKey};
use beeline_proto::limits::{MEMBERSHIP_TTL_MS, ORIGIN_LEN_MAX, ORIGINS_MAX, REVOCATIONS_MAX};
use beeline_proto::origin;
use beeline_proto::pb::identity::v1 as pb;
use std::cmp::Ordering;

/// Why a list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It does not verify.
    #[error("{0}")]
    Chain(ChainError),
    /// The version cannot be stored.
    #[error("the {0}'s version must be 1 to 2^63 - 1")]
    Version(&'static str),
    /// A higher version is known.
    #[error("a newer {what} is known: version {known}; take that one and build on it")]
    Older {
        /// Which list.
        what: &'static str,
        /// The version in force.
        known: u64,
    },
    /// The same version with other bytes.
    #[error("another {0} with the same version is known; this one is not taken")]
    Conflict(&'static str),
    /// The descriptor's label is not the network's.
    #[error("the descriptor's label is not the network's id")]
    Label,
    /// The descriptor leaves out the registry's own registrar key.
    #[error("the descriptor must name the registrar key {0}")]
    Registrar(HexKey),
    /// An origin that no token could be asked for.
    #[error("an origin must be http(s)://host[:port] in lower case without a default port or path")]
    Origin,
    /// No room for another serial.
    #[error("the network has revoked as many memberships as one list can hold; start a new one")]
    RevocationsFull,
}

/// A public key printed as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexKey(pub [u8; 32]);

impl std::fmt::Display for HexKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for HexKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl ListError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Older { .. } | Self::Conflict(_) => ErrorCode::Conflict,
            Self::RevocationsFull => ErrorCode::Full,
            _ => ErrorCode::InvalidArgument,
        }
    }
}

/// What to do with a list that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It is newer: store it.
    Store,
    /// It is the one in force.
    Same,
}

/// Decides between a verified list and the one in force.
fn replace(
    what: &'static str,
    new: (u64, &[u8]),
    known: (u64, &[u8]),
) -> Result<Replace, ListError> {
    if new.0 == 0 || new.0 > VERSION_MAX {
        return Err(ListError::Version(what));
    }
    match new.0.cmp(&known.0) {
        Ordering::Greater => Ok(Replace::Store),
        Ordering::Equal if new.1 == known.1 => Ok(Replace::Same),
        Ordering::Equal => Err(ListError::Conflict(what)),
        Ordering::Less => Err(ListError::Older {
            what,
            known: known.0,
        }),
    }
}

/// A device list on its own: signed by the user, with a version that can be stored.
pub fn open_device_list(
    bytes: &[u8],
    network: NetworkFp,
    user: &VerifyKey,
) -> Result<DeviceList, ListError> {
    let list = DeviceList::open(bytes, network, user).map_err(ListError::Chain)?;
    replace("device list", (list.version(), bytes), (0, &[]))?;
    Ok(list)
}

/// A device list against the one in force.
pub fn replace_device_list(
    bytes: &[u8],
    network: NetworkFp,
    user: &VerifyKey,
    known: (u64, &[u8]),
) -> Result<(DeviceList, Replace), ListError> {
    let list = DeviceList::open(bytes, network, user).map_err(ListError::Chain)?;
    let replace = replace("device list", (list.version(), bytes), known)?;
    Ok((list, replace))
}

/// A descriptor on its own: signed by the authority, with a version and origins of one form.
pub fn open_descriptor(bytes: &[u8], network: NetworkFp) -> Result<Descriptor, ListError> {
    let descriptor = Descriptor::open(bytes, network).map_err(ListError::Chain)?;
    replace("descriptor", (descriptor.version(), bytes), (0, &[]))?;
    let payload = descriptor.verified.payload();
    let origins = payload
        .gateway_origins
        .iter()
        .chain(&payload.registry_origins);
    for text in origins {
        if origin::normalize(text).as_ref() != Some(text) {
            return Err(ListError::Origin);
        }
    }
    Ok(descriptor)
}

/// A descriptor against the one in force, for a registry that signs with `registrar`.
pub fn replace_descriptor(
    bytes: &[u8],
    known: &Descriptor,
    registrar: &VerifyKey,
) -> Result<(Descriptor, Replace), ListError> {
    let descriptor = open_descriptor(bytes, known.network())?;
    let in_force = (known.version(), known.verified.bytes());
    let replace = replace("descriptor", (descriptor.version(), bytes), in_force)?;
    if descriptor.verified.payload().label != known.verified.payload().label {
        return Err(ListError::Label);
    }
    if !descriptor.registrars.contains(registrar) {
        return Err(ListError::Registrar(HexKey(registrar.to_bytes())));
    }
    Ok((descriptor, replace))
}

/// Origins in their one form, without repeats, in the order given.
pub fn origins(given: &[String]) -> Result<Vec<String>, ListError> {
    let mut out: Vec<String> = Vec::new();
    for text in given {
        let normal = origin::normalize(text).ok_or(ListError::Origin)?;
        if normal.len() > ORIGIN_LEN_MAX {
            return Err(ListError::Origin);
        }
        if !out.contains(&normal) {
            out.push(normal);
        }
    }
    if out.len() > ORIGINS_MAX {
        return Err(ListError::Chain(ChainError::Invalid(
            "descriptor",
            "it names too many origins",
        )));
    }
    Ok(out)
}

/// What a descriptor made here says.
#[derive(Debug)]
pub struct DescriptorDraft<'a> {
    /// The networkId.
    pub label: &'a Label,
    /// Higher than the one before.
    pub version: u64,
    /// The registry's own registrar key, and others to keep.
    pub registrars: Vec<VerifyKey>,
    /// Of the gateways, in their one form.
    pub gateway_origins: Vec<String>,
    /// Of the registries, in their one form.
    pub registry_origins: Vec<String>,
}

/// Signs a descriptor.
pub fn sign_descriptor(
    authority: &SigningKey,
    draft: DescriptorDraft<'_>,
    message_id: MessageId,
) -> Vec<u8> {
    let network = authority.verify_key().network_fp();
    let payload = pb::NetworkDescriptor {
        context: Some(Context::unordered(network, network.0, message_id).to_pb()),
        label: draft.label.to_string(),
        version: draft.version,
        registrar_keys: draft
            .registrars
            .iter()
            .map(|k| k.to_bytes().to_vec())
            .collect(),
        gateway_origins: draft.gateway_origins,
        registry_origins: draft.registry_origins,
    };
    sign(authority, &payload)
}

/// What a membership says.
#[derive(Debug, Clone)]
pub struct MembershipDraft {
    /// The network.
    pub network: NetworkFp,
    /// The user.
    pub user_key: VerifyKey,
    /// The userId.
    pub handle: Label,
    /// What the user may do.
    pub role: pb::Role,
    /// Seeds the choice of custodians; never changes for one user.
    pub salt: [u8; 16],
    /// When it is signed, Unix milliseconds.
    pub issued_ms: u64,
    /// Of the envelope.
    pub message_id: MessageId,
}

impl MembershipDraft {
    /// Signs it under `serial`.
    pub fn sign(&self, registrar: &SigningKey, serial: u64) -> Vec<u8> {
        let audience = self.user_key.fp();
        let payload = pb::Membership {
            context: Some(Context::unordered(self.network, audience, self.message_id).to_pb()),
            user_key: self.user_key.to_bytes().to_vec(),
            handle: self.handle.to_string(),
            role: self.role as i32,
            serial,
            salt: self.salt.to_vec(),
            issued_ms: self.issued_ms,
            expires_ms: self.issued_ms.saturating_add(MEMBERSHIP_TTL_MS),
        };
        sign(registrar, &payload)
    }
}

/// The next revocation list: the serials in force with one more, ascending.
pub fn next_revocations(known: &[u64], serial: u64) -> Result<Vec<u64>, ListError> {
    let mut serials = known.to_vec();
    if let Err(place) = serials.binary_search(&serial) {
        serials.insert(place, serial);
    }
    if serials.len() > REVOCATIONS_MAX {
        return Err(ListError::RevocationsFull);
    }
    Ok(serials)
}

/// Signs a revocation list.
pub fn sign_revocations(
    registrar: &SigningKey,
    network: NetworkFp,
    version: u64,
    serials: Vec<u64>,
    message_id: MessageId,
) -> Vec<u8> {
    let payload = pb::Revocations {
        context: Some(Context::unordered(network, network.0, message_id).to_pb()),
        version,
        serials,
    };
    sign(registrar, &payload)
}

/// Signs an invite.
pub fn sign_invite(
    registrar: &SigningKey,
    network: NetworkFp,
    invite: &crate::core::join::InviteTerms,
    message_id: MessageId,
) -> Vec<u8> {
    let payload = pb::Invite {
        context: Some(Context::unordered(network, network.0, message_id).to_pb()),
        invite_key: invite.key.to_bytes().to_vec(),
        role: invite.role as i32,
        uses: invite.uses,
        expires_ms: invite.expires_ms,
    };
    sign(registrar, &payload)
}
