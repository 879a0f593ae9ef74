//! What has no place in a repository others will clone: one machine's paths, hidden characters.

use crate::source::{File, Finding, clean};

/// Beginnings of paths that only exist on somebody's machine, in halves to pass this very check.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("C:\\Us", "ers"),
    concat!("/var/fol", "ders/"),
];

/// Notes a tool leaves about itself.
const TOOL_MARKS: &[&str] = &[
    concat!("generated ", "with"),
    concat!("co-authored", "-by"),
    concat!("language", " model"),
];

fn machine_paths(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let own =
                |at: &usize| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
            if line
                .match_indices(path)
                .map(|(at, _)| at)
                .any(|at| own(&at))
            {
                findings.push(file.finding(index + 1, format!("{path}… is one machine's path")));
            }
        }
    }
    findings
}

fn tool_marks(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.to_lowercase();
        if let Some(mark) = TOOL_MARKS.iter().find(|mark| line.contains(**mark)) {
            findings
                .push(file.finding(index + 1, format!("\"{mark}\" says nothing about Beeline")));
        }
    }
    findings
}

/// Characters that are there and cannot be seen, or show text in another order than it is in.
fn hidden_characters(file: &File) -> Vec<Finding> {
    let hidden = |c: char| {
        let allowed = ['\n', '\t'].contains(&c);
        let reordering =
            ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        (c.is_control() && !allowed) || reordering || ['\u{200b}', '\u{feff}'].contains(&c)
    };
    let at = |(index, line): (usize, &str)| {
        let found = line.chars().find(|c| hidden(*c))?;
        Some(file.finding(index + 1, format!("hidden character {found:?}")))
    };
    // Not `lines()`, which would hide a carriage return.
    file.text.split('\n').enumerate().filter_map(at).collect()
}

fn loose_ends(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(file.finding(file.text.lines().count(), "no newline at the end"));
    }
    for (index, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            findings.push(file.finding(index + 1, "space at the end of the line"));
        }
    }
    findings
}

fn everything(file: &File) -> bool {
    file.path != "Cargo.lock"
}

fn not_data(file: &File) -> bool {
    everything(file) && !file.path.contains("testdata/")
}

#[test]
fn no_machine_is_named() {
    clean("machine path", everything, machine_paths);
}

#[test]
fn no_tool_leaves_its_mark() {
    clean("tool mark", everything, tool_marks);
}

#[test]
fn nothing_is_hidden() {
    clean("hidden character", not_data, hidden_characters);
}

#[test]
fn no_loose_ends() {
    clean("loose end", not_data, loose_ends);
}

#[test]
fn planted_dirt_is_found() {
    for path in MACHINE_PATHS {
        let text = format!("ok\nsee {path}x\n");
        assert_eq!(
            machine_paths(&File::new("a.md", &text))[0].line,
            2,
            "{path}"
        );
    }
    let relative = format!("registry{}x", MACHINE_PATHS[1]);
    assert!(machine_paths(&File::new("a.md", &relative)).is_empty());
    for mark in TOOL_MARKS {
        assert_eq!(
            tool_marks(&File::new("a.md", &mark.to_uppercase())).len(),
            1,
            "{mark}"
        );
    }
    for hidden in ["a\r\n", "a\u{202e}b\n", "\u{feff}a\n", "a\u{1b}[0m\n"] {
        assert_eq!(
            hidden_characters(&File::new("a.rs", hidden)).len(),
            1,
            "{hidden:?}"
        );
    }
    assert_eq!(loose_ends(&File::new("a.rs", "a \nb")).len(), 2);
    assert!(loose_ends(&File::new("a.rs", "a\nb\n")).is_empty());
}
