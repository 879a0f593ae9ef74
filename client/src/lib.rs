//! The native client: [`Client`] drives `client-core` with WebRTC, a signalling socket, REST and
//! SQLite. Everything runs on the runtime `start` is called in ([`runtime()`] makes the fastest),
//! and the store on a thread of its own.
//!
//! * [`join`] makes the identity of a home; [`Client::start`] runs it.
//! * [`store::Reader`] answers questions about a home without running it.
//! * Nothing here decides protocol: that is `client-core`. Drivers translate and wait.

mod clock;
pub mod coordinator;
pub mod crash;
pub mod device;
pub mod doctor;
mod driver;
pub mod error;
pub mod files;
mod handle;
pub mod home;
pub mod identity;
pub mod join;
pub mod limits;
mod network;
mod options;
pub mod report;
pub mod rest;
pub mod rtc;
mod runtime;
mod socket;
pub mod store;
pub mod tls;
mod unix;

pub use coordinator::CoordinatorOptions;
pub use handle::{Client, Sent};
pub use options::{FilesOptions, Options};
pub use report::{ClientEvent, Fact, LinkStep};
pub use runtime::runtime;

#[cfg(all(test, feature = "serve"))]
mod live_tests;
