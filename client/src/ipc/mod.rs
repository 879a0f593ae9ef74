//! The socket of a running client, `HOME/beeline.sock` (mode 0600):
//! `beeline.client.v1.ClientService` over gRPC. The process that owns the home serves it; every
//! other command calls it.

pub(crate) mod caller;
pub(crate) mod server;
mod status;

use beeline::home::Home;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Longest path a socket address takes on every Unix, with its end (macOS: 104; Linux: 108).
const SOCKET_PATH_MAX: usize = 103;

/// Calls under way at once: far more than the commands a person or a script starts.
const CALLS_MAX: usize = 256;

/// Lines waiting for a caller that reads slowly; then the call waits for it.
const LINES_QUEUE: usize = 64;

/// Longest message either way, bytes: a thousand messages of full length in one `history`.
const MESSAGE_MAX: usize = 32 * 1024 * 1024;

/// A path that fits a socket address. Where the home's own does not, the way goes through a file
/// descriptor of the directory, which must stay open.
struct SocketPath {
    path: PathBuf,
    _dir: Option<File>,
}

impl SocketPath {
    fn of(home: &Home) -> std::io::Result<Self> {
        let path = home.socket();
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX {
            return Ok(Self { path, _dir: None });
        }
        let dir = File::open(home.dir())?;
        let name = path.file_name().unwrap_or_default();
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _dir: Some(dir),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_deep_down_still_has_a_socket() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("created");
        let home = Home::at(&deep);
        let socket = SocketPath::of(&home).expect("a path");
        assert!(socket.path.as_os_str().len() <= SOCKET_PATH_MAX);
        let _listener = std::os::unix::net::UnixListener::bind(&socket.path).expect("it fits");
        assert!(home.socket().exists(), "it stands where the home says");
        std::os::unix::net::UnixStream::connect(&socket.path).expect("it answers");
    }
}
