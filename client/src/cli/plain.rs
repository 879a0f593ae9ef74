//! Plain HTTP: fine on one machine, a warning anywhere else.

use std::net::IpAddr;

/// The host of an origin, without its port.
pub(crate) fn host(origin: &str) -> Option<&str> {
    let (_, rest) = origin.split_once("://")?;
    let rest = rest.split('/').next().unwrap_or(rest);
    if rest.starts_with('[') {
        return rest.find(']').map(|end| &rest[..=end]);
    }
    Some(rest.split_once(':').map_or(rest, |(host, _)| host))
}

/// The warning for the first of these origins that is plain HTTP to another machine.
pub(crate) fn warning<'a>(origins: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let exposed = origins.into_iter().find(|origin| is_exposed(origin))?;
    Some(format!(
        "warning: {exposed} is plain HTTP: whoever is on the way sees tokens and who talks to \
         whom, though never what they say; the server's --tls-cert and --tls-key end that"
    ))
}

fn is_exposed(origin: &str) -> bool {
    let plain = origin.starts_with("http:") || origin.starts_with("ws:");
    let host = host(origin).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    plain && !loopback && host != "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_others_is_worth_a_word() {
        for fine in [
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:8080",
            "https://chat.example.org",
        ] {
            assert_eq!(warning([&fine.to_owned()]), None, "{fine}");
        }
        for exposed in ["http://192.168.1.7:8080", "http://chat.example.org/join"] {
            let said = warning([&exposed.to_owned()]);
            assert!(said.is_some_and(|said| said.contains(exposed)), "{exposed}");
        }
    }

    #[test]
    fn hosts_come_without_ports() {
        assert_eq!(host("https://[::1]:8080"), Some("[::1]"));
        assert_eq!(host("http://127.0.0.1:8080"), Some("127.0.0.1"));
        assert_eq!(host("https://chat.example.org"), Some("chat.example.org"));
        assert_eq!(host("nothing"), None);
    }
}
