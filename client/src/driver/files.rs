//! What handles ask for with files, as the core takes it.

use super::{Driver, DriverCommand, Waiting};
use client_core::files::io::FileCall;
use client_core::input::Command;

impl Driver {
    /// Takes a command about files; others are none of its business.
    pub(super) fn on_file_command(&mut self, command: DriverCommand) {
        let call = match command {
            DriverCommand::SendFile {
                to,
                file,
                source,
                idempotency_key,
                answer,
            } => {
                self.files.keep(file.source.clone(), *source);
                FileCall::Send {
                    command: self.await_outcome(Waiting::Send(answer)),
                    to,
                    file,
                    idempotency_key,
                }
            }
            DriverCommand::PauseFile { id, on, answer } => FileCall::Pause {
                command: self.await_outcome(Waiting::Done(answer)),
                id,
                on,
            },
            DriverCommand::CancelFile { id, answer } => FileCall::Cancel {
                command: self.await_outcome(Waiting::Done(answer)),
                id,
            },
            DriverCommand::DecideFile { id, accept, answer } => FileCall::Decide {
                command: self.await_outcome(Waiting::Done(answer)),
                id,
                accept,
            },
            _ => return,
        };
        self.command(Command::File(call));
    }
}
