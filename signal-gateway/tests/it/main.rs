//! The gateway over real sockets, against a registry of the tests' own.

mod client;
mod fake_registry;
mod hostile_http;
mod hostile_ws;
mod raw;
mod relay;
mod rest;
mod stack;
mod tokens;
mod world;
