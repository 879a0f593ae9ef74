//! A file among the messages of the past: what it was, and what became of it.

use super::file_line::reason_name;
use super::human::{Style, one_line, safe};
use super::units;
use beeline::report::FilePast;
use client_core::files::reason_text;
use client_core::files::rows::FileInState;
use serde::{Deserialize, Serialize};

/// The file that a message offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FilePart {
    /// Its name as its sender calls it.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
    /// How many files a folder holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u32>,
    /// `offered`, `accepted`, `paused`, `done`, `declined` or `ended`.
    pub(crate) state: String,
    /// Where it was saved, for one for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Why it was declined or came to nothing, such as `NO_ROOM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl From<&FilePast> for FilePart {
    fn from(past: &FilePast) -> Self {
        let failed = past.state > FileInState::Done;
        let held = past.held && !past.state.is_over();
        Self {
            name: past.name.clone(),
            size: past.size,
            files: (past.files > 0).then_some(past.files),
            state: if held { "paused" } else { past.state.name() }.to_owned(),
            path: (!past.path.is_empty()).then(|| past.path.clone()),
            reason: failed.then(|| reason_name(past.reason)),
            detail: failed.then(|| reason_text(past.reason).to_owned()),
        }
    }
}

/// What it is.
pub(super) fn what(file: &FilePart, style: Style) -> String {
    let name = style.strong(&one_line(&file.name));
    let sort = if file.files.is_some() {
        "folder"
    } else {
        "file"
    };
    format!("{sort} {}", units::sized(&name, file.files, file.size))
}

/// Where it stands, in a few words.
pub(super) fn standing(file: &FilePart, user: &str) -> String {
    if let Some(outcome) = outcome(file) {
        return outcome;
    }
    match file.state.as_str() {
        "done" => format!("{} has it", safe(user)),
        "paused" => "held back".to_owned(),
        "accepted" => "under way".to_owned(),
        _ => "offered".to_owned(),
    }
}

/// What came of one for us, or of one that came to nothing, in a few words.
pub(super) fn outcome(file: &FilePart) -> Option<String> {
    match file.state.as_str() {
        "done" => file
            .path
            .as_ref()
            .map(|path| format!("saved as {}", safe(path))),
        "declined" | "ended" => {
            let why = file.detail.as_deref().unwrap_or("no reason is known");
            Some(format!("came to nothing: {}", safe(why)))
        }
        _ => None,
    }
}

/// The same as a sentence about one of ours, or one for us.
pub(super) fn sentence(file: &FilePart, user: &str, ours: bool) -> String {
    let user = safe(user);
    let more = "; `beeline files` tells how far it is";
    match (file.state.as_str(), &file.path) {
        ("done", Some(path)) => format!("Received: it is {}.", safe(path)),
        ("done", None) => format!("Sent: {user} has verified it and put it in its place."),
        ("declined" | "ended", _) => {
            let not = if ours { "Not sent" } else { "Not received" };
            let why = safe(file.detail.as_deref().unwrap_or("no reason is known"));
            format!("{not}: {why}.")
        }
        ("paused", _) => format!("Held back by you{more}."),
        ("accepted", _) => format!("Under way{more}."),
        _ if ours => format!("Offered, and not taken yet{more}."),
        _ => format!("{user} offers it{more}, and takes or refuses it."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::pb::peer::v1::FileReason;

    fn past(state: FileInState, path: &str) -> FilePast {
        FilePast {
            name: "a\u{1b}[2J\nb".to_owned(),
            size: 2_048,
            files: 0,
            state,
            held: false,
            reason: FileReason::TooLarge,
            path: path.to_owned(),
        }
    }

    #[test]
    fn where_a_file_of_the_past_stands_is_said_in_words() {
        for (state, path, words) in [
            (FileInState::Done, "/in/a", "saved as /in/a"),
            (FileInState::Done, "", "carol has it"),
            (FileInState::Accepted, "", "under way"),
            (FileInState::Offered, "", "offered"),
        ] {
            let part = FilePart::from(&past(state, path));
            assert_eq!(standing(&part, "carol"), words);
            assert_eq!(part.reason, None);
            for ours in [true, false] {
                assert!(sentence(&part, "carol", ours).ends_with('.'));
            }
        }
        for state in [FileInState::Declined, FileInState::Ended] {
            let part = FilePart::from(&past(state, ""));
            assert_eq!(part.reason.as_deref(), Some("TOO_LARGE"));
            assert!(standing(&part, "carol").starts_with("came to nothing: it is larger"));
        }
        let held = FilePast {
            held: true,
            ..past(FileInState::Accepted, "")
        };
        assert_eq!(FilePart::from(&held).state, "paused");
    }

    #[test]
    fn a_name_cannot_touch_the_terminal() {
        let part = FilePart::from(&past(FileInState::Offered, ""));
        let text = what(&part, Style { color: false });
        assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text:?}");
    }
}
