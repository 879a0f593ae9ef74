//! What the test binaries share: starting servers, temporary homes, a virtual network.
//!
//! One `pub mod` line per file of `support/`, sorted; the files say what they are for.

#[path = "support/attack.rs"]
pub mod attack;
#[path = "support/hostile.rs"]
pub mod hostile;
#[path = "support/rtc.rs"]
pub mod rtc;
#[path = "support/vnet.rs"]
pub mod vnet;
