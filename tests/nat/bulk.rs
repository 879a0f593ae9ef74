//! A file between the two of a pair, by whatever way there is: it must arrive whole.

use super::client::Client;
use super::play::{Row, now};
use super::program::Wrong;
use beeline_proto::id::sha256;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that arrived.
pub(crate) struct Sent {
    /// From `send-file` to the receiver's word that it has all of it.
    pub(crate) took: Duration,
    /// `direct`, or `relay` and through whom.
    pub(crate) way: String,
}

/// Where a client receives files.
pub(crate) fn inbox(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{user}-in"))
}

/// Sends one of so many bytes and compares what came.
pub(crate) async fn send(
    alice: &Client,
    carol: &str,
    dir: &Path,
    bytes: usize,
) -> Result<Sent, Wrong> {
    let told = |error: std::io::Error| error.to_string();
    let path = dir.join(format!("for-{carol}.bin"));
    let content = content(bytes);
    std::fs::write(&path, &content).map_err(told)?;
    let start = now();
    let mut lines = alice.send_file(carol, &path).await?;
    let (mut way, mut arrived) = (String::new(), false);
    while let Some(line) = lines.next().await? {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        match text("state") {
            "moving" => way = format!("{} {}", text("way"), text("through")),
            "done" => arrived = true,
            "ended" => return Err(format!("the file ended: {line}")),
            _ => {}
        }
        if arrived {
            break;
        }
    }
    if !arrived {
        return Err("the file did not arrive".to_owned());
    }
    let took = now().duration_since(start);
    let name = path.file_name().unwrap_or_default();
    let came = std::fs::read(inbox(dir, carol).join(name)).map_err(told)?;
    if sha256(&came) != sha256(&content) {
        return Err("what came is not what was sent".to_owned());
    }
    let way = way.trim().to_owned();
    Ok(Sent { took, way })
}

/// Bytes that cannot be pressed together, the same each time.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| byte()).collect()
}

/// What came of the files of a row, for people; nothing where there were none.
pub(crate) fn told(row: &Row) -> String {
    let all = row.tries.iter().filter_map(|done| done.file.as_ref());
    let each = |sent: &Sent| {
        let seconds = sent.took.as_secs_f64();
        format!("    a file arrived whole in {seconds:.1} s, {}\n", sent.way)
    };
    all.map(each).collect()
}
