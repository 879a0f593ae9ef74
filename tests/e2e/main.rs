//! Scenarios over real sockets: real binaries, real servers, real WebRTC, on loopback.
//!
//! One `mod` line per scenario file, sorted. Wait on events, never on a duration.
//!
//! `tests/run` says where everything is, by environment: the binaries in `BEELINE_BIN`,
//! `BEELINE_REGISTRY_BIN` and `BEELINE_GATEWAY_BIN`, a PostgreSQL in `BEELINE_TEST_POSTGRES`, and
//! in `BEELINE_TEST_PYTHON` a Python with the packages of the specification's client.

mod apart;
mod coordinator;
mod custody;
mod database;
mod devices;
mod files;
mod files_disk;
mod files_held;
mod files_whole;
mod ipc;
mod kill;
mod kill_gateway;
mod offline;
mod once;
mod process;
mod python_peer;
mod registry_dead;
mod registry_restarts;
mod rtc_connect;
mod rtc_dtls;
mod rtc_guess;
mod rtc_ice;
mod rtc_privacy;
mod rtc_sctp;
mod rtc_tcp;
mod serve;
mod shown;
mod spec;
mod story;
