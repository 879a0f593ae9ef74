//! Every message, field, enum, value, service and method of the schema has a comment of its own.

use crate::source::{File, Finding, clean};

/// What opens a declaration, besides fields and enum values.
const KEYWORDS: &[&str] = &["message", "enum", "service", "rpc", "oneof"];
/// Statements that declare nothing.
const SILENT: &[&str] = &["syntax", "package", "import", "option", "reserved"];

/// Whether a line declares something a reader needs explained.
fn declares(line: &str) -> bool {
    let first = line
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next();
    let first = first.unwrap_or_default();
    if KEYWORDS.contains(&first) {
        return true;
    }
    let numbered = line.split_once(" = ").is_some_and(|(_, number)| {
        number
            .trim_start_matches('-')
            .starts_with(|c: char| c.is_ascii_digit())
    });
    !SILENT.contains(&first) && numbered
}

fn uncommented(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut above = "";
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        let explained = above.starts_with("//") || line.contains("//");
        if declares(line) && !explained {
            findings.push(file.finding(index + 1, format!("no comment on `{line}`")));
        }
        above = line;
    }
    findings
}

#[test]
fn the_schema_explains_itself() {
    clean("schema comment", |file| file.is("proto"), uncommented);
}

#[test]
fn planted_silence_is_found() {
    let messages = "message A {\n  bytes b = 1;\n\n  oneof k {\n    bool c = 2;\n  }\n}\n";
    let rest = "enum E {\n  E_UNSPECIFIED = 0;\n}\nservice S {\n  rpc M(A) returns (A);\n}\n";
    let text = format!("syntax = \"proto3\";\n\n{messages}{rest}");
    let found: Vec<usize> = uncommented(&File::new("a.proto", &text))
        .into_iter()
        .map(|f| f.line)
        .collect();
    assert_eq!(found, [3, 4, 6, 7, 10, 11, 13, 14]);
    let text =
        "// A.\nmessage A {\n  // B.\n  bytes b = 1;\n  reserved 2;\n  bool c = 3; // C.\n}\n";
    assert_eq!(uncommented(&File::new("a.proto", text)), []);
}
