//! Read-only pictures of a manager, for `status`, `peers`, `routes` and `verify`.

use crate::config::Space;
use crate::event::{PeerState, Rung};
use crate::input::LinkId;
use beeline_proto::id::{DeviceFp, Label, UserFp};

/// The whole, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Our userId.
    pub user_label: Label,
    /// Our deviceId.
    pub device_label: Label,
    /// Our user.
    pub user: UserFp,
    /// Our device.
    pub device: DeviceFp,
    /// Whether we can be reached: see [`crate::event::Event::Online`].
    pub online: bool,
    /// Set when our user took this device off the device list: what to do, for people.
    pub removed: Option<&'static str>,
    /// Whether the gateway's signalling socket is ready.
    pub socket_up: bool,
    /// Milliseconds until the next announce; `None` while none is due.
    pub announce_in_ms: Option<u64>,
    /// Links that carry items.
    pub links_open: usize,
    /// Links being made.
    pub links_pending: usize,
    /// Messages of ours not yet delivered, expired or rejected.
    pub outbox: usize,
    /// Messages for us waiting for earlier ones.
    pub held: usize,
    /// Users whose key is pinned.
    pub contacts: usize,
    /// Routes known.
    pub routes: usize,
    /// Version of the network descriptor in force.
    pub descriptor_version: u64,
    /// Version of the revocations in force; 0 for none.
    pub revocations_version: u64,
    /// Version of our device list.
    pub device_list_version: u64,
    /// When our membership ends, Unix ms.
    pub membership_expires_ms: u64,
    /// When the bundle in use was made, Unix ms; 0 before there is one.
    pub bundle_made_ms: u64,
    /// Coordinators known, by device.
    pub coordinators: Vec<CoordinatorInfo>,
    /// Whether we keep parcels for others.
    pub keeps: bool,
    /// What is kept for others now.
    pub kept: Space,
    /// What may be kept in all.
    pub kept_max: Space,
    /// Inputs of others that were refused or dropped, by kind.
    pub refused: Vec<(&'static str, u64)>,
}

/// One coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorInfo {
    /// Its userId.
    pub user_label: Label,
    /// Its deviceId.
    pub device_label: Label,
    /// Whether a link to it is open.
    pub linked: bool,
    /// Whether our own socket at it is up.
    pub socket_up: bool,
    /// Links in use there, as last heard.
    pub load: u32,
    /// Links it takes at most; 0 before it was heard of.
    pub capacity: u32,
}

/// How full one bounded collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// What is collected.
    pub what: &'static str,
    /// How many there are.
    pub len: usize,
    /// How many there may be.
    pub max: usize,
}

/// One user we deal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The userId.
    pub label: Label,
    /// The user, once its key is pinned.
    pub user: Option<UserFp>,
    /// Connection state.
    pub state: PeerState,
    /// Whether a person compared the safety number.
    pub verified: bool,
    /// Whether its user key changed and sending is blocked.
    pub blocked: bool,
    /// Devices on its list.
    pub devices: usize,
    /// Open links, by device.
    pub links: Vec<LinkInfo>,
    /// Connected peers that say they are linked to one of its devices.
    pub vias: usize,
    /// Messages waiting for it.
    pub waiting: usize,
    /// Milliseconds until the next try; `None` while none is planned.
    pub retry_in_ms: Option<u64>,
}

/// One open link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Which connection it is.
    pub id: LinkId,
    /// The device at the other end.
    pub device: DeviceFp,
    /// Its deviceId.
    pub device_label: Label,
    /// Which rung found it; `None` if it found us.
    pub found_by: Option<Rung>,
    /// Smoothed time from a message to its ACK, milliseconds; `None` before the first.
    pub rtt_ms: Option<u64>,
    /// Milliseconds since it opened.
    pub open_ms: u64,
}

/// One way to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// The userId.
    pub user_label: Label,
    /// The device.
    pub device: DeviceFp,
    /// Where its signalling socket is reached, as its record says.
    pub signal_addr: String,
    /// Which rung found it.
    pub found_by: Rung,
    /// When a link to it was last open, Unix ms; 0 for never.
    pub connected_ms: u64,
    /// When it was last heard of, Unix ms.
    pub seen_ms: u64,
    /// Whether it was heard of lately; a stale one is dialled only if there is no fresh one.
    pub fresh: bool,
    /// Whether it failed lately and is passed over for now.
    pub demoted: bool,
}
