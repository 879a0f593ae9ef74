//! What the registry decides, without a clock, a socket, a file, a thread or randomness of its own.
//!
//! * [`lease`]: a table whose entries end by themselves, for presence, gateways, coordinators.
//! * [`presence`]: who is online, from announces, socket reports and heartbeats.
//! * [`challenge`]: nonces that may be answered once.
//! * [`record`], [`join`], [`lists`]: what makes a record, a join or a newer list acceptable.
//! * [`page`]: page sizes and page tokens. [`bucket`]: a rate.
//!
//! Machines here are told the time with each input ([`beeline_proto::time::Now`]), mutate once per
//! input, are drained by `poll_output` to `None`, and say by `poll_timeout` when to come back.

pub mod bucket;
pub mod challenge;
pub mod coordinators;
pub mod join;
pub mod lease;
pub mod lists;
pub mod page;
pub mod presence;
pub mod record;
pub mod sockets;

#[cfg(test)]
mod presence_tests;
