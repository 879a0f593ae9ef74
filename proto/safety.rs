//! Safety numbers: 60 digits two people compare to know that nobody sits between them.
//!
//! Per side, h₀ = SHA-512(`beeline/safety/v1` ‖ network fingerprint ‖ user key), then 5,200 rounds
//! of h = SHA-512(h ‖ user key); the first 30 bytes of the last h are six big-endian 5-byte numbers
//! mod 100,000. The two halves are sorted, so both sides see the same digits.

use crate::id::NetworkFp;
use crate::keys::VerifyKey;
use sha2::{Digest, Sha512};

/// Rounds of hashing: makes a near-match cost an attacker that much more.
pub const ROUNDS: usize = 5_200;

const DOMAIN: &[u8] = b"beeline/safety/v1";

/// The 30 digits of one side.
fn half(network: &NetworkFp, user: &VerifyKey) -> String {
    let key = user.to_bytes();
    let start = Sha512::new()
        .chain_update(DOMAIN)
        .chain_update(network.0)
        .chain_update(key);
    let mut h = start.finalize();
    for _ in 0..ROUNDS {
        h = Sha512::new().chain_update(h).chain_update(key).finalize();
    }
    h[..30]
        .chunks_exact(5)
        .map(|chunk| {
            let number = chunk.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            format!("{:05}", number % 100_000)
        })
        .collect()
}

/// The 60 digits for two users; `None` if both are the same key.
pub fn safety_number(network: &NetworkFp, a: &VerifyKey, b: &VerifyKey) -> Option<String> {
    let (a, b) = (half(network, a), half(network, b));
    match a.cmp(&b) {
        std::cmp::Ordering::Less => Some(a + &b),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(b + &a),
    }
}

/// The digits in groups of five, as people read them.
pub fn grouped(digits: &str) -> String {
    let groups = digits
        .as_bytes()
        .chunks(5)
        .map(|c| String::from_utf8_lossy(c).into_owned());
    groups.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn both_sides_see_the_same_sixty_digits() {
        let network = NetworkFp([1; 32]);
        let a = SigningKey::from_seed(&[2; 32]).verify_key();
        let b = SigningKey::from_seed(&[3; 32]).verify_key();
        let ab = safety_number(&network, &a, &b).expect("different keys");
        assert_eq!(Some(&ab), safety_number(&network, &b, &a).as_ref());
        assert_eq!(ab.len(), 60);
        assert!(ab.bytes().all(|c| c.is_ascii_digit()));
        assert_eq!(grouped(&ab).len(), 71);
        assert_eq!(safety_number(&network, &a, &a), None);
        assert_ne!(Some(ab), safety_number(&NetworkFp([9; 32]), &a, &b));
    }
}
