//! The signal gateway: the edge where clients come in. REST in front of the registry, and the
//! signalling WebSocket through which two devices find each other.
//!
//! It keeps no state but open sockets. [`core`] decides, as pure data; [`http`] moves bytes;
//! [`authority`] says who may speak for a device; [`registry_client`] asks the registry; [`bus`]
//! joins nodes. [`signalling::Signalling`] with [`http::ws`] is also what a coordinator embeds to
//! serve the same socket, with an [`authority::Authority`] of its own: [`SignalServer`].
//!
//! [`Gateway::start`] runs one; [`Running::shutdown`] drains it.

pub mod app;
pub mod authority;
pub mod bus;
pub mod clock;
pub mod config;
pub mod core;
pub mod error;
pub mod http;
pub mod limits;
mod listen;
pub mod metrics;
pub mod outbox;
pub mod registry_client;
pub mod signal_server;
pub mod signalling;
pub mod switchboard;
pub mod tls;

pub use app::{Gateway, Running};
pub use config::{Config, EdgeArgs};
pub use error::StartError;
pub use signal_server::{SignalConfig, SignalServer};
