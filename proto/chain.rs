//! Chains: who a device is, checked offline. The authority key, pinned by its fingerprint, signs
//! the descriptor; a registrar key named there signs the membership; the user key named there signs
//! the device list; the device list names the device.

use crate::envelope::{Expect, OpenError, Verified, open, split};
use crate::id::{DeviceFp, Label, NetworkFp, UserFp};
use crate::keys::{KeyError, SealPublic, VerifyKey};
use crate::limits::{
    CHAIN_LEN_MAX, DESCRIPTOR_LEN_MAX, DEVICES_PER_USER_MAX, MEMBERSHIP_GRACE_MS, ORIGIN_LEN_MAX,
    ORIGINS_MAX, REGISTRAR_KEYS_MAX, REVOCATIONS_MAX,
};
use crate::pb::identity::v1 as pb;
use prost::Message as _;

/// Why a chain, or a part of one, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A part is missing.
    #[error("the chain is incomplete: {0} is missing")]
    Missing(&'static str),
    /// A part does not verify.
    #[error("the {0} does not verify: {1}")]
    Open(&'static str, OpenError),
    /// A part verifies but breaks a rule of its own.
    #[error("the {0} is not valid: {1}")]
    Invalid(&'static str, &'static str),
    /// The membership is on the revocation list.
    #[error("the membership has been revoked")]
    Revoked,
    /// The membership ended more than its grace ago.
    #[error("the membership has expired; renew it at the registry")]
    Expired,
    /// The device is not on its user's list.
    #[error("the device is not on its user's device list")]
    UnknownDevice,
}

impl From<KeyError> for ChainError {
    fn from(_: KeyError) -> Self {
        Self::Invalid("chain", "a key is weak or of the wrong length")
    }
}

/// A descriptor that verified against the pinned network fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// As received.
    pub verified: Verified<pb::NetworkDescriptor>,
    /// Who may sign memberships, invites and revocations.
    pub registrars: Vec<VerifyKey>,
}

impl Descriptor {
    /// Verifies a descriptor's envelope.
    pub fn open(bytes: &[u8], network: NetworkFp) -> Result<Self, ChainError> {
        let audiences = [network.0];
        let expect = Expect::new(network, &audiences).signer(network.0);
        let verified: Verified<pb::NetworkDescriptor> =
            open(bytes, &expect).map_err(|e| ChainError::Open("descriptor", e))?;
        let invalid = |why| Err(ChainError::Invalid("descriptor", why));
        let payload = verified.payload();
        if bytes.len() > DESCRIPTOR_LEN_MAX {
            return invalid("it is larger than 720 bytes; name fewer or shorter origins");
        }
        if Label::new(&payload.label).is_err() {
            return invalid("its label is malformed");
        }
        let origins = [&payload.gateway_origins, &payload.registry_origins];
        if origins
            .iter()
            .any(|o| o.len() > ORIGINS_MAX || o.iter().any(|s| s.len() > ORIGIN_LEN_MAX))
        {
            return invalid("it names too many or too long origins");
        }
        if payload.registrar_keys.is_empty() || payload.registrar_keys.len() > REGISTRAR_KEYS_MAX {
            return invalid("it must name 1 to 4 registrar keys");
        }
        let keys = payload
            .registrar_keys
            .iter()
            .map(|k| VerifyKey::from_bytes(k));
        let registrars = keys.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            verified,
            registrars,
        })
    }

    /// The network.
    pub fn network(&self) -> NetworkFp {
        self.verified.context().network
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.verified.payload().version
    }

    /// Opens an envelope that must be signed by one of the registrars.
    fn open_registrar<T: crate::payload::Payload>(
        &self,
        bytes: &[u8],
        expect: &Expect<'_>,
        what: &'static str,
    ) -> Result<Verified<T>, ChainError> {
        let verified: Verified<T> = open(bytes, expect).map_err(|e| ChainError::Open(what, e))?;
        if !self.registrars.contains(verified.signer()) {
            return Err(ChainError::Open(what, OpenError::WrongSigner));
        }
        Ok(verified)
    }

    /// Verifies an invite's envelope.
    pub fn open_invite(&self, bytes: &[u8]) -> Result<Verified<pb::Invite>, ChainError> {
        let audiences = [self.network().0];
        let expect = Expect::new(self.network(), &audiences);
        self.open_registrar(bytes, &expect, "invite")
    }

    /// Verifies a revocation list's envelope.
    pub fn open_revocations(&self, bytes: &[u8]) -> Result<Verified<pb::Revocations>, ChainError> {
        let audiences = [self.network().0];
        let expect = Expect::new(self.network(), &audiences);
        let list: Verified<pb::Revocations> = self.open_registrar(bytes, &expect, "revocations")?;
        let serials = &list.payload().serials;
        if serials.len() > REVOCATIONS_MAX || !serials.is_sorted() {
            return Err(ChainError::Invalid(
                "revocations",
                "its serials are too many or unsorted",
            ));
        }
        Ok(list)
    }

    /// Verifies a membership's envelope.
    pub fn open_membership(&self, bytes: &[u8]) -> Result<Membership, ChainError> {
        // The audience is the user named inside, known only once the bytes are verified.
        let expect = Expect::audience_inside(self.network());
        let verified: Verified<pb::Membership> =
            self.open_registrar(bytes, &expect, "membership")?;
        let user_key = VerifyKey::from_bytes(&verified.payload().user_key)?;
        if verified.context().audience != user_key.fp() {
            return Err(ChainError::Open("membership", OpenError::WrongAudience));
        }
        let invalid = |why| Err(ChainError::Invalid("membership", why));
        let payload = verified.payload();
        let Ok(handle) = Label::new(&payload.handle) else {
            return invalid("its handle is malformed");
        };
        if payload.role() == pb::Role::Unspecified || payload.salt.len() != 16 {
            return invalid("it lacks a role or a salt");
        }
        Ok(Membership {
            verified,
            user_key,
            handle,
        })
    }
}

/// A membership that verified against a descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// As received.
    pub verified: Verified<pb::Membership>,
    /// The user.
    pub user_key: VerifyKey,
    /// The userId, for people.
    pub handle: Label,
}

impl Membership {
    /// What the user may do.
    pub fn role(&self) -> pb::Role {
        self.verified.payload().role()
    }

    /// The serial a revocation names.
    pub fn serial(&self) -> u64 {
        self.verified.payload().serial
    }

    /// Whether `list` revokes it.
    pub fn is_revoked_by(&self, list: &pb::Revocations) -> bool {
        list.serials.binary_search(&self.serial()).is_ok()
    }

    /// Checks the end and its grace; done at sign-in and when a link opens, never on an envelope.
    pub fn check_expiry(&self, wall_ms: u64) -> Result<(), ChainError> {
        let end = self
            .verified
            .payload()
            .expires_ms
            .saturating_add(MEMBERSHIP_GRACE_MS);
        if wall_ms > end {
            Err(ChainError::Expired)
        } else {
            Ok(())
        }
    }
}

/// One device of a verified list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The deviceId, for people and URLs.
    pub label: Label,
    /// What it signs with.
    pub device_key: VerifyKey,
    /// What CONTROL parcels for it are sealed to.
    pub control_key: SealPublic,
}

impl Device {
    /// Its fingerprint.
    pub fn fp(&self) -> DeviceFp {
        self.device_key.device_fp()
    }
}

/// A device list that verified against its user's key.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceList {
    /// As received.
    pub verified: Verified<pb::DeviceList>,
    /// The devices, in the list's order.
    pub devices: Vec<Device>,
}

impl DeviceList {
    /// Verifies a device list's envelope against the user key.
    pub fn open(bytes: &[u8], network: NetworkFp, user: &VerifyKey) -> Result<Self, ChainError> {
        let audiences = [user.fp()];
        let expect = Expect::new(network, &audiences).signer(user.fp());
        let verified: Verified<pb::DeviceList> =
            open(bytes, &expect).map_err(|e| ChainError::Open("device list", e))?;
        let listed = &verified.payload().devices;
        let invalid = |why| Err(ChainError::Invalid("device list", why));
        if listed.is_empty() || listed.len() > DEVICES_PER_USER_MAX {
            return invalid("it must name 1 to 16 devices");
        }
        let mut devices: Vec<Device> = Vec::with_capacity(listed.len());
        for device in listed {
            let Ok(label) = Label::new(&device.label) else {
                return invalid("a device label is malformed");
            };
            let device_key = VerifyKey::from_bytes(&device.device_key)?;
            let control_key = SealPublic::from_bytes(&device.control_key)?;
            if devices
                .iter()
                .any(|d| d.label == label || d.device_key == device_key)
            {
                return invalid("it names a device twice");
            }
            devices.push(Device {
                label,
                device_key,
                control_key,
            });
        }
        Ok(Self { verified, devices })
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.verified.payload().version
    }

    /// The device with this fingerprint.
    pub fn device(&self, fp: DeviceFp) -> Option<&Device> {
        self.devices.iter().find(|d| d.fp() == fp)
    }

    /// The device with this label.
    pub fn device_labelled(&self, label: &str) -> Option<&Device> {
        self.devices.iter().find(|d| d.label.as_str() == label)
    }
}

/// A whole chain that verified.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedChain {
    /// The network.
    pub descriptor: Descriptor,
    /// The user's place in it.
    pub membership: Membership,
    /// The user's devices.
    pub devices: DeviceList,
}

impl VerifiedChain {
    /// Verifies a serialized `Chain` against the pinned network fingerprint. Revocation and expiry
    /// are the caller's: they depend on what else is known and on the moment.
    pub fn open(bytes: &[u8], network: NetworkFp) -> Result<Self, ChainError> {
        if bytes.len() > CHAIN_LEN_MAX {
            return Err(ChainError::Invalid(
                "chain",
                "it is larger than 3,500 bytes",
            ));
        }
        let chain = pb::Chain::decode(bytes)
            .map_err(|_| ChainError::Invalid("chain", "it cannot be decoded"))?;
        for (part, name) in [
            (&chain.descriptor, "the descriptor"),
            (&chain.membership, "the membership"),
            (&chain.device_list, "the device list"),
        ] {
            if part.is_empty() {
                return Err(ChainError::Missing(name));
            }
        }
        let descriptor = Descriptor::open(&chain.descriptor, network)?;
        let membership = descriptor.open_membership(&chain.membership)?;
        let devices = DeviceList::open(&chain.device_list, network, &membership.user_key)?;
        Ok(Self {
            descriptor,
            membership,
            devices,
        })
    }

    /// Whose chain a serialized one says it is. Nothing is verified: good for looking up whether
    /// these very bytes were verified before.
    pub fn claimed_handle(bytes: &[u8]) -> Option<Label> {
        if bytes.len() > CHAIN_LEN_MAX {
            return None;
        }
        let chain = pb::Chain::decode(bytes).ok()?;
        let payload = split(&chain.membership).ok()?.payload;
        Label::new(&pb::Membership::decode(payload).ok()?.handle).ok()
    }

    /// The user.
    pub fn user(&self) -> UserFp {
        self.membership.user_key.user_fp()
    }

    /// The device with this fingerprint, or why not.
    pub fn device(&self, fp: DeviceFp) -> Result<&Device, ChainError> {
        self.devices.device(fp).ok_or(ChainError::UnknownDevice)
    }

    /// The serialized chain, from the bytes as received.
    pub fn to_bytes(&self) -> Vec<u8> {
        pb::Chain {
            descriptor: self.descriptor.verified.bytes().to_vec(),
            membership: self.membership.verified.bytes().to_vec(),
            device_list: self.devices.verified.bytes().to_vec(),
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
