//! A network to test in: authority and registrar keys, and members made by them.

use crate::state::Identity;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{Label, MessageId, NetworkFp};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::pb::identity::v1 as pb;
use prost::Message as _;

/// The keys of one network and what it has handed out.
#[derive(Debug)]
pub struct Authority {
    authority: SigningKey,
    registrar: SigningKey,
    /// Version of the descriptor it hands out.
    pub descriptor_version: u64,
    serial: u64,
}

/// One user: its key, and the devices on its list.
#[derive(Debug, Clone)]
pub struct User {
    /// The userId.
    pub label: Label,
    /// Signs the device list.
    pub key: SigningKey,
    /// Its devices: label, device key, control key.
    pub devices: Vec<(Label, SigningKey, SealSecret)>,
    /// Version of its device list.
    pub list_version: u64,
    /// What a revocation names.
    pub serial: u64,
    /// Envelope of its membership.
    pub membership: Vec<u8>,
    /// When the membership ends, Unix ms.
    pub expires_ms: u64,
}

/// A key made from a name: the same in every run.
pub fn key_of(name: &str) -> SigningKey {
    SigningKey::from_seed(&beeline_proto::id::sha256(name.as_bytes()))
}

/// A label; the names in tests are good ones.
///
/// # Panics
/// If `text` is no label.
pub fn label(text: &str) -> Label {
    Label::new(text).expect("a good label")
}

impl Authority {
    /// The network of this name.
    pub fn new(name: &str) -> Self {
        Self {
            authority: key_of(&format!("{name} authority")),
            registrar: key_of(&format!("{name} registrar")),
            descriptor_version: 1,
            serial: 0,
        }
    }

    /// What the network is.
    pub fn network(&self) -> NetworkFp {
        self.authority.verify_key().network_fp()
    }

    fn context(
        &self,
        audience: [u8; 32],
        id: u64,
    ) -> Option<beeline_proto::pb::envelope::v1::Context> {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        Some(Context::unordered(self.network(), audience, MessageId(bytes)).to_pb())
    }

    /// Envelope of the descriptor in its present version.
    pub fn descriptor(&self) -> Vec<u8> {
        let payload = pb::NetworkDescriptor {
            context: self.context(self.network().0, self.descriptor_version),
            label: "home".into(),
            version: self.descriptor_version,
            registrar_keys: vec![self.registrar.verify_key().to_bytes().to_vec()],
            gateway_origins: vec!["http://127.0.0.1:8080".into()],
            registry_origins: Vec::new(),
        };
        sign(&self.authority, &payload)
    }

    /// Envelope of a revocation list.
    pub fn revocations(&self, version: u64, serials: &[u64]) -> Vec<u8> {
        let mut serials = serials.to_vec();
        serials.sort_unstable();
        let payload = pb::Revocations {
            context: self.context(self.network().0, version),
            version,
            serials,
        };
        sign(&self.registrar, &payload)
    }

    /// Admits a user with one device for every name. `key` makes the user's key, so that a second
    /// key can be bound to the same label.
    pub fn admit(&mut self, user: &str, key: &str, devices: &[&str], expires_ms: u64) -> User {
        self.admit_as(pb::Role::Member, (user, key), devices, expires_ms)
    }

    /// The same with a role; `user` is the label and the name its key is made of.
    pub fn admit_as(
        &mut self,
        role: pb::Role,
        user: (&str, &str),
        devices: &[&str],
        expires_ms: u64,
    ) -> User {
        let (user, key) = user;
        self.serial += 1;
        let key = key_of(&format!("user {key}"));
        let membership = pb::Membership {
            context: self.context(key.verify_key().fp(), self.serial),
            user_key: key.verify_key().to_bytes().to_vec(),
            handle: user.to_owned(),
            role: role as i32,
            serial: self.serial,
            salt: vec![7; 16],
            issued_ms: self.serial,
            expires_ms,
        };
        let device = |name: &&str| {
            let control = *key_of(&format!("control {name}")).to_seed();
            (
                label(name),
                key_of(&format!("device {name}")),
                SealSecret::from_bytes(control),
            )
        };
        User {
            label: label(user),
            devices: devices.iter().map(device).collect(),
            list_version: 1,
            serial: self.serial,
            membership: sign(&self.registrar, &membership),
            expires_ms,
            key,
        }
    }

    /// Envelope of a user's device list.
    pub fn device_list(&self, user: &User) -> Vec<u8> {
        let device = |(name, key, control): &(Label, SigningKey, SealSecret)| pb::Device {
            label: name.to_string(),
            device_key: key.verify_key().to_bytes().to_vec(),
            control_key: control.public().0.to_vec(),
        };
        let list = pb::DeviceList {
            context: self.context(user.key.verify_key().fp(), user.list_version),
            version: user.list_version,
            devices: user.devices.iter().map(device).collect(),
        };
        sign(&user.key, &list)
    }

    /// The serialized chain of a user.
    pub fn chain(&self, user: &User) -> Vec<u8> {
        pb::Chain {
            descriptor: self.descriptor(),
            membership: user.membership.clone(),
            device_list: self.device_list(user),
        }
        .encode_to_vec()
    }

    /// What a device of a user loads at start.
    ///
    /// # Panics
    /// If the user has no such device.
    pub fn identity(&self, user: &User, device: usize, boot: u8) -> Identity {
        let (device_label, device_key, control_key) = user.devices[device].clone();
        Identity {
            device_label,
            user_label: user.label.clone(),
            device_key,
            control_key,
            chain: self.chain(user),
            revocations: Vec::new(),
            boot_id: [boot; 16],
        }
    }
}
