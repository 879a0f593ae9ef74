//! The registry: who exists, who was seen where.
//!
//! Four layers, each knowing only the ones below it:
//!
//! * [`grpc`]: checks the credential, decodes, encodes. Nothing else turns an error into a status.
//! * [`ops`]: one function per method: reads, asks the core, writes.
//! * [`core`]: the rules and the lease tables; pure.
//! * [`store`]: SQLite or PostgreSQL behind one trait.
//!
//! [`Registry::start`] wires them and serves; [`Running`] is the way to stop, and for a process
//! that embeds the registry also the way to make a network and an invite.

pub mod app;
pub mod clock;
pub mod config;
pub mod core;
pub mod directory;
pub mod error;
pub mod grpc;
pub mod limits;
mod listener;
pub mod metrics;
mod metrics_http;
pub mod ops;
mod random;
pub mod secrets;
pub mod store;
pub mod tls;
pub mod token;
pub mod writer;

pub use app::{Registry, Running, StartError};
pub use clock::Clock;
pub use config::Config;
pub use error::Error;

#[cfg(test)]
mod tests;
