//! Answers about files under way and waiting, and what is done with one of them.

use super::super::args::{FileAction, FileId};
use super::super::fail::Failure;
use super::super::line::{FileLine, FilesPart, Line};
use super::failure;
use beeline::Client;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::MessageId;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileStage, FileTold};
use client_core::files::now::FileNow;
use client_core::files::{WE_GAVE_UP, WE_REFUSED};

type Action = fn(FileId) -> FileAction;

/// What can be done with a file.
const ACTIONS: [Action; 5] = [
    FileAction::Pause,
    FileAction::Resume,
    FileAction::Cancel,
    FileAction::Accept,
    FileAction::Reject,
];

/// An action's name on the socket, and its file.
pub(super) fn to_wire(action: FileAction) -> (&'static str, MessageId) {
    match action {
        FileAction::Pause(FileId { id }) => ("file-pause", id),
        FileAction::Resume(FileId { id }) => ("file-resume", id),
        FileAction::Cancel(FileId { id }) => ("file-cancel", id),
        FileAction::Accept(FileId { id }) => ("file-accept", id),
        FileAction::Reject(FileId { id }) => ("file-reject", id),
    }
}

/// The action of a name on the socket.
pub(super) fn action_of(name: &str) -> Option<Action> {
    let any = FileId {
        id: MessageId([0; 16]),
    };
    ACTIONS
        .into_iter()
        .find(|action| to_wire(action(any)).0 == name)
}

/// Files as lines.
pub(super) fn lines(files: Vec<FileNow>) -> Vec<Line> {
    let line = |file: &FileNow| Line::File(FileLine::from(file));
    files.iter().map(line).collect()
}

/// Files in numbers.
pub(super) fn summary(files: &[FileNow]) -> FilesPart {
    let mut part = FilesPart::default();
    for file in files {
        *match file.told.stage {
            FileStage::Moving { .. } => &mut part.moving,
            FileStage::Paused { .. } => &mut part.paused,
            FileStage::Undecided { .. } => &mut part.undecided,
            _ => &mut part.waiting,
        } += 1;
    }
    part
}

/// Does something with a file, and tells how it stands then.
pub(super) async fn change(client: &Client, action: FileAction) -> Result<Line, Failure> {
    let (_, id) = to_wire(action);
    let before = find(client, id).await?.ok_or_else(|| {
        let text = "no such file is on its way; `beeline files` lists them";
        Failure::coded(ErrorCode::NotFound, text)
    })?;
    let done = match action {
        FileAction::Pause(_) => client.pause_file(id, true).await,
        FileAction::Resume(_) => client.pause_file(id, false).await,
        FileAction::Cancel(_) => client.cancel_file(id).await,
        FileAction::Accept(_) => client.decide_file(id, true).await,
        FileAction::Reject(_) => client.decide_file(id, false).await,
    };
    done.map_err(failure)?;
    let ended = |reason, by_us: &str| FileStage::Ended {
        reason,
        detail: Some(by_us.to_owned()),
    };
    let stage = match action {
        FileAction::Cancel(_) => ended(FileReason::Cancelled, WE_GAVE_UP),
        FileAction::Reject(_) => ended(FileReason::NotWanted, WE_REFUSED),
        _ => {
            // A small one may have arrived meanwhile.
            let now = find(client, id).await?.unwrap_or(before);
            return Ok(Line::File(FileLine::from(&now)));
        }
    };
    let told = FileTold {
        stage,
        ..before.told
    };
    Ok(Line::File(FileLine::from(&told)))
}

async fn find(client: &Client, id: MessageId) -> Result<Option<FileNow>, Failure> {
    let mut files = client.files().await.map_err(failure)?.into_iter();
    Ok(files.find(|file| file.told.id == id))
}

#[cfg(test)]
mod tests {
    use super::super::Question;
    use super::*;

    #[test]
    fn what_is_done_with_a_file_survives_the_socket() {
        let names = ["pause", "resume", "cancel", "accept", "reject"];
        for (name, action) in names.into_iter().zip(ACTIONS) {
            let id = MessageId([3; 16]);
            let question = Question::ChangeFile(action(FileId { id }));
            let (wire, subject, accept) = question.to_wire();
            assert_eq!(wire, format!("file-{name}"));
            assert!(question.changes() && !question.is_published());
            assert_eq!(Question::from_wire(wire, &subject, accept), Ok(question));
        }
        assert!(action_of("file-explode").is_none());
    }
}
