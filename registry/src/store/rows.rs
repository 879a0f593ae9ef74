//! What goes into a store and comes out of it. Numbers are the store's own (`*_no`), times are Unix
//! milliseconds, signed lists are envelopes as received.

use beeline_proto::id::{NetworkFp, UserFp};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The seed of a secret key; erased on drop, never printed.
#[derive(Clone)]
pub struct Seed(pub Zeroizing<[u8; 32]>);

impl Seed {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// A key that tokens are signed with.
#[derive(Debug, Clone)]
pub struct TokenKeyRow {
    /// Ed25519 seed.
    pub seed: Seed,
    /// When it was made.
    pub created_ms: u64,
}

/// A network to create.
#[derive(Debug, Clone)]
pub struct NewNetwork {
    /// The networkId.
    pub label: String,
    /// Fingerprint of the authority key.
    pub fp: NetworkFp,
    /// Its descriptor.
    pub descriptor: Vec<u8>,
    /// The descriptor's version.
    pub descriptor_version: u64,
    /// The registrar key, held here.
    pub registrar: Seed,
    /// The authority key, unless it is kept offline.
    pub authority: Option<Seed>,
    /// Now.
    pub created_ms: u64,
}

/// A network in store.
#[derive(Debug, Clone)]
pub struct NetworkRow {
    /// The store's number.
    pub network_no: i64,
    /// The networkId.
    pub label: String,
    /// Fingerprint of the authority key.
    pub fp: NetworkFp,
    /// The descriptor in force.
    pub descriptor: Vec<u8>,
    /// The revocation list in force; empty while there is none.
    pub revocations: Vec<u8>,
    /// Its version; 0 while there is none.
    pub revocations_version: u64,
    /// The registrar key.
    pub registrar: Seed,
    /// The authority key, unless it is kept offline.
    pub authority: Option<Seed>,
}

/// What became of a new network.
#[derive(Debug, Clone)]
pub enum Created {
    /// It exists now.
    New(NetworkRow),
    /// Its label belongs to another network.
    LabelTaken,
    /// The same authority key has a network here already.
    Known(NetworkRow),
    /// There are as many networks as there may be.
    Full,
}

/// A member in store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The store's number.
    pub user_no: i64,
    /// The store's number of the network.
    pub network_no: i64,
    /// The userId.
    pub handle: String,
    /// Fingerprint of the user key.
    pub user_fp: UserFp,
    /// Whether the membership is revoked.
    pub revoked: bool,
    /// The membership in force.
    pub membership: Vec<u8>,
    /// The device list in force.
    pub device_list: Vec<u8>,
    /// When the user joined.
    pub joined_ms: u64,
}

/// A device as a list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// The deviceId.
    pub label: String,
    /// Fingerprint of the device key.
    pub fp: [u8; 32],
}

/// A device list that replaces another.
#[derive(Debug, Clone)]
pub struct NewDeviceList {
    /// The store's number of the network.
    pub network_no: i64,
    /// Whose.
    pub user_no: i64,
    /// The version it replaces.
    pub known: u64,
    /// Its own version.
    pub version: u64,
    /// The envelope.
    pub device_list: Vec<u8>,
    /// The devices it names.
    pub devices: Vec<DeviceRow>,
}

/// What became of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Done,
    /// Something else was stored meanwhile; look again.
    Stale,
    /// A name or place in it is taken.
    Taken,
}

/// An invite to keep.
#[derive(Debug, Clone)]
pub struct InviteRow {
    /// The store's number of the network.
    pub network_no: i64,
    /// The invite's public key.
    pub key: [u8; 32],
    /// The role it gives, as on the wire.
    pub role: i32,
    /// How many may join.
    pub uses: u32,
    /// When it ends.
    pub expires_ms: u64,
    /// The signed invite.
    pub envelope: Vec<u8>,
}

/// Signs the membership of the role and serial that the transaction settled on.
pub type SignMembership = Arc<dyn Fn(i32, u64) -> Vec<u8> + Send + Sync>;

/// A join whose proofs hold.
#[derive(Clone)]
pub struct JoinRow {
    /// The store's number of the network.
    pub network_no: i64,
    /// The invite's public key.
    pub invite_key: [u8; 32],
    /// The userId asked for.
    pub handle: String,
    /// Fingerprint of the user key.
    pub user_fp: UserFp,
    /// The first device list.
    pub device_list: Vec<u8>,
    /// Its version.
    pub list_version: u64,
    /// The devices it names.
    pub devices: Vec<DeviceRow>,
    /// Now.
    pub now_ms: u64,
    /// Makes the membership inside the transaction.
    pub sign: SignMembership,
}

impl std::fmt::Debug for JoinRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinRow({} in {})", self.handle, self.network_no)
    }
}

/// What became of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The user is a member now.
    Joined(UserRow),
    /// The same join was done before; no use was counted.
    Again(UserRow),
    /// Unknown, used up or ended.
    InviteInvalid,
    /// The handle belongs to another key.
    HandleTaken,
    /// The user key is a member already, with another handle or list.
    KeyTaken,
    /// A device's label or key belongs to another user.
    DeviceTaken(String),
    /// The user was revoked.
    Revoked,
}

/// A device's last announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The store's number of the network.
    pub network_no: i64,
    /// Fingerprint of the device key.
    pub device_fp: [u8; 32],
    /// The deviceId.
    pub device: String,
    /// The userId.
    pub handle: String,
    /// The record's version.
    pub version: u64,
    /// The record as received.
    pub record: Arc<[u8]>,
    /// deviceIds of the coordinators it named, joined by commas.
    pub named: String,
    /// `label=ms` of those that confirmed it, joined by commas; written by [`SeenRow`] only.
    pub confirmed: String,
    /// When the lease ends.
    pub expires_ms: u64,
    /// When the device was last seen.
    pub seen_ms: u64,
}

/// What changed about a device between two announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// The store's number of the network.
    pub network_no: i64,
    /// Fingerprint of the device key.
    pub device_fp: [u8; 32],
    /// When the device was last seen; an earlier time changes nothing.
    pub seen_ms: u64,
    /// As in [`LeaseRow::confirmed`].
    pub confirmed: String,
}

impl JoinOutcome {
    /// What both stores answer when the handle, or the key (`key_known`), is a member's already;
    /// `None` when both are free.
    pub fn of_known(join: &JoinRow, by_handle: Option<UserRow>, key_known: bool) -> Option<Self> {
        match by_handle {
            Some(user) if user.user_fp != join.user_fp => Some(Self::HandleTaken),
            Some(user) if user.revoked => Some(Self::Revoked),
            Some(user) if user.device_list == join.device_list => Some(Self::Again(user)),
            Some(_) => Some(Self::KeyTaken),
            None if key_known => Some(Self::KeyTaken),
            None => None,
        }
    }
}
