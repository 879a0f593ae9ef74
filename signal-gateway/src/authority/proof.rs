//! The checks of a `SocketProof`, offline: the chain leads from the network to the device, and the
//! device signed this gateway's origin and this socket's nonce.

use super::{AuthError, Identity, ProofClaim, Proven};
use crate::registry_client::lists::Network;
use beeline_proto::chain::{ChainError, Descriptor, Device, VerifiedChain};
use beeline_proto::envelope::{Expect, open, split};
use beeline_proto::id::{BootId, NetworkFp};
use beeline_proto::origin::normalize;
use beeline_proto::payload::Payload as _;
use beeline_proto::pb::identity::v1::{Chain, Revocations};
use beeline_proto::pb::signal::v1::SocketProof;
use prost::Message as _;

/// The network a proof says to be of; nothing is verified yet.
pub fn claimed_network(proof: &[u8]) -> Result<NetworkFp, AuthError> {
    let claimed = split(proof)
        .ok()
        .filter(|raw| raw.payload_type == SocketProof::TYPE)
        .and_then(|raw| SocketProof::decode(raw.payload).ok())
        .and_then(|proof| NetworkFp::try_from(proof.context?.network.as_slice()).ok());
    claimed.ok_or(AuthError::unauthenticated("the proof is malformed"))
}

/// Verifies a serialized chain against the newest descriptor known, and finds the device the socket
/// speaks for. A chain that comes with an older descriptor is held against ours: a registrar key
/// that was taken out of it signs nothing any more.
pub fn open_chain(
    chain: &[u8],
    ours: &Descriptor,
    device_label: &str,
) -> Result<(VerifiedChain, Device), AuthError> {
    let network = ours.network();
    let mut parts =
        Chain::decode(chain).map_err(|_| AuthError::unauthenticated("the chain is malformed"))?;
    let theirs = Descriptor::open(&parts.descriptor, network);
    if theirs.is_ok_and(|theirs| theirs.version() <= ours.version()) {
        parts.descriptor = ours.verified.bytes().to_vec();
    }
    let chain =
        VerifiedChain::open(&parts.encode_to_vec(), network).map_err(|error| match error {
            ChainError::Missing(_) => AuthError::unauthenticated("the chain is incomplete"),
            _ => AuthError::unauthenticated("the chain does not verify"),
        })?;
    let device = chain.devices.device_labelled(device_label).cloned();
    let device = device.ok_or(AuthError::unauthenticated(
        "the device is not on its user's device list",
    ))?;
    Ok((chain, device))
}

/// Whether the chain's membership holds now: not revoked, not expired beyond its grace.
pub fn check_membership(
    chain: &VerifiedChain,
    revocations: Option<&Revocations>,
    wall_ms: u64,
) -> Result<(), AuthError> {
    if revocations.is_some_and(|list| chain.membership.is_revoked_by(list)) {
        return Err(AuthError::revoked());
    }
    chain
        .membership
        .check_expiry(wall_ms)
        .map_err(|_| AuthError {
            code: beeline_proto::code::ErrorCode::Expired,
            why: "the membership has expired; renew it at the registry",
        })
}

/// Verifies the proof against the device's key, and what it says against this socket.
pub fn check_proof(
    claim: &ProofClaim<'_>,
    network: NetworkFp,
    device: &Device,
) -> Result<(), AuthError> {
    let fp = device.fp().0;
    let audiences = [fp];
    let expect = Expect::new(network, &audiences).signer(fp);
    let verified = open::<SocketProof>(claim.proof, &expect)
        .map_err(|_| AuthError::unauthenticated("the proof is not this device's signature"))?;
    let proof = verified.payload();
    if proof.nonce != claim.nonce {
        return Err(AuthError::unauthenticated(
            "the proof answers another challenge",
        ));
    }
    if proof.device_id != claim.device_label {
        return Err(AuthError::unauthenticated(
            "the proof is for another deviceId",
        ));
    }
    if BootId::try_from(proof.boot_id.as_slice()).is_err() {
        return Err(AuthError::unauthenticated(
            "the proof's boot id must be 16 bytes",
        ));
    }
    // A challenge relayed by another host was dialled at another origin.
    let dialled = normalize(&proof.origin);
    if dialled.is_none_or(|origin| !claim.origins.contains(&origin)) {
        return Err(AuthError::unauthenticated(
            "the proof names an origin that is not this gateway's",
        ));
    }
    Ok(())
}

/// What a device whose chain and proof hold is told: who it is here, and the lists it has older.
pub fn proven(
    network: &Network,
    chain: &VerifiedChain,
    device: &Device,
    claim: &ProofClaim<'_>,
) -> Proven {
    let lists = network.to_lists();
    let newer = |ours: u64, theirs: u64, bytes: Vec<u8>| {
        if ours > theirs { bytes } else { Vec::new() }
    };
    let (descriptor, versions) = (&network.descriptor, claim.versions);
    Proven {
        identity: Identity {
            network: network.fp(),
            network_label: network.label.clone(),
            device: device.fp(),
            device_label: claim.device_label.into(),
            serial: Some(chain.membership.serial()),
            expires_ms: None,
        },
        descriptor: newer(descriptor.version(), versions.descriptor, lists.descriptor),
        revocations: newer(
            network.revocations_version(),
            versions.revocations,
            lists.revocations,
        ),
    }
}
