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

mod config;
pub mod crypto;
mod error;
pub mod event;
pub mod input;
mod manager;
pub mod output;
pub mod state;
pub mod status;

pub use beeline_proto::time::Now;
pub use config::Config;
pub use error::StartError;
pub use input::Input;
pub use manager::PeerManager;
pub use output::Output;
