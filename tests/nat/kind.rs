//! The ways a host can be connected, what makes each of them, and which pairs of them can have a
//! direct link in theory.

/// How a host meets the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A public address of both families.
    Open,
    /// Mapping independent of the endpoint, and anybody may send in.
    FullCone,
    /// The same mapping; only addresses that were sent to may send in.
    AddressRestricted,
    /// The same mapping; only address and port that were sent to may send in.
    PortRestricted,
    /// Another port for every endpoint, and only that endpoint may send in.
    Symmetric,
    /// Two port-restricted NATs in a row, as behind a provider's own.
    Double,
    /// A port-restricted NAT that lets TCP pass and no UDP.
    UdpBlocked,
    /// A port-restricted NAT without hairpin; two such hosts share one.
    SameLan,
    /// A public address of IPv6 and none of IPv4.
    Ipv6Only,
}

/// Which remote endpoints a NAT gives an own mapping, or lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// All are the same to it.
    Nothing,
    /// It looks at the address.
    Address,
    /// It looks at address and port.
    Port,
}

impl Kind {
    /// Every kind, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Double,
        Self::UdpBlocked,
        Self::SameLan,
        Self::Ipv6Only,
    ];

    /// The name in scenarios and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Double => "double",
            Self::UdpBlocked => "udp-blocked",
            Self::SameLan => "same-lan",
            Self::Ipv6Only => "ipv6-only",
        }
    }

    /// The kind of a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether there is a NAT at all.
    pub(crate) fn is_behind_nat(self) -> bool {
        !matches!(self, Self::Open | Self::Ipv6Only)
    }

    pub(crate) fn has_ipv4(self) -> bool {
        self != Self::Ipv6Only
    }

    pub(crate) fn has_ipv6(self) -> bool {
        matches!(self, Self::Open | Self::Ipv6Only)
    }

    pub(crate) fn has_udp(self) -> bool {
        self != Self::UdpBlocked
    }

    /// What it hangs on which port a packet leaves from.
    pub(crate) fn mapping(self) -> By {
        match self {
            Self::Symmetric => By::Port,
            _ => By::Nothing,
        }
    }

    /// What it hangs on who may send in.
    pub(crate) fn filtering(self) -> By {
        match self {
            Self::Open | Self::FullCone | Self::Ipv6Only => By::Nothing,
            Self::AddressRestricted => By::Address,
            _ => By::Port,
        }
    }
}

/// Whether two hosts can have a direct UDP link, told each other's addresses by somebody else.
pub(crate) fn direct(one: Kind, other: Kind) -> bool {
    // A port that is new for this endpoint is one the other side cannot have sent to.
    let shut = |one: Kind, other: Kind| one.mapping() == By::Port && other.filtering() == By::Port;
    let by_ipv6 = one.has_ipv6() && other.has_ipv6();
    let by_ipv4 = one.has_ipv4() && other.has_ipv4() && !shut(one, other) && !shut(other, one);
    one.has_udp() && other.has_udp() && (by_ipv6 || by_ipv4)
}

/// Every unordered pair.
pub(crate) fn pairs() -> Vec<(Kind, Kind)> {
    let from = |at: usize| {
        Kind::ALL[at..]
            .iter()
            .map(move |other| (Kind::ALL[at], *other))
    };
    (0..Kind::ALL.len()).flat_map(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_is_what_the_books_say() {
        use Kind::*;
        assert_eq!(pairs().len(), 45);
        let never: Vec<_> = pairs()
            .into_iter()
            .filter(|pair| !direct(pair.0, pair.1))
            .collect();
        for (one, other) in &never {
            let blocked = *one == UdpBlocked || *other == UdpBlocked;
            let families = (*one == Ipv6Only) != (*other == Ipv6Only);
            let strict = [Symmetric, PortRestricted, Double, SameLan];
            let shut = (*one == Symmetric && strict.contains(other))
                || (*other == Symmetric && strict.contains(one));
            assert!(blocked || families || shut, "{one:?} {other:?}");
        }
        // All nine with a blocked one, seven more with one family only, and four shut ones.
        assert_eq!(never.len(), 9 + 6 + 4);
        assert!(direct(Open, Ipv6Only) && direct(SameLan, SameLan));
        assert!(direct(Symmetric, AddressRestricted) && !direct(Symmetric, Double));
    }

    #[test]
    fn names_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.name()), Some(kind));
        }
        assert_eq!(Kind::of("cone"), None);
    }
}
