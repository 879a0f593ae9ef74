//! What holds across the modules of this crate: the lock of field numbers, the golden vectors that
//! every language checks, the specification's JSON, and properties of everything that decodes.

mod json;
mod properties;
mod protocol_doc;
mod samples;
mod vectors;
mod wire_lock;
mod world;
