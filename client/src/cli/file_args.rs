//! `send-file`, `files`, and which files `listen` and `run` take, as clap reads them.

use super::args::LinkArgs;
use super::units;
use beeline::FilesOptions;
use beeline_proto::id::{Label, MessageId};
use clap::{Args, Subcommand};
use client_core::files::io::FilePolicy;
use std::path::PathBuf;
use std::time::Duration;

/// `send-file`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  beeline send-file carol holiday.mov
  beeline send-file carol letter.pdf photos/
  beeline --json send-file carol backup.tar --timeout 10m

The recipient decides before anything is written: it runs `listen --files DIR` or `run --files DIR`,
or takes your file by hand. Each file is checked piece by piece as it arrives and gets its name when
it is whole; nothing is overwritten. A folder is sent as one. What is interrupted, by either side,
goes on where it was whenever this home is online; leave the file where it is, and as it is, until
then. Nobody on the way can read it. Where the two devices cannot have a link it goes, slowly,
through a member that both are linked to, or through the signalling server.

A file of at most 12 KiB travels as a message does: if the recipient is away, other members keep it,
sealed, and it arrives without you.

Ctrl-C ends the command and not the transfer: what is offered waits in the outbox. `beeline files`
lists it, `beeline files pause ID` holds it back, `beeline files cancel ID` gives it up.

With --json each change is a line \"event\":\"file\" as `beeline files --help` describes it, at
most four a second while one moves; of files of at most 12 KiB also \"event\":\"state\" as from
`send`, with the file's \"name\". The last line is \"event\":\"files\" with \"sent\", \"bytes\",
\"failed\", \"waiting\" and \"elapsedMs\".

Exit codes: 0 all arrived; 1 one was refused or came to nothing. When nothing moved for the timeout,
or Ctrl-C came: 3 if other members keep the offers of all that is left, or the recipient has them
and has not taken the files yet; else 4.")]
pub(crate) struct SendFileArgs {
    /// The recipient's user id
    #[arg(value_name = "USER", value_parser = units::label)]
    pub(crate) user: Label,
    /// Files and folders; symlinks inside a folder are left out
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// How long to wait while nothing moves: a number and ms, s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

/// Where files are received, and which.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilesArgs {
    /// Receive files into this folder; without it their offers wait, see `beeline files`
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Take files from this user only; may be repeated [default: from every contact]
    #[arg(long, value_name = "USER", requires = "files", value_parser = units::label)]
    pub(crate) files_from: Vec<Label>,
    /// Ask about every other file: its offer waits for `beeline files accept ID` or `reject ID`,
    /// instead of being declined. Without --files-from that is every file
    #[arg(long, requires = "files")]
    pub(crate) files_ask: bool,
    /// Take no file larger than this: a number and B, KiB, MiB, GiB or TiB [default: 64GiB]
    #[arg(long, value_name = "SIZE", requires = "files", value_parser = units::size)]
    pub(crate) file_max: Option<u64>,
    /// Take no more than this at a time, all together [default: 256GiB]
    #[arg(long, value_name = "SIZE", requires = "files", value_parser = units::size)]
    pub(crate) files_max: Option<u64>,
}

/// The largest file taken unless told otherwise, bytes: an image of a disk.
const FILE_MAX: u64 = 64 << 30;

/// The same of all files together.
const FILES_MAX: u64 = 256 << 30;

impl FilesArgs {
    /// Where to put which files, where that was asked for.
    pub(crate) fn options(&self) -> Option<FilesOptions> {
        let from = self.files_from.iter().cloned();
        // Where every file is asked about, nobody's is taken unasked.
        let everybody = self.files_from.is_empty() && !self.files_ask;
        Some(FilesOptions {
            dir: self.files.clone()?,
            policy: FilePolicy {
                from: (!everybody).then(|| from.collect()),
                size_max: self.file_max.unwrap_or(FILE_MAX),
                total_max: self.files_max.unwrap_or(FILES_MAX),
            },
            ask: self.files_ask,
        })
    }
}

/// `files`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  beeline files
  beeline files pause vb5xkq3rlm6z7o2ad4hnc7ytiq
  beeline files accept vb5xkq3rlm6z7o2ad4hnc7ytiq

Without an action it lists what moves and what waits: sent and received files alike, the oldest
first. What arrived or came to nothing is in `beeline history USER` and `beeline why ID`.

Both sides may hold a file back, and it goes on when neither does. Both may give it up: the other
side is told, at once or when it is next linked, and nothing unfinished is left on either disk.
What somebody offers you waits for accept or reject where `listen` or `run` is not told to take it:
without --files, or with --files-ask. What you accept without a folder comes as soon as this home
runs with --files DIR.

With --json each is a line with \"event\":\"file\", \"id\", \"direction\":\"out|in\", \"user\",
\"name\", \"size\" and \"state\", which is one of offered, undecided, accepted, moving, paused,
waiting, interrupted, done, ended. Where they are known, also \"files\" (a folder's), \"small\"
(it travels in a message), \"done\" (bytes written), \"bytesPerS\", \"leftMs\",
\"pausedBy\":\"us|them\", \"path\", \"reason\", \"detail\", \"way\":\"direct|relay\" with
\"through\", who relays it, and \"waitsFor\", one of offer, decision, folder, link, turn, owner.

Exit codes: 0 done as asked; 1 no such file is on its way, or another error.")]
pub(crate) struct FileArgs {
    #[command(subcommand)]
    pub(crate) action: Option<FileAction>,
}

/// What to do with a file under way or waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum FileAction {
    /// Hold it back, until `resume`; also over restarts
    Pause(FileId),
    /// Let it go on
    Resume(FileId),
    /// Give it up for good; the other side is told
    Cancel(FileId),
    /// Take a file that is offered to you
    Accept(FileId),
    /// Refuse a file that is offered to you; its sender is told
    Reject(FileId),
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct FileId {
    /// Its id, as `files`, `send-file` and `listen` print it
    #[arg(value_name = "ID", value_parser = message_id)]
    pub(crate) id: MessageId,
}

fn message_id(text: &str) -> Result<MessageId, String> {
    super::answer::message_id(text).map_err(|failure| failure.message)
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command};
    use super::*;
    use clap::Parser as _;

    fn options(line: &[&str]) -> FilesOptions {
        let line = [&["beeline", "listen", "--files", "d"], line].concat();
        let cli = Cli::try_parse_from(line).expect("complete");
        match cli.command {
            Command::Listen(args) => args.files.options().expect("a folder"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whose_files_are_taken_unasked_is_said_in_full() {
        let everybody = options(&[]);
        assert!(everybody.policy.from.is_none() && !everybody.ask);
        let alice = options(&["--files-from", "alice"]);
        assert_eq!(alice.policy.from.map(|from| from.len()), Some(1));
        let asked = options(&["--files-ask"]);
        assert!(asked.ask && asked.policy.from.is_some_and(|from| from.is_empty()));
        let both = options(&["--files-ask", "--files-from", "alice"]);
        assert!(both.ask && both.policy.from.is_some_and(|from| from.len() == 1));
    }

    #[test]
    fn an_action_names_a_file_and_none_lists_them() {
        let id = MessageId([7; 16]).to_text();
        let read = |line: &[&str]| Cli::try_parse_from([&["beeline", "files"], line].concat());
        for action in ["pause", "resume", "cancel", "accept", "reject"] {
            assert!(read(&[action, &id]).is_ok(), "{action}");
            assert_eq!(read(&[action]).expect_err("no id").exit_code(), 2);
            assert_eq!(read(&[action, "x"]).expect_err("no id").exit_code(), 2);
        }
        assert!(read(&[]).is_ok() && read(&["explode", &id]).is_err());
    }
}
