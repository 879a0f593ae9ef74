//! A file that is on its way, also when trouble comes: it goes on by itself and arrives the same.

use super::client::Client;
use super::play::{Held, Try, now};
use super::program::Wrong;
use super::trouble::{Pair, Trouble};
use beeline_proto::id::sha256;
use beeline_proto::pb::client::v1::{SendFileRequest, SendFileResponse};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Streaming;

/// How long a file may stand still: until a link is given up, made anew, and asked over.
const STILL: Duration = Duration::from_secs(60);

/// Sends a file, lets the trouble happen, if any, once some of it is there, and waits until all of
/// it is.
pub(crate) async fn carry(
    trouble: Option<Trouble>,
    held: &mut Held,
    pair: &Pair<'_>,
    mib: u64,
    done: &mut Try,
) -> Result<(), Wrong> {
    let name = format!("file {}", held.played);
    let path = held.dir.path().join(&name);
    let sum = fill(&path, mib)?;
    let mut lines = pair.alice.send_file(pair.carol, &path).await?;
    let (start, mut mended, mut way) = (now(), None, String::new());
    loop {
        let line = next(&mut lines).await?;
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        if text("state") == "moving" {
            way = format!("{} {}", text("way"), text("through"));
        }
        match (line["state"].as_str(), mended) {
            (Some("moving"), None) if line["done"].as_u64() > Some(0) => {
                if let Some(trouble) = trouble {
                    trouble.strike(held, pair).await?;
                    mended = Some(now());
                }
            }
            (Some("ended"), _) => return Err(format!("the file came to nothing: {line}")),
            (Some("done"), None) if trouble.is_none() => {
                let took = now().duration_since(start);
                done.file = Some((took, way.trim().to_owned()));
                break;
            }
            (Some("done"), None) => {
                return Err("the file was through before the trouble".to_owned());
            }
            (Some("done"), Some(mended)) => {
                let took = now().duration_since(mended);
                done.again = Some((took, "file".to_owned()));
                done.back = Some(took);
                break;
            }
            _ => {}
        }
    }
    let arrived = inbox_of(held.dir.path(), pair.carol).join(&name);
    let arrived = std::fs::read(&arrived).map_err(|error| error.to_string())?;
    if sha256(&arrived) == sum {
        Ok(())
    } else {
        Err("another file arrived".to_owned())
    }
}

/// Where a client receives files.
pub(crate) fn inbox_of(dir: &Path, user: &str) -> std::path::PathBuf {
    dir.join(format!("{user}-files"))
}

/// Writes bytes that nothing can shorten; their SHA-256.
fn fill(path: &Path, mib: u64) -> Result<[u8; 32], Wrong> {
    let mut state = mib | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = std::iter::repeat_with(next).flat_map(u64::to_le_bytes);
    let len = usize::try_from(mib << 20).map_err(|error| error.to_string())?;
    let bytes: Vec<u8> = words.take(len).collect();
    std::fs::write(path, &bytes).map_err(|error| error.to_string())?;
    Ok(sha256(&bytes))
}

async fn next(lines: &mut Streaming<SendFileResponse>) -> Result<Value, Wrong> {
    let line = timeout(STILL, lines.message()).await;
    let line = line.map_err(|_| format!("the file stood still for {STILL:?}"))?;
    let line = line.map_err(|status| status.to_string())?;
    let line = line.ok_or("the client ended the call")?;
    serde_json::from_str(&line.json).map_err(|error| error.to_string())
}

impl Client {
    /// Offers a file; how it goes comes as it happens.
    async fn send_file(&self, to: &str, path: &Path) -> Result<Streaming<SendFileResponse>, Wrong> {
        let path = path.display().to_string();
        let request = SendFileRequest {
            user_id: to.to_owned(),
            idempotency_key: path.clone(),
            paths: vec![path],
            timeout_ms: u32::try_from(2 * STILL.as_millis()).unwrap_or(u32::MAX),
        };
        let sent = self.service.clone().send_file(request).await;
        Ok(sent.map_err(|status| status.to_string())?.into_inner())
    }
}
