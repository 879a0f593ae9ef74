//! A file on its way, as a line: what it is, how far, how fast.

use super::human::{Style, safe};
use super::units;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileStage, FileTold};
use client_core::files::reason_text;
use serde::{Deserialize, Serialize};

/// How far a file is. `done` and what follows from it are there while it moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileLine {
    /// The message that offers it.
    pub(crate) id: String,
    /// `out` for one of ours, `in` for one for us.
    pub(crate) direction: String,
    /// The other user.
    pub(crate) user: String,
    /// Its name as its sender calls it.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
    /// How many files a folder holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u32>,
    /// `offered`, `accepted`, `moving`, `paused`, `interrupted`, `done` or `ended`.
    pub(crate) state: String,
    /// Bytes the receiver has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<u64>,
    /// Bytes per second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_s: Option<u64>,
    /// Milliseconds left at that speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// Who holds it back: `us` or `them`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_by: Option<String>,
    /// Where it is now, for one for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Why it came to nothing, such as `NO_ROOM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl From<&FileTold> for FileLine {
    fn from(told: &FileTold) -> Self {
        let line = Self {
            id: told.id.to_text(),
            direction: if told.ours { "out" } else { "in" }.to_owned(),
            user: told.user.to_string(),
            name: told.name.clone(),
            size: told.size,
            files: (told.files > 0).then_some(told.files),
            ..Self::default()
        };
        let state = |state: &str| state.to_owned();
        match &told.stage {
            FileStage::Offered => Self {
                state: state("offered"),
                ..line
            },
            FileStage::Accepted => Self {
                state: state("accepted"),
                ..line
            },
            FileStage::Moving { done } => Self {
                state: state("moving"),
                done: Some(*done),
                ..line
            },
            FileStage::Paused { by_us } => Self {
                state: state("paused"),
                paused_by: Some(if *by_us { "us" } else { "them" }.to_owned()),
                ..line
            },
            FileStage::Interrupted => Self {
                state: state("interrupted"),
                ..line
            },
            FileStage::Done { path } => Self {
                state: state("done"),
                done: Some(told.size),
                path: path.clone(),
                ..line
            },
            FileStage::Ended { reason, detail } => Self {
                state: state("ended"),
                reason: Some(reason_name(*reason)),
                detail: detail
                    .clone()
                    .or_else(|| Some(reason_text(*reason).to_owned())),
                ..line
            },
        }
    }
}

/// The reason's name on the wire without its prefix.
fn reason_name(reason: FileReason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("FILE_REASON_").unwrap_or(name).to_owned()
}

/// A file as people read of it.
pub(crate) fn render(line: &FileLine, style: Style) -> String {
    let name = style.strong(&safe(&line.name));
    let size = units::bytes(line.size);
    let what = match line.files {
        Some(files) => format!("{name} ({files} files, {size})"),
        None => format!("{name} ({size})"),
    };
    let (ours, user) = (line.direction == "out", &line.user);
    let way = if ours { "to" } else { "from" };
    match line.state.as_str() {
        "offered" if ours => format!("Offered {what} to {user}"),
        "offered" => format!("{user} offers {what}"),
        "accepted" => format!("Accepted: {what} {way} {user}"),
        "moving" => {
            let percent = line.done.unwrap_or(0).saturating_mul(100) / line.size.max(1);
            let speed = line.bytes_per_s.map(units::bytes);
            let speed = speed.map_or_else(String::new, |speed| format!(", {speed}/s"));
            format!("{percent:>3} % of {what} {way} {user}{speed}")
        }
        "paused" => format!("Held back: {what} {way} {user}"),
        "interrupted" => format!("Interrupted: {what} {way} {user}; it goes on by itself"),
        "done" => match &line.path {
            Some(path) => format!(
                "{} {what} from {user}: {}",
                style.good("Received"),
                safe(path)
            ),
            None => format!("{} {what} {way} {user}", style.good("Sent")),
        },
        _ => format!(
            "{} {what} {way} {user}: {}",
            style.bad("Not sent:"),
            safe(line.detail.as_deref().unwrap_or("no reason is known")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::{Label, MessageId};

    fn told(ours: bool, stage: FileStage) -> FileTold {
        FileTold {
            id: MessageId([1; 16]),
            user: Label::new("carol").expect("a label"),
            ours,
            name: "a\u{1b}[2J.txt".to_owned(),
            size: 2_000,
            files: 0,
            stage,
        }
    }

    fn text(ours: bool, stage: FileStage) -> String {
        let line = FileLine::from(&told(ours, stage));
        render(&line, Style { color: false })
    }

    #[test]
    fn a_file_is_told_of_from_its_offer_to_its_end() {
        let done = FileStage::Done {
            path: Some("/in/a.txt".to_owned()),
        };
        assert!(text(false, FileStage::Offered).starts_with("carol offers a"));
        assert!(text(true, FileStage::Moving { done: 500 }).starts_with(" 25 % of a"));
        assert!(text(false, done).ends_with("from carol: /in/a.txt"));
        let ended = FileStage::Ended {
            reason: FileReason::NoRoom,
            detail: None,
        };
        let line = FileLine::from(&told(true, ended));
        assert_eq!(line.reason.as_deref(), Some("NO_ROOM"));
        assert!(render(&line, Style { color: false }).contains("has no room"));
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        for ours in [true, false] {
            let text = text(ours, FileStage::Offered);
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
}
