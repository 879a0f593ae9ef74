//! What to think of what was found: words for people, and what to change. Pure.

use super::nat::Nat;
use super::stun::Seen;
use super::{Check, Linked, Verdict};
use crate::rtc::{IceMode, IceServer};
use std::net::SocketAddr;
use std::time::Duration;

/// Advice where TURN would help and there is none.
const WANTS_TURN: &str = "ask the operator for TURN: beeline serve --turn-url turn:HOST:3478 \
                          --turn-secret-file FILE, with a coturn as in deploy/coturn";

/// No STUN or TURN server is known.
pub(super) fn no_servers() -> Check {
    let detail = "no STUN or TURN server is known: links come about within one network, and \
                  between public addresses; everything else goes through common peers"
        .to_owned();
    let check = Check::new("ice-servers", Verdict::Note, detail);
    check.advise(
        "the operator gives one to everybody with beeline serve --stun; you give one to \
                  this device with --ice-server stun:HOST:PORT",
    )
}

/// What others may learn of this host's addresses, where that is not everything.
pub(super) fn privacy(mode: IceMode, servers: &[IceServer]) -> Option<Check> {
    let has_turn = servers.iter().any(|server| !server.username.is_empty());
    let (verdict, detail, advice) = match mode {
        IceMode::All => return None,
        IceMode::NoPrivate if servers.is_empty() => (
            Verdict::Note,
            "no address of this host is told, and no STUN or TURN server is known: only devices \
             with public addresses can be linked with",
            Some("give a server with --ice-server"),
        ),
        IceMode::NoPrivate => (
            Verdict::Good,
            "no address of this host is told, only what STUN and TURN servers see of it",
            None,
        ),
        IceMode::RelayOnly if has_turn => (
            Verdict::Good,
            "links go through TURN alone: others learn no address of this host",
            None,
        ),
        IceMode::RelayOnly => (
            Verdict::Note,
            "only TURN may be used, and no TURN server is known: there are no links; messages and, \
             slowly, files go through the signalling sockets of gateway and coordinators",
            Some(WANTS_TURN),
        ),
    };
    let check = Check::new("privacy", verdict, detail.to_owned()).value(mode.name().to_owned());
    Some(match advice {
        Some(advice) => check.advise(advice),
        None => check,
    })
}

/// One STUN server's answer.
pub(super) fn stun(host: &str, at: SocketAddr, seen: Option<Seen>) -> Check {
    match seen {
        Some(seen) => {
            let detail = format!("{host} sees this host as {}", seen.mapped);
            let check = Check::good("stun", detail).took(seen.took);
            check.value(seen.mapped.to_string())
        }
        None => {
            let detail = format!("{host} ({at}) does not answer by UDP");
            Check::new("stun", Verdict::Note, detail)
        }
    }
}

/// The NAT of one family; nothing is said of a family that is merely not there.
pub(super) fn nat(is_v4: bool, found: Option<(Nat, Seen)>, any_udp: bool) -> Option<Check> {
    let name = if is_v4 { "nat-v4" } else { "nat-v6" };
    let nat = match (found, any_udp, is_v4) {
        (Some((nat, _)), ..) => nat,
        (None, false, true) => Nat::UdpBlocked,
        (None, ..) => return None,
    };
    let verdict = match nat {
        Nat::UdpBlocked => Verdict::Bad,
        Nat::Symmetric => Verdict::Note,
        _ => Verdict::Good,
    };
    let check = Check::new(name, verdict, nat.meaning().to_owned());
    let check = check.value(nat.name().to_owned());
    Some(match nat {
        Nat::UdpBlocked => check.advise(
            "let UDP out of this network (a firewall needs --rtc-ports LOW-HIGH and the ports of \
             the STUN and TURN servers); if the servers are down, start them",
        ),
        _ => check,
    })
}

/// One TURN server's answer.
pub(super) fn turn(urls: &[String], reached: bool, took: Option<Duration>) -> Check {
    let urls = urls.join(", ");
    match took {
        None if !reached => {
            let detail = format!("this host has no route to {urls}: another address family?");
            Check::new("turn", Verdict::Note, detail)
        }
        Some(took) => {
            Check::good("turn", format!("{urls} gives this device an address")).took(took)
        }
        None => Check::bad(
            "turn",
            format!("{urls} gives this device no address"),
            "see whether the TURN server runs, whether UDP gets through to it, whether it has the \
             secret of --turn-secret-file, and whether its clock is right",
        ),
    }
}

/// One open link.
pub(super) fn link(linked: &Linked) -> Check {
    let Linked {
        user,
        device,
        report,
    } = linked;
    let (here, there) = (report.local_type.as_str(), report.remote_type.as_str());
    let relayed = here == "relay" || there == "relay";
    let way = match (here, there) {
        ("", "") => "over a path not chosen yet".to_owned(),
        _ if relayed => format!("through TURN ({here} to {there})"),
        _ if report.over_tcp => format!("directly over TCP, for want of UDP ({here} to {there})"),
        _ => format!("directly ({here} to {there})"),
    };
    let detail = format!("{user}, device {device}: {way}");
    let check = Check::good("link", detail).value(format!("{here}-{there}"));
    if report.round_trip > 0.0 {
        check.took(Duration::from_secs_f64(report.round_trip))
    } else {
        check
    }
}

/// Advice that needs more than one check.
pub(super) fn advise_on_the_whole(checks: &mut [Check]) {
    let has_turn = checks
        .iter()
        .any(|check| check.name == "turn" && check.verdict == Verdict::Good);
    let is_connected = checks
        .iter()
        .any(|check| check.name == "socket" && check.verdict == Verdict::Good);
    for check in checks {
        let offline = check.name == "record" && check.value.as_deref() == Some("offline");
        if offline && is_connected {
            let soon = "the gateway tells the registry of sockets within 5 s: ask again";
            check.advice = Some(soon.to_owned());
        }
        let symmetric = check.value.as_deref() == Some(Nat::Symmetric.name());
        if check.name == "nat-v4" && symmetric && !has_turn {
            check.advice = Some(WANTS_TURN.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::LinkReport;
    use beeline_proto::id::Label;

    fn seen() -> Seen {
        Seen {
            mapped: "203.0.113.7:40000".parse().expect("an address"),
            other: None,
            took: Duration::from_millis(3),
        }
    }

    #[test]
    fn a_symmetric_nat_wants_turn_until_there_is_one() {
        let found = nat(true, Some((Nat::Symmetric, seen())), true).expect("told");
        assert_eq!(found.verdict, Verdict::Note);
        let mut alone = [found.clone()];
        advise_on_the_whole(&mut alone);
        assert!(
            alone[0]
                .advice
                .as_ref()
                .is_some_and(|a| a.contains("--turn-url"))
        );
        let turn = turn(&["turn:x".to_owned()], true, Some(Duration::ZERO));
        let mut both = [found, turn];
        advise_on_the_whole(&mut both);
        assert_eq!(both[0].advice, None);
    }

    #[test]
    fn a_family_that_is_not_there_is_no_fault() {
        assert_eq!(nat(false, None, true), None);
        assert_eq!(nat(false, None, false), None);
        assert_eq!(nat(true, None, true), None, "it has IPv6 alone");
        let blocked = nat(true, None, false).expect("told");
        assert_eq!(
            (blocked.verdict, blocked.value.as_deref()),
            (Verdict::Bad, Some("udp-blocked"))
        );
        assert!(blocked.advice.is_some());
    }

    #[test]
    fn who_hides_is_told_what_that_costs() {
        let stun = IceServer::default();
        let turn = IceServer {
            username: "1700:a".to_owned(),
            ..IceServer::default()
        };
        let verdict = |mode, servers: &[IceServer]| privacy(mode, servers).map(|told| told.verdict);
        assert_eq!(verdict(IceMode::All, &[]), None);
        for mode in [IceMode::NoPrivate, IceMode::RelayOnly] {
            let alone = privacy(mode, &[]).expect("told");
            assert_eq!(alone.verdict, Verdict::Note);
            assert!(alone.advice.is_some() && alone.value.as_deref() == Some(mode.name()));
            assert_eq!(
                verdict(mode, std::slice::from_ref(&turn)),
                Some(Verdict::Good)
            );
        }
        let stun = std::slice::from_ref(&stun);
        assert_eq!(verdict(IceMode::NoPrivate, stun), Some(Verdict::Good));
        assert_eq!(verdict(IceMode::RelayOnly, stun), Some(Verdict::Note));
    }

    #[test]
    fn a_link_says_how_it_goes() {
        let told = |here: &str, there: &str| {
            link(&Linked {
                user: Label::new("carol").expect("label"),
                device: Label::new("carol_1").expect("label"),
                report: LinkReport {
                    local_type: here.to_owned(),
                    remote_type: there.to_owned(),
                    round_trip: 0.004,
                    ..LinkReport::default()
                },
            })
        };
        let direct = told("host", "srflx");
        assert!(direct.detail.contains("directly"), "{}", direct.detail);
        assert_eq!(direct.value.as_deref(), Some("host-srflx"));
        assert_eq!(direct.took, Some(Duration::from_millis(4)));
        assert!(told("relay", "prflx").detail.contains("TURN"));
        assert!(told("", "").detail.contains("not chosen"));
    }

    #[test]
    fn what_does_not_work_comes_with_advice() {
        for check in [no_servers(), turn(&[], true, None)] {
            assert!(check.advice.is_some(), "{}", check.detail);
        }
    }
}
