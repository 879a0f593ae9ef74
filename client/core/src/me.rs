//! Ourselves: keys, the chain that proves them, and the signed lists in force.

use crate::config::Config;
use crate::crypto::{Crypto, random_id, sign};
use crate::error::StartError;
use crate::state::{Identity, StoreOp};
use beeline_proto::chain::{ChainError, Descriptor, DeviceList, VerifiedChain};
use beeline_proto::envelope::{Context, Verified};
use beeline_proto::id::{BootId, DeviceFp, KeyId, Label, MessageId, NetworkFp, SessionId, UserFp};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::Context as PbContext;
use beeline_proto::pb::identity::v1::{Revocations, Role, Versions};

/// Our record as published: the envelope and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnRecord {
    pub(crate) version: u64,
    /// The bundle in it.
    pub(crate) key_id: KeyId,
    pub(crate) bytes: Vec<u8>,
}

/// Who we are and what we know of the network itself.
pub(crate) struct Me {
    pub(crate) config: Config,
    pub(crate) device_label: Label,
    pub(crate) user_label: Label,
    pub(crate) control_key: SealSecret,
    pub(crate) boot_id: BootId,
    pub(crate) device: DeviceFp,
    pub(crate) user: UserFp,
    pub(crate) incarnation: u64,
    pub(crate) chain: VerifiedChain,
    pub(crate) record: Option<OwnRecord>,
    /// The list our user took this device off with; the chain keeps the last one it was on.
    removed: Option<DeviceList>,
    device_key: SigningKey,
    revocations: Option<Verified<Revocations>>,
}

impl Me {
    pub(crate) fn new(
        config: Config,
        identity: Identity,
        incarnation: u64,
    ) -> Result<Self, StartError> {
        let chain = VerifiedChain::open(&identity.chain, config.network)?;
        let device = identity.device_key.verify_key().device_fp();
        let listed = chain.device(device).ok();
        let ours = chain.membership.handle == identity.user_label
            && listed.is_none_or(|listed| {
                listed.label == identity.device_label
                    && listed.control_key == identity.control_key.public()
            });
        if !ours {
            return Err(StartError::NotOurs);
        }
        let revocations = match identity.revocations.as_slice() {
            [] => None,
            bytes => Some(chain.descriptor.open_revocations(bytes)?),
        };
        let removed = listed.is_none().then(|| chain.devices.clone());
        Ok(Self {
            config,
            device_label: identity.device_label,
            user_label: identity.user_label,
            control_key: identity.control_key,
            boot_id: BootId(identity.boot_id),
            device,
            user: chain.user(),
            incarnation,
            chain,
            record: None,
            removed,
            device_key: identity.device_key,
            revocations,
        })
    }

    /// A coordinator needs the role.
    pub(crate) fn check_role(&self) -> Result<(), StartError> {
        let member = self.chain.membership.role() == Role::Member;
        if self.config.coordinator && member {
            return Err(StartError::NotCoordinator);
        }
        Ok(())
    }

    pub(crate) fn network(&self) -> NetworkFp {
        self.config.network
    }

    /// Signs a payload with our device key.
    pub(crate) fn sign<T: Payload>(&self, crypto: &mut dyn Crypto, payload: &T) -> Vec<u8> {
        sign(crypto, &self.device_key, payload)
    }

    /// A context without order, with a new id.
    pub(crate) fn context(&self, crypto: &mut dyn Crypto, audience: [u8; 32]) -> Option<PbContext> {
        let id = MessageId(random_id(crypto));
        Some(Context::unordered(self.network(), audience, id).to_pb())
    }

    /// The same, bound to one link.
    pub(crate) fn context_on(
        &self,
        crypto: &mut dyn Crypto,
        audience: DeviceFp,
        session: SessionId,
    ) -> Option<PbContext> {
        let id = MessageId(random_id(crypto));
        let context = Context::unordered(self.network(), audience.0, id);
        Some(context.on_link(session).to_pb())
    }

    /// Versions of the signed lists we hold.
    pub(crate) fn versions(&self) -> Versions {
        Versions {
            descriptor: self.chain.descriptor.version(),
            revocations: self.revocations_version(),
            device_list: self.chain.devices.version(),
        }
    }

    pub(crate) fn revocations_version(&self) -> u64 {
        self.revocations
            .as_ref()
            .map_or(0, |list| list.payload().version)
    }

    /// Envelope of the revocations; empty if there are none.
    pub(crate) fn revocations_bytes(&self) -> Vec<u8> {
        let bytes = self.revocations.as_ref().map(|list| list.bytes().to_vec());
        bytes.unwrap_or_default()
    }

    /// Whether a chain is good now: its registrar still is one, and nobody revoked it.
    pub(crate) fn admits(&self, chain: &VerifiedChain) -> Result<(), ChainError> {
        if chain.descriptor.version() < self.chain.descriptor.version() {
            let membership = chain.membership.verified.bytes();
            self.chain.descriptor.open_membership(membership)?;
        }
        if self.revokes(chain) {
            return Err(ChainError::Revoked);
        }
        Ok(())
    }

    /// Whether the membership of `chain` is on the revocation list.
    pub(crate) fn revokes(&self, chain: &VerifiedChain) -> bool {
        let list = self.revocations.as_ref();
        list.is_some_and(|list| chain.membership.is_revoked_by(list.payload()))
    }

    /// Takes a newer descriptor; whether it was newer. Our own membership must still hold under it.
    pub(crate) fn adopt_descriptor(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let descriptor = Descriptor::open(bytes, self.network())?;
        if descriptor.version() <= self.chain.descriptor.version() {
            return Ok(false);
        }
        let membership = self.chain.membership.verified.bytes();
        self.chain.membership = descriptor.open_membership(membership)?;
        self.chain.descriptor = descriptor;
        Ok(true)
    }

    /// Takes a newer revocation list; whether it was newer.
    pub(crate) fn adopt_revocations(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let list = self.chain.descriptor.open_revocations(bytes)?;
        if list.payload().version <= self.revocations_version() {
            return Ok(false);
        }
        self.revocations = Some(list);
        Ok(true)
    }

    /// Takes our renewed membership; whether it ends later than the one we had.
    pub(crate) fn adopt_membership(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let membership = self.chain.descriptor.open_membership(bytes)?;
        if membership.user_key.user_fp() != self.user || membership.handle != self.user_label {
            return Err(ChainError::Invalid("membership", "it is somebody else's"));
        }
        let ends = |m: &beeline_proto::chain::Membership| m.verified.payload().expires_ms;
        if ends(&membership) <= ends(&self.chain.membership) {
            return Ok(false);
        }
        self.chain.membership = membership;
        Ok(true)
    }

    /// Takes a newer list of our own devices, made on another of them; whether it was newer.
    pub(crate) fn adopt_device_list(&mut self, bytes: &[u8]) -> Result<bool, ChainError> {
        let key = self.chain.membership.user_key;
        let list = DeviceList::open(bytes, self.network(), &key)?;
        let known = &self.chain.devices;
        if list.version() == known.version() && bytes != known.verified.bytes() {
            let why = "another one of the same version is in force";
            return Err(ChainError::Invalid("device list", why));
        }
        if list.version() <= known.version() {
            return Ok(false);
        }
        if list.device(self.device).is_none() {
            self.removed.get_or_insert(list);
            return Err(ChainError::UnknownDevice);
        }
        self.chain.devices = list;
        Ok(true)
    }

    /// Whether our user took this device off the list.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.is_some()
    }

    /// The operation that keeps our chain and the revocations; where this device was taken off the
    /// list, the next start knows it by that.
    pub(crate) fn keep(&self) -> StoreOp {
        let mut chain = self.chain.clone();
        if let Some(list) = &self.removed {
            chain.devices = list.clone();
        }
        StoreOp::PutOwnChain {
            chain: chain.to_bytes(),
            revocations: self.revocations_bytes(),
        }
    }
}
