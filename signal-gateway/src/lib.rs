//! The signal gateway.
