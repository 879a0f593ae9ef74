//! The signed lists of the networks this gateway serves: descriptor and revocations, verified, the
//! newest version of each. A network is what its authority key says it is: once a label is known, a
//! descriptor of another key under the same label is refused.

use crate::limits::{NETWORKS_MAX, UNKNOWN_NETWORK_TTL_MS, UNKNOWN_NETWORKS_MAX};
use beeline_proto::chain::Descriptor;
use beeline_proto::envelope::{Verified, split};
use beeline_proto::id::NetworkFp;
use beeline_proto::keys::VerifyKey;
use beeline_proto::pb::identity::v1::Revocations;
use beeline_proto::pb::registry::v1::GetNetworkResponse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One network's signed lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its networkId.
    pub label: Arc<str>,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its revocations; none yet if `None`.
    pub revocations: Option<Verified<Revocations>>,
}

/// Why lists are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListsError {
    /// They do not verify.
    #[error("the signed lists do not verify")]
    Invalid,
    /// They are another network's.
    #[error("the descriptor is signed by another authority key than before")]
    OtherNetwork,
    /// There is no room.
    #[error("too many networks")]
    Full,
}

impl Network {
    /// Verifies what the registry sent for `label`.
    pub fn open(label: &str, lists: &GetNetworkResponse) -> Result<Self, ListsError> {
        let raw = split(&lists.descriptor).map_err(|_| ListsError::Invalid)?;
        let key = VerifyKey::from_bytes(raw.signer_key).map_err(|_| ListsError::Invalid)?;
        let descriptor = Descriptor::open(&lists.descriptor, key.network_fp())
            .map_err(|_| ListsError::Invalid)?;
        if descriptor.verified.payload().label != label {
            return Err(ListsError::Invalid);
        }
        let revocations = match lists.revocations.as_slice() {
            [] => None,
            bytes => Some(
                descriptor
                    .open_revocations(bytes)
                    .map_err(|_| ListsError::Invalid)?,
            ),
        };
        Ok(Self {
            label: label.into(),
            descriptor,
            revocations,
        })
    }

    /// What the network is.
    pub fn fp(&self) -> NetworkFp {
        self.descriptor.network()
    }

    /// Version of the revocations; 0 while there are none.
    pub fn revocations_version(&self) -> u64 {
        self.revocations
            .as_ref()
            .map_or(0, |list| list.payload().version)
    }

    /// The lists as they came, for the disk.
    pub fn to_lists(&self) -> GetNetworkResponse {
        let revocations = self.revocations.as_ref().map(|list| list.bytes().to_vec());
        GetNetworkResponse {
            descriptor: self.descriptor.verified.bytes().to_vec(),
            revocations: revocations.unwrap_or_default(),
        }
    }

    /// Takes from `newer` what has a higher version; true if anything did.
    pub(crate) fn update(&mut self, newer: Self) -> bool {
        let before = (self.descriptor.version(), self.revocations_version());
        if newer.revocations_version() > self.revocations_version() {
            self.revocations = newer.revocations;
        }
        if newer.descriptor.version() > self.descriptor.version() {
            self.descriptor = newer.descriptor;
        }
        before != (self.descriptor.version(), self.revocations_version())
    }
}

/// The networks known.
#[derive(Debug, Default)]
pub struct Networks {
    by_label: BTreeMap<Arc<str>, Arc<Network>>,
    labels: BTreeMap<NetworkFp, Arc<str>>,
    /// Labels the registry does not know, until a monotonic moment.
    unknown: BTreeMap<Box<str>, u64>,
}

impl Networks {
    /// The network with this networkId.
    pub fn get(&self, label: &str) -> Option<Arc<Network>> {
        self.by_label.get(label).cloned()
    }

    /// The network with this fingerprint.
    pub fn get_fp(&self, fp: &NetworkFp) -> Option<Arc<Network>> {
        self.get(self.labels.get(fp)?)
    }

    /// All networks.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.by_label.values()
    }

    /// Takes lists over where they are newer; true if anything changed.
    pub fn put(&mut self, network: Network) -> Result<bool, ListsError> {
        self.unknown.remove(&*network.label);
        if let Some(known) = self.by_label.get_mut(&network.label) {
            if known.fp() != network.fp() {
                return Err(ListsError::OtherNetwork);
            }
            return Ok(Arc::make_mut(known).update(network));
        }
        if self.by_label.len() >= NETWORKS_MAX {
            return Err(ListsError::Full);
        }
        self.labels.insert(network.fp(), Arc::clone(&network.label));
        self.by_label
            .insert(Arc::clone(&network.label), Arc::new(network));
        Ok(true)
    }

    /// The registry does not know this label.
    pub fn put_unknown(&mut self, label: &str, mono_ms: u64) {
        if self.unknown.len() >= UNKNOWN_NETWORKS_MAX {
            self.unknown.clear();
        }
        self.unknown
            .insert(label.into(), mono_ms + UNKNOWN_NETWORK_TTL_MS);
    }

    /// Whether the registry said so a moment ago.
    pub fn is_unknown(&self, label: &str, mono_ms: u64) -> bool {
        self.unknown
            .get(label)
            .is_some_and(|until| mono_ms < *until)
    }
}
