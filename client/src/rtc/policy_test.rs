//! Tests of the policy: what passes, and one case for every rule that refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::reach::Tcp;
use super::*;

const FINGERPRINT: &str = "sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
                           10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:ff";

fn sdp(attributes: &[&str]) -> String {
    let mut lines = vec![
        "v=0".to_owned(),
        "o=- 1 2 IN IP4 0.0.0.0".to_owned(),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned(),
        "c=IN IP4 0.0.0.0".to_owned(),
    ];
    lines.extend(attributes.iter().map(|a| format!("a={a}")));
    lines.join("\r\n") + "\r\n"
}

fn good() -> Vec<String> {
    [
        "ice-ufrag:abcd",
        "ice-pwd:0123456789012345678901",
        "setup:actpass",
        "sctp-port:5000",
    ]
    .iter()
    .map(|s| (*s).to_owned())
    .chain([format!("fingerprint:{FINGERPRINT}")])
    .collect()
}

fn check_with(change: impl FnOnce(&mut Vec<String>)) -> Result<CheckedDescription, PolicyError> {
    let mut attributes = good();
    change(&mut attributes);
    check_description(&sdp(&attributes
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()))
}

#[test]
fn a_plain_description_passes() {
    let checked = check_with(|a| {
        a.push("max-message-size:262144".to_owned());
        a.push("candidate:1 1 udp 1 127.0.0.1 4000 typ host".to_owned());
    })
    .unwrap();
    assert_eq!(checked.fingerprint[..3], [0, 1, 2]);
    assert_eq!(checked.fingerprint[31], 0xff);
    assert_eq!(checked.max_message_size, Some(262_144));
    assert_eq!(
        checked.candidates,
        ["candidate:1 1 udp 1 127.0.0.1 4000 typ host"]
    );
    assert!(!checked.sdp.contains("candidate"));
}

#[test]
fn exactly_one_fingerprint_of_sha_256() {
    let none = check_with(|a| a.retain(|x| !x.starts_with("fingerprint")));
    assert_eq!(none, Err(PolicyError::FingerprintCount(0)));
    let two = check_with(|a| a.push(format!("fingerprint:{FINGERPRINT}")));
    assert_eq!(two, Err(PolicyError::FingerprintCount(2)));
    for bad in [
        "sha-1 00:01",
        "sha-512 00",
        "SHA-256 00",
        "sha-256 0:1",
        "sha-256 ",
        "",
    ] {
        let got = check_with(|a| a[4] = format!("fingerprint:{bad}"));
        assert_eq!(got, Err(PolicyError::BadFingerprint), "{bad}");
    }
    let long = check_with(|a| a[4] = format!("fingerprint:{FINGERPRINT}:00"));
    assert_eq!(long, Err(PolicyError::BadFingerprint));
    let signed = check_with(|a| a[4] = a[4].replace("0A:", "+A:"));
    assert_eq!(signed, Err(PolicyError::BadFingerprint));
}

#[test]
fn one_data_section_and_no_media() {
    let media = sdp(&[]) + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
    assert_eq!(check_description(&media), Err(PolicyError::NotDataOnly));
    let twice = sdp(&[]) + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    assert_eq!(check_description(&twice), Err(PolicyError::NotDataOnly));
    assert_eq!(check_description("v=0\r\n"), Err(PolicyError::NotDataOnly));
    let tcp = sdp(&[]).replace("UDP/", "TCP/");
    assert_eq!(check_description(&tcp), Err(PolicyError::NotDataOnly));
}

#[test]
fn credentials_are_single_and_of_legal_length() {
    for bad in ["ice-ufrag:abc", "ice-ufrag:ab d", "ice-ufrag:", "x:y"] {
        assert_eq!(
            check_with(|a| a[0] = bad.to_owned()),
            Err(PolicyError::BadCredentials)
        );
    }
    let long = "a".repeat(257);
    for bad in ["ice-pwd:short", "ice-pwd:012345678901234567890-"] {
        assert_eq!(
            check_with(|a| a[1] = bad.to_owned()),
            Err(PolicyError::BadCredentials)
        );
    }
    assert!(check_with(|a| a[1] = format!("ice-pwd:{long}")).is_err());
    assert!(check_with(|a| a.push("ice-ufrag:efgh".to_owned())).is_err());
}

#[test]
fn text_that_is_not_sdp_or_too_long_is_refused() {
    assert_eq!(check_description(""), Err(PolicyError::NotDataOnly));
    assert_eq!(check_description("hello"), Err(PolicyError::NotSdp));
    assert_eq!(
        check_description("v=0\r\nv=0\r\n"),
        Err(PolicyError::NotSdp)
    );
    assert_eq!(
        check_description("v=0\r\ns=\u{e9}\r\n"),
        Err(PolicyError::NotSdp)
    );
    assert_eq!(
        check_description("v=0\r\ns=a\0b\r\n"),
        Err(PolicyError::NotSdp)
    );
    let long = "v=0\r\n".to_owned() + &"a=x\r\n".repeat(MAX_SDP_LINES);
    assert_eq!(
        check_description(&long),
        Err(PolicyError::DescriptionTooLong)
    );
    let long = "a".repeat(MAX_SDP_BYTES + 1);
    assert_eq!(
        check_description(&long),
        Err(PolicyError::DescriptionTooLong)
    );
}

#[test]
fn numbers_are_numbers() {
    for bad in [
        "sctp-port:x",
        "sctp-port:99999",
        "max-message-size:-1",
        "max-message-size:",
    ] {
        let got = check_with(|a| a.push(bad.to_owned()));
        assert!(matches!(got, Err(PolicyError::BadAttribute(_))), "{bad}");
    }
    let any = check_with(|a| a.push("max-message-size:0".to_owned())).unwrap();
    assert_eq!(any.max_message_size, Some(usize::MAX));
}

#[test]
fn candidates_in_a_description_are_capped() {
    let line = "candidate:1 1 udp 1 10.0.0.1 4000 typ host".to_owned();
    let full = check_with(|a| a.extend(vec![line.clone(); MAX_REMOTE_CANDIDATES]));
    assert_eq!(full.unwrap().candidates.len(), MAX_REMOTE_CANDIDATES);
    let over = check_with(|a| a.extend(vec![line; MAX_REMOTE_CANDIDATES + 1]));
    assert_eq!(over, Err(PolicyError::TooManyCandidates));
}

fn reach(loopback: bool) -> Reach {
    Reach {
        loopback,
        ..Reach::default()
    }
}

fn candidate(address: &str, port: &str) -> String {
    format!("candidate:1 1 udp 2130706431 {address} {port} typ host")
}

#[test]
fn routable_candidates_are_used() {
    for address in [
        "192.168.1.4",
        "10.1.2.3",
        "8.8.8.8",
        "2001:db8::1",
        "fd00::1",
    ] {
        let got = check_candidate(&candidate(address, "5000"), &reach(false)).unwrap();
        assert_eq!(
            got,
            Candidate::Use(SocketAddr::new(address.parse().unwrap(), 5000))
        );
    }
    let full = "a=candidate:842163049 1 UDP 1677729535 203.0.113.7 50000 typ srflx \
                raddr 10.0.0.1 rport 50000 generation 0 ufrag abcd network-cost 999";
    assert!(matches!(
        check_candidate(full, &reach(false)),
        Ok(Candidate::Use(_))
    ));
    assert_eq!(check_candidate("", &reach(false)), Ok(Candidate::End));
}

#[test]
fn addresses_no_check_may_go_to_are_skipped() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "224.0.0.251",
        "ff02::fb",
        "255.255.255.255",
        "240.0.0.1",
        "4b1f.local",
        "example.org",
    ] {
        let got = check_candidate(&candidate(address, "5000"), &reach(false)).unwrap();
        assert!(matches!(got, Candidate::Skip(_)), "{address}: {got:?}");
    }
    assert!(matches!(
        check_candidate(&candidate("10.0.0.1", "53"), &reach(true)),
        Ok(Candidate::Skip(_))
    ));
    assert!(matches!(
        check_candidate(&candidate("127.0.0.1", "5000"), &reach(true)),
        Ok(Candidate::Use(_))
    ));
    let server = reach(false);
    server.servers.add(["203.0.113.5:8443".parse().unwrap()]);
    assert!(matches!(
        check_candidate(&candidate("203.0.113.5", "8443"), &server),
        Ok(Candidate::Skip(_))
    ));
    let tcp = "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active";
    assert!(matches!(
        check_candidate(tcp, &reach(true)),
        Ok(Candidate::Skip(_))
    ));
    let rtcp = "candidate:1 2 udp 1 10.0.0.1 5000 typ host";
    assert!(matches!(
        check_candidate(rtcp, &reach(true)),
        Ok(Candidate::Skip(_))
    ));
}

#[test]
fn of_tcp_only_what_can_be_dialled_is_used() {
    let tcp = "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active";
    let dials = Reach {
        tcp: Tcp::Dial,
        ..Reach::default()
    };
    for (line, used) in [
        (
            "candidate:1 1 tcp 1 10.0.0.1 5000 typ host tcptype passive",
            true,
        ),
        (
            "candidate:1 1 TCP 1 10.0.0.1 5000 typ host generation 0 tcptype passive",
            true,
        ),
        (tcp, false),
        (
            "candidate:1 1 tcp 1 10.0.0.1 5000 typ host tcptype so",
            false,
        ),
        ("candidate:1 1 tcp 1 10.0.0.1 5000 typ host", false),
        (
            "candidate:1 1 tcp 1 10.0.0.1 5000 typ relay tcptype passive",
            false,
        ),
        (
            "candidate:1 1 tcp 1 10.0.0.1 22 typ host tcptype passive",
            false,
        ),
        (
            "candidate:1 1 tcp 1 169.254.169.254 5000 typ host tcptype passive",
            false,
        ),
        (
            "candidate:1 1 sctp 1 10.0.0.1 5000 typ host tcptype passive",
            false,
        ),
    ] {
        let got = check_candidate(line, &dials).unwrap();
        assert_eq!(matches!(got, Candidate::UseTcp(_)), used, "{line}: {got:?}");
        assert!(matches!(
            check_candidate(line, &reach(true)),
            Ok(Candidate::Skip(_))
        ));
    }
}

#[test]
fn malformed_candidates_are_errors() {
    for bad in [
        "candidate:",
        "candidate:1 1 udp",
        "nonsense",
        "candidate:1 1 udp x 10.0.0.1 5000 typ host",
        "candidate:1 1 udp 1 10.0.0.1 70000 typ host",
        "candidate:1 1 udp 1 10.0.0.1 5000 typ odd",
        "candidate:1 1 udp 1 10.0.0.1 5000 host",
        "candidate:1 1 udp 1 10.0.0.1 5000 typ host\r\n",
    ] {
        assert_eq!(
            check_candidate(bad, &reach(true)),
            Err(PolicyError::BadCandidate),
            "{bad}"
        );
    }
    let long = candidate("10.0.0.1", "5000") + &" ext".repeat(200);
    assert_eq!(
        check_candidate(&long, &reach(true)),
        Err(PolicyError::BadCandidate)
    );
}
