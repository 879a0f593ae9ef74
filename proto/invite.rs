//! Invite links: `URL/join#<base64url>`. The fragment is never sent to a server; it carries the
//! network's fingerprint to pin and the seed whose public key the signed invite names.

use crate::id::{Label, NetworkFp};
use crate::keys::SigningKey;
use crate::limits::{ORIGIN_LEN_MAX, ORIGINS_MAX};
use crate::pb::identity::v1 as pb;
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;

/// Longest link taken, bytes: eight origins of full length, in base64url, with room.
pub const LINK_LEN_MAX: usize = 4 * 1024;

/// What a link says.
#[derive(Clone, Debug)]
pub struct InviteLink {
    /// The networkId for URLs.
    pub network_id: Label,
    /// What the network is: pinned before anything is asked of a server.
    pub network: NetworkFp,
    /// The invite's secret.
    pub key: SigningKey,
    /// Gateways to join at, the first tried first.
    pub gateways: Vec<String>,
}

/// Why a text is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No `#` with something behind it.
    #[error(
        "this is not an invite link: it must look like https://host/join#…; copy the whole line, with what follows the #"
    )]
    NoFragment,
    /// The fragment is cut, altered, or of another kind.
    #[error("the invite link is damaged; copy it again, whole")]
    Damaged,
}

impl InviteLink {
    /// Reads a link.
    pub fn parse(link: &str) -> Result<Self, LinkError> {
        let (_, fragment) = link.trim().split_once('#').ok_or(LinkError::NoFragment)?;
        if fragment.is_empty() {
            return Err(LinkError::NoFragment);
        }
        if link.len() > LINK_LEN_MAX {
            return Err(LinkError::Damaged);
        }
        Self::parse_fragment(fragment).ok_or(LinkError::Damaged)
    }

    fn parse_fragment(fragment: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(fragment.as_bytes()).ok()?;
        let pb = pb::InviteLink::decode(bytes.as_slice()).ok()?;
        let gateways_ok = (1..=ORIGINS_MAX).contains(&pb.gateways.len())
            && pb
                .gateways
                .iter()
                .all(|g| g.len() <= ORIGIN_LEN_MAX && g.starts_with("http"));
        gateways_ok.then_some(())?;
        let seed: [u8; 32] = pb.seed.as_slice().try_into().ok()?;
        Some(Self {
            network_id: Label::new(&pb.network_id).ok()?,
            network: NetworkFp::try_from(pb.network.as_slice()).ok()?,
            key: SigningKey::from_seed(&seed),
            gateways: pb.gateways,
        })
    }

    /// Writes the link, at the first gateway's address.
    pub fn to_text(&self) -> String {
        let pb = pb::InviteLink {
            network_id: self.network_id.to_string(),
            network: self.network.to_vec(),
            seed: self.key.to_seed().to_vec(),
            gateways: self.gateways.clone(),
        };
        let base = self
            .gateways
            .first()
            .map_or("", |g| g.trim_end_matches('/'));
        format!(
            "{base}/join#{}",
            BASE64URL_NOPAD.encode(&pb.encode_to_vec())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_survive_and_damage_is_told() {
        let link = InviteLink {
            network_id: Label::new("home").expect("label"),
            network: NetworkFp([4; 32]),
            key: SigningKey::from_seed(&[5; 32]),
            gateways: vec!["http://127.0.0.1:8080".into()],
        };
        let text = link.to_text();
        assert!(text.starts_with("http://127.0.0.1:8080/join#"));
        let read = InviteLink::parse(&text).expect("whole link");
        assert_eq!(read.network, link.network);
        assert_eq!(read.key.verify_key(), link.key.verify_key());
        assert_eq!(
            InviteLink::parse("http://x/join").err(),
            Some(LinkError::NoFragment)
        );
        assert_eq!(
            InviteLink::parse(&text[..text.len() - 7]).err(),
            Some(LinkError::Damaged)
        );
    }
}
