//! Behaviour of the core, in virtual time: one file per promise.

mod acks;
mod clocks;
mod coordinators;
mod crash;
mod custody;
mod devices;
mod first;
mod flood;
mod glare;
mod hostile;
mod keys;
mod ladder;
mod neighbours;
mod numbers;
mod order;
mod own;
mod presence;
mod properties;
mod queries;
mod reach;
mod relay;
mod routes;
mod secrecy;
mod settled;
mod speaker;
mod tap;
