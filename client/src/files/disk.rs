//! The few acts on open files whose order decides what survives a crash, behind a trait so that
//! tests can stop, refuse or lose each of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Writes, and makes written things last.
pub(super) trait Disk: Send + Sync + std::fmt::Debug {
    /// Writes all of `bytes` at an offset.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to the file would survive a power cut.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// The same for all files of the file system that `file` is on, and for names in directories.
    fn sync_all(&self, file: &File) -> io::Result<()>;

    /// A step between two of them that a crash may hit: renames and removals.
    fn step(&self, _what: &'static str) -> io::Result<()> {
        Ok(())
    }
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::syncfs(file)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            rustix::fs::sync();
            file.sync_all()?;
        }
        Ok(())
    }
}
