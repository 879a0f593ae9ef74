//! The pure client: everything a peer decides, and nothing it does.
//!
//! [`PeerManager`] is a state machine that is told the time. Its contract:
//!
//! 1. [`PeerManager::handle_input`] mutates once. It never blocks and never fails for what a remote
//!    can cause: a bad frame becomes an output or a count, not an error.
//! 2. [`PeerManager::poll_output`] is drained to `None` before the next input.
//! 3. [`PeerManager::poll_timeout`] says when to come back with [`Input::Timeout`]; `None` means
//!    nothing is pending. It is never in the past.
//!
//! There is no clock, file, socket, task or random source in this crate: a run is a function of
//! (config, state, seed, inputs).
//!
//! A driver carries out the outputs and reports what came of them; `testing::World` (feature
//! `testing`) is one in virtual time:
//!
//! ```
//! use client_core::event::DeliveryState;
//! use client_core::testing::World;
//!
//! let mut world = World::new(1);
//! let (alice, carol) = (world.member("alice"), world.member("carol"));
//! world.drive(50);
//! world.send(alice, "carol", "hello");
//! assert!(world.drive_until(1_000, |w| w.node(alice).count(DeliveryState::Delivered) == 1));
//! world.drive(10);
//! assert_eq!(world.node(carol).received(), ["hello"]);
//! ```
//!
//! Where to read on: [`PeerManager`] hands inputs to the parts and says which; `climb` and `ladder`
//! find a way, `calls`, `intake` and `negotiation` make a link, `greet` proves it; `send`,
//! `sealing` and `pump` send, `arrive`, `inbox` and `order` receive; `acks`, `delivered` and
//! `nacks` settle.

#[macro_use]
pub mod planted;

mod acks;
mod answers;
mod arrive;
mod backoff;
mod bounded;
mod bundles;
mod calls;
mod climb;
mod collect;
mod config;
mod contacts;
mod coordinators;
mod copies;
pub mod crypto;
mod custodian;
mod custodians;
mod custody;
mod delivered;
mod early;
mod error;
pub mod event;
pub mod files;
#[cfg(test)]
mod fixtures;
mod found;
mod frames;
mod gossip;
mod greet;
mod heartbeat;
mod inbox;
pub mod input;
mod intake;
mod keeping;
mod ladder;
mod letting_go;
pub mod limits;
mod link;
mod linked;
mod load;
mod manager;
mod me;
mod nacks;
mod negotiation;
mod neighbours;
mod nets;
mod order;
mod outbox;
mod outdo;
pub mod output;
mod outputs;
mod own;
mod pages;
mod paths;
mod peer;
mod people;
mod placement;
mod placing;
mod presence;
mod pump;
mod queries;
mod reads;
mod receipts;
mod records;
mod relay;
mod roaming;
mod routes;
mod sealing;
mod searching;
mod send;
mod serve;
mod signalling;
mod snapshot;
mod soon;
mod sought;
pub mod state;
pub mod status;
mod steady;
mod talk;
mod tending;
#[cfg(feature = "testing")]
pub mod testing;
mod timer;
mod traffic;
mod vias;
mod visits;
mod ways;

pub use beeline_proto::time::Now;
pub use config::{Config, Keep, Space};
pub use error::StartError;
pub use input::Input;
pub use manager::PeerManager;
pub use output::Output;
