//! Why a command fails, and with which exit code.

use beeline_proto::code::ErrorCode;
use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done as asked.
    Done,
    /// An error, or a message refused or expired.
    Error,
    /// Wrong usage.
    Usage,
    /// The message is stored with other members, not delivered.
    Stored,
    /// The message is still queued here.
    Queued,
}

impl Exit {
    /// The number scripts see.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Stored => 3,
            Self::Queued => 4,
        }
    }

    /// The end a number stands for; an unknown one is an error.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Done,
            2 => Self::Usage,
            3 => Self::Stored,
            4 => Self::Queued,
            _ => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// A command's failure: one clear line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The shared error code, where one fits.
    pub(crate) code: Option<ErrorCode>,
    /// For people; empty where there is nobody left to tell, as when the output was closed.
    pub(crate) message: String,
}

impl Failure {
    /// An error with a text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            code: None,
            message: message.into(),
        }
    }

    /// An error of the shared vocabulary.
    pub(crate) fn coded(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            ..Self::new(message)
        }
    }

    /// A wrong use of the command line that clap cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(message)
        }
    }

    /// Whoever read our output is gone, or it cannot be written.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new("");
        }
        Self::new(format!("cannot write the output: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_as_documented_and_survive_the_socket() {
        let all = [
            Exit::Done,
            Exit::Error,
            Exit::Usage,
            Exit::Stored,
            Exit::Queued,
        ];
        assert_eq!(all.map(Exit::number), [0, 1, 2, 3, 4]);
        assert_eq!(all.map(|e| Exit::from_number(e.number().into())), all);
        assert_eq!(Exit::from_number(77), Exit::Error);
    }

    #[test]
    fn a_closed_pipe_is_nothing_to_talk_about() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&closed), Failure::new(""));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(Failure::output(&full).message.contains("cannot write"));
    }
}
