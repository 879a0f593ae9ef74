//! What the gateway decides, as plain data and functions: no runtime, no clock, no socket, no
//! chance. The driver tells the time and hands in frames; answers come back as values or from
//! `poll_output`, drained to `None`.
//!
//! * [`session`]: one socket's life, hello → challenge → ready → closing.
//! * [`hub`]: which sockets are open on this node, and where a frame goes.
//! * [`frame_head`]: `type`, `from`, `to` of a frame, its bytes left untouched.
//! * [`connections`]: how many, from where. [`claims`]: device lists that were shown.
//! * [`quota`]: token buckets. [`grace`]: what still holds while the registry is down.
//! * [`reports`]: socket opens and closes on their way to the registry.
//! * [`subject`]: names on the bus. [`ice_servers`]: short-lived TURN credentials.

pub mod claims;
pub mod connections;
pub mod frame_head;
pub mod grace;
pub mod hub;
pub mod ice_servers;
pub mod name;
pub mod quota;
pub mod reports;
pub mod session;
pub mod subject;
