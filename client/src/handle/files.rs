//! Files, for whoever holds a [`Client`].

use super::{Client, Sent};
use crate::driver::{DriverCommand, Picture};
use crate::error::{FileSendError, QueryError, SendError};
use crate::files::{FilesError, Source, Survey};
use beeline_proto::id::{Label, MessageId};
use beeline_proto::limits::FILE_FRAME_LEN_MAX;
use client_core::files::io::FileSource;
use client_core::files::now::FileNow;
use client_core::files::rows::{FileOutState, SmallFile};
use std::path::Path;
use tokio::sync::oneshot;

impl Client {
    /// Reads a file or folder once and offers it to a user. Returns once the offer is committed to
    /// the outbox, or refused; `Event::File` tells how it goes on. The file must stay where and
    /// what it is until it is through, unless it is a small one. `progress` is told how many bytes
    /// are read; `false` from it ends it.
    ///
    /// # Errors
    /// [`FileSendError`]; nothing was stored.
    pub async fn send_file(
        &self,
        to: &Label,
        path: &Path,
        idempotency_key: Option<&str>,
        mut progress: impl FnMut(u64) -> bool + Send + 'static,
    ) -> Result<Sent, FileSendError> {
        let path = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash(&path, &mut progress)).await;
        let (file, source) = hashed.map_err(|_| SendError::Stopped)??;
        let (answer, sent) = oneshot::channel();
        let command = DriverCommand::SendFile {
            to: to.clone(),
            file: Box::new(file),
            source: Box::new(source),
            idempotency_key: idempotency_key.map(str::to_owned),
            answer,
        };
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| SendError::Stopped)?;
        Ok(sent.await.map_err(|_| SendError::Stopped)??)
    }

    /// How far a file of ours is, and its size, bytes; `None` for one that is not.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn file_sent(
        &self,
        id: MessageId,
    ) -> Result<Option<(FileOutState, u64)>, QueryError> {
        self.ask(move |reader| reader.file_sent(id)).await
    }

    /// The files under way and waiting, ours and theirs, the oldest first.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn files(&self) -> Result<Vec<FileNow>, QueryError> {
        self.picture(Picture::Files).await
    }

    /// Holds a file back, ours or theirs, or lets it go on; the other side is told. It stays so
    /// when the process ends.
    ///
    /// # Errors
    /// [`QueryError::Refused`] where no such file is on its way; [`QueryError::Stopped`].
    pub async fn pause_file(&self, id: MessageId, on: bool) -> Result<(), QueryError> {
        let (answer, done) = oneshot::channel();
        let command = DriverCommand::PauseFile { id, on, answer };
        self.carry_out(command, done).await
    }

    /// Gives a file up, ours or theirs: the other side is told.
    ///
    /// # Errors
    /// [`QueryError::Refused`] where no such file is on its way; [`QueryError::Stopped`].
    pub async fn cancel_file(&self, id: MessageId) -> Result<(), QueryError> {
        let (answer, done) = oneshot::channel();
        let command = DriverCommand::CancelFile { id, answer };
        self.carry_out(command, done).await
    }

    /// Takes a file that is offered to us, whatever the policy says, or refuses it. Without a
    /// folder it comes once there is one.
    ///
    /// # Errors
    /// [`QueryError::Refused`] where no such file is on its way, or it is ours;
    /// [`QueryError::Stopped`].
    pub async fn decide_file(&self, id: MessageId, accept: bool) -> Result<(), QueryError> {
        let (answer, done) = oneshot::channel();
        let command = DriverCommand::DecideFile { id, accept, answer };
        self.carry_out(command, done).await
    }
}

/// Looks at what is at a path, and reads it once.
fn hash(
    path: &Path,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(FileSource, Source), FilesError> {
    let survey = Survey::of(path)?;
    let shape = survey.shape(FILE_FRAME_LEN_MAX)?;
    // The path goes through links now, as it did when it was read.
    let source = std::fs::canonicalize(path);
    let source = source.map_err(|error| FilesError::disk("open", path, error))?;
    let source = source.into_os_string().into_string();
    let source = source.map_err(|path| FilesError::NotAFile(path.into()))?;
    let (name, list_len) = (survey.name().to_owned(), survey.list_len());
    let files = if list_len > 0 { survey.files() } else { 0 };
    let mut hashed = survey.hash(shape, progress)?;
    let file = FileSource {
        source,
        name,
        size: shape.len(),
        root: hashed.root().0,
        chunk_size: shape.chunk_len(),
        list_len,
        files: u32::try_from(files).unwrap_or(u32::MAX),
        content: hashed.small()?.map(SmallFile::new),
    };
    Ok((file, hashed))
}
