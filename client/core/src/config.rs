//! What the driver decides before the start. Everything else is learned or measured.

use crate::error::StartError;
use crate::files::io::FilePolicy;
use crate::limits::{
    KEEP_BYTES_MAX, KEEP_PARCELS_MAX, KEEP_PER_S, KEEP_PER_S_MAX, KEEP_RECIPIENT_BYTES_MAX,
    KEEP_RECIPIENT_PARCELS_MAX, LINKS_MAX, RELAY_FILE_BYTES_PER_S, RELAY_FILES_PER_S_MAX,
};
use beeline_proto::id::NetworkFp;
use beeline_proto::limits::{FRAME_LEN_DEFAULT, FRAME_LEN_MAX, ORIGIN_LEN_MAX};

/// An amount of kept parcels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// How many.
    pub parcels: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How much we keep for others. Shares of it are in [`crate::limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// In all.
    pub total: Space,
    /// For one recipient device.
    pub recipient: Space,
    /// Deposits of one user taken per second, at most [`KEEP_PER_S_MAX`].
    pub per_s: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            total: Space {
                parcels: KEEP_PARCELS_MAX,
                bytes: KEEP_BYTES_MAX,
            },
            recipient: Space {
                parcels: KEEP_RECIPIENT_PARCELS_MAX,
                bytes: KEEP_RECIPIENT_BYTES_MAX,
            },
            per_s: KEEP_PER_S,
        }
    }
}

/// Configuration of one [`crate::PeerManager`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The network, pinned from the invite link.
    pub network: NetworkFp,
    /// Where our signalling socket is reached (`wss://host/deviceId`), said in our record.
    pub signal_addr: String,
    /// Never to be named to others.
    pub unlisted: bool,
    /// Whether we carry parcels for others.
    pub can_relay: bool,
    /// Bytes of files we carry per second from one user to another, and a few times that for all of
    /// them; 0 for none. At most [`RELAY_FILES_PER_S_MAX`].
    pub relay_files_per_s: u64,
    /// Whether we keep parcels for members that are away. For homes that stay online; one that
    /// passes through should not promise it.
    pub can_store: bool,
    /// How much of it.
    pub keep: Keep,
    /// Which files are taken; `None` where there is nowhere to put them.
    pub files: Option<FilePolicy>,
    /// Whether offers that `files` does not take wait for a person, instead of being declined.
    pub files_ask: bool,
    /// Whether we act as a coordinator: our membership must have the role, and `signal_addr` be
    /// the address we serve the signalling socket at.
    pub coordinator: bool,
    /// Links taken at once, from 1 to [`LINKS_MAX`].
    pub links_max: usize,
    /// Largest DataChannel frame we take, bytes; from `FRAME_LEN_DEFAULT` to `FRAME_LEN_MAX`.
    pub frame_len_max: usize,
}

impl Config {
    /// A listed member that takes large frames.
    pub fn new(network: NetworkFp, signal_addr: &str) -> Self {
        Self {
            network,
            signal_addr: signal_addr.to_owned(),
            unlisted: false,
            can_relay: true,
            relay_files_per_s: RELAY_FILE_BYTES_PER_S,
            can_store: false,
            keep: Keep::default(),
            files: None,
            files_ask: false,
            coordinator: false,
            links_max: LINKS_MAX,
            frame_len_max: FRAME_LEN_MAX,
        }
    }

    /// Refuses what no peer would accept.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.signal_addr.len() > ORIGIN_LEN_MAX {
            return Err(StartError::Config(
                "the signalling address exceeds 256 bytes",
            ));
        }
        if !(1..=LINKS_MAX).contains(&self.links_max) {
            return Err(StartError::Config("links_max is not within 1 to 512"));
        }
        if self.keep.per_s > KEEP_PER_S_MAX {
            return Err(StartError::Config("keep.per_s is above 1,000,000"));
        }
        if self.relay_files_per_s > RELAY_FILES_PER_S_MAX {
            return Err(StartError::Config("relay_files_per_s is above a gibibyte"));
        }
        if !(FRAME_LEN_DEFAULT..=FRAME_LEN_MAX).contains(&self.frame_len_max) {
            return Err(StartError::Config(
                "frame_len_max is not within 16,384 to 65,280",
            ));
        }
        Ok(())
    }
}
