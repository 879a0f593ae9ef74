//! The bytes under every signature.
//!
//! Pre-image = u32be(len) ‖ domain ‖ u32be(type) ‖ u32be(32) ‖ signer fingerprint ‖ u32be(len) ‖
//! payload. Fixed-width lengths make it injective; the domain names purpose and version and is not
//! carried on the wire, so a verifier must know what it expects.

use crate::pb::envelope::v1::PayloadType;

/// Domain string of each payload type. One constant per purpose, with its version inside.
pub const fn domain(payload_type: PayloadType) -> &'static str {
    match payload_type {
        PayloadType::Unspecified => "",
        PayloadType::NetworkDescriptor => "beeline/descriptor/v1",
        PayloadType::Membership => "beeline/membership/v1",
        PayloadType::Revocations => "beeline/revocations/v1",
        PayloadType::Invite => "beeline/invite/v1",
        PayloadType::JoinProof => "beeline/join/v1",
        PayloadType::DeviceList => "beeline/device-list/v1",
        PayloadType::Bundle => "beeline/bundle/v1",
        PayloadType::DeviceRecord => "beeline/device-record/v1",
        PayloadType::TokenProof => "beeline/token/v1",
        PayloadType::SocketProof => "beeline/socket/v1",
        PayloadType::DeviceOffer => "beeline/device-offer/v1",
        PayloadType::DeviceRequest => "beeline/device-request/v1",
        PayloadType::Hello => "beeline/hello/v1",
        PayloadType::ChatMessage => "beeline/message/v1",
        PayloadType::Ack => "beeline/ack/v1",
        PayloadType::Nack => "beeline/nack/v1",
        PayloadType::Read => "beeline/read/v1",
        PayloadType::Goodbye => "beeline/goodbye/v1",
        PayloadType::Offer => "beeline/offer/v1",
        PayloadType::Answer => "beeline/answer/v1",
        PayloadType::IceCandidate => "beeline/candidate/v1",
        PayloadType::PeerQuery => "beeline/peer-query/v1",
        PayloadType::PeerFound => "beeline/peer-found/v1",
        PayloadType::NetworkState => "beeline/network-state/v1",
        PayloadType::StoreReceipt => "beeline/store-receipt/v1",
        PayloadType::StoreFetch => "beeline/store-fetch/v1",
        PayloadType::StoreDelete => "beeline/store-delete/v1",
        PayloadType::FileOffer => "beeline/file-offer/v1",
        PayloadType::FileAccept => "beeline/file-accept/v1",
        PayloadType::FileDone => "beeline/file-done/v1",
    }
}

/// Builds the pre-image for a payload of `payload_type` by the signer with fingerprint `signer_fp`.
pub fn pre_image(payload_type: PayloadType, signer_fp: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    pre_image_in(
        domain(payload_type),
        payload_type as i32 as u32,
        signer_fp,
        payload,
    )
}

/// [`pre_image`] with the domain and type given apart, for vectors that mix them up.
pub fn pre_image_in(domain: &str, code: u32, signer_fp: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + domain.len() + 4 + 4 + 32 + 4 + payload.len());
    push_prefixed(&mut out, domain.as_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    push_prefixed(&mut out, signer_fp);
    push_prefixed(&mut out, payload);
    out
}

/// Appends u32be(len) ‖ bytes. Nothing that is signed or hashed reaches 4 GiB: sizes are checked
/// against [`crate::limits`] long before.
pub(crate) fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All payload types but the unspecified one.
    pub(crate) fn all_types() -> Vec<PayloadType> {
        (1..100)
            .filter_map(|n| PayloadType::try_from(n).ok())
            .collect()
    }

    #[test]
    fn every_type_has_a_domain_of_its_own() {
        let types = all_types();
        let domains: BTreeSet<_> = types.iter().map(|t| domain(*t)).collect();
        assert_eq!(domains.len(), types.len());
        assert!(
            domains
                .iter()
                .all(|d| d.starts_with("beeline/") && d.ends_with("/v1"))
        );
    }

    #[test]
    fn the_pre_image_is_length_prefixed() {
        let image = pre_image_in("ab", 7, &[9; 32], b"xyz");
        let mut want = vec![0, 0, 0, 2, b'a', b'b', 0, 0, 0, 7, 0, 0, 0, 32];
        want.extend_from_slice(&[9; 32]);
        want.extend_from_slice(&[0, 0, 0, 3, b'x', b'y', b'z']);
        assert_eq!(image, want);
    }
}
