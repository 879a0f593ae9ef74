//! Who keeps a copy, in a line of `why`.

use serde::{Deserialize, Serialize};

/// A custodian's promise to keep a copy of a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeeperPart {
    /// The custodian's userId, or its fingerprint where that is not known.
    pub(crate) user: String,
    /// Its deviceId, or its fingerprint.
    pub(crate) device: String,
    /// The recipient's device the copy is for: its deviceId, or its fingerprint.
    pub(crate) recipient: String,
    /// When it last said that it keeps it, RFC 3339.
    pub(crate) heard_at: String,
    /// Until when it keeps it, RFC 3339.
    pub(crate) until: String,
}
