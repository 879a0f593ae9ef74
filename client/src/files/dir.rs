//! A directory held open, and what is done in it by single names: no path is ever walked again, so
//! nobody can exchange a part of one for a symlink meanwhile. Unix only, as `unix.rs` is.

use super::FilesError;
use super::limits::DIR_ENTRIES_MAX;
use rustix::fs::{AtFlags, CWD, Dir as Entries, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Nobody else may even look.
const DIR_MODE: Mode = Mode::RWXU;
/// Nobody else may read, and nobody run.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// For error texts only.
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`, making it and its parents where they are missing. The person
    /// named it, so a symlink is followed.
    pub(super) fn open(path: &Path) -> Result<Self, FilesError> {
        let failed = |error| FilesError::disk("make the folder", path, error);
        std::fs::create_dir_all(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| FilesError::disk("open", path, error.into()))?;
        let path = path.to_owned();
        Ok(Self { fd, path })
    }

    /// The directory `name` in this one, made where it is missing; never a symlink to one.
    pub(super) fn subdir(&self, name: &str) -> Result<Self, FilesError> {
        match rustix::fs::mkdirat(&self.fd, name, DIR_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.error("make the folder", name, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|error| self.error("open", name, error))?;
        let path = self.path.join(name);
        Ok(Self { fd, path })
    }

    /// Opens the file `name` for reading and writing, never through a symlink; makes it where it is
    /// missing.
    pub(super) fn file(&self, name: &str) -> Result<File, FilesError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, FILE_MODE)
            .map(File::from)
            .map_err(|error| self.error("open", name, error))
    }

    /// Whether anything at all has this name, and which: a number that stays with a file.
    pub(super) fn inode(&self, name: &str) -> Result<Option<u64>, FilesError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.st_ino)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("look at", name, error)),
        }
    }

    /// Gives `name` of this directory the name `to_name` in `to`, if that is free; `false` where
    /// anything is there, a symlink too. Atomic, and never overwrites.
    pub(super) fn rename(&self, name: &str, to: &Self, to_name: &str) -> Result<bool, FilesError> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // The file system knows no such rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link(name, to, to_name),
            Err(error) => Err(to.error("name", to_name, error)),
        }
    }

    /// The same in two steps: a second name that must be free, then without the first.
    fn link(&self, name: &str, to: &Self, to_name: &str) -> Result<bool, FilesError> {
        match rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            // Directories have one name only: an empty one of ours is replaced by it at once.
            Err(Errno::PERM | Errno::ISDIR) => return self.replace_own(name, to, to_name),
            Err(error) => return Err(to.error("name", to_name, error)),
        }
        self.remove(name)?;
        Ok(true)
    }

    fn replace_own(&self, name: &str, to: &Self, to_name: &str) -> Result<bool, FilesError> {
        match rustix::fs::mkdirat(&to.fd, to_name, DIR_MODE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            Err(error) => return Err(to.error("name", to_name, error)),
        }
        rustix::fs::renameat(&self.fd, name, &to.fd, to_name)
            .map_err(|error| to.error("name", to_name, error))?;
        Ok(true)
    }

    /// Removes a file, or a symlink itself; none there is no error.
    pub(super) fn remove(&self, name: &str) -> Result<(), FilesError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error("remove", name, error)),
        }
    }

    /// Removes a directory and all in it; none there is no error. Never leaves the tree: symlinks
    /// are removed, not followed.
    pub(super) fn remove_tree(&self, name: &str) -> Result<(), FilesError> {
        let Some(kind) = self.kind(name)? else {
            return Ok(());
        };
        if kind != FileType::Directory {
            return self.remove(name);
        }
        let inner = self.subdir(name)?;
        for (entry, _) in inner.entries(usize::MAX)? {
            inner.remove_tree(&entry)?;
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error("remove", name, error)),
        }
    }

    fn kind(&self, name: &str) -> Result<Option<FileType>, FilesError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("look at", name, error)),
        }
    }

    /// Names in it with what they are, at most `max`; names that are no text are left out.
    pub(super) fn entries(&self, max: usize) -> Result<Vec<(String, FileType)>, FilesError> {
        let failed = |error: Errno| self.error("list", "", error);
        let mut found = Vec::new();
        for entry in Entries::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if !matches!(name, "." | "..") && found.len() < max.min(DIR_ENTRIES_MAX) {
                found.push((name.to_owned(), entry.file_type()));
            }
        }
        Ok(found)
    }

    /// Makes its names last: a new name is only there after a power cut once this has returned.
    pub(super) fn sync(&self) -> Result<(), FilesError> {
        rustix::fs::fsync(&self.fd).map_err(|error| self.error("sync", "", error))
    }

    /// Bytes that we may still write on its file system.
    pub(super) fn free(&self) -> Result<u64, FilesError> {
        let stat = rustix::fs::fstatvfs(&self.fd).map_err(|e| self.error("look at", "", e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Where it was when it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, doing: &'static str, name: &str, error: Errno) -> FilesError {
        FilesError::disk(doing, &self.path.join(name), io::Error::from(error))
    }
}
