//! Lines of what was said: history, what is missing in it, the life of a message.

use super::file_past;
pub(crate) use super::file_past::FilePart;
use super::human::{Style, safe};
use super::line::{KeeperPart, Line};
use super::reason::{by_path, in_words};
use super::units;
use serde::{Deserialize, Serialize};

/// A message of the past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryLine {
    /// The message.
    pub(crate) id: String,
    /// `sent` or `received`.
    pub(crate) direction: String,
    /// The other user.
    pub(crate) user: String,
    /// The text.
    pub(crate) text: String,
    /// Where it stands; a received one is `delivered`, one that another device of ours sent
    /// `copied`: there its state is known.
    pub(crate) state: String,
    /// Fingerprint of the other device of ours that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// How it travelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Why, for `rejected` and `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// By the sender's clock, RFC 3339.
    pub(crate) sent_at: String,
    /// When it was queued or received here, RFC 3339.
    pub(crate) at: String,
    /// The file it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FilePart>,
}

/// One step of a message's life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhyLine {
    /// The message.
    pub(crate) id: String,
    /// The state reached; of a message for us `received`, `released`, `showing` or `shown`.
    pub(crate) state: String,
    /// When, RFC 3339.
    pub(crate) at: String,
    /// The rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<String>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The same for people, where `reason` is a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// Custodians that held it, for `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    /// Custodians wanted, for `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) k: Option<u32>,
    /// Who keeps a copy since then, for `kept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keeper: Option<KeeperPart>,
    /// Milliseconds since the first step.
    pub(crate) elapsed_ms: u64,
    /// Tries left out right before this step.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) skipped: u64,
    /// What the message is and where it stands; with the first step only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<AboutPart>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a message is and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AboutPart {
    /// `sent` or `received`.
    pub(crate) direction: String,
    /// The other user.
    pub(crate) user: String,
    /// The text; empty once it is deleted.
    pub(crate) text: String,
    /// Where it stands, as in [`HistoryLine::state`].
    pub(crate) state: String,
    /// Fingerprint of the other device of ours that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// Why, for `rejected` and `expired`, and where nothing can go out yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// When it was queued or received here, RFC 3339.
    pub(crate) at: String,
    /// The file it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FilePart>,
}

/// What is said of conversations as a whole.
pub(super) fn render_upkeep(line: &Line, style: Style) -> String {
    match line {
        Line::Gap { user, missing } => {
            let are = units::counted(*missing, "message is", "messages are");
            let come = if *missing == 1 {
                "it comes"
            } else {
                "they come"
            };
            let user = safe(user);
            style.dim(&format!(
                "({are} missing here from {user}; shown when {come})"
            ))
        }
        Line::Deleted { user, messages } => format!(
            "Deleted {} with {}; what is not shown yet or still on its way stays",
            units::counted(*messages, "message", "messages"),
            style.strong(user)
        ),
        Line::ReadReceipts { user, on } => {
            let told = if *on { "is told" } else { "is not told" };
            format!(
                "{} {told} when you have read its messages",
                style.strong(user)
            )
        }
        _ => String::new(),
    }
}

/// Where a message stands and how it travelled, in a few words.
fn standing(line: &HistoryLine) -> String {
    if let Some(file) = &line.file {
        return file_past::standing(file, &line.user);
    }
    let way = line.path.as_deref().map(by_path);
    let way = way.map_or_else(String::new, |way| format!(" {way}"));
    match (line.direction.as_str(), line.state.as_str()) {
        ("received", _) => format!("came{way}"),
        (_, "delivered") => format!("delivered{way}"),
        (_, "stored") => "kept by others".to_owned(),
        (_, "relayed") => "handed to a peer".to_owned(),
        (_, state) => state.to_owned(),
    }
}

pub(super) fn render_history(line: &HistoryLine, style: Style) -> String {
    let arrow = if line.direction == "sent" {
        "\u{2192}"
    } else {
        "\u{2190}"
    };
    let mut facts = vec![standing(line)];
    let by = line.device.as_deref();
    facts.extend(by.map(|device| format!("sent by our device {device}")));
    let why = |reason: &str| in_words(reason, &line.user).unwrap_or_else(|| safe(reason));
    // A file's standing says why itself.
    let reason = line.reason.as_deref().filter(|_| line.file.is_none());
    facts.extend(reason.map(why));
    if line.direction != "sent" {
        facts.push(format!("here since {}", line.at));
    }
    facts.push(line.id.clone());
    let state = format!("({})", facts.join(", "));
    let at = style.dim(&line.sent_at);
    let user = style.strong(&line.user);
    let what = match &line.file {
        Some(file) => file_past::what(file, style),
        None => safe(&line.text),
    };
    format!("{at} {arrow} {user}: {what} {}", style.dim(&state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_worded_as_one() {
        let render = |line: &Line| render_upkeep(line, Style { color: false });
        let gap = |missing| {
            let user = "carol".to_owned();
            render(&Line::Gap { user, missing })
        };
        let one = "(1 message is missing here from carol; shown when it comes)";
        let two = "(2 messages are missing here from carol; shown when they come)";
        assert_eq!((gap(1).as_str(), gap(2).as_str()), (one, two));
        let (user, messages) = ("carol".to_owned(), 1);
        let deleted = render(&Line::Deleted { user, messages });
        assert!(deleted.starts_with("Deleted 1 message with"), "{deleted}");
    }

    #[test]
    fn where_a_message_stands_is_said_once() {
        let line = |direction: &str, state: &str, path: &str| HistoryLine {
            direction: direction.into(),
            state: state.into(),
            path: (!path.is_empty()).then(|| path.to_owned()),
            ..HistoryLine::default()
        };
        for (line, want) in [
            (line("sent", "queued", ""), "queued"),
            (line("sent", "trying", "relay"), "trying"),
            (line("sent", "stored", "stored"), "kept by others"),
            (line("sent", "relayed", "relay"), "handed to a peer"),
            (line("sent", "delivered", "direct"), "delivered directly"),
            (line("sent", "read", "relay"), "read"),
            (
                line("sent", "delivered", "stored"),
                "delivered from those who kept it",
            ),
            (line("sent", "copied", ""), "copied"),
            (line("received", "delivered", "direct"), "came directly"),
            (
                line("received", "delivered", "stored"),
                "came from those who kept it",
            ),
        ] {
            assert_eq!(standing(&line), want);
        }
        let kept = HistoryLine {
            user: "carol".into(),
            text: "hi".into(),
            id: "ID".into(),
            sent_at: "AT".into(),
            ..line("sent", "stored", "stored")
        };
        let text = render_history(&kept, Style { color: false });
        assert_eq!(text, "AT \u{2192} carol: hi (kept by others, ID)");
    }
}
