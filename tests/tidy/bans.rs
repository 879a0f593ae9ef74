//! Words and calls that may stand nowhere: unfinished work, unbounded queues, silenced lints.

use crate::rust::{Parsed, Token, parsed};
use crate::source::{File, Finding, clean};

/// Token sequences banned in every Rust file, and what to do instead.
const CALLS: &[(&str, &str)] = &[
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "use a tracing event"),
    ("unbounded_channel", "a channel has a named limit"),
    ("UnboundedSender", "a channel has a named limit"),
    ("UnboundedReceiver", "a channel has a named limit"),
    ("mpsc::unbounded", "a channel has a named limit"),
    ("flume::unbounded", "a channel has a named limit"),
    ("static mut", "state has one owner, who passes it"),
];

/// The rule that one file is excused from.
const UNSAFE: &str = "unsafe code";

fn unsafe_code(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        let lines = parsed.find("unsafe").into_iter();
        let finding = |line| file.finding(line, "`unsafe`: write it safely, or find a crate");
        lines.map(finding).collect()
    })
}

/// Marks of unfinished work, spelled in halves so that this file passes its own check.
const WORDS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

fn banned_calls(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        let at = |&(call, instead): &(&str, &str)| -> Vec<Finding> {
            let what = format!("`{call}` is banned: {instead}");
            parsed
                .find(call)
                .into_iter()
                .map(|line| file.finding(line, what.as_str()))
                .collect()
        };
        CALLS.iter().flat_map(at).collect()
    })
}

fn unfinished(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| WORDS.contains(word)) {
            findings.push(file.finding(index + 1, format!("{word}: do it now, or open an issue")));
        }
    }
    findings
}

/// `#[allow(…)]` and `#[expect(…)]` must say why.
fn silenced_lints(file: &File) -> Vec<Finding> {
    let without_reason = |parsed: &Parsed| {
        let tokens = &parsed.tokens;
        let silences = |&at: &usize| {
            ["allow", "expect"].contains(&tokens[at].text.as_str())
                && at > 0
                && tokens[at - 1].text == "["
                && !attribute(&tokens[at..]).any(|token| token.text == "reason")
        };
        let finding = |at: usize| file.finding(tokens[at].line, "a silenced lint without a reason");
        (0..tokens.len()).filter(silences).map(finding).collect()
    };
    parsed(file, without_reason)
}

/// The tokens up to the bracket that closes the attribute they are in.
fn attribute(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    let mut depth = 1;
    tokens.iter().take_while(move |token| {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        depth > 0
    })
}

fn is_prose_or_code(file: &File) -> bool {
    !file.path.contains("testdata/") && file.path != "Cargo.lock"
}

#[test]
fn nothing_banned_is_called() {
    clean("banned call", |file| file.is("rs"), banned_calls);
}

#[test]
fn nothing_is_unsafe() {
    clean(UNSAFE, |file| file.is("rs"), unsafe_code);
}

#[test]
fn one_file_at_most_may_be_unsafe() {
    let excused = crate::allow::paths(UNSAFE);
    assert_eq!(excused, ["tests/crash/vfs/vfs.rs"]);
    let planted = File::new("a.rs", "fn f() {\nunsafe {}\n}\n");
    assert_eq!(unsafe_code(&planted)[0].line, 2);
}

#[test]
fn nothing_is_left_unfinished() {
    clean("unfinished", is_prose_or_code, unfinished);
}

#[test]
fn every_silenced_lint_has_a_reason() {
    clean("silenced lint", |file| file.is("rs"), silenced_lints);
}

#[test]
fn planted_bans_are_found() {
    for (call, _) in CALLS {
        let body = match *call {
            "static mut" => "static mut X: u8 = 0;".to_owned(),
            call if call.ends_with('!') => format!("{call}();"),
            call => format!("let _ = {call};"),
        };
        let file = File::new("a.rs", &format!("fn f() {{\n{body}\n}}\n"));
        assert_eq!(
            banned_calls(&file).first().map(|f| f.line),
            Some(2),
            "{call}"
        );
    }
    let harmless = "// dbg!(x) and unsafe\nconst X: &str = \"todo!\";\n";
    assert!(banned_calls(&File::new("a.rs", harmless)).is_empty());
}

#[test]
fn planted_words_are_found() {
    for word in WORDS {
        assert_eq!(
            unfinished(&File::new("a.sql", &format!("-- ok\n-- {word}: x\n")))[0].line,
            2
        );
        assert!(unfinished(&File::new("a.md", &format!("{word}S_AND_MORE"))).is_empty());
    }
}

#[test]
fn planted_silence_is_found() {
    let silent = File::new("a.rs", "#[allow(dead_code)]\nfn f() {}\n");
    assert_eq!(silenced_lints(&silent).len(), 1);
    let inner = File::new("a.rs", "#![expect(dead_code)]\nfn reason() {}\n");
    assert_eq!(silenced_lints(&inner).len(), 1);
    let said = File::new(
        "a.rs",
        "#[expect(dead_code, reason = \"why\")]\nfn f() {}\n",
    );
    assert!(silenced_lints(&said).is_empty());
}
