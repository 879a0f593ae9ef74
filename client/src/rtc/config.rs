//! What a host decides about its WebRTC side: servers, addresses, ports, sizes.

use std::net::IpAddr;

use thiserror::Error;

use super::limits::{DEFAULT_MESSAGE_BYTES, MAX_MESSAGE_BYTES, SEND_BUDGET};
use super::reach::{IceMode, OwnServers, Tcp};

/// A STUN or TURN server (RFC 7064, RFC 7065). TURN is spoken over UDP only: the crate skips
/// `turns:`, `stuns:` and `?transport=tcp` with a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port`.
    pub urls: Vec<String>,
    /// TURN user name; empty for STUN.
    pub username: String,
    /// TURN password; empty for STUN.
    pub credential: String,
}

/// Which local addresses a connection binds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BindTo {
    /// Every routable interface; loopback where there is none, so that two processes on a machine
    /// without network find each other.
    #[default]
    Everywhere,
    /// 127.0.0.1 only.
    Loopback,
    /// Exactly these addresses.
    Addresses(Vec<IpAddr>),
}

/// Configuration of a [`RtcFactory`](super::RtcFactory), shared by all its connections.
#[derive(Debug, Clone)]
pub struct RtcConfig {
    /// STUN and TURN servers; may be empty.
    pub ice_servers: Vec<IceServer>,
    /// Inclusive range of UDP ports to bind; the kernel's choice when `None`. The crate cannot
    /// share a port, so the range bounds the number of links.
    pub port_range: Option<(u16, u16)>,
    /// Local addresses to bind.
    pub bind: BindTo,
    /// Whether remote candidates on loopback may be used (needed between processes of a machine
    /// without network): only by links that bind it themselves.
    pub accept_loopback: bool,
    /// What a peer may learn of this host's addresses.
    pub mode: IceMode,
    /// Whether and how links go over TCP where UDP does not get through.
    pub tcp: Tcp,
    /// Addresses of our own servers, to which no check goes whatever a peer says.
    pub own_servers: OwnServers,
    /// Largest message sent or accepted, bytes, at most 256 KiB.
    pub max_message_size: usize,
    /// Bytes of one connection that may be on their way, all channels together.
    pub send_budget: usize,
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            port_range: None,
            bind: BindTo::Everywhere,
            accept_loopback: true,
            mode: IceMode::All,
            tcp: Tcp::No,
            own_servers: OwnServers::default(),
            max_message_size: DEFAULT_MESSAGE_BYTES,
            send_budget: SEND_BUDGET,
        }
    }
}

/// A configuration that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The range is empty or contains port 0.
    #[error("--rtc-ports must be LOW-HIGH with 1 ≤ LOW ≤ HIGH")]
    PortRange,
    /// Zero, or above the crate's limit.
    #[error("the message size must be between 1 and {MAX_MESSAGE_BYTES} bytes")]
    MessageSize,
    /// A budget that cannot hold one message.
    #[error("the send budget must hold at least one message")]
    SendBudget,
    /// No address to bind.
    #[error("no address to bind")]
    NoAddress,
}

impl RtcConfig {
    /// Whether a TURN server is known.
    pub fn has_turn(&self) -> bool {
        let mut urls = self.ice_servers.iter().flat_map(|server| &server.urls);
        urls.any(|url| url.starts_with("turn:"))
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.port_range {
            Some((low, high)) if low == 0 || low > high => return Err(ConfigError::PortRange),
            _ => {}
        }
        if self.max_message_size == 0 || self.max_message_size > MAX_MESSAGE_BYTES {
            return Err(ConfigError::MessageSize);
        }
        if self.send_budget < self.max_message_size {
            return Err(ConfigError::SendBudget);
        }
        match &self.bind {
            BindTo::Addresses(list) if list.is_empty() => Err(ConfigError::NoAddress),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_works_and_nonsense_does_not() {
        let good = RtcConfig::default();
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut RtcConfig)| {
            let mut config = RtcConfig::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(
            with(|c| c.port_range = Some((0, 9))),
            Err(ConfigError::PortRange)
        );
        assert_eq!(
            with(|c| c.port_range = Some((9, 8))),
            Err(ConfigError::PortRange)
        );
        assert_eq!(
            with(|c| c.max_message_size = 0),
            Err(ConfigError::MessageSize)
        );
        assert_eq!(
            with(|c| c.max_message_size = 300 * 1024),
            Err(ConfigError::MessageSize)
        );
        assert_eq!(with(|c| c.send_budget = 1), Err(ConfigError::SendBudget));
        let none = with(|c| c.bind = BindTo::Addresses(Vec::new()));
        assert_eq!(none, Err(ConfigError::NoAddress));
    }
}
