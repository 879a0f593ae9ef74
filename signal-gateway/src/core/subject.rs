//! Names on the bus between nodes: `beeline.v1.signal.<network>.<device>`.

use beeline_proto::id::{Label, NetworkFp};
use std::str::FromStr as _;

/// What every subject begins with.
pub const PREFIX: &str = "beeline.v1.signal";

/// The subject of one device. Labels hold no dot, star, blank or `>`, so each part is one token.
pub fn build(network: &NetworkFp, device: &str) -> String {
    format!("{PREFIX}.{network}.{device}")
}

/// The device a subject names.
pub fn parse(subject: &str) -> Option<(NetworkFp, &str)> {
    let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
    let (network, device) = rest.split_once('.')?;
    Label::new(device).ok()?;
    Some((NetworkFp::from_str(network).ok()?, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_one_device() {
        let network = NetworkFp([0xab; 32]);
        let subject = build(&network, "alice_device_123");
        assert!(subject.starts_with("beeline.v1.signal.abab"));
        assert_eq!(parse(&subject), Some((network, "alice_device_123")));
        for bad in [
            "beeline.v1.signal",
            "beeline.v1.signal.abab.alice",
            "beeline.v1.other.x.y",
            &format!("{subject}.more"),
            &format!("{PREFIX}.{network}.*"),
            &format!("{PREFIX}.{network}.>"),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
