//! The ballast: a file that holds some room, so that a full disk can still be told to hold less.
//! Even a deletion writes to the log first. The file is let go for that, and made again at the next
//! start that finds room.

use crate::home::Home;
use crate::limits::BALLAST_LEN;
use crate::unix;
use std::io::Write as _;

/// Makes the ballast where it is missing. A disk with no room for it is no reason not to start.
pub(super) fn keep(home: &Home) {
    let path = home.ballast();
    if path.exists() {
        return;
    }
    let made = unix::create_private_file(&path).and_then(|mut file| {
        // Not zeros: file systems keep those for free.
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        });
        let bytes: Vec<u8> = noise.take(BALLAST_LEN / 8).flatten().collect();
        file.write_all(&bytes)
    });
    if let Err(error) = made {
        tracing::warn!(%error, "no room kept for a full disk");
        let_go(home);
    }
}

/// Gives the room back; whether there was any.
pub(super) fn let_go(home: &Home) -> bool {
    std::fs::remove_file(home.ballast()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_once_and_given_back_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        home.prepare().expect("made");
        keep(&home);
        keep(&home);
        let len = std::fs::metadata(home.ballast()).expect("there").len();
        assert_eq!(len, BALLAST_LEN as u64);
        assert!(let_go(&home) && !let_go(&home));
    }
}
