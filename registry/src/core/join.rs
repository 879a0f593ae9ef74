//! Joining: what an invite may offer, and what a join request must prove before the store is asked
//! to count a use.

use crate::core::lists::{ListError, open_device_list};
use crate::limits::INVITE_TTL_S;
use beeline_proto::chain::DeviceList;
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Expect, OpenError, open};
use beeline_proto::id::{Label, LabelError, NetworkFp, sha256};
use beeline_proto::keys::{KeyError, VerifyKey};
use beeline_proto::limits::{INVITE_TTL_MAX_S, INVITE_USES_MAX};
use beeline_proto::pb::identity::v1 as pb;

/// What an invite offers.
#[derive(Debug, Clone, PartialEq)]
pub struct InviteTerms {
    /// Whose secret half the link carries.
    pub key: VerifyKey,
    /// The role a joiner gets.
    pub role: pb::Role,
    /// How many may join.
    pub uses: u32,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Why an invite cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// The key is unusable.
    #[error("invite_key is not usable: {0}")]
    Key(KeyError),
    /// No role, or one that does not exist.
    #[error("role must be member, coordinator or admin")]
    Role,
    /// Uses out of range.
    #[error("uses must be 1 to {INVITE_USES_MAX}")]
    Uses,
    /// Lifetime out of range.
    #[error("ttl must be 1 second to 30 days")]
    Ttl,
}

impl InviteError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidArgument
    }
}

impl InviteTerms {
    /// Checks what is asked for; 0 uses mean one, 0 seconds the default lifetime.
    pub fn check(
        key: &[u8],
        role: i32,
        uses: u32,
        ttl_s: u32,
        wall_ms: u64,
    ) -> Result<Self, InviteError> {
        let key = VerifyKey::from_bytes(key).map_err(InviteError::Key)?;
        let role = match pb::Role::try_from(role) {
            Ok(pb::Role::Unspecified) | Err(_) => return Err(InviteError::Role),
            Ok(role) => role,
        };
        if uses > INVITE_USES_MAX {
            return Err(InviteError::Uses);
        }
        if ttl_s > INVITE_TTL_MAX_S {
            return Err(InviteError::Ttl);
        }
        let ttl_s = if ttl_s == 0 { INVITE_TTL_S } else { ttl_s };
        Ok(Self {
            key,
            role,
            uses: uses.max(1),
            expires_ms: wall_ms.saturating_add(u64::from(ttl_s) * 1_000),
        })
    }
}

/// A join request that proves what it claims; whether the invite still counts is the store's.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The invite's key, which signed the proof.
    pub invite_key: VerifyKey,
    /// The handle asked for.
    pub handle: Label,
    /// The joiner's key.
    pub user_key: VerifyKey,
    /// The joiner's first device list.
    pub devices: DeviceList,
}

/// Why a join is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The proof does not verify for this network.
    #[error("the join proof does not verify: {0}")]
    Proof(OpenError),
    /// The handle is malformed.
    #[error("the user id cannot be used: {0}")]
    Handle(LabelError),
    /// The user key is unusable.
    #[error("the user key is not usable: {0}")]
    Key(KeyError),
    /// The nonce has another length.
    #[error("the join proof's nonce must be 32 bytes")]
    Nonce,
    /// The proof was made for another device list.
    #[error("the join proof was made for another device list")]
    ListHash,
    /// The device list does not verify.
    #[error(transparent)]
    List(#[from] ListError),
    /// The invite is unknown, used up or ended. One text for all three.
    #[error("the invite is used up, has expired or is not of this network; ask for a new one")]
    Invite,
    /// The handle belongs to another key.
    #[error("the user id {0} is taken; choose another")]
    HandleTaken(Label),
    /// The key is a member already, under another handle or with other devices.
    #[error("this user key is already a member of the network")]
    KeyTaken,
    /// A device's label or key belongs to another user.
    #[error("the device id {0} is taken; choose another")]
    DeviceTaken(Label),
    /// The user was revoked.
    #[error("this user was revoked; join with a new user key and another user id")]
    Revoked,
}

impl JoinError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invite => ErrorCode::InviteInvalid,
            Self::HandleTaken(_) | Self::KeyTaken | Self::DeviceTaken(_) => {
                ErrorCode::AlreadyExists
            }
            Self::Revoked => ErrorCode::Revoked,
            _ => ErrorCode::InvalidArgument,
        }
    }
}

impl Claim {
    /// Checks a join request for `network`.
    pub fn check(network: NetworkFp, proof: &[u8], list: &[u8]) -> Result<Self, JoinError> {
        let audiences = [network.0];
        let expect = Expect::new(network, &audiences);
        let proof = open::<pb::JoinProof>(proof, &expect).map_err(JoinError::Proof)?;
        let payload = proof.payload();
        if payload.nonce.len() != 32 {
            return Err(JoinError::Nonce);
        }
        if payload.device_list_hash != sha256(list) {
            return Err(JoinError::ListHash);
        }
        let handle = Label::new(&payload.user_id).map_err(JoinError::Handle)?;
        let user_key = VerifyKey::from_bytes(&payload.user_key).map_err(JoinError::Key)?;
        let devices = open_device_list(list, network, &user_key)?;
        Ok(Self {
            invite_key: *proof.signer(),
            handle,
            user_key,
            devices,
        })
    }
}
