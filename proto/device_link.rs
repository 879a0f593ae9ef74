//! Adding a device: the link one machine prints and the other takes, and the six digits both show.
//!
//! The new device commits to its request before it sees anything of the holder's, and the holder
//! answers with a random number of its own before it sees the request. So nobody between the two,
//! who must say something of his own to either side, can choose what either side shows: he is left
//! with one chance in a million.

use crate::id::{EnvelopeHash, NetworkFp, UserFp, sha256};
use crate::pb::identity::v1 as pb;
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;
use std::net::SocketAddr;

/// Longest link taken, bytes: an address and 85 bytes in base64url, with room.
pub const DEVICE_LINK_LEN_MAX: usize = 512;

/// A frame of the conversation, bytes: two chains of full length, with room.
pub const DEVICE_FRAME_LEN_MAX: usize = 8 * 1024;

/// What every link begins with.
const SCHEME: &str = "beeline://";

/// What separates the address from the fragment.
const PATH: &str = "/device#";

/// What the digits are made of begins with this.
const DOMAIN: &[u8] = b"beeline/device-digits/v1";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLink {
    /// Where the holder of the user key waits.
    pub addr: SocketAddr,
    /// What the network is: pinned.
    pub network: NetworkFp,
    /// Who the user is: pinned.
    pub user: UserFp,
    /// Lets one device call, once.
    pub token: [u8; 16],
}

/// Why a text is no device link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device link is damaged; copy it again, whole, as `device link` prints it")]
pub struct DeviceLinkError;

impl DeviceLink {
    /// Whether a text is meant as a device link, whole or not.
    pub fn is_one(text: &str) -> bool {
        text.trim().starts_with(SCHEME)
    }

    /// Reads a link.
    pub fn parse(text: &str) -> Result<Self, DeviceLinkError> {
        let text = text.trim();
        if text.len() > DEVICE_LINK_LEN_MAX {
            return Err(DeviceLinkError);
        }
        Self::read(text).ok_or(DeviceLinkError)
    }

    fn read(text: &str) -> Option<Self> {
        let (addr, fragment) = text.strip_prefix(SCHEME)?.split_once(PATH)?;
        let bytes = BASE64URL_NOPAD.decode(fragment.as_bytes()).ok()?;
        let pb = pb::DeviceLink::decode(bytes.as_slice()).ok()?;
        Some(Self {
            addr: addr.parse().ok()?,
            network: NetworkFp::try_from(pb.network.as_slice()).ok()?,
            user: UserFp::try_from(pb.user.as_slice()).ok()?,
            token: pb.token.as_slice().try_into().ok()?,
        })
    }

    /// Writes the link.
    pub fn to_text(&self) -> String {
        let pb = pb::DeviceLink {
            network: self.network.to_vec(),
            user: self.user.to_vec(),
            token: self.token.to_vec(),
        };
        let fragment = BASE64URL_NOPAD.encode(&pb.encode_to_vec());
        format!("{SCHEME}{}{PATH}{fragment}", self.addr)
    }
}

/// The six digits that both sides show, of the envelopes of the holder's offer and of the new
/// device's request: SHA-256 over domain, then their hashes; the first eight bytes, big-endian,
/// mod 1,000,000.
pub fn digits(offer: &EnvelopeHash, request: &EnvelopeHash) -> String {
    let hash = sha256(&[DOMAIN, &offer.0, &request.0].concat());
    let mut first = [0u8; 8];
    first.copy_from_slice(&hash[..8]);
    format!("{:06}", u64::from_be_bytes(first) % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(addr: &str) -> DeviceLink {
        DeviceLink {
            addr: addr.parse().expect("an address"),
            network: NetworkFp([4; 32]),
            user: UserFp([5; 32]),
            token: [6; 16],
        }
    }

    #[test]
    fn links_survive_and_damage_is_told() {
        for addr in ["192.168.1.7:41234", "[fe80::1]:1"] {
            let text = link(addr).to_text();
            assert!(DeviceLink::is_one(&text));
            assert_eq!(DeviceLink::parse(&format!(" {text}\n")), Ok(link(addr)));
            for damaged in [&text[..text.len() - 5], &text[..30], &text.replace('#', "")] {
                assert_eq!(
                    DeviceLink::parse(damaged),
                    Err(DeviceLinkError),
                    "{damaged}"
                );
            }
        }
        assert!(!DeviceLink::is_one("http://host/join#x"));
        let long = format!(
            "beeline://1.1.1.1:1/device#{}",
            "A".repeat(DEVICE_LINK_LEN_MAX)
        );
        assert_eq!(DeviceLink::parse(&long), Err(DeviceLinkError));
    }

    #[test]
    fn the_digits_depend_on_both_and_have_six_places() {
        let hash = |n: u8| EnvelopeHash([n; 32]);
        assert_eq!(digits(&hash(1), &hash(2)), digits(&hash(1), &hash(2)));
        assert_ne!(digits(&hash(1), &hash(2)), digits(&hash(2), &hash(1)));
        let all: Vec<String> = (0..100).map(|n| digits(&hash(n), &hash(7))).collect();
        assert!(
            all.iter()
                .all(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_digit()))
        );
        assert!(all.iter().any(|d| d.starts_with('0')), "leading zeros stay");
    }
}
