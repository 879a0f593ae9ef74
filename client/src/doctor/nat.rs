//! What kind of NAT stands before this host, found out with a STUN server (RFC 5780), or as far as
//! one without a second address allows.

use super::stun::{From, Seen, ask, socket_towards};
use crate::rtc::usable_addresses;
use std::net::SocketAddr;

/// How a host meets the world, as seen from outside. Two NATs in a row look like the stricter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// A public address of its own.
    None,
    /// A public address of its own, and something that lets in only who was sent to.
    Firewall,
    /// One mapping for all, and anybody may send in.
    FullCone,
    /// One mapping for all; only addresses that were sent to may send in.
    AddressRestricted,
    /// One mapping for all; only address and port that were sent to may send in.
    PortRestricted,
    /// Another mapping for every endpoint.
    Symmetric,
    /// There is one; what it lets in the server cannot tell.
    Unnamed,
    /// No answer came by UDP.
    UdpBlocked,
}

impl Nat {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Firewall => "firewall",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Unnamed => "unnamed",
            Self::UdpBlocked => "udp-blocked",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::None => "no NAT: everybody can reach this host directly",
            Self::Firewall => "no NAT, but only who was sent to may answer: direct links work",
            Self::FullCone => "a NAT that lets everybody in: direct links work with everybody",
            Self::AddressRestricted => {
                "an ordinary NAT (address-restricted): direct links work with everybody"
            }
            Self::PortRestricted => {
                "an ordinary NAT (port-restricted): direct links work with all but devices behind \
                 symmetric NATs"
            }
            Self::Symmetric => {
                "a symmetric NAT: direct links work only with devices behind friendlier NATs; the \
                 rest goes through TURN or a common peer"
            }
            Self::Unnamed => "a NAT with one mapping for all: direct links work with most devices",
            Self::UdpBlocked => {
                "nothing comes back by UDP: no direct links; messages go through the gateway"
            }
        }
    }
}

/// What the questions to a server told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// The outside address is one of the host's own.
    pub(super) own_address: bool,
    /// Whether two servers see the same; `None` where there is no second one.
    pub(super) same_mapping: Option<bool>,
    /// Who may send in; `None` where the server cannot try.
    pub(super) lets_in: Option<LetsIn>,
}

/// Who may send in, of those that were not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LetsIn {
    Everybody,
    OtherPorts,
    Nobody,
}

/// Names the NAT.
pub(super) fn name(told: Behaviour) -> Nat {
    match (told.own_address, told.same_mapping, told.lets_in) {
        (true, _, None | Some(LetsIn::Everybody)) => Nat::None,
        (true, _, Some(_)) => Nat::Firewall,
        (false, Some(false), _) => Nat::Symmetric,
        (false, _, None) => Nat::Unnamed,
        (false, _, Some(LetsIn::Everybody)) => Nat::FullCone,
        (false, _, Some(LetsIn::OtherPorts)) => Nat::AddressRestricted,
        (false, _, Some(LetsIn::Nobody)) => Nat::PortRestricted,
    }
}

/// Asks `server`, and `second` where the first has no other address. `None` where nobody answers.
pub(super) async fn discover(
    server: SocketAddr,
    second: Option<SocketAddr>,
) -> Option<(Nat, Seen)> {
    let socket = socket_towards(server).await.ok()?;
    let seen = ask(&socket, server, From::Here).await?;
    // An address none of whose packets is ever answered is no use: some servers name one.
    let other = seen
        .other
        .filter(|other| *other != server && other.is_ipv4() == server.is_ipv4());
    let elsewhere = other.or(second);
    let (again, lets_in) = tokio::join!(
        async {
            match elsewhere {
                Some(at) => ask(&socket, at, From::Here).await,
                None => None,
            }
        },
        async {
            match other {
                Some(_) => who_gets_in(server).await,
                None => None,
            }
        }
    );
    let own = usable_addresses().contains(&seen.mapped.ip());
    let port = socket.local_addr().ok()?.port();
    let told = Behaviour {
        own_address: own && port == seen.mapped.port(),
        same_mapping: again.map(|again| again.mapped == seen.mapped),
        lets_in,
    };
    Some((name(told), seen))
}

/// Has the server answer from elsewhere, to sockets that sent nothing there.
async fn who_gets_in(server: SocketAddr) -> Option<LetsIn> {
    let (far, near) = tokio::join!(
        opened(server, From::Elsewhere),
        opened(server, From::OtherPort)
    );
    Some(match (far?, near?) {
        (true, _) => LetsIn::Everybody,
        (false, true) => LetsIn::OtherPorts,
        (false, false) => LetsIn::Nobody,
    })
}

/// Whether an answer from there comes in; `None` where the server answers from nowhere now.
async fn opened(server: SocketAddr, from: From) -> Option<bool> {
    let socket = socket_towards(server).await.ok()?;
    ask(&socket, server, From::Here).await?;
    Some(ask(&socket, server, from).await.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_has_a_name() {
        let told = |own_address, same_mapping, lets_in| {
            name(Behaviour {
                own_address,
                same_mapping,
                lets_in,
            })
        };
        use LetsIn::{Everybody, Nobody, OtherPorts};
        assert_eq!(told(true, Some(true), Some(Everybody)), Nat::None);
        assert_eq!(told(true, None, None), Nat::None);
        assert_eq!(told(true, Some(true), Some(Nobody)), Nat::Firewall);
        assert_eq!(told(false, Some(true), Some(Everybody)), Nat::FullCone);
        assert_eq!(
            told(false, Some(true), Some(OtherPorts)),
            Nat::AddressRestricted
        );
        assert_eq!(told(false, Some(true), Some(Nobody)), Nat::PortRestricted);
        assert_eq!(told(false, Some(false), Some(Nobody)), Nat::Symmetric);
        assert_eq!(told(false, Some(false), None), Nat::Symmetric);
        assert_eq!(told(false, Some(true), None), Nat::Unnamed);
        assert_eq!(told(false, None, None), Nat::Unnamed);
    }
}
