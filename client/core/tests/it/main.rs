//! Behaviour of the core, in virtual time: one file per promise.

mod first;
