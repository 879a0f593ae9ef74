//! The policy against the schema: no method without a row, no row without a method, and the open
//! ones exactly those that are meant to be.

use super::policy::{METHODS, Who};
use beeline_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;

/// Paths of every method in a descriptor set.
fn paths(encoded: &[u8]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(encoded).expect("a descriptor set");
    let mut paths = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                paths.insert(path);
            }
        }
    }
    paths
}

#[test]
fn every_method_of_the_schema_has_a_row_and_every_row_a_method() {
    let mut schema = paths(FILE_DESCRIPTOR_SET);
    // The client's own service is served by clients.
    schema.retain(|path| !path.starts_with("/beeline.client.v1."));
    let ours = METHODS.iter().filter(|m| m.path.starts_with("/beeline."));
    let ours: BTreeSet<String> = ours.map(|m| m.path.to_owned()).collect();
    assert_eq!(ours, schema);
    assert!(ours.len() >= 19, "the schema was read");

    let mut others = paths(tonic_health::pb::FILE_DESCRIPTOR_SET);
    others.extend(paths(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET));
    others.extend(paths(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET));
    for row in METHODS.iter().filter(|m| !m.path.starts_with("/beeline.")) {
        assert!(others.contains(row.path), "{} is served", row.path);
    }
}

#[test]
fn only_these_need_no_credential() {
    let open = METHODS
        .iter()
        .filter(|m| m.who == Who::Anyone)
        .map(|m| m.path);
    let meant = [
        "/beeline.auth.v1.AuthService/GetChallenge",
        "/beeline.auth.v1.AuthService/CreateToken",
        "/beeline.registry.v1.RegistryService/Join",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ];
    assert_eq!(open.collect::<BTreeSet<_>>(), meant.into_iter().collect());
}

#[test]
fn no_path_has_two_rows() {
    let distinct: BTreeSet<_> = METHODS.iter().map(|m| m.path).collect();
    assert_eq!(distinct.len(), METHODS.len());
}
