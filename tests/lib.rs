//! What the test binaries share: starting servers, temporary homes, a virtual network.
//!
//! One `pub mod` line per file of `support/`, sorted; the files say what they are for.
