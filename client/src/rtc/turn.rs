//! What the wrapper reads off TURN's messages (RFC 8656), which the crate keeps to itself: whether
//! what a link says goes through a server, and whether that server still lends its address. Pure.

use std::net::SocketAddr;

use super::LinkPath;
use super::gate::{STUN_HEADER_BYTES, stun_type};

/// The server's answer to REFRESH where it refuses.
const REFRESH_ERROR: u16 = 0x0114;
const ERROR_CODE: u16 = 0x0009;
/// The nonce is too old: the crate asks again with the new one, so this is no refusal.
const STALE_NONCE: u16 = 438;

/// What is known of the path of one link.
#[derive(Debug, Default)]
pub(super) struct PathWatch {
    /// The TURN server what we say goes to; `None` while it goes straight to the peer.
    server: Option<SocketAddr>,
    /// A server that refused to lend an address any longer.
    refused_by: Option<SocketAddr>,
    /// What was told last.
    told: LinkPath,
}

impl PathWatch {
    /// Learns from a datagram that went out to `to` (RFC 8656 §12.4; DTLS by its first byte, RFC
    /// 7983). Checks tell nothing: they go every way there is.
    pub(super) fn went_out(&mut self, to: SocketAddr, datagram: &[u8]) {
        let is_dtls = |byte: Option<&u8>| matches!(byte, Some(20..=63));
        match datagram.first() {
            Some(0x40..=0x4f) if is_dtls(datagram.get(4)) => self.server = Some(to),
            first if is_dtls(first) => self.server = None,
            _ => {}
        }
    }

    /// Learns from a datagram that came in. A forged refusal costs a new link, no more.
    pub(super) fn came_in(&mut self, from: SocketAddr, datagram: &[u8]) {
        if is_refusal(datagram) {
            self.refused_by = Some(from);
        }
    }

    /// Whether what we say goes through TURN.
    pub(super) fn is_relayed(&self) -> bool {
        self.server.is_some()
    }

    fn path(&self) -> LinkPath {
        match self.server {
            None => LinkPath::Direct,
            server if server == self.refused_by => LinkPath::Ending,
            Some(_) => LinkPath::Relayed,
        }
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        self.told != self.path()
    }

    /// The path, once for each change.
    pub(super) fn take_news(&mut self) -> Option<LinkPath> {
        let path = self.path();
        (std::mem::replace(&mut self.told, path) != path).then_some(path)
    }
}

/// Whether a datagram says that a TURN server will not refresh an address.
fn is_refusal(datagram: &[u8]) -> bool {
    stun_type(datagram) == Some(REFRESH_ERROR) && error_code(datagram) != Some(STALE_NONCE)
}

/// The code of an error response (RFC 8489 §14.8).
fn error_code(datagram: &[u8]) -> Option<u16> {
    let mut rest = datagram.get(STUN_HEADER_BYTES..)?;
    loop {
        let (header, body) = rest.split_at_checked(4)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind == ERROR_CODE {
            let code = body.get(2..4)?;
            return Some(u16::from(code[0] & 7) * 100 + u16::from(code[1]));
        }
        rest = body.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const DTLS: &[u8] = &[22, 254, 253];
    const CHANNEL_DATA: &[u8] = &[0x40, 0, 0, 13, 22, 254, 253];

    fn server(port: u16) -> SocketAddr {
        format!("192.0.2.1:{port}").parse().unwrap()
    }

    /// An error response with an attribute before its code.
    fn error(kind: u16, code: u16) -> Vec<u8> {
        let [class, number] = [(code / 100) as u8, (code % 100) as u8];
        let mut message = kind.to_be_bytes().to_vec();
        message.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
        message.extend([7; 12]);
        message.extend([0, 0x15, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0]);
        message.extend([0, 9, 0, 4, 0, 0, class, number]);
        message
    }

    #[test]
    fn the_path_is_where_dtls_goes() {
        let mut watch = PathWatch::default();
        assert!(!watch.has_news() && watch.take_news().is_none());
        // A check through TURN says nothing of the path that is used.
        watch.went_out(server(1), &[0x40, 0, 0, 20, 0, 1, 0, 0]);
        watch.went_out(server(1), &[]);
        assert!(!watch.is_relayed());
        watch.went_out(server(1), CHANNEL_DATA);
        assert!(watch.is_relayed() && watch.has_news());
        assert_eq!(watch.take_news(), Some(LinkPath::Relayed));
        assert_eq!(watch.take_news(), None);
        watch.went_out(server(9), DTLS);
        assert_eq!(watch.take_news(), Some(LinkPath::Direct));
    }

    #[test]
    fn a_server_that_refuses_ends_the_path_through_it_only() {
        let mut watch = PathWatch::default();
        watch.came_in(server(2), &error(REFRESH_ERROR, 401));
        assert_eq!(watch.take_news(), None, "an address that carries nothing");
        watch.went_out(server(1), CHANNEL_DATA);
        assert_eq!(watch.take_news(), Some(LinkPath::Relayed));
        watch.came_in(server(1), &error(REFRESH_ERROR, 438));
        watch.came_in(server(1), &error(0x0118, 403));
        assert_eq!(
            watch.take_news(),
            None,
            "a new nonce, and a peer that is denied"
        );
        watch.came_in(server(1), &error(REFRESH_ERROR, 401));
        assert_eq!(watch.take_news(), Some(LinkPath::Ending));
        watch.came_in(server(1), &error(REFRESH_ERROR, 437));
        assert_eq!(watch.take_news(), None);
    }

    #[test]
    fn a_refusal_that_does_not_parse_is_one_as_well() {
        let whole = error(REFRESH_ERROR, 441);
        for length in STUN_HEADER_BYTES..whole.len() {
            assert!(is_refusal(&whole[..length]), "{length}");
        }
        assert!(!is_refusal(&whole[..STUN_HEADER_BYTES - 1]));
        assert_eq!(error_code(&whole), Some(441));
    }
}
