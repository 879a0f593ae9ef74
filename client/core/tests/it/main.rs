//! Behaviour of the core, in virtual time: one file per promise.

mod acks;
mod burst;
mod coordinators;
mod crash;
mod custody;
mod first;
mod flood;
mod glare;
mod hostile;
mod keys;
mod ladder;
mod neighbours;
mod order;
mod presence;
mod properties;
mod queries;
mod reach;
mod relay;
mod routes;
mod tap;
