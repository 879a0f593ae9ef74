//! The gateway over real sockets, against a registry of the tests' own.

mod client;
mod fake_registry;
mod relay;
mod rest;
mod stack;
mod world;
