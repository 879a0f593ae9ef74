//! The list of a user's devices as this home knows it, and newer ones, where it holds the user key.

use super::DeviceError;
use crate::home::Home;
use crate::identity::{Identity, random};
use crate::report::Who;
use crate::store::Reader;
use beeline_proto::chain::{Device, VerifiedChain};
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::limits::DEVICES_PER_USER_MAX;
use beeline_proto::pb::identity::v1 as pb;
use std::collections::BTreeMap;

/// One device of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The deviceId.
    pub label: Label,
    /// The device.
    pub device: DeviceFp,
    /// Whether it is this one.
    pub here: bool,
    /// Whether it is this one, and holds the user key.
    pub holds_key: bool,
    /// When it was last heard of here, Unix ms; 0 for never, or for this one.
    pub seen_ms: u64,
}

/// The device list of a home.
pub struct Lists {
    identity: Identity,
    chain: VerifiedChain,
    revocations: Vec<u8>,
    seen: BTreeMap<DeviceFp, u64>,
}

impl Lists {
    /// Reads what a home knows. Another process may own it.
    ///
    /// # Errors
    /// [`DeviceError::Home`], [`DeviceError::Store`], [`DeviceError::NotVerified`].
    pub fn of(home: &Home) -> Result<Self, DeviceError> {
        let identity = Identity::load(home)?;
        let mut newest = (identity.chain.clone(), identity.revocations.clone());
        let mut seen = BTreeMap::new();
        let reader = Reader::open(home.dir())?;
        if let Some(own) = reader.own_chain()? {
            newest = (own.chain, own.revocations);
        }
        for route in reader.routes(0)? {
            seen.insert(route.device, route.seen_ms.max(route.connected_ms));
        }
        let chain = VerifiedChain::open(&newest.0, identity.network);
        Ok(Self {
            chain: chain.map_err(DeviceError::chain)?,
            revocations: newest.1,
            identity,
            seen,
        })
    }

    /// Whose devices they are, and which of them this is.
    pub fn who(&self) -> Who {
        self.identity.who()
    }

    /// The version in force here.
    pub fn version(&self) -> u64 {
        self.chain.devices.version()
    }

    /// The devices, in the list's order.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let here = self.identity.who().device;
        let info = |device: &Device| DeviceInfo {
            label: device.label.clone(),
            device: device.fp(),
            here: device.fp() == here,
            holds_key: device.fp() == here && self.identity.user_key.is_some(),
            seen_ms: self.seen.get(&device.fp()).copied().unwrap_or_default(),
        };
        self.chain.devices.devices.iter().map(info).collect()
    }

    /// The next list, with one more device.
    ///
    /// # Errors
    /// [`DeviceError::NotTheHolder`], [`DeviceError::Full`], [`DeviceError::Taken`].
    pub fn with(&self, new: &Device) -> Result<Vec<u8>, DeviceError> {
        self.may_take(Some(&new.label))?;
        let mut devices = self.chain.devices.devices.clone();
        if devices.iter().any(|device| device.fp() == new.fp()) {
            return Err(DeviceError::NotVerified("its key is on the list".into()));
        }
        devices.push(new.clone());
        self.sign(&devices)
    }

    /// Whether one more device may be taken in, under this name if it is known yet.
    pub(super) fn may_take(&self, label: Option<&Label>) -> Result<(), DeviceError> {
        let user = self.identity.user.to_string();
        self.holder()?;
        let devices = &self.chain.devices;
        if devices.devices.len() >= DEVICES_PER_USER_MAX {
            return Err(DeviceError::Full(user));
        }
        match label.filter(|label| devices.device_labelled(label.as_str()).is_some()) {
            Some(label) => Err(DeviceError::Taken(user, label.to_string())),
            None => Ok(()),
        }
    }

    /// The next list, without the device of this name.
    ///
    /// # Errors
    /// [`DeviceError::NotTheHolder`], [`DeviceError::NoSuchDevice`], [`DeviceError::Ourselves`].
    pub fn without(&self, label: &Label) -> Result<Vec<u8>, DeviceError> {
        self.holder()?;
        let user = self.identity.user.to_string();
        let Some(gone) = self.chain.devices.device_labelled(label.as_str()) else {
            return Err(DeviceError::NoSuchDevice(user, label.to_string()));
        };
        if gone.fp() == self.identity.who().device {
            return Err(DeviceError::Ourselves(label.to_string()));
        }
        let mut devices = self.chain.devices.devices.clone();
        devices.retain(|device| device.label != *label);
        self.sign(&devices)
    }

    /// Our chain with another device list.
    pub(super) fn chain_with(&self, device_list: &[u8]) -> Vec<u8> {
        let chain = pb::Chain {
            descriptor: self.chain.descriptor.verified.bytes().to_vec(),
            membership: self.chain.membership.verified.bytes().to_vec(),
            device_list: device_list.to_vec(),
        };
        prost::Message::encode_to_vec(&chain)
    }

    pub(super) fn chain(&self) -> &VerifiedChain {
        &self.chain
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn revocations(&self) -> &[u8] {
        &self.revocations
    }

    fn holder(&self) -> Result<&beeline_proto::keys::SigningKey, DeviceError> {
        let user = || DeviceError::NotTheHolder(self.identity.user.to_string());
        self.identity.user_key.as_ref().ok_or_else(user)
    }

    fn sign(&self, devices: &[Device]) -> Result<Vec<u8>, DeviceError> {
        let key = self.holder()?;
        let id = MessageId(random().map_err(DeviceError::Random)?);
        let audience = self.identity.user_public.fp();
        let context = Context::unordered(self.identity.network, audience, id);
        let device = |device: &Device| pb::Device {
            label: device.label.to_string(),
            device_key: device.device_key.to_bytes().to_vec(),
            control_key: device.control_key.0.to_vec(),
        };
        let list = pb::DeviceList {
            context: Some(context.to_pb()),
            version: self.version() + 1,
            devices: devices.iter().map(device).collect(),
        };
        Ok(sign(key, &list))
    }
}
