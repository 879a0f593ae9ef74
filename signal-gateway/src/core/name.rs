//! A deviceId held in place: a frame's `from` and `to` are compared and looked up for every frame,
//! so they must not cost an allocation each.

use beeline_proto::limits::LABEL_LEN_MAX;
use std::fmt;

/// A label of at most 64 bytes, or nothing. Unlike [`beeline_proto::id::Label`] it does not refuse
/// route names: an address nobody can hold is merely offline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    len: u8,
    bytes: [u8; LABEL_LEN_MAX],
}

impl Name {
    /// No name: what an absent field means in proto3.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; LABEL_LEN_MAX],
    };

    /// Checks the pattern `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`; the empty text is [`Name::EMPTY`].
    pub fn new(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        let mut bytes = [0; LABEL_LEN_MAX];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        let rest_ok = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
        let first_ok = source.first().is_none_or(u8::is_ascii_alphanumeric);
        (first_ok && source.iter().all(rest_ok)).then_some(Self {
            len: source.len() as u8,
            bytes,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        // Only ASCII passes `new`.
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whether it is [`Name::EMPTY`].
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::Label;

    #[test]
    fn names_keep_to_the_pattern_of_labels() {
        let at_limit = "a".repeat(64);
        let beyond = "a".repeat(65);
        for text in [
            "a",
            "Alice_9-x",
            "-a",
            "_",
            "ä",
            "a b",
            "a.b",
            &at_limit,
            &beyond,
        ] {
            let name = Name::new(text);
            assert_eq!(name.is_some(), Label::new(text).is_ok(), "{text:?}");
            assert!(name.is_none_or(|n| n.as_str() == text));
        }
        assert_eq!(Name::new(""), Some(Name::EMPTY));
        assert_eq!(Name::EMPTY.as_str(), "");
    }
}
