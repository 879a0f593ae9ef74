//! `doctor`: how this host is connected, and what to change. Asked of the process that runs here,
//! where there is one; it knows its links.

use super::args::LinkArgs;
use super::fail::{Exit, Failure};
use super::human::{Style, safe};
use super::line::{CheckLine, Line};
use super::reach::Context;
use crate::ipc::caller::CallError;
use beeline::Client;
use beeline::doctor::{Check, Verdict, at_rest};
use beeline::rest::TokenError;
use std::fmt::Write as _;

/// Names the question on the socket.
pub(crate) const QUESTION: &str = "doctor";

/// Examines, and prints a line for each thing looked at. Something bad is exit code 1.
pub(crate) async fn doctor(context: &Context, link: &LinkArgs) -> Result<Exit, Failure> {
    if let Some(mut owner) = context.owner().await? {
        match owner.doctor().await {
            Ok(lines) => return print(context, lines).await,
            Err(CallError::Failed(failure)) => return Err(failure),
            // The owner went while we asked: nobody runs here now.
            Err(CallError::Gone) => {}
        }
    }
    let checks = at_rest(&context.options(QUESTION, link)).await;
    let lines = lines(checks)?;
    print(context, lines.iter().map(Line::to_json).collect()).await
}

/// What a running client finds, for whoever asked over its socket.
pub(crate) async fn of_running(client: &Client) -> Result<Vec<Line>, Failure> {
    lines(client.doctor().await)
}

fn lines(checks: Result<Vec<Check>, TokenError>) -> Result<Vec<Line>, Failure> {
    let checks = checks.map_err(|error| Failure::new(error.to_string()))?;
    Ok(checks.into_iter().map(line).collect())
}

fn line(check: Check) -> Line {
    let verdict = match check.verdict {
        Verdict::Good => "good",
        Verdict::Note => "note",
        Verdict::Bad => "bad",
    };
    let took = check.took.map(|took| took.as_millis());
    Line::Check(CheckLine {
        check: check.name.to_owned(),
        verdict: verdict.to_owned(),
        value: check.value,
        detail: check.detail,
        advice: check.advice,
        took_ms: took.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    })
}

async fn print(context: &Context, lines: Vec<String>) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for json in lines {
        if serde_json::from_str::<CheckLine>(&json).is_ok_and(|check| check.verdict == "bad") {
            exit = Exit::Error;
        }
        context.printer.json(json).await?;
    }
    Ok(exit)
}

/// One check as people read it.
pub(super) fn render(check: &CheckLine, style: Style) -> String {
    let mark = match check.verdict.as_str() {
        "good" => style.good("ok  "),
        "note" => style.careful("note"),
        _ => style.bad("BAD "),
    };
    let mut text = format!("{mark}  {:<11}  {}", check.check, safe(&check.detail));
    if let Some(ms) = check.took_ms {
        // Writing to a string does not fail.
        let _ = write!(text, "{}", style.dim(&format!("  {ms} ms")));
    }
    if let Some(advice) = &check.advice {
        let _ = write!(text, "\n{:19}-> {}", "", safe(advice));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_reads_well_and_cannot_move_the_cursor() {
        let check = CheckLine {
            check: "nat-v4".to_owned(),
            verdict: "note".to_owned(),
            value: Some("symmetric".to_owned()),
            detail: "a symmetric NAT\u{1b}[2J".to_owned(),
            advice: Some("ask for TURN".to_owned()),
            took_ms: Some(12),
        };
        let plain = Style { color: false };
        let text = render(&check, plain);
        assert_eq!(
            text,
            "note  nat-v4       a symmetric NAT\\u{1b}[2J  12 ms\n\
             \x20                  -> ask for TURN"
        );
        let json = Line::Check(check.clone()).to_json();
        assert!(
            json.starts_with(r#"{"event":"check","check":"nat-v4""#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<CheckLine>(&json).expect("read"),
            check
        );
    }
}
