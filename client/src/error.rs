//! What can go wrong, one small type per operation; every text says what to do.

use beeline_proto::code::ErrorCode;
use std::path::{Path, PathBuf};

/// A home directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot use {path}: {error}")]
    Io {
        /// What was used.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Group or others can get at secrets.
    #[error("{path} is open to others (mode {mode:o}); run: chmod {want:o} {path}")]
    TooOpen {
        /// Directory or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it must have.
        want: u32,
    },
    /// Another process owns the home.
    #[error("{home} is in use by process {pid} ({command}); stop it, or use another --home")]
    Busy {
        /// The home.
        home: PathBuf,
        /// The owner's process id.
        pid: u32,
        /// The owner's command.
        command: String,
    },
    /// Nobody has joined with this home.
    #[error("{0} holds no identity; run `beeline join LINK --user ID` first, or give --home")]
    NotJoined(PathBuf),
    /// Somebody has joined with this home.
    #[error("{home} already belongs to {user} in network {network}; give another --home to join")]
    AlreadyJoined {
        /// The home.
        home: PathBuf,
        /// Its userId.
        user: String,
        /// Its networkId.
        network: String,
    },
    /// The identity file is not what this program wrote.
    #[error("{path} is damaged ({why}); restore it from a backup, or join with another --home")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl HomeError {
    /// Wraps an I/O error with the path it is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    /// A damaged file.
    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        let (path, why) = (path.to_owned(), why.into());
        Self::Damaged { path, why }
    }
}

/// A store that cannot be opened or asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The linked SQLite has a known data-loss bug.
    #[error("SQLite {0} is too old; 3.51.3 or newer is needed")]
    Version(String),
    /// The file was written by a newer version of this program.
    #[error("the store has schema {found}, this program knows up to {known}; use a newer beeline")]
    Newer {
        /// In the file.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// A setting did not take.
    #[error("the store refused {0}; is it on a network file system?")]
    Setting(String),
    /// The check at start found damage.
    #[error("the store is damaged ({0}); restore the home from a backup")]
    Damaged(String),
    /// The database answered with an error.
    #[error("the store failed: {0}")]
    Database(String),
    /// The store thread ended after a failure it could not repair.
    #[error("the store has failed and was closed; see the log, then start again")]
    Failed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// Why a client does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An option cannot work.
    #[error("{0}")]
    Option(String),
    /// The identity does not verify.
    #[error("the identity in {home} does not verify: {why}")]
    Identity {
        /// The home.
        home: PathBuf,
        /// Why.
        why: String,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file given by `--ca` cannot be read.
    #[error("cannot read the certificates in {path}: {why}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The library refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Config(String),
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing was stored.
    #[error("{detail}")]
    Refused {
        /// The shared error code.
        code: ErrorCode,
        /// For people.
        detail: String,
    },
    /// The client is going away; nothing is known to be stored. Ask again with the same
    /// idempotency key.
    #[error("the client is shutting down; send again")]
    Stopped,
}

/// Why a file was not offered.
#[derive(Debug, thiserror::Error)]
pub enum FileSendError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] crate::files::FilesError),
    /// Its offer was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such message or contact.
    #[error("{0}")]
    NotFound(String),
    /// The command was refused.
    #[error("{detail}")]
    Refused {
        /// The shared error code.
        code: ErrorCode,
        /// For people.
        detail: String,
    },
    /// The client is going away.
    #[error("the client is shutting down")]
    Stopped,
}

/// Why a REST request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// The server answered no.
    #[error("{detail}")]
    Refused {
        /// The shared error code.
        code: ErrorCode,
        /// For people.
        detail: String,
        /// Seconds to wait, where the server said so.
        retry_after_s: Option<u32>,
    },
    /// No gateway could be reached.
    #[error("no gateway can be reached: {0}")]
    Unreachable(String),
    /// The server broke the protocol.
    #[error("{origin} answered something that is not Beeline's: {why}")]
    Protocol {
        /// Which server.
        origin: String,
        /// What was wrong.
        why: String,
    },
}

/// Why joining failed. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The link is not one.
    #[error(transparent)]
    Link(#[from] beeline_proto::invite::LinkError),
    /// A user or device name is not valid.
    #[error(transparent)]
    Label(#[from] beeline_proto::id::LabelError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The user id belongs to somebody else.
    #[error("the user id {0} is taken in this network; choose another with --user")]
    UserTaken(String),
    /// The gateway refused, or none was reached.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The answer does not verify against the link: the server is not the one invited to.
    #[error("the server's answer does not fit the invite link ({0}); ask for a new link")]
    NotTheInvitedNetwork(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
}
