//! The tree as text: which files there are, what they say, and how a check reports.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::allow;
use crate::rust::Parsed;

/// Fewer files than this means the tree was not read, and every check would pass by accident.
const FILES_MIN: usize = 20;

/// One text file of the repository.
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
    /// Parsed as Rust when a check first asks, once for all of them.
    parsed: OnceLock<Result<Parsed, Finding>>,
}

impl File {
    /// A file as a check sees it; the tests of the checks plant theirs with this.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            parsed: OnceLock::new(),
        }
    }

    /// The file as Rust, or where it does not parse.
    pub(crate) fn parsed(&self) -> Result<&Parsed, &Finding> {
        self.parsed.get_or_init(|| Parsed::of(self)).as_ref()
    }

    /// Whether the name ends in `.extension`.
    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// Whether the whole file is test code, so that the limits for tests apply.
    pub(crate) fn is_test(&self) -> bool {
        let named = ["tests.rs", "testing.rs"]
            .iter()
            .any(|name| self.path.ends_with(name));
        named
            || self
                .path
                .split('/')
                .any(|part| part == "tests" || part == "benches")
    }

    /// Whether it belongs to a pure core, the client's crate or a server's module.
    pub(crate) fn is_core(&self) -> bool {
        self.path.starts_with("client/core/") || self.path.contains("/src/core/")
    }

    /// A finding in this file; lines count from 1.
    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// One broken rule, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the root.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do instead.
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Paths of all files git knows or would add, sorted, that are there.
pub(crate) fn paths() -> Vec<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this needs a git checkout: {complaint}"
    );
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let mut paths: Vec<String> = listed
        .split_terminator('\0')
        .filter(|p| root().join(p).exists())
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// All text files of the tree, read once.
pub(crate) fn tree() -> &'static [File] {
    static TREE: OnceLock<Vec<File>> = OnceLock::new();
    TREE.get_or_init(|| {
        let read = |path: String| {
            let text = std::fs::read_to_string(root().join(&path)).ok()?;
            Some(File::new(&path, &text))
        };
        let files: Vec<File> = paths().into_iter().filter_map(read).collect();
        assert!(files.len() >= FILES_MIN, "read only {} files", files.len());
        files
    })
}

/// Runs one check over the files it is for and fails with everything it found, or if it was for
/// none. An entry of the allow-list that no longer excuses anything fails too, so it only shrinks.
pub(crate) fn clean(
    rule: &str,
    wanted: impl Fn(&File) -> bool,
    check: impl Fn(&File) -> Vec<Finding>,
) {
    let files: Vec<&File> = tree().iter().filter(|file| wanted(file)).collect();
    assert!(!files.is_empty(), "{rule}: there is no file to look at");
    let findings: Vec<Finding> = files.into_iter().flat_map(check).collect();
    none(rule, &allow::judge(rule, &findings, allow::ALLOWED));
}

/// Fails with one complaint a line, if there is any.
pub(crate) fn none(rule: &str, complaints: &[impl ToString]) {
    let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{rule}:\n{}\n", lines.join("\n"));
}

#[test]
fn the_tree_holds_this_very_file() {
    assert!(
        tree()
            .iter()
            .any(|file| file.path == "tests/tidy/source.rs")
    );
}
