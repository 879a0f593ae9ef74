//! Documents tell the truth about the tree: every relative link and every path they name is there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::source::{File, Finding, clean, paths, tree};

/// A code span that begins like this names a path of the repository.
const ROOTS: &[&str] = &[
    "proto/",
    "registry/",
    "signal-gateway/",
    "client/",
    "migrations/",
    "tests/",
    "docs/",
    "deploy/",
    ".ci/",
];

/// What links can lead to.
struct Targets {
    /// All files and all directories.
    places: BTreeSet<String>,
    /// `path#slug` of every heading.
    headings: BTreeSet<String>,
}

impl Targets {
    fn of(paths: &[String], documents: &[&File]) -> Self {
        let mut places = BTreeSet::new();
        for path in paths {
            let above = Path::new(path).ancestors();
            places.extend(above.map(|place| place.to_string_lossy().into_owned()));
        }
        let slugs = |file: &&File| {
            let path = file.path.clone();
            let titles = prose(&file.text).filter(|(_, line)| line.starts_with('#'));
            titles
                .map(move |(_, line)| format!("{path}#{}", slug(line)))
                .collect::<Vec<_>>()
        };
        Self {
            places,
            headings: documents.iter().flat_map(slugs).collect(),
        }
    }
}

/// The anchor a heading gets: lower case, spaces to hyphens, punctuation dropped.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The lines outside code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((index + 1, line))
    })
}

/// `[text](target)` outside code spans.
fn link_targets(line: &str) -> Vec<&str> {
    let outside = line.split('`').step_by(2);
    outside
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|t| t.split(')').next())
        .collect()
}

/// Code spans that look like a path of the repository.
fn named_paths(line: &str) -> Vec<&str> {
    let plain = |span: &&str| {
        span.chars()
            .all(|c| c.is_alphanumeric() || "/._-".contains(c))
    };
    let spans = line.split('`').skip(1).step_by(2);
    spans
        .filter(plain)
        .filter(|span| ROOTS.iter().any(|root| span.starts_with(root)))
        .collect()
}

/// A path with `..` and `.` worked out; `None` if it leaves the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut whole = PathBuf::new();
    let start = Path::new(from).parent().unwrap_or(Path::new(""));
    for part in start.join(target).components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir if whole.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(whole.to_string_lossy().into_owned())
}

fn leads_nowhere(file: &File, target: &str, targets: &Targets) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return false;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let place = if path.is_empty() {
        Some(file.path.clone())
    } else {
        resolve(&file.path, path)
    };
    let Some(place) = place else { return true };
    let found = targets.places.contains(&place);
    !found || (!anchor.is_empty() && !targets.headings.contains(&format!("{place}#{anchor}")))
}

fn dead(file: &File, targets: &Targets) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in link_targets(line) {
            if leads_nowhere(file, target, targets) {
                findings.push(file.finding(number, format!("dead link: {target}")));
            }
        }
        for path in named_paths(line) {
            if !targets.places.contains(path.trim_end_matches('/')) {
                findings.push(file.finding(number, format!("no such path: {path}")));
            }
        }
    }
    findings
}

#[test]
fn documents_lead_somewhere() {
    let documents: Vec<&File> = tree().iter().filter(|file| file.is("md")).collect();
    let targets = Targets::of(&paths(), &documents);
    clean(
        "dead link",
        |file| file.is("md"),
        |file| dead(file, &targets),
    );
}

#[test]
fn planted_dead_links_are_found() {
    let other = File::new("docs/B.md", "# Who is *who*?\n");
    let text = [
        "[a](B.md) [b](B.md#who-is-who) [c](../proto/x.rs) [d](https://e.example/) `proto/x.rs`",
        "[e](C.md)",
        "[f](B.md#nobody)",
        "`proto/y.rs`",
        "[g](../../up)",
        "```\n[h](no)\n```",
        "`[i](no)`",
    ];
    let file = File::new("docs/A.md", &text.join("\n"));
    let paths = ["docs/A.md", "docs/B.md", "proto/x.rs"].map(str::to_owned);
    let targets = Targets::of(&paths, &[&file, &other]);
    let lines: Vec<usize> = dead(&file, &targets).into_iter().map(|f| f.line).collect();
    assert_eq!(lines, [2, 3, 4, 5]);
}
