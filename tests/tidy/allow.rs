//! Exceptions to the checks: each names its rule, its file and its reason, and only shrinks.

use crate::source::Finding;

/// One file excused from one rule.
pub(crate) struct Allowed {
    /// The rule's name, as given to `source::clean`.
    rule: &'static str,
    /// Path from the root.
    path: &'static str,
    /// Why the rule does not fit here.
    reason: &'static str,
}

/// Every exception there is.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        rule: "unsafe code",
        path: "tests/crash/vfs/vfs.rs",
        reason: "SQLite takes a VFS as a table of C functions",
    },
    Allowed {
        rule: "layers",
        path: "tests/crash/vfs/Cargo.toml",
        reason: "the workspace's lints forbid what that one file needs; no shipped package uses it",
    },
];

/// The files excused from a rule.
pub(crate) fn paths(rule: &str) -> Vec<&'static str> {
    let of_it = ALLOWED.iter().filter(|entry| entry.rule == rule);
    of_it.map(|entry| entry.path).collect()
}

/// What is left to complain about: findings nobody excused, excuses nobody needs.
pub(crate) fn judge(rule: &str, findings: &[Finding], allowed: &[Allowed]) -> Vec<String> {
    let mine: Vec<&Allowed> = allowed.iter().filter(|entry| entry.rule == rule).collect();
    let excused = |finding: &&Finding| !mine.iter().any(|entry| entry.path == finding.path);
    let mut complaints: Vec<String> = findings
        .iter()
        .filter(excused)
        .map(ToString::to_string)
        .collect();
    for entry in mine {
        if !findings.iter().any(|finding| finding.path == entry.path) {
            complaints.push(format!(
                "{}: no longer needs its exception; delete it",
                entry.path
            ));
        }
        if entry.reason.is_empty() {
            complaints.push(format!("{}: an exception without a reason", entry.path));
        }
    }
    complaints
}

#[test]
fn an_exception_excuses_its_file_only_and_must_be_needed() {
    let finding = |path: &str| Finding {
        path: path.to_owned(),
        line: 7,
        what: "bad".to_owned(),
    };
    let allowed = [Allowed {
        rule: "r",
        path: "a.rs",
        reason: "a good one",
    }];
    assert!(judge("r", &[finding("a.rs")], &allowed).is_empty());
    assert_eq!(
        judge("r", &[finding("a.rs"), finding("b.rs")], &allowed),
        ["b.rs:7: bad"]
    );
    assert_eq!(judge("s", &[finding("a.rs")], &allowed), ["a.rs:7: bad"]);
    assert_eq!(judge("r", &[], &allowed).len(), 1);
}
