//! The top level is the product's table of contents: what may stand there is decided, not grown.

use std::collections::BTreeSet;

use crate::source::{none, paths};

/// Every name allowed at the root.
const ALLOWED: &[&str] = &[
    // The product.
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "proto",
    "registry",
    "signal-gateway",
    "client",
    "migrations",
    "tests",
    "README.md",
    // Around it.
    ".cargo",
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "docs",
    "rustfmt.toml",
];

/// Names without which this is not the product.
const REQUIRED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "proto",
    "registry",
    "signal-gateway",
    "client",
    "migrations",
    "tests",
    "README.md",
    ".ci",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "CHANGELOG.md",
];

fn misplaced(paths: &[String]) -> Vec<String> {
    let top: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.split('/').next())
        .collect();
    let extra = top.iter().filter(|name| !ALLOWED.contains(name));
    let missing = REQUIRED.iter().filter(|name| !top.contains(**name));
    let extra = extra.map(|name| format!("{name} does not belong at the top"));
    extra
        .chain(missing.map(|name| format!("{name} is missing")))
        .collect()
}

#[test]
fn the_top_level_is_as_decided() {
    none("top level", &misplaced(&paths()));
}

#[test]
fn planted_clutter_is_found() {
    let mut paths: Vec<String> = REQUIRED.iter().map(|name| format!("{name}/x")).collect();
    assert!(misplaced(&paths).is_empty());
    paths.push("common/lib.rs".to_owned());
    assert_eq!(misplaced(&paths), ["common does not belong at the top"]);
    paths.retain(|path| !path.starts_with("proto/"));
    assert_eq!(misplaced(&paths).len(), 2);
}
