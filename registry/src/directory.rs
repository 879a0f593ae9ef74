//! Networks and users as the registry holds them in memory, over the store. Networks are all held;
//! users are remembered up to a bound.

use crate::core::lists::HexKey;
use crate::error::Error;
use crate::limits::USERS_CACHED_MAX;
use crate::store::{NetworkRow, Store, UserRow};
use beeline_proto::chain::Descriptor;
use beeline_proto::envelope::split;
use beeline_proto::id::{DeviceFp, Label, NetworkFp, UserFp, sha256};
use beeline_proto::keys::{SigningKey, VerifyKey};
use beeline_proto::pb::identity::v1 as pb;
use hashlink::LruCache;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// A network with what the registry signs for it with.
#[derive(Debug)]
pub struct Network {
    /// The store's number.
    pub no: i64,
    /// The networkId.
    pub label: Label,
    /// What it is.
    pub fp: NetworkFp,
    /// The descriptor in force.
    pub descriptor: Descriptor,
    /// The revocation list in force; empty while there is none.
    pub revocations: Vec<u8>,
    /// Its version; 0 while there is none.
    pub revocations_version: u64,
    /// The serials it names.
    pub revoked: Vec<u64>,
    /// The registry's registrar key, whether the descriptor names it yet or not.
    pub registrar: SigningKey,
    /// The authority key, where the registry holds it.
    pub authority: Option<SigningKey>,
}

impl Network {
    fn from_row(row: &NetworkRow) -> Result<Self, Error> {
        let damaged = Error::Damaged("network");
        let descriptor = Descriptor::open(&row.descriptor, row.fp).map_err(|_| damaged.clone())?;
        let revoked = if row.revocations.is_empty() {
            Vec::new()
        } else {
            let raw = split(&row.revocations).map_err(|_| damaged.clone())?;
            let list = pb::Revocations::decode(raw.payload).map_err(|_| damaged.clone())?;
            list.serials
        };
        Ok(Self {
            no: row.network_no,
            label: Label::new(&row.label).map_err(|_| damaged)?,
            fp: row.fp,
            descriptor,
            revocations: row.revocations.clone(),
            revocations_version: row.revocations_version,
            revoked,
            registrar: SigningKey::from_seed(&row.registrar.0),
            authority: row.authority.as_ref().map(|s| SigningKey::from_seed(&s.0)),
        })
    }

    /// The registrar key, once the descriptor names it.
    pub fn registrar(&self) -> Result<&SigningKey, Error> {
        let public = self.registrar.verify_key();
        if self.descriptor.registrars.contains(&public) {
            Ok(&self.registrar)
        } else {
            Err(Error::NoRegistrar(HexKey(public.to_bytes())))
        }
    }

    /// Whether tokens may be asked for at this origin, given in its one form.
    pub fn has_origin(&self, origin: &str) -> bool {
        let payload = self.descriptor.verified.payload();
        let mut all = payload
            .gateway_origins
            .iter()
            .chain(&payload.registry_origins);
        all.any(|known| known == origin)
    }
}

/// One device of a [`User`].
#[derive(Debug, Clone)]
pub struct UserDevice {
    /// The deviceId.
    pub label: Label,
    /// The device key.
    pub key: VerifyKey,
    /// Its fingerprint.
    pub fp: DeviceFp,
}

/// A member.
#[derive(Debug)]
pub struct User {
    /// The store's number.
    pub no: i64,
    /// The userId.
    pub handle: Label,
    /// The user key.
    pub key: VerifyKey,
    /// What the user may do.
    pub role: pb::Role,
    /// The membership's serial.
    pub serial: u64,
    /// The membership's salt.
    pub salt: [u8; 16],
    /// When the membership was signed.
    pub issued_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
    /// Whether it is revoked.
    pub revoked: bool,
    /// The membership in force.
    pub membership: Vec<u8>,
    /// The device list in force.
    pub device_list: Vec<u8>,
    /// Its version.
    pub list_version: u64,
    /// The devices it names.
    pub devices: Vec<UserDevice>,
    /// When the user joined.
    pub joined_ms: u64,
}

impl User {
    fn from_row(row: UserRow) -> Result<Self, Error> {
        Self::read(row).ok_or(Error::Damaged("user"))
    }

    /// Both envelopes were verified before they were stored, so they are only parsed here.
    fn read(row: UserRow) -> Option<Self> {
        let membership = pb::Membership::decode(split(&row.membership).ok()?.payload).ok()?;
        let list = pb::DeviceList::decode(split(&row.device_list).ok()?.payload).ok()?;
        let mut devices = Vec::with_capacity(list.devices.len());
        for device in &list.devices {
            devices.push(UserDevice {
                label: Label::new(&device.label).ok()?,
                key: VerifyKey::from_bytes(&device.device_key).ok()?,
                fp: DeviceFp(sha256(&device.device_key)),
            });
        }
        Some(Self {
            no: row.user_no,
            handle: Label::new(&row.handle).ok()?,
            key: VerifyKey::from_bytes(&membership.user_key).ok()?,
            role: membership.role(),
            serial: membership.serial,
            salt: membership.salt.as_slice().try_into().ok()?,
            issued_ms: membership.issued_ms,
            expires_ms: membership.expires_ms,
            revoked: row.revoked,
            membership: row.membership,
            device_list: row.device_list,
            list_version: list.version,
            devices,
            joined_ms: row.joined_ms,
        })
    }

    /// The user's fingerprint.
    pub fn fp(&self) -> UserFp {
        self.key.user_fp()
    }

    /// The device with this key.
    pub fn device(&self, fp: DeviceFp) -> Option<&UserDevice> {
        self.devices.iter().find(|d| d.fp == fp)
    }

    /// The serialized chain.
    pub fn chain(&self, network: &Network) -> Vec<u8> {
        let chain = pb::Chain {
            descriptor: network.descriptor.verified.bytes().to_vec(),
            membership: self.membership.clone(),
            device_list: self.device_list.clone(),
        };
        chain.encode_to_vec()
    }
}

#[derive(Debug, Default)]
struct Networks {
    by_label: BTreeMap<String, Arc<Network>>,
    by_fp: BTreeMap<NetworkFp, Arc<Network>>,
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    store: Arc<dyn Store>,
    networks: RwLock<Networks>,
    users: Mutex<LruCache<(i64, Label), Arc<User>>>,
    /// Grows with every change to a user, so that a row read before it is not remembered after.
    changes: AtomicU64,
}

impl Directory {
    /// Reads all networks.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, Error> {
        let rows = store.networks().await?;
        let directory = Self {
            store,
            networks: RwLock::default(),
            users: Mutex::new(LruCache::new(USERS_CACHED_MAX)),
            changes: AtomicU64::new(0),
        };
        for row in &rows {
            directory.put_network(row)?;
        }
        Ok(directory)
    }

    /// Takes a network's newest row in.
    pub fn put_network(&self, row: &NetworkRow) -> Result<Arc<Network>, Error> {
        let network = Arc::new(Network::from_row(row)?);
        if let Ok(mut networks) = self.networks.write() {
            let label = network.label.to_string();
            networks.by_label.insert(label, Arc::clone(&network));
            networks.by_fp.insert(network.fp, Arc::clone(&network));
        }
        Ok(network)
    }

    /// The network with this networkId.
    pub fn network(&self, label: &str) -> Option<Arc<Network>> {
        self.networks.read().ok()?.by_label.get(label).cloned()
    }

    /// The network with this fingerprint.
    pub fn network_by_fp(&self, fp: NetworkFp) -> Option<Arc<Network>> {
        self.networks.read().ok()?.by_fp.get(&fp).cloned()
    }

    /// The network created first.
    pub fn first_network(&self) -> Option<Arc<Network>> {
        let networks = self.networks.read().ok()?;
        networks.by_label.values().min_by_key(|n| n.no).cloned()
    }

    /// How many networks there are.
    pub fn network_count(&self) -> usize {
        self.networks.read().map_or(0, |n| n.by_label.len())
    }

    /// The user with this handle.
    pub async fn user(&self, network: i64, handle: &Label) -> Result<Option<Arc<User>>, Error> {
        let key = (network, handle.clone());
        let known = match self.users.lock() {
            Ok(mut users) => users.get(&key).cloned(),
            Err(_) => None,
        };
        if known.is_some() {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::Acquire);
        let Some(row) = self.store.user(network, handle.as_str()).await? else {
            return Ok(None);
        };
        self.remember(before, network, row).map(Some)
    }

    /// The user whose device has this label.
    pub async fn user_of_device(
        &self,
        network: i64,
        device: &Label,
    ) -> Result<Option<Arc<User>>, Error> {
        let before = self.changes.load(Ordering::Acquire);
        let Some(row) = self.store.user_of_device(network, device.as_str()).await? else {
            return Ok(None);
        };
        self.remember(before, network, row).map(Some)
    }

    /// A page of users by handle.
    pub async fn users(
        &self,
        network: i64,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Error> {
        let rows = self.store.users(network, after, limit).await?;
        rows.into_iter()
            .map(|row| User::from_row(row).map(Arc::new))
            .collect()
    }

    /// Forgets a user whose row has changed. Called after the change is stored.
    pub fn forget_user(&self, network: i64, handle: &Label) {
        if let Ok(mut users) = self.users.lock() {
            self.changes.fetch_add(1, Ordering::AcqRel);
            users.remove(&(network, handle.clone()));
        }
    }

    fn remember(&self, before: u64, network: i64, row: UserRow) -> Result<Arc<User>, Error> {
        let user = Arc::new(User::from_row(row)?);
        if let Ok(mut users) = self.users.lock()
            && self.changes.load(Ordering::Acquire) == before
        {
            users.insert((network, user.handle.clone()), Arc::clone(&user));
        }
        Ok(user)
    }
}
