//! Whom a parcel for a device that is away is left with: each member that keeps has a place in an
//! order of its own for each recipient device, which sender and recipient work out alone.

use crate::id::{DeviceFp, sha256};

/// Separates this hash from every other.
const DOMAIN: &[u8] = b"beeline/custody/v1";

/// The place of a member, by the salt of its membership, in the order for a recipient device:
/// compared as bytes, the lowest comes first.
pub fn place(recipient: DeviceFp, salt: &[u8]) -> [u8; 32] {
    sha256(&[DOMAIN, &recipient.0, salt].concat())
}
