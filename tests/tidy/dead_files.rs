//! No file is forgotten: every Rust file is a module of something, every schema file is compiled.
//!
//! A test file that nobody declares is a test that silently never runs.

use std::collections::BTreeSet;

use crate::source::{File, Finding, none, tree};

/// Files that Cargo finds by themselves.
const ROOTS: &[&str] = &["build.rs", "lib.rs", "main.rs"];

/// Directory of a path, with its `/`, or nothing at the root.
fn directory(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

/// Every path a Rust file may mean by its `mod name;` and `#[path = "…"]`.
fn declared_modules(parent: &File) -> Vec<String> {
    let Ok(parsed) = parent.parsed() else {
        return Vec::new();
    };
    let beside = directory(&parent.path).to_owned();
    let below = format!("{}/", parent.path.trim_end_matches(".rs"));
    let mut declared = Vec::new();
    for window in parsed.tokens.windows(3) {
        let [first, second, third] = window else {
            continue;
        };
        let name = match (first.text.as_str(), third.text.as_str()) {
            ("mod", ";") => &second.text,
            ("path", literal) => literal.trim_matches('"'),
            _ => continue,
        };
        for place in [&beside, &below] {
            declared.extend([format!("{place}{name}"), format!("{place}{name}.rs")]);
            declared.push(format!("{place}{name}/mod.rs"));
        }
    }
    declared
}

/// Every target a manifest names with `path = "…"`.
fn declared_targets(manifest: &File) -> Vec<String> {
    let base = directory(&manifest.path);
    let paths = manifest
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("path = \""));
    paths
        .map(|path| format!("{base}{}", path.trim_end_matches('"')))
        .collect()
}

fn forgotten(files: &[&File]) -> Vec<Finding> {
    let rust = || files.iter().filter(|file| file.is("rs"));
    let manifests = files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"));
    let mut declared: BTreeSet<String> = rust().flat_map(|file| declared_modules(file)).collect();
    declared.extend(manifests.flat_map(|file| declared_targets(file)));

    let mut findings = Vec::new();
    for file in rust() {
        let root = ROOTS.contains(&&file.path[directory(&file.path).len()..]);
        let found_by_cargo = ["src/bin/", "benches/"]
            .iter()
            .any(|place| file.path.contains(place));
        if !root && !found_by_cargo && !declared.contains(&file.path) {
            findings.push(file.finding(1, "no module declares this file: it is never compiled"));
        }
    }
    let build = files.iter().find(|file| file.path == "build.rs");
    for file in files.iter().filter(|file| file.is("proto")) {
        if !build.is_some_and(|build| build.text.contains(&format!("\"{}\"", file.path))) {
            findings.push(file.finding(1, "build.rs does not compile this schema"));
        }
    }
    findings
}

#[test]
fn no_file_is_forgotten() {
    let files: Vec<&File> = tree().iter().collect();
    none("forgotten file", &forgotten(&files));
}

#[test]
fn planted_orphans_are_found() {
    let lib = "mod a;\n// mod b;\n#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod t;\n";
    let files = [
        File::new("build.rs", "const P: &[&str] = &[\"proto/a.proto\"];\n"),
        File::new("proto/a.proto", ""),
        File::new("proto/b.proto", ""),
        File::new("client/src/lib.rs", lib),
        File::new("client/src/a.rs", "mod inner;\n"),
        File::new("client/src/a/inner.rs", "mod deep;\n"),
        File::new("client/src/a/inner/deep/mod.rs", ""),
        File::new("client/src/b.rs", ""),
        File::new("client/src/c_tests.rs", ""),
        File::new("registry/src/a.rs", ""),
        File::new(
            "tests/Cargo.toml",
            "[[test]]\nname = \"x\"\npath = \"x/all.rs\"\n",
        ),
        File::new("tests/x/all.rs", ""),
    ];
    let files: Vec<&File> = files.iter().collect();
    let found: Vec<String> = forgotten(&files).into_iter().map(|f| f.path).collect();
    assert_eq!(
        found,
        ["client/src/b.rs", "registry/src/a.rs", "proto/b.proto"]
    );
}
