//! What is demanded of a remote description or candidate before the crate sees it. Pure: text in,
//! verdict out. Grammar: RFC 8866 (SDP), RFC 8839 (ICE in SDP), RFC 8122 (fingerprint),
//! RFC 8841 (data channels).

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::limits::{
    MAX_CANDIDATE_BYTES, MAX_REMOTE_CANDIDATES, MAX_SDP_BYTES, MAX_SDP_LINES, MIN_REMOTE_PORT,
};
use super::reach::{Reach, is_passive};

/// Why a remote description or candidate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Longer than [`MAX_SDP_BYTES`], or more lines than [`MAX_SDP_LINES`].
    #[error("description too long (limit {MAX_SDP_BYTES} bytes, {MAX_SDP_LINES} lines)")]
    DescriptionTooLong,
    /// Not `x=value` lines of printable ASCII that begin with `v=0`.
    #[error("description is not SDP")]
    NotSdp,
    /// Not exactly one `m=application … UDP/DTLS/SCTP webrtc-datachannel` section.
    #[error("description must have one data section and nothing else")]
    NotDataOnly,
    /// No fingerprint, or more than one, anywhere in the description.
    #[error("description must have exactly one fingerprint, found {0}")]
    FingerprintCount(usize),
    /// The fingerprint is not 32 bytes of sha-256 in colon-separated hexadecimal.
    #[error("fingerprint must be sha-256 of 32 bytes")]
    BadFingerprint,
    /// `ice-ufrag` or `ice-pwd` missing, repeated, or outside RFC 8839 §5.4.
    #[error("ICE credentials must be one ice-ufrag (4–256) and one ice-pwd (22–256)")]
    BadCredentials,
    /// A numeric attribute is not a number in range.
    #[error("bad value of attribute {0}")]
    BadAttribute(&'static str),
    /// The description carries more candidates than may be used.
    #[error("more than {MAX_REMOTE_CANDIDATES} candidates")]
    TooManyCandidates,
    /// Longer than [`MAX_CANDIDATE_BYTES`], or not a candidate of RFC 8839 §5.1.
    #[error("malformed candidate")]
    BadCandidate,
}

/// A remote description that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedDescription {
    /// SHA-256 of the DTLS certificate the peer must present.
    pub fingerprint: [u8; 32],
    /// `ice-ufrag`, which names this generation of candidates.
    pub ufrag: String,
    /// Largest message the peer takes, bytes; `None` when it does not say (64 KiB then, RFC 8841).
    pub max_message_size: Option<usize>,
    /// The description without its candidate lines: those take the same road as trickled ones.
    pub sdp: String,
    /// The candidate lines, without `a=`, unchecked.
    pub candidates: Vec<String>,
}

/// What to do with a well-formed candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// Hand it to the crate.
    Use(SocketAddr),
    /// The same, where it takes streams of TCP.
    UseTcp(SocketAddr),
    /// Nobody is to send checks there; not an error, browsers offer such candidates too.
    Skip(&'static str),
    /// The empty candidate: the peer has no more.
    End,
}

/// Checks a remote description (offer or answer).
///
/// # Errors
/// [`PolicyError`], naming the first rule that is broken.
pub fn check_description(sdp: &str) -> Result<CheckedDescription, PolicyError> {
    if sdp.len() > MAX_SDP_BYTES {
        return Err(PolicyError::DescriptionTooLong);
    }
    let mut seen = Seen::default();
    let mut kept = String::with_capacity(sdp.len());
    for (index, line) in sdp.split_terminator('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if index >= MAX_SDP_LINES {
            return Err(PolicyError::DescriptionTooLong);
        }
        if (index == 0) != (line == "v=0") || !is_sdp_line(line) {
            return Err(PolicyError::NotSdp);
        }
        if seen.take(line)? {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    seen.finish(kept)
}

fn is_sdp_line(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.len() >= 3
        && bytes[0].is_ascii_lowercase()
        && bytes[1] == b'='
        && bytes.iter().all(|b| (0x20..0x7f).contains(b))
}

/// What has been read of a description so far.
#[derive(Default)]
struct Seen<'a> {
    data_sections: usize,
    other_sections: usize,
    fingerprints: Vec<&'a str>,
    ufrags: Vec<&'a str>,
    pwds: Vec<&'a str>,
    max_message_size: Option<usize>,
    candidates: Vec<String>,
}

impl<'a> Seen<'a> {
    /// Takes one line; `false` when the crate is not to see it.
    fn take(&mut self, line: &'a str) -> Result<bool, PolicyError> {
        if let Some(media) = line.strip_prefix("m=") {
            self.take_media(media);
            return Ok(true);
        }
        let Some(attribute) = line.strip_prefix("a=") else {
            return Ok(true);
        };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "fingerprint" => self.fingerprints.push(value),
            "ice-ufrag" => self.ufrags.push(value),
            "ice-pwd" => self.pwds.push(value),
            "sctp-port" => {
                value
                    .parse::<u16>()
                    .map_err(|_| PolicyError::BadAttribute("sctp-port"))?;
            }
            "max-message-size" => {
                let size = value
                    .parse::<u64>()
                    .map_err(|_| PolicyError::BadAttribute("max-message-size"))?;
                // RFC 8841 §6.1: zero means any size.
                let size = if size == 0 { u64::MAX } else { size };
                self.max_message_size = Some(usize::try_from(size).unwrap_or(usize::MAX));
            }
            "candidate" => {
                if self.candidates.len() == MAX_REMOTE_CANDIDATES {
                    return Err(PolicyError::TooManyCandidates);
                }
                self.candidates.push(attribute.to_owned());
                return Ok(false);
            }
            "end-of-candidates" => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    fn take_media(&mut self, media: &str) {
        let mut words = media.split(' ');
        let kind = words.next();
        let port = words.next().and_then(|p| p.parse::<u16>().ok());
        let transport = words.next();
        let format = words.next();
        let is_data = kind == Some("application")
            && port.is_some()
            && transport == Some("UDP/DTLS/SCTP")
            && format == Some("webrtc-datachannel")
            && words.next().is_none();
        if is_data {
            self.data_sections += 1;
        } else {
            self.other_sections += 1;
        }
    }

    fn finish(self, sdp: String) -> Result<CheckedDescription, PolicyError> {
        if self.data_sections != 1 || self.other_sections != 0 {
            return Err(PolicyError::NotDataOnly);
        }
        let [fingerprint] = self.fingerprints[..] else {
            return Err(PolicyError::FingerprintCount(self.fingerprints.len()));
        };
        let fingerprint = parse_fingerprint(fingerprint)?;
        let ([ufrag], [pwd]) = (&self.ufrags[..], &self.pwds[..]) else {
            return Err(PolicyError::BadCredentials);
        };
        if !is_ice_text(ufrag, 4) || !is_ice_text(pwd, 22) {
            return Err(PolicyError::BadCredentials);
        }
        Ok(CheckedDescription {
            fingerprint,
            ufrag: (*ufrag).to_owned(),
            max_message_size: self.max_message_size,
            sdp,
            candidates: self.candidates,
        })
    }
}

/// RFC 8839 §5.4: `ice-char` is a letter, digit, `+` or `/`; at most 256 of them.
fn is_ice_text(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// Parses the value of `a=fingerprint`: `sha-256 AB:CD:…`, 32 bytes.
fn parse_fingerprint(value: &str) -> Result<[u8; 32], PolicyError> {
    // The crate compares the name exactly; so do we, rather than let it fail later.
    let hex = value
        .strip_prefix("sha-256 ")
        .ok_or(PolicyError::BadFingerprint)?;
    let mut out = [0u8; 32];
    let mut parts = hex.split(':');
    for byte in &mut out {
        let part = parts.next().ok_or(PolicyError::BadFingerprint)?;
        if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PolicyError::BadFingerprint);
        }
        *byte = u8::from_str_radix(part, 16).map_err(|_| PolicyError::BadFingerprint)?;
    }
    match parts.next() {
        None => Ok(out),
        Some(_) => Err(PolicyError::BadFingerprint),
    }
}

/// Checks one remote candidate (`candidate:…` as in RFC 8839 §5.1, with or without `a=`).
///
/// `reach` says where checks may go.
///
/// # Errors
/// [`PolicyError::BadCandidate`] when it is too long or not a candidate at all.
pub fn check_candidate(line: &str, reach: &Reach) -> Result<Candidate, PolicyError> {
    if line.len() > MAX_CANDIDATE_BYTES || !line.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(PolicyError::BadCandidate);
    }
    if line.is_empty() {
        return Ok(Candidate::End);
    }
    let line = line.strip_prefix("a=").unwrap_or(line);
    let body = line
        .strip_prefix("candidate:")
        .ok_or(PolicyError::BadCandidate)?;
    let words: Vec<&str> = body.split(' ').collect();
    let [
        foundation,
        component,
        transport,
        priority,
        address,
        port,
        "typ",
        kind,
        ..,
    ] = words[..]
    else {
        return Err(PolicyError::BadCandidate);
    };
    let port: u16 = port.parse().map_err(|_| PolicyError::BadCandidate)?;
    let numbers = component.parse::<u16>().is_ok() && priority.parse::<u32>().is_ok();
    let known = matches!(kind, "host" | "srflx" | "prflx" | "relay");
    if !numbers || !known || foundation.is_empty() || foundation.len() > 32 {
        return Err(PolicyError::BadCandidate);
    }
    if component != "1" {
        return Ok(Candidate::Skip("not component 1"));
    }
    let is_tcp = transport.eq_ignore_ascii_case("tcp");
    if is_tcp && !(reach.dials_tcp() && kind == "host" && is_passive(&words)) {
        return Ok(Candidate::Skip("nothing to dial"));
    }
    if !is_tcp && !transport.eq_ignore_ascii_case("udp") {
        return Ok(Candidate::Skip("neither UDP nor TCP"));
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Ok(Candidate::Skip("a name, not an address"));
    };
    if port < MIN_REMOTE_PORT {
        return Ok(Candidate::Skip("a system port"));
    }
    let to = SocketAddr::new(ip, port);
    Ok(match reach.refused(to) {
        Some(why) => Candidate::Skip(why),
        None if is_tcp => Candidate::UseTcp(to),
        None => Candidate::Use(to),
    })
}

#[cfg(test)]
#[path = "policy_test.rs"]
mod tests;
