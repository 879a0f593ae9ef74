//! The gRPC edge: a gate in front, thin services behind it, one place for statuses.

mod auth;
mod caller;
mod coordinator;
mod gate;
pub mod policy;
mod registry;
mod serve;
pub mod status;

#[cfg(test)]
mod policy_tests;

pub(crate) use serve::{Serving, serve};
