//! One thing that `doctor` looked at.

use serde::{Deserialize, Serialize};

/// A line of `doctor`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckLine {
    /// What: `gateway`, `sign-in`, `clock`, `registry`, `record`, `ice-servers`, `stun`, `nat-v4`,
    /// `nat-v6`, `turn`, `socket` or `link`.
    pub(crate) check: String,
    /// `good`, `note` (it works, and could be better) or `bad`.
    pub(crate) verdict: String,
    /// The result in a word, where there is one, such as `port-restricted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// For people.
    pub(crate) detail: String,
    /// What to change, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
    /// How long the answer took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took_ms: Option<u64>,
}
