//! Accounts under test: every share at its limit, what is given back, the clock.

use super::*;

fn device(n: u8) -> DeviceFp {
    DeviceFp([n; 32])
}

fn user(n: u8) -> UserFp {
    UserFp([n; 32])
}
