//! A file on its way, as a line: what it is, how far, how fast.

use super::human::{Style, safe};
use super::units;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileStage, FileTold, Through};
use client_core::files::now::FileNow;
use client_core::files::reason_text;
use serde::{Deserialize, Serialize};

/// State of the line that tells people once that others hand a file on.
pub(crate) const RELAYED: &str = "relayed";

/// Bytes from which a summary tells the rate; of fewer it would tell how long finding each other
/// took.
const RATED: u64 = 1 << 20;

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
    /// It travels in its offer: it is delivered, and kept by others, as a message is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) small: bool,
    /// `offered`, `undecided`, `accepted`, `moving`, `paused`, `waiting`, `interrupted`, `done` or
    /// `ended`.
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
    /// What it waits for: `offer` (to be delivered), `decision`, `folder` (to put it in), `link`,
    /// `turn` (after others) or `owner` (a process that runs the home).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waits_for: Option<String>,
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
            small: told.small,
            ..Self::default()
        };
        let state = |state: &str| state.to_owned();
        match &told.stage {
            FileStage::Offered => Self {
                state: state("offered"),
                ..line
            },
            FileStage::Undecided { folder } => Self {
                state: state("undecided"),
                waits_for: Some(state(if *folder { "decision" } else { "folder" })),
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
                detail: detail.clone().or_else(|| Some(in_words(told, *reason))),
                ..line
            },
        }
    }
}

impl From<&FileNow> for FileLine {
    fn from(now: &FileNow) -> Self {
        let line = Self::from(&now.told);
        let waits_for = now.waits.map(|waits| waits.name().to_owned());
        Self {
            done: now.done.or(line.done),
            waits_for: waits_for.or(line.waits_for),
            ..line
        }
    }
}

/// Why a file came to nothing; of one that our own rules did not take, what to do about it.
fn in_words(told: &FileTold, reason: FileReason) -> String {
    let user = &told.user;
    let rule = match reason {
        FileReason::NotWanted => format!("files of {user} are not taken"),
        FileReason::TooLarge => "it is larger than --file-max takes".to_owned(),
        FileReason::NoRoom => "with it, more than --files-max would be under way".to_owned(),
        other => return reason_text(other).to_owned(),
    };
    if told.ours {
        return reason_text(reason).to_owned();
    }
    let change = match reason {
        FileReason::NotWanted => format!("--files-from {user} takes them"),
        _ => "a higher one takes it".to_owned(),
    };
    format!("{rule}; {change}, --files-ask asks you, and {user} must send it again")
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
    let size = units::bytes(line.bytes);
    let mut parts = Vec::new();
    if line.sent > 0 {
        let mut sent = format!("{} sent, {size} in {seconds:.1} s", line.sent);
        if line.bytes >= RATED {
            let speed = line.bytes.saturating_mul(1_000) / line.elapsed_ms.max(1);
            sent.push_str(&format!(", {}/s", units::bytes(speed)));
        }
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
pub(super) fn reason_name(reason: FileReason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("FILE_REASON_").unwrap_or(name).to_owned()
}

/// A file as people read of it; with its id while something can be done about it.
pub(crate) fn render(line: &FileLine, style: Style) -> String {
    let name = style.strong(&safe(&line.name));
    let what = units::sized(&name, line.files, line.size);
    let (ours, user) = (line.direction == "out", safe(&line.user));
    let way = if ours { "to" } else { "from" };
    let text = match line.state.as_str() {
        "offered" if ours => format!("Offered {what} to {user}"),
        "offered" => format!("{user} offers {what}"),
        "undecided" => format!("To decide: {what} {way} {user}"),
        "accepted" => format!("Accepted: {what} {way} {user}"),
        "moving" => {
            let percent = percent(line);
            let speed = line.bytes_per_s.map(units::bytes);
            let speed = speed.map_or_else(String::new, |speed| format!(", {speed}/s"));
            let through = through(line);
            return format!("{percent:>3} % of {what} {way} {user}{speed}{through}");
        }
        RELAYED => {
            let through = through(line);
            let until = "until the two devices have a link";
            return format!("Slowly: {what} {way} {user}{through}, {until}");
        }
        "paused" => {
            let by = match line.paused_by.as_deref() {
                Some("us") => "you".to_owned(),
                _ => user.clone(),
            };
            format!("Held back by {by}: {what} {way} {user}")
        }
        "waiting" => format!(
            "Waiting: {what} {way} {user}: {}",
            safe(line.detail.as_deref().unwrap_or("no reason is known")),
        ),
        "interrupted" => format!("Interrupted: {what} {way} {user}; it goes on by itself"),
        "done" => return render_done(line, &what, style),
        _ => {
            let not = if ours { "Not sent:" } else { "Not received:" };
            let why = safe(line.detail.as_deref().unwrap_or("no reason is known"));
            return format!("{} {what} {way} {user}: {why}", style.bad(not));
        }
    };
    let through = match line.done {
        Some(done) if done > 0 => format!(", {} % through", percent(line)),
        _ => String::new(),
    };
    let id = style.dim(&format!("({})", line.id));
    format!("{text}{through}{} {id}", waits_for(line, &user))
}

fn percent(line: &FileLine) -> u64 {
    let done = u128::from(line.done.unwrap_or(0)) * 100 / u128::from(line.size.max(1));
    u64::try_from(done).unwrap_or(100)
}

fn render_done(line: &FileLine, what: &str, style: Style) -> String {
    let user = safe(&line.user);
    match &line.path {
        Some(path) => format!(
            "{} {what} from {user}: {}",
            style.good("Received"),
            safe(path)
        ),
        None if line.direction == "out" => format!("{} {what} to {user}", style.good("Sent")),
        None => format!("{} {what} from {user}", style.good("Received")),
    }
}

/// What it waits for, as the end of a sentence.
fn waits_for(line: &FileLine, user: &str) -> String {
    let decide = "; `beeline files accept ID` takes it, `beeline files reject ID` refuses it";
    let folder = "once this home runs with --files DIR";
    match (line.waits_for.as_deref(), line.state.as_str()) {
        (Some("offer"), _) => format!("; {user} has not heard of it yet"),
        (Some("decision"), "undecided") => decide.to_owned(),
        (Some("decision"), _) => format!("; {user} has not decided yet"),
        (Some("folder"), "undecided") => format!("{decide}; it comes {folder}"),
        (Some("folder"), _) => format!("; it comes {folder}"),
        (Some("link"), _) => format!("; it goes on when {user} is linked again"),
        (Some("turn"), _) => "; others come first".to_owned(),
        (Some("owner"), _) => "; it goes on when this home is online".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::{Label, MessageId};
    use client_core::files::now::FileWait;

    fn told(ours: bool, stage: FileStage) -> FileTold {
        FileTold {
            id: MessageId([1; 16]),
            user: Label::new("carol").expect("a label"),
            ours,
            name: "a\u{1b}[2J.txt".to_owned(),
            size: 2_000,
            files: 0,
            small: false,
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
    fn what_waits_says_for_what_and_how_to_name_it() {
        let now = |stage, waits, done| FileNow {
            told: told(false, stage),
            done,
            waits,
            born_ms: 0,
        };
        let text = |now: &FileNow| render(&FileLine::from(now), Style { color: false });
        let held = text(&now(FileStage::Paused { by_us: true }, None, Some(500)));
        assert!(held.starts_with("Held back by you: a"), "{held}");
        let id = MessageId([1; 16]).to_text();
        assert!(
            held.ends_with(&format!("from carol, 25 % through ({id})")),
            "{held}"
        );
        let theirs = text(&now(FileStage::Paused { by_us: false }, None, None));
        assert!(theirs.starts_with("Held back by carol: a"), "{theirs}");
        let folder = FileStage::Undecided { folder: false };
        let undecided = text(&now(folder, Some(FileWait::Folder), None));
        assert!(undecided.contains("beeline files accept ID"), "{undecided}");
        assert!(undecided.contains("--files DIR"), "{undecided}");
        for wait in [FileWait::Link, FileWait::Turn, FileWait::Owner] {
            let line = now(FileStage::Accepted, Some(wait), None);
            assert!(text(&line).contains("; "), "{}", text(&line));
        }
    }

    #[test]
    fn what_our_rules_do_not_take_says_what_to_change() {
        let ended = |reason, detail: Option<&str>| FileStage::Ended {
            reason,
            detail: detail.map(str::to_owned),
        };
        let text = |stage| text(false, stage);
        let declined = text(ended(FileReason::NotWanted, None));
        assert!(declined.starts_with("Not received: a"), "{declined}");
        assert!(declined.contains("--files-from carol"), "{declined}");
        assert!(text(ended(FileReason::TooLarge, None)).contains("--file-max"));
        let by_hand = text(ended(FileReason::NotWanted, Some("you refused it")));
        assert!(by_hand.ends_with("you refused it"), "{by_hand}");
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
        // Of little the rate would tell how long finding each other took.
        for (bytes, rated) in [(RATED - 1, false), (RATED, true)] {
            let line = FilesLine {
                sent: 1,
                bytes,
                elapsed_ms: 100,
                ..FilesLine::default()
            };
            let text = render_all(&line, Style { color: false });
            assert_eq!(text.ends_with("/s"), rated, "{text}");
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        for ours in [true, false] {
            let text = text(ours, FileStage::Offered);
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
}
