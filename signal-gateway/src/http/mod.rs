//! The edge: accept loop, REST, problem documents, WebSocket.

pub mod accept;
pub mod io;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod rest;
pub mod routes;
pub mod upgrade;
pub mod ws;
