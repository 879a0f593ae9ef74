//! The folder a home receives files into. It is remembered, so that a process without one can still
//! remove what is left there of a file that is given up.

use super::{FilesError, Inbox};
use crate::home::Home;
use crate::limits::FILES_DIR_LEN_MAX;
use crate::options::FilesOptions;
use crate::unix;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Opens the folder that was asked for. Without one, that of last time if it is still there:
/// nothing is received into it then, as the core asks for nothing.
///
/// # Errors
/// The disk's, about a folder that was asked for.
pub(crate) fn open(
    home: &Home,
    options: Option<&FilesOptions>,
) -> Result<Option<Inbox>, FilesError> {
    if let Some(files) = options {
        let inbox = Inbox::open(&files.dir)?;
        remember(home, inbox.path());
        return Ok(Some(inbox));
    }
    let last = remembered(home).filter(|dir| Inbox::is_at(dir));
    Ok(last.and_then(|dir| Inbox::open(&dir).ok()))
}

/// Without it nothing breaks: a file given up by a process without the folder is swept later.
fn remember(home: &Home, dir: &Path) {
    let Ok(dir) = std::fs::canonicalize(dir) else {
        return;
    };
    if remembered(home).as_deref() == Some(&dir) {
        return;
    }
    let write = || {
        let mut file = unix::open_private_file(&home.files_dir())?;
        file.set_len(0)?;
        file.write_all(dir.as_os_str().as_bytes())
    };
    if let Err(error) = write() {
        tracing::debug!(%error, "the folder for files is not remembered");
    }
}

fn remembered(home: &Home) -> Option<PathBuf> {
    let file = std::fs::File::open(home.files_dir()).ok()?;
    let mut path = Vec::new();
    file.take(FILES_DIR_LEN_MAX).read_to_end(&mut path).ok()?;
    let path = PathBuf::from(OsString::from_vec(path));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use client_core::files::io::FilePolicy;

    #[test]
    fn the_folder_of_last_time_is_found_and_no_other_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        home.prepare().expect("made");
        assert!(open(&home, None).expect("nothing asked for").is_none());
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for place in [&first, &second] {
            let options = FilesOptions {
                dir: place.clone(),
                policy: FilePolicy {
                    from: None,
                    size_max: 1,
                    total_max: 1,
                },
                ask: false,
            };
            let inbox = open(&home, Some(&options)).expect("opened");
            assert_eq!(inbox.expect("asked for").path(), place);
        }
        let last = open(&home, None).expect("nothing asked for");
        let second = std::fs::canonicalize(&second).expect("there");
        assert_eq!(last.expect("remembered").path(), second);
        std::fs::remove_dir_all(&second).expect("gone");
        assert!(open(&home, None).expect("nothing asked for").is_none());
        assert!(!second.exists());
    }
}
