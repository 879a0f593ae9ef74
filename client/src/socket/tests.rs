//! The signalling socket against a gateway of paper: sign-in, frames, take-over, silence.
