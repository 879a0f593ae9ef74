//! Names on disk, made from names as others gave them. The name of an offer is display text: what
//! is created is always a name of ours, and always a single one, so no text leads out of the inbox
//! (T-FILE-1), hides a file, names a device, or reads other than it is.

use super::limits::{EXTENSION_LEN_MAX, NAME_LEN_MAX};
use std::collections::{BTreeMap, BTreeSet};

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
    let name: String = display.chars().filter_map(safe_char).collect();
    let mut name = fitted(trimmed(&name));
    if name.starts_with(['-', '~']) || is_device(&name) {
        name.insert(0, STAND_IN);
        name = fitted(&name);
    }
    if name.is_empty() {
        NAMELESS.to_owned()
    } else {
        name
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
/// system that ignores case, and none is a directory of another. A path that ends with `/` is a
/// directory's, which may have others below it.
pub fn distinct_paths<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let mut taken = Taken::default();
    paths
        .map(|path| taken.place(safe_path(path), path.ends_with('/')))
        .collect()
}

/// The names of a folder that are used, all in lower case and with those above them.
#[derive(Default)]
struct Taken {
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
    /// What became of each directory's name.
    renamed: BTreeMap<String, String>,
    /// The number last tried for a name, so that a thousand equal ones do not take a million tries.
    tried: BTreeMap<String, u32>,
}

impl Taken {
    fn place(&mut self, mut names: Vec<String>, is_dir: bool) -> Vec<String> {
        let mut above = String::new();
        let last = names.len().saturating_sub(usize::from(!is_dir));
        for (depth, name) in names.iter_mut().enumerate() {
            let plain = below(&above, name);
            let known = self.renamed.get(&plain).filter(|_| depth < last);
            let free = known
                .cloned()
                .unwrap_or_else(|| self.free(&above, name, depth < last));
            above = below(&above, &free);
            if depth < last {
                self.dirs.insert(above.clone());
                self.renamed.insert(plain, free.clone());
            }
            *name = free;
        }
        if !is_dir {
            self.files.insert(above);
        }
        names
    }

    /// The first name like it that no file has and, for a file, no directory.
    fn free(&mut self, above: &str, name: &str, is_dir: bool) -> String {
        let plain = below(above, name);
        let mut n = self.tried.get(&plain).copied().unwrap_or(1);
        loop {
            let free = numbered(name, n);
            let key = below(above, &free);
            if !self.files.contains(&key) && (is_dir || !self.dirs.contains(&key)) {
                self.tried.insert(plain, n);
                return free;
            }
            n += 1;
        }
    }
}

/// How a name below others is compared.
fn below(above: &str, name: &str) -> String {
    let name = name.to_lowercase();
    if above.is_empty() {
        name
    } else {
        format!("{above}/{name}")
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

/// At most [`NAME_LEN_MAX`] bytes, cut before the extension and between characters.
fn fitted(name: &str) -> String {
    if name.len() <= NAME_LEN_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let mut end = NAME_LEN_MAX - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    trimmed(&format!("{}{extension}", trimmed(&stem[..end]))).to_owned()
}
