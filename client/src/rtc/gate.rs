//! Which datagrams the crate gets to see (T-DTLS-6). Pure: addresses and bytes in, verdict out.
//!
//! Once ICE has selected a pair, the crate hands every datagram that is not STUN to DTLS, from
//! whatever address it came; during the handshake one forged alert then ends the call. The gate
//! admits such datagrams only from *proven* addresses. What proves an address is read off our own
//! side's traffic, so no secret is parsed twice: the crate answers a STUN request with success
//! only after its message integrity held (RFC 8445 §7.3), speaks DTLS only to the selected pair,
//! and sends TURN requests only to configured servers.

use std::net::SocketAddr;

use super::limits::MAX_PROVEN_ADDRESSES;

/// Bytes before the first attribute.
pub(super) const STUN_HEADER_BYTES: usize = 20;

/// STUN message types (RFC 8489 §5, RFC 8656 §17) the gate knows.
mod stun {
    pub(super) const BINDING_REQUEST: u16 = 0x0001;
    pub(super) const BINDING_SUCCESS: u16 = 0x0101;
    pub(super) const ALLOCATE: u16 = 0x0003;
    pub(super) const REFRESH: u16 = 0x0004;
    pub(super) const SEND_INDICATION: u16 = 0x0016;
    pub(super) const CREATE_PERMISSION: u16 = 0x0008;
    pub(super) const CHANNEL_BIND: u16 = 0x0009;
    pub(super) const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    pub(super) const HEADER_BYTES: usize = super::STUN_HEADER_BYTES;
    pub(super) const USERNAME: [u8; 2] = [0, 6];
}

/// The proven addresses of one connection.
#[derive(Debug, Default)]
pub(super) struct AddressGate {
    proven: Vec<SocketAddr>,
    dropped: u64,
    /// Nothing goes to or comes from anybody but TURN servers.
    turn_only: bool,
}

impl AddressGate {
    pub(super) fn new(turn_only: bool) -> Self {
        Self {
            turn_only,
            ..Self::default()
        }
    }

    /// Whether a datagram of ours may leave for `to`: where only TURN may be used, that is what
    /// asks a TURN server for something, and what goes to one that was asked.
    pub(super) fn lets_out(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        !self.turn_only || self.knows(to) || stun_type(datagram).is_some_and(is_for_turn)
    }

    /// Learns from a datagram our side has sent to `to`.
    pub(super) fn sent(&mut self, to: SocketAddr, datagram: &[u8]) {
        if self.proven.contains(&to) || self.proven.len() == MAX_PROVEN_ADDRESSES {
            return;
        }
        let proves = match stun_type(datagram) {
            None => true,
            Some(kind) => kind == stun::BINDING_SUCCESS || is_for_turn(kind),
        };
        if proves {
            self.proven.push(to);
        }
    }

    /// Whether a datagram received from `from` may reach the crate.
    ///
    /// STUN from anywhere may (it carries its own integrity), except that once the table is full
    /// a new address can no longer ask: each such request would become a remote candidate.
    pub(super) fn admits(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let known = self.proven.contains(&from);
        let admitted = match stun_type(datagram) {
            _ if self.turn_only && !known => false,
            Some(stun::BINDING_REQUEST) => known || self.proven.len() < MAX_PROVEN_ADDRESSES,
            Some(_) => true,
            None => known && is_dtls_or_channel_data(datagram),
        };
        self.dropped += u64::from(!admitted);
        admitted
    }

    /// Whether `address` has proved itself.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.proven.contains(&address)
    }

    /// Whether any address has proved itself.
    pub(super) fn knows_any(&self) -> bool {
        !self.proven.is_empty()
    }

    /// Datagrams refused so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Requests and indications that only TURN servers are sent.
fn is_for_turn(kind: u16) -> bool {
    matches!(
        kind,
        stun::ALLOCATE
            | stun::REFRESH
            | stun::SEND_INDICATION
            | stun::CREATE_PERMISSION
            | stun::CHANNEL_BIND
    )
}

/// By the first byte (RFC 7983). No media is ever agreed on, so its parsers stay out of reach.
fn is_dtls_or_channel_data(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=79))
}

/// Whether a datagram of ours is an ICE check: a binding request that begins with USERNAME, which
/// requests to a STUN server do not carry (RFC 8445 §7.1.2).
pub(super) fn is_ice_check(datagram: &[u8]) -> bool {
    stun_type(datagram) == Some(stun::BINDING_REQUEST)
        && datagram.get(stun::HEADER_BYTES..stun::HEADER_BYTES + 2) == Some(&stun::USERNAME)
}

/// The STUN message type, or `None` when the datagram is something else. The first byte decides
/// as in RFC 7983, so that nothing passes here as STUN which the crate then takes for DTLS.
pub(super) fn stun_type(datagram: &[u8]) -> Option<u16> {
    let is_stun =
        datagram.len() >= stun::HEADER_BYTES && datagram[0] <= 3 && datagram[4..8] == stun::MAGIC;
    is_stun.then(|| u16::from_be_bytes([datagram[0], datagram[1]]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn stun_message(kind: u16) -> Vec<u8> {
        let mut message = vec![0u8; stun::HEADER_BYTES];
        message[..2].copy_from_slice(&kind.to_be_bytes());
        message[4..8].copy_from_slice(&stun::MAGIC);
        message
    }

    fn address(port: u16) -> SocketAddr {
        format!("10.0.0.1:{port}").parse().unwrap()
    }

    const CLIENT_HELLO: &[u8] = &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const CHANNEL_DATA: &[u8] = &[0x40, 0, 0, 4, 22, 254, 253, 0];

    #[test]
    fn dtls_needs_a_proven_address() {
        let mut gate = AddressGate::default();
        assert!(!gate.admits(address(1), CLIENT_HELLO));
        assert!(!gate.admits(address(1), &[]));
        gate.sent(address(1), &stun_message(stun::BINDING_REQUEST));
        assert!(
            !gate.admits(address(1), CLIENT_HELLO),
            "asking proves nothing"
        );
        gate.sent(address(1), &stun_message(stun::BINDING_SUCCESS));
        assert!(gate.admits(address(1), CLIENT_HELLO));
        assert!(
            !gate.admits(address(2), CLIENT_HELLO),
            "another port is another address"
        );
        gate.sent(address(3), CLIENT_HELLO);
        assert!(gate.admits(address(3), CLIENT_HELLO));
        assert!(
            !gate.admits(address(3), &[128; 40]),
            "media is never agreed on"
        );
        assert_eq!(gate.dropped(), 5);
    }

    #[test]
    fn a_turn_server_is_proven_by_our_request() {
        let mut gate = AddressGate::default();
        assert!(!gate.admits(address(1), CHANNEL_DATA));
        gate.sent(address(1), &stun_message(stun::ALLOCATE));
        assert!(gate.admits(address(1), CHANNEL_DATA));
    }

    #[test]
    fn where_only_turn_may_be_used_nothing_else_is_spoken_to() {
        let (mut gate, turn, peer) = (AddressGate::new(true), address(1), address(2));
        let check = stun_message(stun::BINDING_REQUEST);
        assert!(!gate.lets_out(peer, &check) && !gate.admits(peer, &check));
        assert!(!gate.lets_out(peer, CLIENT_HELLO));
        assert!(!gate.lets_out(turn, CHANNEL_DATA));
        assert!(gate.lets_out(turn, &stun_message(stun::ALLOCATE)));
        gate.sent(turn, &stun_message(stun::ALLOCATE));
        assert!(gate.admits(turn, &stun_message(0x0103)));
        assert!(gate.lets_out(turn, CHANNEL_DATA) && gate.admits(turn, CHANNEL_DATA));
        assert!(!gate.lets_out(peer, &stun_message(stun::BINDING_SUCCESS)));
        assert!(AddressGate::default().lets_out(peer, &check));
    }

    #[test]
    fn stun_passes_from_anywhere() {
        let mut gate = AddressGate::default();
        assert!(gate.admits(address(9), &stun_message(stun::BINDING_REQUEST)));
        assert!(gate.admits(address(9), &stun_message(stun::BINDING_SUCCESS)));
    }

    #[test]
    fn a_dtls_record_dressed_as_stun_is_dtls() {
        let mut gate = AddressGate::default();
        let mut record = stun_message(0);
        record[0] = 21;
        assert!(!gate.admits(address(1), &record));
    }

    #[test]
    fn a_full_table_takes_no_new_address() {
        let mut gate = AddressGate::default();
        for port in 0..1_000 {
            gate.sent(address(port), &stun_message(stun::BINDING_SUCCESS));
        }
        assert_eq!(gate.proven.len(), MAX_PROVEN_ADDRESSES);
        assert!(gate.admits(address(0), &stun_message(stun::BINDING_REQUEST)));
        assert!(!gate.admits(address(999), &stun_message(stun::BINDING_REQUEST)));
    }
}
