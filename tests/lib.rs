//! What the test binaries share: starting servers, temporary homes, networks virtual and emulated.
//!
//! One `pub mod` line per file of `support/`, sorted, and the emulated link; the files
//! say what they are for.

#[path = "support/attack.rs"]
pub mod attack;
#[path = "support/hostile.rs"]
pub mod hostile;
#[path = "link/link.rs"]
pub mod link;
#[path = "support/netns.rs"]
pub mod netns;
#[path = "support/rtc.rs"]
pub mod rtc;
#[path = "support/vnet.rs"]
pub mod vnet;
