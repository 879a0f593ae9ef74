//! What a gateway remembers over a restart: token keys, signed lists, and when the registry last
//! answered. One JSON file, replaced whole; all of it is public, and lists are verified again.

use crate::authority::registry::RegistryAuthority;
use crate::limits::{CACHE_FILE_LEN_MAX, NETWORKS_MAX};
use crate::registry_client::lists::Network;
use beeline_proto::pb::auth::v1::ListTokenKeysResponse;
use beeline_proto::pb::registry::v1::GetNetworkResponse;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Name of the file in `--cache-dir`.
pub const FILE_NAME: &str = "gateway-cache.json";

/// The moment of the registry's last answer is written at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Changes are gathered for this long before they are written.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// What is kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Remembered {
    /// Unix milliseconds of the registry's last answer; 0 if there was none.
    pub last_answer_ms: u64,
    /// The token keys.
    pub keys: ListTokenKeysResponse,
    /// The networks' signed lists, by label.
    pub networks: std::collections::BTreeMap<String, GetNetworkResponse>,
}

impl Remembered {
    /// What `authority` knows now.
    pub fn of(authority: &RegistryAuthority) -> Self {
        let networks = authority.known_networks();
        Self {
            last_answer_ms: authority
                .client()
                .grace()
                .last_answer_ms()
                .unwrap_or_default(),
            keys: authority.key_list(),
            networks: networks
                .iter()
                .map(|n| (n.label.to_string(), n.to_lists()))
                .collect(),
        }
    }

    /// Hands it to a fresh authority. Lists that do not verify are left out.
    pub fn restore(self, authority: &RegistryAuthority) {
        if !self.keys.keys.is_empty() {
            authority.put_keys(self.keys);
        }
        for (label, lists) in self.networks.into_iter().take(NETWORKS_MAX) {
            match Network::open(&label, &lists) {
                Ok(network) => {
                    authority.put_network(network);
                }
                Err(error) => tracing::warn!(network = label, %error, "remembered lists refused"),
            }
        }
    }

    /// Reads the file; what is missing or damaged is as if nothing had been remembered.
    pub fn load(dir: &Path) -> Self {
        match read(&dir.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the gateway's cache file is damaged; starting without");
                Self::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(%error, "the gateway's cache file cannot be read");
                Self::default()
            }
        }
    }

    /// Replaces the file: written beside it, flushed, renamed.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let fresh = dir.join(format!("{FILE_NAME}.new"));
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(fresh, dir.join(FILE_NAME))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(CACHE_FILE_LEN_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes what changes, for ever, and the last answer now and then.
pub async fn run(authority: &RegistryAuthority, dir: PathBuf) {
    loop {
        // Either way it is time to write.
        let _ = timeout(SAVE_EVERY, authority.changed()).await;
        sleep(SAVE_AFTER).await;
        save(authority, &dir).await;
    }
}

/// Writes what is known now; a failure is logged, for the gateway runs without it.
pub async fn save(authority: &RegistryAuthority, dir: &Path) {
    let remembered = Remembered::of(authority);
    let dir = dir.to_owned();
    let saved = tokio::task::spawn_blocking(move || remembered.save(&dir)).await;
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the gateway's cache file cannot be written"),
        Err(error) => tracing::error!(%error, "writing the gateway's cache file failed"),
    }
}
