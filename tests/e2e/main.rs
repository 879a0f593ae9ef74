//! Scenarios over real sockets: real binaries, real servers, real WebRTC, on loopback.
//!
//! One `mod` line per scenario file, sorted. The binaries come from `BEELINE_BIN`,
//! `BEELINE_REGISTRY_BIN` and `BEELINE_GATEWAY_BIN`, PostgreSQL from `BEELINE_TEST_POSTGRES`,
//! Python with the packages of `spec_client` from `BEELINE_TEST_PYTHON`; `tests/run` sets them all. Wait on events, never on a duration.
