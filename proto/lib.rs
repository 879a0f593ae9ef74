//! The wire contract of Beeline.
