//! The native client.

pub mod rtc;
