//! A file on its way, as a line: what it is, how far, how fast.

use super::human::{Style, safe};
use super::units;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileStage, FileTold, Through};
use client_core::files::reason_text;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Instant;

/// Marks of progress a speed is worked out from: three seconds, at four a second.
const MARKS: usize = 12;

/// State of the line that tells people once that others hand a file on.
pub(crate) const RELAYED: &str = "relayed";

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
    /// `offered`, `accepted`, `moving`, `paused`, `waiting`, `interrupted`, `done` or `ended`.
    pub(crate) state: String,
    /// Bytes the receiver has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<u64>,
    /// Bytes per second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_s: Option<u64>,
    /// How it moves: `direct`, over a link between the two devices, or `relay`, in others' hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) way: Option<String>,
    /// Whose device hands it on, where it is a member's and not a signalling server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) through: Option<String>,
    /// Milliseconds left at that speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// Who holds it back: `us` or `them`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_by: Option<String>,
    /// Where it is now, for one for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Why it came to nothing, or waits, such as `NO_ROOM`.
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
            through: match &told.through {
                Some(Through::Peer(user)) => Some(user.to_string()),
                Some(Through::Server) | None => None,
            },
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
                way: Some(way_name(told.through.as_ref()).to_owned()),
                ..line
            },
            FileStage::Paused { by_us } => Self {
                state: state("paused"),
                paused_by: Some(if *by_us { "us" } else { "them" }.to_owned()),
                ..line
            },
            FileStage::Waiting { reason, detail } => Self {
                state: state("waiting"),
                reason: Some(reason_name(*reason)),
                detail: detail
                    .clone()
                    .or_else(|| Some(reason_text(*reason).to_owned())),
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

/// What became of all files of one `send-file`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FilesLine {
    /// How many arrived.
    pub(crate) sent: u64,
    /// Bytes of those.
    pub(crate) bytes: u64,
    /// How many came to nothing.
    pub(crate) failed: u64,
    /// How many wait, and go on by themselves whenever this home is online.
    pub(crate) waiting: u64,
    /// Since the command began.
    pub(crate) elapsed_ms: u64,
}

/// The same as people read it.
pub(crate) fn render_all(line: &FilesLine, style: Style) -> String {
    let seconds = line.elapsed_ms as f64 / 1_000.0;
    let speed = line.bytes.saturating_mul(1_000) / line.elapsed_ms.max(1);
    let (size, speed) = (units::bytes(line.bytes), units::bytes(speed));
    let mut parts = Vec::new();
    if line.sent > 0 {
        let sent = format!("{} sent, {size} in {seconds:.1} s, {speed}/s", line.sent);
        parts.push(style.good(&sent));
    }
    if line.failed > 0 {
        parts.push(style.bad(&format!("{} not sent", line.failed)));
    }
    if line.waiting > 0 {
        let waiting = "still to go, which happens by itself whenever this home is online";
        parts.push(format!("{} {waiting}", line.waiting));
    }
    parts.join("; ")
}

/// How fast a file moves: what came in the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// When so many bytes were there, the oldest first.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Adds to the line of a moving file how fast it is and how long it takes.
    pub(crate) fn measure(&mut self, line: &mut FileLine, now: Instant) {
        let Some(done) = line.done.filter(|_| line.state == "moving") else {
            return self.marks.clear();
        };
        self.marks.push_back((now, done));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
        let Some((first, before)) = self.marks.front() else {
            return;
        };
        let ms = now.saturating_duration_since(*first).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let speed = done.saturating_sub(*before).saturating_mul(1_000) / ms.max(1);
        if ms > 0 && speed > 0 {
            line.bytes_per_s = Some(speed);
            line.left_ms = Some(line.size.saturating_sub(done).saturating_mul(1_000) / speed);
        }
    }
}

/// How a file moves.
fn way_name(through: Option<&Through>) -> &'static str {
    match through {
        Some(_) => "relay",
        None => "direct",
    }
}

/// What a person reads of who hands a file on, and of the time that takes.
fn through(line: &FileLine) -> String {
    if line.way.as_deref() != Some("relay") {
        return String::new();
    }
    let whose = line.through.as_deref().unwrap_or("the signalling server");
    let left = line.left_ms.map(units::left);
    let left = left.map_or_else(String::new, |left| format!("; {left} left"));
    format!(", through {whose}{left}")
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
            let through = through(line);
            format!("{percent:>3} % of {what} {way} {user}{speed}{through}")
        }
        RELAYED => {
            let through = through(line);
            let until = "until the two devices have a link";
            format!("Slowly: {what} {way} {user}{through}, {until}")
        }
        "paused" => format!("Held back: {what} {way} {user}"),
        "waiting" => format!(
            "Waiting: {what} {way} {user}: {}",
            safe(line.detail.as_deref().unwrap_or("no reason is known")),
        ),
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
            through: None,
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
        let full = FileStage::Waiting {
            reason: FileReason::NoRoom,
            detail: None,
        };
        assert!(text(true, full).starts_with("Waiting: a"));
        let ended = FileStage::Ended {
            reason: FileReason::NoRoom,
            detail: None,
        };
        let line = FileLine::from(&told(true, ended));
        assert_eq!(line.reason.as_deref(), Some("NO_ROOM"));
        assert!(render(&line, Style { color: false }).contains("has no room"));
    }

    #[test]
    fn who_hands_it_on_is_named_with_the_time_it_takes() {
        let moving = FileStage::Moving { done: 500 };
        let direct = FileLine::from(&told(true, moving.clone()));
        assert_eq!(direct.way.as_deref(), Some("direct"));
        let bob = Through::Peer(Label::new("bob").expect("a label"));
        for (through, whose) in [(bob, "bob"), (Through::Server, "the signalling server")] {
            let told = FileTold {
                through: Some(through),
                ..told(true, moving.clone())
            };
            let mut line = FileLine::from(&told);
            assert_eq!(line.way.as_deref(), Some("relay"));
            (line.bytes_per_s, line.left_ms) = (Some(65_536), Some(12 * 60_000));
            let text = render(&line, Style { color: false });
            let end = format!("to carol, 64.0 KiB/s, through {whose}; 12 min left");
            assert!(text.ends_with(&end), "{text}");
            line.state = RELAYED.to_owned();
            let text = render(&line, Style { color: false });
            assert!(
                text.starts_with("Slowly: ") && text.contains(whose),
                "{text}"
            );
        }
    }

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let mut last = FileLine::default();
        for n in 0..40u64 {
            let mut line = FileLine {
                state: "moving".to_owned(),
                size: 100_000,
                done: Some(n * 1_000),
                ..FileLine::default()
            };
            let at = start + std::time::Duration::from_millis(250 * n);
            meter.measure(&mut line, at);
            last = line;
        }
        assert_eq!(
            (last.bytes_per_s, last.left_ms),
            (Some(4_000), Some(15_250))
        );
    }

    #[test]
    fn a_summary_says_what_is_left() {
        let line = FilesLine {
            sent: 2,
            bytes: 3 << 20,
            failed: 1,
            waiting: 4,
            elapsed_ms: 1_500,
        };
        let text = render_all(&line, Style { color: false });
        assert!(text.starts_with("2 sent, 3.0 MiB in 1.5 s, 2.0 MiB/s; 1 not sent; 4 still"));
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        for ours in [true, false] {
            let text = text(ours, FileStage::Offered);
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
}
