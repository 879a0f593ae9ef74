//! How big things may be: files, functions and lines that fit in one head and on one screen.

use crate::rust::parsed;
use crate::source::{File, Finding, clean};

/// Longest source file, in lines: beyond it a file is two files.
const FILE_LINES_MAX: usize = 500;
/// Longest test file, in lines: a scenario reads in one go.
const TEST_FILE_LINES_MAX: usize = 700;
/// Longest function, from `fn` to its closing brace, in lines: one screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Widest line, in characters.
const LINE_WIDTH_MAX: usize = 100;
/// The lines within which a file must have said what it is for.
const HEADER_LINES: usize = 3;

/// Hand-written text a person reads line by line.
fn is_source(file: &File) -> bool {
    let script = file.text.starts_with("#!");
    script
        || ["rs", "proto", "sql", "toml", "py", "sh", "ts"]
            .iter()
            .any(|e| file.is(e))
}

fn file_size(file: &File) -> Vec<Finding> {
    let max = if file.is_test() {
        TEST_FILE_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    let lines = file.text.lines().count();
    if lines > max {
        return vec![file.finding(max, format!("{lines} lines, {max} are allowed: split it"))];
    }
    Vec::new()
}

fn function_size(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        let too_long = parsed.functions.iter().filter_map(|function| {
            let lines = function.lines.end() - function.lines.start() + 1;
            (lines > FUNCTION_LINES_MAX).then(|| {
                let name = &function.name;
                let what = format!("fn {name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed");
                file.finding(*function.lines.start(), what)
            })
        });
        too_long.collect()
    })
}

/// A link cannot be broken, so a line with one may be wider.
fn line_width(file: &File) -> Vec<Finding> {
    let wide = |(index, line): (usize, &str)| {
        let width = line.chars().count();
        (width > LINE_WIDTH_MAX && !line.contains("://"))
            .then(|| file.finding(index + 1, format!("{width} characters wide")))
    };
    file.text.lines().enumerate().filter_map(wide).collect()
}

fn header(file: &File) -> Vec<Finding> {
    let mark = if file.is("rs") { "//! " } else { "// " };
    if file
        .text
        .lines()
        .take(HEADER_LINES)
        .any(|line| line.starts_with(mark))
    {
        return Vec::new();
    }
    vec![file.finding(
        1,
        format!("opens without `{mark}` and what the file is for"),
    )]
}

#[test]
fn files_are_small() {
    clean("file size", is_source, file_size);
}

#[test]
fn functions_are_small() {
    clean("function size", |file| file.is("rs"), function_size);
}

#[test]
fn lines_are_narrow() {
    // TOML has no way to break an inline table.
    clean(
        "line width",
        |file| is_source(file) && !file.is("toml"),
        line_width,
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    clean("header", |file| file.is("rs") || file.is("proto"), header);
}

#[test]
fn planted_sizes_are_found() {
    let long = "\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(file_size(&File::new("registry/src/a.rs", &long)).len(), 1);
    assert!(file_size(&File::new("tests/e2e/a.rs", &long)).is_empty());
    assert!(file_size(&File::new("a.rs", &"\n".repeat(FILE_LINES_MAX))).is_empty());

    let body = "    let _ = 1;\n".repeat(FUNCTION_LINES_MAX - 2);
    assert!(function_size(&File::new("a.rs", &format!("fn f() {{\n{body}}}\n"))).is_empty());
    let found = function_size(&File::new("a.rs", &format!("fn f() {{\n\n{body}}}\n")));
    assert_eq!((found.len(), found[0].line), (1, 1));

    let wide = "x".repeat(LINE_WIDTH_MAX + 1);
    assert_eq!(
        line_width(&File::new("a.rs", &format!("\n{wide}")))[0].line,
        2
    );
    assert!(line_width(&File::new("a.rs", &wide[1..])).is_empty());

    assert_eq!(
        header(&File::new("a.rs", "use a;\n\n\n//! Late.\n")).len(),
        1
    );
    assert!(header(&File::new("a.rs", "//! For tests.\n")).is_empty());
    assert_eq!(
        header(&File::new("a.proto", "syntax = \"proto3\";\n")).len(),
        1
    );
}
