//! What only Unix has: file modes, durable directory entries, core files, and what the kernel tells
//! of the network. Every other file of the client is free of it.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of the home directory: nobody else may even look.
const DIR_MODE: u32 = 0o700;
/// Mode of every file in it.
const FILE_MODE: u32 = 0o600;

/// Creates a directory only its owner can enter, and its missing parents as usual.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Creates a file only its owner can read; fails where it exists.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    options.open(path)
}

/// Opens a private file for reading and writing, creating it where it is missing.
pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(FILE_MODE).open(path)
}

/// The mode bits that let group or others in, if any; `None` where the path is private.
pub(crate) fn wider_than_private(path: &Path) -> io::Result<Option<u32>> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Whether two open files are the same one.
pub(crate) fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (a, b) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Which file a path names: the number stays with the file, and a copy has another.
pub(crate) fn inode(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.ino())
}

/// Makes the entries of a directory durable: a new file is only there after a crash once the
/// directory that names it was synced.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Keeps this process's memory, and the keys in it, out of core files. Best effort: what the
/// system refuses is no reason not to start.
pub(crate) fn no_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core dumps stay on");
    }
}

/// As many open files as the system lets us have: a coordinator's links and sockets are more than
/// the usual 1,024.
pub(crate) fn many_open_files() {
    let limits = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limits.maximum,
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Says when interfaces, addresses or routes change; how, is to be looked up. The runtime has no
/// type for netlink sockets; to it this is a socket of datagrams like another.
#[cfg(target_os = "linux")]
pub(crate) struct NetworkEvents(tokio::net::UnixDatagram);

/// As on Linux, where no such thing is used yet.
#[cfg(not(target_os = "linux"))]
pub(crate) struct NetworkEvents(std::convert::Infallible);

#[cfg(target_os = "linux")]
impl NetworkEvents {
    /// Groups of `rtnetlink(7)`: links, and addresses and routes of both families.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// Subscribes. Must be called inside a tokio runtime.
    pub(crate) fn open() -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, netlink, socket_with};
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is the protocol meant by none.
            None,
        )?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, Self::GROUPS))?;
        Ok(Self(tokio::net::UnixDatagram::from_std(socket.into())?))
    }

    /// Returns when something has changed.
    pub(crate) async fn next(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut message = [0u8; 512];
        for _ in 0..crate::limits::NETWORK_EVENTS_MAX {
            match self.0.try_recv(&mut message) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What was lost tells of a change as well.
                Err(error) if lost_some(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether messages came faster than they were read.
#[cfg(target_os = "linux")]
fn lost_some(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[cfg(not(target_os = "linux"))]
impl NetworkEvents {
    /// There is none.
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    pub(crate) async fn next(&self) -> io::Result<()> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_be_as_many_as_the_system_allows() {
        many_open_files();
        let limits = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(limits.current, limits.maximum);
    }

    #[test]
    fn core_dumps_are_off() {
        no_core_dumps();
        let limits = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limits.current, limits.maximum), (Some(0), Some(0)));
    }

    #[test]
    fn what_is_created_is_private_and_width_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("a/b");
        create_private_dir(&home).expect("created");
        create_private_dir(&home).expect("again is no error");
        let file = home.join("secret");
        create_private_file(&file).expect("created");
        assert_eq!(wider_than_private(&home).expect("there"), None);
        assert_eq!(wider_than_private(&file).expect("there"), None);
        let again = create_private_file(&file).expect_err("exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let wide = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&file, wide).expect("changed");
        assert_eq!(wider_than_private(&file).expect("there"), Some(0o640));
    }
}
