//! Rules for tests: they wait on events, never on a duration, and none is left out.

use crate::rust::{Parsed, parsed};
use crate::source::{File, Finding, clean, none, tree};

/// Names that wait for time to pass.
const SLEEPS: &[&str] = &["sleep", "sleep_until", "sleep_ms"];
/// A file with this attribute argument runs on tokio's paused clock: there, time costs nothing.
const VIRTUAL_TIME: &str = "start_paused";
/// The attribute that leaves a test out.
const LEFT_OUT: &str = "ignore";

fn sleeps(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        if !parsed.find(VIRTUAL_TIME).is_empty() {
            return Vec::new();
        }
        in_tests(
            file,
            parsed,
            SLEEPS,
            "a test waits on an event, or runs on paused time",
        )
    })
}

/// A loaded machine fails what measures time; benchmarks measure, tests do not.
fn timed(file: &File) -> Vec<Finding> {
    let what = "a test does not measure time: count events, or write a benchmark";
    parsed(file, |parsed| in_tests(file, parsed, &[".elapsed()"], what))
}

fn left_out(file: &File) -> Vec<Finding> {
    let what = "a test that is not run proves nothing";
    parsed(file, |parsed| {
        let tokens = &parsed.tokens;
        let attributes = tokens
            .windows(2)
            .filter(|w| w[0].text == "[" && w[1].text == LEFT_OUT);
        attributes.map(|w| file.finding(w[1].line, what)).collect()
    })
}

fn in_tests(file: &File, parsed: &Parsed, patterns: &[&str], what: &str) -> Vec<Finding> {
    let mut lines: Vec<usize> = patterns.iter().flat_map(|p| parsed.find(p)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.retain(|&line| parsed.is_test(line));
    lines
        .into_iter()
        .map(|line| file.finding(line, what))
        .collect()
}

fn python_sleeps(file: &File) -> Vec<Finding> {
    let at = |(index, line): (usize, &str)| {
        let sleeps = line.contains("time.sleep(") || line.contains("asyncio.sleep(");
        sleeps.then(|| file.finding(index + 1, "a test waits on an event"))
    };
    file.text.lines().enumerate().filter_map(at).collect()
}

fn is_rust(file: &File) -> bool {
    file.is("rs")
}

/// Benchmarks pace themselves and measure time; that is what they are for.
fn is_no_benchmark(file: &File) -> bool {
    is_rust(file) && !file.path.starts_with("tests/bench/") && !file.path.contains("benches/")
}

#[test]
fn no_test_sleeps() {
    clean("sleeping test", is_no_benchmark, sleeps);
}

#[test]
fn no_test_measures_time() {
    clean("timed test", is_no_benchmark, timed);
}

#[test]
fn no_test_is_left_out() {
    clean("ignored test", is_rust, left_out);
}

#[test]
fn no_python_test_sleeps() {
    let files = tree().iter().filter(|file| file.is("py"));
    let findings: Vec<Finding> = files.flat_map(python_sleeps).collect();
    none("sleeping test", &findings);
}

#[test]
fn planted_sleeps_are_found() {
    let call = "tokio::time::sleep(d).await;";
    let in_a_test = format!("#[tokio::test]\nasync fn t() {{\n{call}\n}}\n");
    assert_eq!(sleeps(&File::new("client/src/a.rs", &in_a_test))[0].line, 3);
    let in_a_driver = format!("async fn t() {{\n{call}\n}}\n");
    assert!(sleeps(&File::new("client/src/a.rs", &in_a_driver)).is_empty());
    assert_eq!(sleeps(&File::new("tests/e2e/a.rs", &in_a_driver)).len(), 1);
    let paused = in_a_test.replace("test]", "test(start_paused = true)]");
    assert!(sleeps(&File::new("client/src/a.rs", &paused)).is_empty());
    assert_eq!(
        python_sleeps(&File::new("a.py", "import time\ntime.sleep(1)\n"))[0].line,
        2
    );
}

#[test]
fn planted_timing_and_ignoring_are_found() {
    let timing = "#[test]\nfn t() {\nassert!(t0.elapsed() < limit);\n}\n";
    assert_eq!(timed(&File::new("client/src/a.rs", timing))[0].line, 3);
    for attribute in ["#[ignore]", "#[ignore = \"later\"]"] {
        let text = format!("#[test]\n{attribute}\nfn t() {{}}\n");
        assert_eq!(
            left_out(&File::new("tests/e2e/a.rs", &text)).len(),
            1,
            "{attribute}"
        );
    }
}
