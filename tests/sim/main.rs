//! Scenarios in virtual time: the pure machines of all parts against an emulated network.
//!
//! One `mod` line per scenario file, sorted. Nothing here opens a socket or reads a clock.

mod attack;
mod contact;
mod crowd;
mod fabric;
mod rtc_files;
mod rtc_virtual;
