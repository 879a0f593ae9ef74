//! The line `status` prints.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who this device is and how it is connected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusLine {
    /// The networkId.
    pub(crate) network: String,
    /// The userId.
    pub(crate) user: String,
    /// The deviceId.
    pub(crate) device: String,
    /// Fingerprint of the network.
    pub(crate) network_fingerprint: String,
    /// Fingerprint of our user key.
    pub(crate) user_fingerprint: String,
    /// Fingerprint of our device key.
    pub(crate) device_fingerprint: String,
    /// Whether a process runs this home now.
    pub(crate) running: bool,
    /// Its process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// Whether it can be reached.
    pub(crate) online: bool,
    /// What other devices may learn of this host's addresses: all, no-private or relay-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ice: Option<String>,
    /// Where it serves the signalling socket, if it runs as a coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signal_addr: Option<String>,
    /// The gateway its signalling socket is open to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<String>,
    /// This identity runs elsewhere too: what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running_elsewhere: Option<String>,
    /// This device was taken off its user's device list: what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<String>,
    /// The store has failed: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store_failed: Option<String>,
    /// Open links.
    pub(crate) links: u64,
    /// Links being made.
    pub(crate) connecting: u64,
    /// Users whose key is pinned.
    pub(crate) contacts: u64,
    /// Rows of the route cache.
    pub(crate) routes: u64,
    /// Messages of ours without an end yet.
    pub(crate) outbox: u64,
    /// Messages for us that nobody was shown yet.
    pub(crate) unshown: u64,
    /// Files under way and waiting.
    #[serde(default, skip_serializing_if = "FilesPart::is_empty")]
    pub(crate) files: FilesPart,
    /// Parcels kept for members that are away.
    #[serde(default)]
    pub(crate) kept: u64,
    /// Their bytes.
    #[serde(default)]
    pub(crate) kept_bytes: u64,
    /// How many bytes may be kept; 0 where nothing is kept for others.
    #[serde(default)]
    pub(crate) kept_bytes_max: u64,
    /// Coordinators known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) coordinators: Vec<CoordinatorPart>,
    /// How often what was refused since the start, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) refused: BTreeMap<String, u64>,
}

/// Files under way and waiting, in numbers; each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FilesPart {
    /// They move now.
    pub(crate) moving: u64,
    /// They wait for something.
    pub(crate) waiting: u64,
    /// Somebody holds them back.
    pub(crate) paused: u64,
    /// They are offered to us, and wait for accept or reject.
    pub(crate) undecided: u64,
}

impl FilesPart {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A coordinator, and how it stands with us.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CoordinatorPart {
    /// The user.
    pub(crate) user: String,
    /// The deviceId.
    pub(crate) device: String,
    /// A link to it is open.
    pub(crate) linked: bool,
    /// Our socket at its own signalling server is open.
    pub(crate) socket: bool,
    /// Links in use there, as last heard.
    pub(crate) load: u32,
    /// Links it takes at most; 0 before it was heard of.
    pub(crate) capacity: u32,
}
