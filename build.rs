//! Compiles `proto/**/*.proto` into Rust without a system `protoc`: protox parses,
//! tonic-prost-build writes messages and services, pbjson-build their proto3 JSON. The descriptor
//! set lands in `OUT_DIR/beeline.bin` for reflection, for the lock of field numbers, and for tests.

use prost::Message;
use std::path::PathBuf;

/// Every schema file, named: a file that is not listed is not part of the contract.
const PROTOS: &[&str] = &[
    "proto/beeline/auth/v1/auth_service.proto",
    "proto/beeline/client/v1/client_service.proto",
    "proto/beeline/coordinator/v1/coordinator_service.proto",
    "proto/beeline/envelope/v1/envelope.proto",
    "proto/beeline/identity/v1/device_link.proto",
    "proto/beeline/identity/v1/identity.proto",
    "proto/beeline/peer/v1/file.proto",
    "proto/beeline/peer/v1/folder.proto",
    "proto/beeline/peer/v1/peer.proto",
    "proto/beeline/registry/v1/registry.proto",
    "proto/beeline/registry/v1/registry_service.proto",
    "proto/beeline/signal/v1/signal.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    println!("cargo:rerun-if-changed=build.rs");

    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(out_dir.join("beeline.bin"), &encoded)?;

    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .extern_path(".google.protobuf.Timestamp", "crate::time::Timestamp")
        .compile_fds(descriptors)?;

    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf.Timestamp", "crate::time::Timestamp")
        .emit_fields()
        .ignore_unknown_fields()
        .build(&[".beeline"])?;
    Ok(())
}
