//! Names on disk, made from names as others gave them. The name of an offer is display text: what
//! is created is always a name of ours, and always a single one, so no text leads out of the inbox
//! (T-FILE-1), hides a file, names a device, or reads other than it is.

use super::limits::{EXTENSION_LEN_MAX, NAME_LEN_MAX};
use std::collections::BTreeSet;

/// The name where nothing of the given one is left.
const NAMELESS: &str = "file";

/// Takes the place of every character that may not stand in a name.
const STAND_IN: char = '_';

/// Device names of Windows, which a file system it mounts would take as such, extension or not.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];
/// Device names that a digit follows: 0 to 9, superscripts too.
const NUMBERED_DEVICES: &[&str] = &["com", "lpt"];

/// A name for a file or folder: one path component, at most [`NAME_LEN_MAX`] bytes, that is legal
/// on every usual system, not hidden, not an option of a command, and shows as it is. A safe name
/// comes back unchanged.
pub fn safe_name(display: &str) -> String {
    let mut name: String = display.chars().filter_map(safe_char).collect();
    name = trimmed(&name).to_owned();
    if name.starts_with(['-', '~']) {
        name.insert(0, STAND_IN);
    }
    if is_device(&name) {
        name.insert(0, STAND_IN);
    }
    let name = shortened(&name, NAME_LEN_MAX);
    let name = trimmed(&name);
    if name.is_empty() {
        NAMELESS.to_owned()
    } else {
        name.to_owned()
    }
}

/// The names of a path in a folder, outermost first; never empty, and never `.` or `..`.
pub fn safe_path(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let names: Vec<String> = names.map(safe_name).collect();
    if names.is_empty() {
        vec![NAMELESS.to_owned()]
    } else {
        names
    }
}

/// The `n`-th try for a name: itself, then `name (2).ext`, `name (3).ext`.
pub fn numbered(name: &str, n: u32) -> String {
    if n < 2 {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    format!("{stem} ({n}){extension}")
}

/// Safe paths for all files of a folder, in their order: no two are the same, also not to a file
/// system that ignores case, and none is a directory of another.
pub fn distinct_paths<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let (mut files, mut dirs) = (BTreeSet::new(), BTreeSet::new());
    let paths = paths.map(|path| {
        let mut names = safe_path(path);
        // Directories first: one that is the name of a file gets a number as well.
        let mut folded = String::new();
        let last = names.len() - 1;
        for (depth, name) in names.iter_mut().enumerate() {
            let mut n = 1;
            let taken = |folded: &String| {
                files.contains(folded) || (depth == last && dirs.contains(folded))
            };
            let mut key = joined(&folded, name);
            let plain = name.clone();
            while taken(&key) {
                n += 1;
                *name = numbered(&plain, n);
                key = joined(&folded, name);
            }
            folded = key;
            if depth < last {
                dirs.insert(folded.clone());
            }
        }
        files.insert(folded);
        names
    });
    paths.collect()
}

fn joined(folded: &str, name: &str) -> String {
    let lower = name.to_lowercase();
    if folded.is_empty() {
        lower
    } else {
        format!("{folded}/{lower}")
    }
}

/// What stands for a character; `None` where it is left out.
fn safe_char(c: char) -> Option<char> {
    match c {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => Some(STAND_IN),
        c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => Some(STAND_IN),
        c if is_invisible(c) => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

/// Characters that cannot be seen or that change the order others are seen in: joiners and marks
/// of direction, fillers, variation selectors, tags, private use, and what no text may hold.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Without what hides a name at its front, or what some systems drop at its end.
fn trimmed(name: &str) -> &str {
    name.trim_start_matches(['.', ' '])
        .trim_end_matches(['.', ' '])
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end().to_lowercase();
    let numbered = NUMBERED_DEVICES.iter().any(|device| {
        let rest = stem.strip_prefix(device).map(|rest| {
            let mut chars = rest.chars();
            (chars.next(), chars.next())
        });
        matches!(rest, Some((Some('0'..='9' | '¹' | '²' | '³'), None)))
    });
    numbered || DEVICES.contains(&stem.as_str())
}

/// Stem and extension with its dot; no extension where the last dot is far from the end.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= EXTENSION_LEN_MAX => name.split_at(at),
        _ => (name, ""),
    }
}

/// At most `len` bytes, cut before the extension and between characters.
fn shortened(name: &str, len: usize) -> String {
    if name.len() <= len {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let mut end = len - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", stem[..end].trim_end_matches(['.', ' ']))
}
