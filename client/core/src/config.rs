//! What the driver decides before the start. Everything else is learned or measured.

use crate::error::StartError;
use crate::limits::LINKS_MAX;
use beeline_proto::id::NetworkFp;
use beeline_proto::limits::{FRAME_LEN_DEFAULT, FRAME_LEN_MAX, ORIGIN_LEN_MAX};

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
    /// Whether we keep parcels for members that are away. For homes that stay online; one that
    /// passes through should not promise it.
    pub can_store: bool,
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
            can_store: false,
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
        if !(FRAME_LEN_DEFAULT..=FRAME_LEN_MAX).contains(&self.frame_len_max) {
            return Err(StartError::Config(
                "frame_len_max is not within 16,384 to 65,280",
            ));
        }
        Ok(())
    }
}
