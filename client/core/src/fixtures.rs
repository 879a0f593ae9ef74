//! What unit tests of several parts begin with.

use beeline_proto::id::DeviceFp;

/// The device of a number: each has its own, in the order of the numbers.
pub(crate) fn device(n: u64) -> DeviceFp {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    DeviceFp(bytes)
}
