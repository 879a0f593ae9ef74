//! What two Beeline processes must agree on: the schema, ids, signing, envelopes, parcels, chains,
//! limits and error codes. `docs/PROTOCOL.md` is the same for an implementer in another language.
//!
//! * [`envelope`]: who said it. [`envelope::sign`] makes one, [`envelope::open`] is the only way to
//!   a [`envelope::Verified`] payload.
//! * [`parcel`]: where it goes. An envelope sealed to one device under a constant header.
//! * [`chain`]: who a device is, checked offline: descriptor → membership → device list.
//! * [`mod@file`]: a file's chunks: sealed one by one, each proved by the file's BLAKE3 root.
//! * [`limits`]: every size, count and duration of the wire, with its reason.
//! * [`code`]: one error vocabulary for gRPC, REST, WebSocket and command line.
//!
//! Nothing here reads a clock, a file, a socket or a random source of its own: time and randomness
//! come in as arguments.

pub mod chain;
pub mod code;
pub mod custody;
pub mod device_link;
pub mod envelope;
pub mod file;
pub mod id;
pub mod invite;
pub mod keys;
pub mod limits;
pub mod origin;
pub mod parcel;
pub mod payload;
pub mod safety;
pub mod sign;
pub mod time;

#[cfg(test)]
mod tests;

/// The generated messages and services, one module per package of the schema.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::use_self,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the schema carries the comments and `tests/tidy` checks them"
)]
pub mod pb {
    /// Package `beeline.auth.v1`.
    pub mod auth {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.auth.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.auth.v1.serde.rs"));
        }
    }
    /// Package `beeline.client.v1`.
    pub mod client {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.client.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.client.v1.serde.rs"));
        }
    }
    /// Package `beeline.coordinator.v1`.
    pub mod coordinator {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.coordinator.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.coordinator.v1.serde.rs"));
        }
    }
    /// Package `beeline.envelope.v1`.
    pub mod envelope {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.envelope.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.envelope.v1.serde.rs"));
        }
    }
    /// Package `beeline.identity.v1`.
    pub mod identity {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.identity.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.identity.v1.serde.rs"));
        }
    }
    /// Package `beeline.peer.v1`.
    pub mod peer {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.peer.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.peer.v1.serde.rs"));
        }
    }
    /// Package `beeline.registry.v1`.
    pub mod registry {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.registry.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.registry.v1.serde.rs"));
        }
    }
    /// Package `beeline.signal.v1`.
    pub mod signal {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/beeline.signal.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/beeline.signal.v1.serde.rs"));
        }
    }
}

/// The compiled schema, for gRPC reflection and for the lock of field numbers.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/beeline.bin"));
