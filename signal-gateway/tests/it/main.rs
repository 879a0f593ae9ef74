//! The gateway over real sockets, against a registry of the tests' own.

mod client;
mod conformance;
mod down;
mod fake_registry;
mod hostile_http;
mod hostile_ws;
mod raw;
mod relay;
mod rest;
mod schema;
mod secrets;
mod signal_server;
mod stack;
mod tls;
mod tokens;
mod world;
