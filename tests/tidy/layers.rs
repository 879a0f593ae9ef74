//! Who may depend on whom, read from the manifests.
//!
//! ```text
//! beeline-proto <- client-core <- beeline        beeline-tests -> everything
//!       ^------- beeline-registry, beeline-gateway (optional in beeline, never in each other)
//! ```

use toml::{Table, Value};

use crate::source::{File, Finding, clean};

/// Packages of this workspace that each package may depend on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("beeline-proto", &[]),
    ("client-core", &["beeline-proto"]),
    ("beeline-registry", &["beeline-proto"]),
    ("beeline-gateway", &["beeline-proto"]),
    (
        "beeline",
        &[
            "beeline-proto",
            "client-core",
            "beeline-registry",
            "beeline-gateway",
        ],
    ),
    (
        "beeline-tests",
        &[
            "beeline-proto",
            "client-core",
            "beeline-registry",
            "beeline-gateway",
            "beeline",
            "beeline-vfs",
        ],
    ),
    ("beeline-vfs", &[]),
];

/// What the client's core may take from outside: no I/O, no clock, no chance of its own.
const CORE_MAY_USE: &[&str] = &[
    "beeline-proto",
    "blake3",
    "bytes",
    "data-encoding",
    "prost",
    "rand_chacha",
    "rand_core",
    "sha2",
    "subtle",
    "thiserror",
    "zeroize",
];

/// Embedded in the client's binary by a feature, so that a client without servers can be built.
const OPTIONAL_IN_CLIENT: &[&str] = &["beeline-registry", "beeline-gateway"];

/// One dependency as a manifest states it.
struct Dependency<'a> {
    kind: &'a str,
    name: &'a str,
    value: &'a Value,
}

impl Dependency<'_> {
    fn says(&self, key: &str) -> bool {
        self.value.get(key).and_then(Value::as_bool) == Some(true)
    }

    fn has_feature(&self, feature: &str) -> bool {
        let features = self.value.get("features").and_then(Value::as_array);
        features.is_some_and(|list| list.iter().any(|f| f.as_str() == Some(feature)))
    }
}

fn dependencies(manifest: &Table) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(kind).and_then(Value::as_table);
        for (name, value) in table.into_iter().flatten() {
            found.push(Dependency { kind, name, value });
        }
    }
    found
}

fn wrong_dependency(package: &str, may_use: &[&str], dependency: &Dependency<'_>) -> Vec<String> {
    let name = dependency.name;
    let mut wrong = Vec::new();
    if name == package && dependency.kind == "dev-dependencies" {
        // A package may switch on its own features for its own tests.
        return wrong;
    }
    let ours = MAY_USE.iter().any(|(package, _)| *package == name);
    if ours && !may_use.contains(&name) {
        wrong.push(format!("{package} may not depend on {name}"));
    }
    if !dependency.says("workspace") {
        wrong.push(format!(
            "{name}: versions live in [workspace.dependencies] of the root"
        ));
    }
    if package == "client-core" && dependency.kind == "dependencies" {
        if !CORE_MAY_USE.contains(&name) {
            wrong.push(format!("client-core is pure: {name} is not on its list"));
        }
        if name == "beeline-proto" && dependency.has_feature("grpc") {
            wrong.push("client-core knows no gRPC".to_owned());
        }
    }
    if package == "beeline" && OPTIONAL_IN_CLIENT.contains(&name) && !dependency.says("optional") {
        wrong.push(format!("{name} is optional in the client"));
    }
    wrong
}

fn wrong_layers(file: &File) -> Vec<Finding> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![file.finding(1, format!("not a manifest: {error}"))],
    };
    let at = |key: &[&str]| {
        let first = manifest.get(key[0])?;
        key[1..].iter().try_fold(first, |value, key| value.get(key))
    };
    let name = at(&["package", "name"])
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some((_, may_use)) = MAY_USE.iter().find(|(package, _)| *package == name) else {
        return vec![file.finding(1, format!("package `{name}` has no place among the layers"))];
    };
    let dependencies = dependencies(&manifest);
    let mut wrong: Vec<String> = dependencies
        .iter()
        .flat_map(|d| wrong_dependency(name, may_use, d))
        .collect();
    if at(&["lints", "workspace"]).and_then(Value::as_bool) != Some(true) {
        wrong.push("does not take the workspace's lints".to_owned());
    }
    if at(&["package", "publish", "workspace"]).and_then(Value::as_bool) != Some(true) {
        wrong.push("does not take `publish = false` from the workspace".to_owned());
    }
    let unsafe_code = at(&["workspace", "lints", "rust", "unsafe_code"]).and_then(Value::as_str);
    if at(&["workspace"]).is_some() && unsafe_code != Some("forbid") {
        wrong.push("the workspace does not forbid unsafe code".to_owned());
    }
    wrong
        .into_iter()
        .map(|what| file.finding(1, what))
        .collect()
}

fn is_manifest(file: &File) -> bool {
    file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml")
}

#[test]
fn layers_hold() {
    clean("layers", is_manifest, wrong_layers);
}

#[cfg(test)]
fn manifest(name: &str, rest: &str) -> File {
    let text = format!(
        "[package]\nname = \"{name}\"\npublish.workspace = true\n[lints]\nworkspace = true\n{rest}"
    );
    File::new("x/Cargo.toml", &text)
}

#[test]
fn planted_layer_breaks_are_found() {
    let with_grpc = "beeline-proto = { workspace = true, features = [\"grpc\"] }";
    let grpc_in_core = format!("[dependencies]\n{with_grpc}\n");
    let plants = [
        (
            "beeline-registry",
            "[dependencies]\nbeeline-gateway.workspace = true\n",
        ),
        (
            "beeline-gateway",
            "[dev-dependencies]\nbeeline-registry.workspace = true\n",
        ),
        (
            "beeline-proto",
            "[dev-dependencies]\nclient-core.workspace = true\n",
        ),
        ("client-core", "[dependencies]\ntokio.workspace = true\n"),
        ("client-core", grpc_in_core.as_str()),
        (
            "beeline",
            "[dependencies]\nbeeline-registry.workspace = true\n",
        ),
        ("beeline-registry", "[dependencies]\nprost = \"0.14\"\n"),
        ("drawer", ""),
        (
            "beeline-proto",
            "[workspace.lints.rust]\nunsafe_code = \"deny\"\n",
        ),
    ];
    for (name, rest) in plants {
        assert_eq!(
            wrong_layers(&manifest(name, rest)).len(),
            1,
            "{name}: {rest}"
        );
    }
    assert_eq!(
        wrong_layers(&File::new("Cargo.toml", "[package]\nname = \"beeline\"\n")).len(),
        2
    );
}

#[test]
fn sound_layers_pass() {
    let fine = [
        (
            "client-core",
            "[dev-dependencies]\nclient-core = { path = \".\", features = [] }\n",
        ),
        (
            "client-core",
            "[dev-dependencies]\nproptest.workspace = true\n",
        ),
        (
            "beeline",
            "[dependencies]\nbeeline-gateway = { workspace = true, optional = true }\n",
        ),
        (
            "beeline-proto",
            "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n",
        ),
    ];
    for (name, rest) in fine {
        assert_eq!(wrong_layers(&manifest(name, rest)), [], "{name}");
    }
}
