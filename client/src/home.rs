//! The home directory: one device in one network, owned by one process at a time.
//!
//! ```text
//! HOME/            0700
//!   identity       0600  keys and names, written once by `join`
//!   lock           0600  held by the owner; says its pid and command
//!   client.db      0600  the store (and client.db-wal, client.db-shm)
//!   opened         0600  how often the store was opened: a copied home is noticed by it
//!   ballast        0600  room for deleting on a full disk
//!   beeline.sock   0600  where other commands reach the owner
//!   coordinator.port     the port a coordinator was served at
//!   files.dir      0600  the folder files were received into last
//! ```

use crate::error::HomeError;
use crate::unix;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Longest lock file read: a pid and a command line's first word or two.
const LOCK_LEN_MAX: u64 = 512;

/// Paths of one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// Names a home; nothing is touched.
    pub fn at(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { dir }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The identity file.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }

    /// The store.
    pub fn database(&self) -> PathBuf {
        self.dir.join("client.db")
    }

    /// Where the number of openings of the store is kept beside it.
    pub fn opened(&self) -> PathBuf {
        self.dir.join("opened")
    }

    /// The file that keeps some room on the disk.
    pub fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// The socket on which the owner serves other commands.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("beeline.sock")
    }

    /// Where a coordinator remembers the port it serves at.
    pub fn coordinator_port(&self) -> PathBuf {
        self.dir.join("coordinator.port")
    }

    /// Where the folder that files were received into last is remembered.
    pub fn files_dir(&self) -> PathBuf {
        self.dir.join("files.dir")
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Whether somebody has joined with it.
    pub fn is_joined(&self) -> bool {
        self.identity().exists()
    }

    /// Makes the directory where it is missing, and refuses one that is open to others.
    ///
    /// # Errors
    /// [`HomeError::Io`] or [`HomeError::TooOpen`].
    pub fn prepare(&self) -> Result<(), HomeError> {
        unix::create_private_dir(&self.dir).map_err(HomeError::io(&self.dir))?;
        self.check_modes()
    }

    /// Refuses a home whose directory or files group or others can get at.
    ///
    /// # Errors
    /// [`HomeError::NotJoined`] where there is no such directory, [`HomeError::TooOpen`].
    pub fn check_modes(&self) -> Result<(), HomeError> {
        if !self.dir.is_dir() {
            return Err(HomeError::NotJoined(self.dir.clone()));
        }
        check_mode(&self.dir, 0o700)?;
        for file in [self.identity(), self.database(), self.lock_file()] {
            if file.exists() {
                check_mode(&file, 0o600)?;
            }
        }
        Ok(())
    }

    /// Takes the home for this process until the lock is dropped. `command` tells the next one
    /// who holds it.
    ///
    /// # Errors
    /// [`HomeError::Busy`] names the owner; else as [`Home::prepare`].
    pub fn lock(&self, command: &str) -> Result<HomeLock, HomeError> {
        self.prepare()?;
        let path = self.lock_file();
        let mut file = unix::open_private_file(&path).map_err(HomeError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.busy(&mut file)),
            Err(TryLockError::Error(error)) => return Err(HomeError::Io { path, error }),
        }
        write_owner(&mut file, command).map_err(HomeError::io(&path))?;
        Ok(HomeLock { file, path })
    }

    /// Who owns the home now, if anybody: pid and command.
    pub fn owner(&self) -> Option<(u32, String)> {
        let mut file = File::open(self.lock_file()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_owner(&mut file)),
            _ => None,
        }
    }

    fn busy(&self, file: &mut File) -> HomeError {
        let (pid, command) = read_owner(file);
        HomeError::Busy {
            home: self.dir.clone(),
            pid,
            command,
        }
    }
}

fn check_mode(path: &Path, want: u32) -> Result<(), HomeError> {
    let wider = unix::wider_than_private(path).map_err(HomeError::io(path))?;
    match wider {
        None => Ok(()),
        Some(mode) => Err(HomeError::TooOpen {
            path: path.to_owned(),
            mode,
            want,
        }),
    }
}

fn write_owner(file: &mut File, command: &str) -> std::io::Result<()> {
    let command: String = command
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {command}", std::process::id())
}

/// What the owner wrote; it may not have come to it yet.
fn read_owner(file: &mut File) -> (u32, String) {
    let mut text = String::new();
    let read = file.take(LOCK_LEN_MAX).read_to_string(&mut text);
    let line = read.ok().and_then(|_| text.lines().next()).unwrap_or("");
    let (pid, command) = line.split_once(' ').unwrap_or((line, ""));
    let command = if command.is_empty() {
        "starting"
    } else {
        command
    };
    (pid.parse().unwrap_or(0), command.to_owned())
}

/// A held home. The operating system gives it up when the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
    path: PathBuf,
}

impl HomeLock {
    /// Whether the lock file on disk is still the one held: it is not after somebody deleted it.
    pub fn is_intact(&self) -> bool {
        unix::same_file(&self.file, &self.path).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_second_owner_is_told_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        assert_eq!(home.owner(), None);
        let lock = home.lock("beeline listen").expect("free");
        assert!(lock.is_intact());
        let refused = home.lock("beeline run").expect_err("held");
        let HomeError::Busy { pid, command, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(
            (pid, command.as_str()),
            (std::process::id(), "beeline listen")
        );
        assert_eq!(home.owner(), Some((pid, "beeline listen".to_owned())));
        drop(lock);
        assert_eq!(home.owner(), None);
        home.lock("beeline run").expect("free again");
    }

    #[test]
    fn an_open_home_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        drop(home.lock("x").expect("made"));
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.dir(), open).expect("changed");
        let refused = home.lock("x").expect_err("too open");
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
    }
}
