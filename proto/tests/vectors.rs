//! Golden vectors in `proto/testdata`: the same files for every language, refusals included.
//!
//! Each part builds its file from scratch and must reproduce it byte for byte; then it reads the
//! file as an implementer elsewhere would and checks every verdict through the public interface.

mod chains;
mod custody;
mod ed25519;
mod envelopes;
mod errors;
mod files;
mod hpke_by_hand;
mod keys;
mod parcels;
mod people;
mod proofs;
mod signal;
mod spec;

use super::json::{Json, unhex};
use serde_json::Value;
use std::path::PathBuf;

/// Set to 1 to write the files anew.
const UPDATE: &str = "BEELINE_UPDATE_VECTORS";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("proto/testdata")
        .join(name)
}

/// Checks that `built` is the file `name`, byte for byte (or writes it, when asked), and reads it.
fn pin(name: &str, built: &Json) -> Value {
    let text = built.to_file();
    if std::env::var_os(UPDATE).is_some_and(|v| v == "1") {
        std::fs::write(path(name), &text).expect("proto/testdata can be written");
    }
    let held = std::fs::read_to_string(path(name)).unwrap_or_default();
    assert!(
        held == text,
        "{name} differs from what this code makes, from byte {}: other languages would no longer \
         agree. If the wire was meant to change, run:\n  \
         {UPDATE}=1 cargo test -p beeline-proto --lib vectors",
        held.bytes()
            .zip(text.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    );
    serde_json::from_str(&held).expect("a vector file is JSON")
}

/// The cases of a list in a vector file, never none.
fn cases<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    let cases = file[list].as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "{list} is empty");
    cases
}

/// A text member.
fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text {member} in {case}"))
}

/// A member of hexadecimal bytes.
fn bytes(case: &Value, member: &str) -> Vec<u8> {
    unhex(text(case, member))
}

/// A member of exactly `N` bytes.
fn array<const N: usize>(case: &Value, member: &str) -> [u8; N] {
    bytes(case, member)
        .try_into()
        .expect("as many bytes as the vector's kind has")
}

#[test]
fn every_vector_file_is_checked_here() {
    let folder = std::fs::read_dir(path("")).expect("proto/testdata");
    let mut held: Vec<String> = folder
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    held.sort();
    assert_eq!(
        held,
        [
            "chains.json",
            "custody.json",
            "datachannel.json",
            "ed25519.json",
            "envelopes.json",
            "errors.json",
            "files.json",
            "keys.json",
            "origins.json",
            "parcels.json",
            "people.json",
            "preimages.json",
            "proofs.json",
            "rest.json",
            "signal.json",
        ]
    );
}
