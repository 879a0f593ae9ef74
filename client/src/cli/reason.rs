//! What the reasons of states mean, in words: one place for `send`, `why` and events.

use client_core::event::NEVER_ONLINE;

/// How a message came, in words.
pub(super) fn by_path(path: &str) -> &str {
    match path {
        "direct" => "directly",
        "relay" => "through a peer",
        "stored" => "from those who kept it",
        other => other,
    }
}

/// A reason that is a code, in words, with the other user's name in them; `None` for a reason that
/// is in words already.
pub(super) fn in_words(reason: &str, user: &str) -> Option<String> {
    let words = match reason {
        NEVER_ONLINE => format!(
            "{user} has not been online yet, so nothing can be sealed for it; the message waits \
             here and goes out by itself"
        ),
        "CONFLICT" => "another text was sent under its id before; was this home restored from a \
                       backup? (CONFLICT)"
            .to_owned(),
        "USER_KEY_CHANGED" => {
            format!("the key changed; see beeline verify {user} (USER_KEY_CHANGED)")
        }
        "REVOKED" => "a membership was ended, or a device taken off (REVOKED)".to_owned(),
        "INVALID" => format!("{user}'s device could not accept it (INVALID)"),
        _ => return None,
    };
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_put_into_words_and_words_stay() {
        let words = in_words(NEVER_ONLINE, "carol").expect("words");
        assert!(
            words.starts_with("carol has not been online yet"),
            "{words}"
        );
        for code in ["CONFLICT", "USER_KEY_CHANGED", "REVOKED", "INVALID"] {
            let words = in_words(code, "carol").expect("words");
            assert!(words.contains(&format!("({code})")), "{words}");
        }
        assert_eq!(in_words("no device of carol answers", "carol"), None);
    }
}
