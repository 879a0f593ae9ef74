//! Calls the owner of a home through its socket.

use super::status::from_status;
use super::{MESSAGE_MAX, SocketPath};
use crate::cli::answer::Question;
use crate::cli::deliver::Order;
use crate::cli::doctor;
use crate::cli::fail::{Exit, Failure};
use crate::cli::file_view::View;
use crate::cli::line::Line;
use crate::cli::print::{Printer, read};
use crate::cli::send_file::FileOrder;
use crate::cli::tries::Tries;
use beeline::home::Home;
use beeline_proto::pb::client::v1 as pb;
use pb::client_service_client::ClientServiceClient;
use std::path::PathBuf;
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Until a socket on this machine answers; a process that stands still does not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A question's answer: the store is asked, nobody is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An examination: every step of it has its own bound.
const DOCTOR_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to the owner.
pub(crate) struct Caller {
    service: ClientServiceClient<Channel>,
    /// Keeps the way to the socket open.
    _path: SocketPath,
}

/// Why a call has no answer.
pub(crate) enum CallError {
    /// The owner said no.
    Failed(Failure),
    /// The owner is gone: the home may be free now.
    Gone,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        from_status(&status).map_or(Self::Gone, Self::Failed)
    }
}

impl Caller {
    /// Connects; `None` where nobody answers.
    pub(crate) async fn connect(home: &Home) -> Option<Self> {
        let path = SocketPath::of(home).ok()?;
        // The library takes no other form than a UTF-8 URI.
        let uri = format!("unix://{}", path.path.to_str()?);
        let endpoint = Endpoint::from_shared(uri).ok()?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .connect()
            .await
            .ok()?;
        let service = ClientServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        Some(Self {
            service,
            _path: path,
        })
    }

    /// Sends through the owner, printing what it tells. `resumed` leaves out the line `queued`,
    /// printed before by a call that broke.
    pub(crate) async fn send(
        &mut self,
        order: &Order,
        printer: Printer,
        resumed: bool,
    ) -> Result<Exit, CallError> {
        let request = pb::SendRequest {
            user_id: order.to.to_string(),
            text: order.text.clone(),
            wait: order.wait.name().to_owned(),
            timeout_ms: u32::try_from(order.timeout.as_millis()).unwrap_or(u32::MAX),
            idempotency_key: order.idempotency_key.clone(),
        };
        let mut answers = self.service.send(request).await?.into_inner();
        let (mut first, mut tries) = (true, Tries::default());
        while let Some(answer) = answers.message().await? {
            if answer.last {
                return Ok(Exit::from_number(answer.exit_code));
            }
            if !(first && resumed) {
                printer.news_json(answer.json, &mut tries).await?;
            }
            first = false;
        }
        Err(CallError::Gone)
    }

    /// Sends files through the owner, showing what it tells.
    pub(crate) async fn send_file(
        &mut self,
        order: &FileOrder,
        view: &mut View,
    ) -> Result<Exit, CallError> {
        let path = |path: &PathBuf| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Failure::new(format!("{} is not UTF-8", path.display())))
        };
        let paths: Result<Vec<String>, Failure> = order.paths.iter().map(path).collect();
        let request = pb::SendFileRequest {
            user_id: order.to.to_string(),
            paths: paths?,
            timeout_ms: u32::try_from(order.timeout.as_millis()).unwrap_or(u32::MAX),
            idempotency_key: order.idempotency_key.clone(),
        };
        let mut answers = self.service.send_file(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if answer.last {
                return Ok(Exit::from_number(answer.exit_code));
            }
            view.show(read(&answer.json)?).await?;
        }
        Err(CallError::Gone)
    }

    /// The owner's status.
    pub(crate) async fn status(&mut self) -> Result<Vec<String>, CallError> {
        let mut request = tonic::Request::new(pb::StatusRequest {});
        request.set_timeout(ANSWER_TIMEOUT);
        let answer = self.service.status(request).await?.into_inner();
        Ok(vec![answer.json])
    }

    /// What the owner finds when it examines its connections.
    pub(crate) async fn doctor(&mut self) -> Result<Vec<String>, CallError> {
        let mut request = tonic::Request::new(pb::QueryRequest {
            question: doctor::QUESTION.to_owned(),
            ..pb::QueryRequest::default()
        });
        request.set_timeout(DOCTOR_TIMEOUT);
        Ok(self.service.query(request).await?.into_inner().json)
    }

    /// The owner's answer to a question, one JSON object a line.
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<Vec<String>, CallError> {
        let (name, subject, accept) = question.to_wire();
        let mut request = tonic::Request::new(pb::QueryRequest {
            question: name.to_owned(),
            subject,
            accept,
        });
        request.set_timeout(ANSWER_TIMEOUT);
        let answer = self.service.query(request).await?.into_inner();
        if answer.exit_code != 0 {
            let exit = Exit::from_number(answer.exit_code);
            let failure = Failure::new(answer.error);
            return Err(CallError::Failed(Failure { exit, ..failure }));
        }
        Ok(answer.json)
    }
}

impl Line {
    /// Whether a watcher that named these events wants this line; naming none means all.
    pub(crate) fn is_wanted(&self, events: &[String]) -> bool {
        events.is_empty() || {
            let json = serde_json::to_value(self).unwrap_or_default();
            events.iter().any(|event| json["event"] == **event)
        }
    }
}
