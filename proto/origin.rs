//! Origins as both sides write them: what a client dialled must equal, byte for byte, what the
//! descriptor names, or a challenge relayed by another host would pass.

use crate::limits::ORIGIN_LEN_MAX;

/// `scheme://host[:port]` in lower case, `ws`/`wss` as `http`/`https`, default ports, paths and
/// anything behind them left out; `None` for what is no such URL.
///
/// `wss://Signal.Example:443/alice` becomes `https://signal.example`.
pub fn normalize(url: &str) -> Option<String> {
    if url.len() > ORIGIN_LEN_MAX || !url.is_ascii() {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => ("http", 80),
        "https" | "wss" => ("https", 443),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    if authority.is_empty() || authority.contains('@') || authority.contains(char::is_whitespace) {
        return None;
    }
    let (host, port) = split_port(&authority)?;
    if host.is_empty() {
        return None;
    }
    Some(match port {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

/// Splits `host[:port]`, where an IPv6 host stands in brackets.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match authority.strip_prefix('[') {
        Some(_) => authority.find(']')? + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    match rest.strip_prefix(':') {
        None => rest.is_empty().then_some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().map(|port| (host, Some(port)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_has_one_form() {
        for (url, want) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            (
                "ws://127.0.0.1:8080/alice_device_123",
                Some("http://127.0.0.1:8080"),
            ),
            (
                "wss://Signal.Example:443/alice",
                Some("https://signal.example"),
            ),
            ("https://signal.example/", Some("https://signal.example")),
            ("https://[::1]:8443/x", Some("https://[::1]:8443")),
            ("https://evil@signal.example", None),
            ("ftp://signal.example", None),
            ("https://", None),
            ("https://host:port", None),
            ("https://host:+443", None),
            ("https://host:0443", Some("https://host")),
            ("signal.example", None),
        ] {
            assert_eq!(normalize(url).as_deref(), want, "{url}");
        }
    }
}
