//! Pages: sizes within bounds, and opaque tokens that say where the next one begins.

use crate::limits::PAGE_TOKEN_LEN_MAX;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use data_encoding::BASE64URL_NOPAD;

/// What a token belongs to; one list's token means nothing to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Users online.
    ActivePeers,
    /// Members.
    Members,
}

impl List {
    const fn tag(self) -> u8 {
        match self {
            Self::ActivePeers => b'a',
            Self::Members => b'm',
        }
    }
}

/// Why a page cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The token was not made by this method.
    #[error("page_token is not one this method has given out; begin again without it")]
    Token,
    /// The size is out of range.
    #[error("page_size must be 0 (the default) to {0}")]
    Size(u32),
}

impl PageError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidArgument
    }
}

/// The number of items for a wire `page_size`, given (default, maximum).
pub fn size(asked: u32, bounds: (u32, u32)) -> Result<usize, PageError> {
    match asked {
        0 => Ok(bounds.0 as usize),
        n if n <= bounds.1 => Ok(n as usize),
        _ => Err(PageError::Size(bounds.1)),
    }
}

/// The token of the page that begins after `last`.
pub fn token(list: List, last: &str) -> String {
    let mut bytes = vec![list.tag()];
    bytes.extend_from_slice(last.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// The label after which the page begins; `None` for the first page.
pub fn after(list: List, token: &str) -> Result<Option<Label>, PageError> {
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > PAGE_TOKEN_LEN_MAX {
        return Err(PageError::Token);
    }
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes());
    let bytes = bytes.map_err(|_| PageError::Token)?;
    let [tag, label @ ..] = bytes.as_slice() else {
        return Err(PageError::Token);
    };
    let label = std::str::from_utf8(label)
        .ok()
        .and_then(|l| Label::new(l).ok());
    match label {
        Some(label) if *tag == list.tag() => Ok(Some(label)),
        _ => Err(PageError::Token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_only_to_their_list() {
        let made = token(List::Members, "alice");
        assert_eq!(after(List::Members, &made), Ok(Label::new("alice").ok()));
        assert_eq!(after(List::ActivePeers, &made), Err(PageError::Token));
        assert_eq!(after(List::Members, ""), Ok(None));
        for bad in ["%", "bQ", "bS8uLg", &"A".repeat(PAGE_TOKEN_LEN_MAX + 1)] {
            assert_eq!(after(List::Members, bad), Err(PageError::Token), "{bad}");
        }
        assert!(token(List::Members, &"a".repeat(64)).len() <= PAGE_TOKEN_LEN_MAX);
    }

    #[test]
    fn sizes_have_a_default_and_an_end() {
        assert_eq!(size(0, (50, 100)), Ok(50));
        assert_eq!(size(100, (50, 100)), Ok(100));
        assert_eq!(size(101, (50, 100)), Err(PageError::Size(100)));
        assert_eq!(size(u32::MAX, (50, 100)), Err(PageError::Size(100)));
    }
}
