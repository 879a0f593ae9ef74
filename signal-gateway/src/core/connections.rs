//! How many connections there are, from where, and how many have shown no credential yet.

use crate::limits::ConnectionLimits;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Whom an address counts for: an IPv4 address, or the /64 that one IPv6 host can roam in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin([u8; 8]);

impl Origin {
    /// Of a peer's address.
    pub fn of(ip: IpAddr) -> Self {
        let mut key = [0; 8];
        match ip.to_canonical() {
            // 0:0:ffff::/48 is nobody's /64, so the two kinds do not collide.
            IpAddr::V4(v4) => {
                key[2..4].fill(0xff);
                key[4..].copy_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => key.copy_from_slice(&v6.octets()[..8]),
        }
        Self(key)
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Full {
    /// Too many in all.
    #[error("too many connections")]
    Total,
    /// Too many without a credential.
    #[error("too many connections without a credential")]
    Unauthenticated,
    /// Too many from there.
    #[error("too many connections from this address")]
    PerIp,
}

/// The connections there are.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    total: usize,
    unauthenticated: usize,
    per_ip: BTreeMap<Origin, OfAddress>,
}

/// Connections of one address.
#[derive(Debug, Default)]
struct OfAddress {
    all: usize,
    unauthenticated: usize,
}

impl Connections {
    /// None yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            total: 0,
            unauthenticated: 0,
            per_ip: BTreeMap::new(),
        }
    }

    /// Counts a new connection, or says why not.
    pub fn open(&mut self, ip: IpAddr) -> Result<(), Full> {
        if self.total >= self.limits.total {
            return Err(Full::Total);
        }
        if self.unauthenticated >= self.limits.unauthenticated {
            return Err(Full::Unauthenticated);
        }
        if self.is_counted(ip) {
            let here = self.per_ip.entry(Origin::of(ip)).or_default();
            let strangers = here.unauthenticated >= self.limits.per_ip_unauthenticated;
            if strangers || here.all >= self.limits.per_ip {
                return Err(Full::PerIp);
            }
            here.all += 1;
            here.unauthenticated += 1;
        }
        self.total += 1;
        self.unauthenticated += 1;
        Ok(())
    }

    /// A connection showed a credential for the first time.
    pub fn authenticated(&mut self, ip: IpAddr) {
        self.unauthenticated = self.unauthenticated.saturating_sub(1);
        if let Some(here) = self.per_ip.get_mut(&Origin::of(ip)) {
            here.unauthenticated = here.unauthenticated.saturating_sub(1);
        }
    }

    /// A connection is over.
    pub fn close(&mut self, ip: IpAddr, authenticated: bool) {
        self.total = self.total.saturating_sub(1);
        if !authenticated {
            self.authenticated(ip);
        }
        let origin = Origin::of(ip);
        if let Some(here) = self.per_ip.get_mut(&origin) {
            here.all = here.all.saturating_sub(1);
            if here.all == 0 {
                self.per_ip.remove(&origin);
            }
        }
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.total
    }

    fn is_counted(&self, ip: IpAddr) -> bool {
        self.limits.count_loopback || !ip.to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn connections(per_ip: usize, total: usize, unauthenticated: usize) -> Connections {
        Connections::new(ConnectionLimits {
            per_ip,
            per_ip_unauthenticated: per_ip,
            total,
            unauthenticated,
            ..ConnectionLimits::default()
        })
    }

    #[test]
    fn one_address_gets_its_share() {
        let mut all = connections(2, 100, 100);
        for (from, alias) in [
            ("198.51.100.7", "::ffff:198.51.100.7"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ] {
            assert_eq!(all.open(ip(from)), Ok(()));
            assert_eq!(all.open(ip(alias)), Ok(()));
            assert_eq!(all.open(ip(from)), Err(Full::PerIp));
            all.close(ip(alias), false);
            assert_eq!(all.open(ip(from)), Ok(()));
        }
        assert_eq!(all.open(ip("198.51.100.8")), Ok(()));
        assert_eq!(all.open(ip("2001:db8:1:3::1")), Ok(()));
        for _ in 0..10 {
            assert_eq!(all.open(ip("127.0.0.1")), Ok(()), "loopback is exempt");
        }
    }

    /// Behind a carrier's NAT a thousand devices share an address: members are no strangers.
    #[test]
    fn many_members_share_an_address_and_few_strangers_do() {
        let mut all = Connections::new(ConnectionLimits {
            per_ip: 1_000,
            per_ip_unauthenticated: 3,
            ..ConnectionLimits::default()
        });
        let carrier = ip("203.0.113.9");
        for _ in 0..997 {
            assert_eq!(all.open(carrier), Ok(()));
            all.authenticated(carrier);
        }
        for _ in 0..3 {
            assert_eq!(all.open(carrier), Ok(()));
        }
        assert_eq!(
            all.open(carrier),
            Err(Full::PerIp),
            "a fourth stranger, and a 1,001st"
        );
        all.authenticated(carrier);
        assert_eq!(all.open(carrier), Err(Full::PerIp), "a 1,001st");
        all.close(carrier, true);
        assert_eq!(all.open(carrier), Ok(()));
        for authenticated in [false, false, false] {
            all.close(carrier, authenticated);
        }
        for _ in 0..997 {
            all.close(carrier, true);
        }
        assert_eq!((all.total(), all.per_ip.len()), (0, 0));
    }

    #[test]
    fn strangers_cannot_take_all_places() {
        let mut all = connections(100, 5, 2);
        for _ in 0..2 {
            assert_eq!(all.open(ip("127.0.0.1")), Ok(()));
        }
        assert_eq!(all.open(ip("127.0.0.1")), Err(Full::Unauthenticated));
        all.authenticated(ip("127.0.0.1"));
        assert_eq!(all.open(ip("127.0.0.1")), Ok(()));
        all.authenticated(ip("127.0.0.1"));
        all.authenticated(ip("127.0.0.1"));
        assert_eq!(all.open(ip("127.0.0.1")), Ok(()));
        assert_eq!(all.open(ip("127.0.0.1")), Ok(()));
        assert_eq!(all.open(ip("127.0.0.1")), Err(Full::Total));
        for authenticated in [true, true, true, false, false] {
            all.close(ip("127.0.0.1"), authenticated);
        }
        assert_eq!(
            (all.total(), all.unauthenticated, all.per_ip.len()),
            (0, 0, 0)
        );
    }
}
