//! Behaviour of the core, in virtual time: one file per promise.

mod acks;
mod crash;
mod first;
mod flood;
mod glare;
mod hostile;
mod keys;
mod ladder;
mod order;
mod presence;
mod properties;
mod reach;
