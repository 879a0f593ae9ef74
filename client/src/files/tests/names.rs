//! Names (T-FILE-1): whatever a sender calls a file, one harmless component comes of it.

use crate::files::limits::NAME_LEN_MAX;
use crate::files::names::{distinct_paths, numbered, safe_name, safe_path};
use proptest::prelude::*;

/// What was tried against other programs, and the name it gets here.
const CORPUS: &[(&str, &str)] = &[
    ("report.pdf", "report.pdf"),
    ("Übung 1.txt", "Übung 1.txt"),
    ("文書.txt", "文書.txt"),
    // Out of the folder.
    ("../../etc/passwd", "_.._etc_passwd"),
    ("..", "file"),
    (".", "file"),
    ("/etc/passwd", "_etc_passwd"),
    ("a/../../b", "a_.._.._b"),
    ("..\\..\\boot.ini", "_.._boot.ini"),
    ("C:\\Windows\\win.ini", "C__Windows_win.ini"),
    ("\\\\?\\C:\\x", "____C__x"),
    ("\\\\server\\share", "__server_share"),
    ("a\0b", "a_b"),
    // Hidden, or an option, or somebody's home.
    (".bashrc", "bashrc"),
    ("...x", "x"),
    ("-rf", "_-rf"),
    ("~", "_~"),
    ("~root/x", "_~root_x"),
    // Devices and streams of Windows.
    ("CON", "_CON"),
    ("con.txt", "_con.txt"),
    ("nul .txt", "_nul .txt"),
    ("COM1", "_COM1"),
    ("lpt9.tar.gz", "_lpt9.tar.gz"),
    ("COM¹", "_COM¹"),
    ("CONOUT$", "_CONOUT$"),
    ("com10", "com10"),
    ("a.txt:evil.exe", "a.txt_evil.exe"),
    ("a*?\"<>|b", "a______b"),
    ("x. . .", "x"),
    ("x ", "x"),
    // Other than it looks.
    ("photo\u{202e}gpj.exe", "photogpj.exe"),
    ("a\u{200b}b\u{feff}c", "abc"),
    ("a\u{2066}b\u{2069}", "ab"),
    ("tag\u{e0041}", "tag"),
    ("line\nbreak\rand\u{1b}[31m", "line_break_and_[31m"),
    ("no\u{a0}break\u{3000}space", "no break space"),
    ("\u{85}\u{2028}\u{2029}", "___"),
    // Nothing.
    ("", "file"),
    ("   ", "file"),
    ("\u{200b}", "file"),
];

#[test]
fn the_corpus_gets_harmless_names() {
    for (given, want) in CORPUS {
        let name = safe_name(given);
        assert_eq!(name, *want, "{given:?}");
        check(&name);
    }
}

/// What every name must be.
fn check(name: &str) {
    assert!(!name.is_empty() && name.len() <= NAME_LEN_MAX, "{name:?}");
    assert!(!name.starts_with(['.', '-', '~', ' ']), "{name:?}");
    assert!(!name.ends_with(['.', ' ']), "{name:?}");
    let forbidden = |c: char| "/\\:*?\"<>|".contains(c) || c.is_control();
    assert!(!name.contains(forbidden), "{name:?}");
    assert_eq!(safe_name(name), name, "a safe name is left alone");
}

#[test]
fn a_long_name_keeps_its_extension() {
    let name = safe_name(&format!("{}.tar.gz", "ä".repeat(1_024)));
    assert!(name.ends_with("ä.gz"), "{name}");
    assert!(name.len() <= NAME_LEN_MAX && name.len() > NAME_LEN_MAX - 4);
    let name = safe_name(&format!("a.{}", "b".repeat(1_024)));
    assert_eq!(name.len(), NAME_LEN_MAX);
    check(&safe_name(&"x. ".repeat(400)));
    // What is left of it after cutting is a device.
    check(&safe_name(&format!("con{}x", " ".repeat(300))));
    check(&safe_name(&format!("-{}", "x".repeat(300))));
}

#[test]
fn a_taken_name_gets_a_number_before_its_extension() {
    assert_eq!(numbered("a.txt", 1), "a.txt");
    assert_eq!(numbered("a.txt", 2), "a (2).txt");
    assert_eq!(numbered("a", 3), "a (3)");
    let longest = safe_name(&"x".repeat(1_024));
    assert!(numbered(&longest, u32::MAX).len() <= 255);
}

#[test]
fn a_folder_of_one_name_over_and_over_costs_little() {
    let names = (0..20_000).map(|n| if n % 2 == 0 { "same" } else { "same/below" });
    let made = distinct_paths(names);
    assert_eq!(made[0], ["same"]);
    assert_eq!(made[1], ["same (2)", "below"]);
    assert_eq!(made[2], ["same (3)"]);
    assert_eq!(made[19_999], ["same (2)", "below (10000)"]);
}

#[test]
fn directories_that_hold_nothing_have_their_names_too() {
    let paths = ["a/", "a/b", "A/c", "d", "d/", "d/e/", "d/e/", "/", "../"];
    let made: Vec<String> = distinct_paths(paths.into_iter())
        .iter()
        .map(|path| path.join("/"))
        .collect();
    let want = [
        "a", "a/b", "a/c", "d", "d (2)", "d (2)/e", "d (2)/e", "file", "file",
    ];
    assert_eq!(made, want);
}

#[test]
fn paths_of_a_folder_stay_below_it_and_apart() {
    assert_eq!(safe_path("a/b/c.txt"), ["a", "b", "c.txt"]);
    assert_eq!(safe_path("/a//./b"), ["a", "b"]);
    assert_eq!(safe_path("../../b"), ["file", "file", "b"]);
    assert_eq!(safe_path("///"), ["file"]);
    let paths = [
        "a", "A", "a", "a/b", "a:b", "a_b", "d/x", "d", "D/x", "d/X/y", "..", "file",
    ];
    let made: Vec<String> = distinct_paths(paths.into_iter())
        .iter()
        .map(|path| path.join("/"))
        .collect();
    assert_eq!(
        made,
        [
            "a",
            "A (2)",
            "a (3)",
            "a (4)/b",
            "a_b",
            "a_b (2)",
            "d/x",
            "d (2)",
            "d/x (2)",
            "d/X (3)/y",
            "file",
            "file (2)"
        ]
    );
}

proptest! {
    #[test]
    fn any_text_gets_a_harmless_name(text in any::<String>(), n in 1..2_000u32) {
        let name = safe_name(&text);
        check(&name);
        prop_assert!(numbered(&name, n).len() <= 255);
    }

    #[test]
    fn texts_of_bad_characters_get_harmless_names(
        text in "[./\\\\ :~\\-a\u{202e}\u{200b}\\x00cConN]{0,300}",
    ) {
        check(&safe_name(&text));
    }

    #[test]
    fn the_files_of_a_folder_are_never_in_each_others_way(
        paths in proptest::collection::vec("[aA./:]{1,6}", 1..30),
    ) {
        let made = distinct_paths(paths.iter().map(String::as_str));
        let folded: Vec<String> = made
            .iter()
            .map(|path| {
                path.iter().for_each(|name| check(name));
                path.join("/").to_lowercase()
            })
            .collect();
        for (at, path) in folded.iter().enumerate() {
            // A directory may be named again, and have others below it; a file may not.
            let is_file = !paths[at].ends_with('/');
            for (_, other) in folded.iter().enumerate().filter(|(n, _)| is_file && *n != at) {
                prop_assert_ne!(path, other);
                let below = other.strip_prefix(path.as_str());
                prop_assert!(!below.is_some_and(|rest| rest.starts_with('/')));
            }
        }
    }
}
