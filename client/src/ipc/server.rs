//! Serves the home's socket while this process owns the home.

use super::status::to_status;
use super::{CALLS_MAX, LINES_QUEUE, MESSAGE_MAX, SocketPath};
use crate::cli::answer::{self, Question};
use crate::cli::deliver::{Order, Sink, awaited, deliver};
use crate::cli::doctor;
use crate::cli::events::line_of_event;
use crate::cli::fail::Failure;
use crate::cli::line::Line;
use crate::cli::send_file::{FileOrder, FileSink, deliver_files};
use beeline::Client;
use beeline::home::Home;
use beeline::report::{ClientEvent, Who};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use beeline_proto::pb::client::v1 as pb;
use pb::client_service_server::{ClientService, ClientServiceServer};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

/// Longest a call may make another wait for its end once the owner goes down.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The socket, served. End it with [`Server::stop`].
pub(crate) struct Server {
    stop: CancellationToken,
    tasks: TaskTracker,
    path: PathBuf,
}

impl Server {
    /// Takes the socket's place: whatever file is there is a dead owner's, for `client` holds the
    /// home's lock.
    pub(crate) fn start(client: &Client, home: &Home) -> Result<Self, Failure> {
        let path = home.socket();
        let problem = |error| Failure::new(format!("cannot serve {}: {error}", path.display()));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(problem(error));
            }
            _ => {}
        }
        let at = SocketPath::of(home).map_err(problem)?;
        let listener = UnixListener::bind(&at.path).map_err(problem)?;
        // Nobody else can enter the directory, so there is no moment in which it is open.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(problem)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let service = Service {
            client: client.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        };
        tasks.spawn(serve(listener, service, stop.clone()));
        Ok(Self { stop, tasks, path })
    }

    /// Ends every call, and gives the socket's place back.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // First, so that nobody who comes now finds a socket that does not answer.
        let _ = std::fs::remove_file(&self.path);
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("a call on the socket did not end in time");
        }
    }
}

async fn serve(listener: UnixListener, service: Service, stop: CancellationToken) {
    let incoming = futures::stream::poll_fn(move |context| {
        let accepted = listener.poll_accept(context);
        accepted.map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    });
    let service = ClientServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let served = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the socket is not served any more");
    }
}

/// The calls.
struct Service {
    client: Client,
    stop: CancellationToken,
    tasks: TaskTracker,
    calls: Arc<Semaphore>,
}

/// What a stream of answers is to tonic.
type Answers<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// The answers as they come out of a channel.
fn answers<T: Send + 'static>(receiver: mpsc::Receiver<Result<T, Status>>) -> Answers<T> {
    let next = |mut receiver: mpsc::Receiver<_>| async {
        let answer = receiver.recv().await?;
        Some((answer, receiver))
    };
    Box::pin(futures::stream::unfold(receiver, next))
}

fn leaving() -> Status {
    let failure = Failure::coded(
        ErrorCode::Unavailable,
        "beeline is shutting down; ask again",
    );
    to_status(&failure)
}

impl Service {
    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = Arc::clone(&self.calls).try_acquire_owned();
        permit.map_err(|_| {
            let text = format!("{CALLS_MAX} calls are under way: wait for one to end");
            to_status(&Failure::coded(ErrorCode::RateLimited, text))
        })
    }
}

fn order(request: pb::SendRequest) -> Result<Order, Failure> {
    let invalid = |text: String| Failure::coded(ErrorCode::InvalidArgument, text);
    let to = Label::new(&request.user_id).map_err(|error| invalid(error.to_string()))?;
    let wait = awaited(&request.wait)
        .ok_or_else(|| invalid(format!("{:?} is no state to wait for", request.wait)))?;
    Ok(Order {
        to,
        text: request.text,
        wait,
        timeout: Duration::from_millis(request.timeout_ms.into()),
        idempotency_key: request.idempotency_key,
    })
}

fn file_order(request: pb::SendFileRequest) -> Result<FileOrder, Failure> {
    let invalid = |text: String| Failure::coded(ErrorCode::InvalidArgument, text);
    let order = FileOrder {
        to: Label::new(&request.user_id).map_err(|error| invalid(error.to_string()))?,
        paths: request.paths.into_iter().map(PathBuf::from).collect(),
        timeout: Duration::from_millis(request.timeout_ms.into()),
        idempotency_key: request.idempotency_key,
    };
    order.check()?;
    Ok(order)
}

#[tonic::async_trait]
impl ClientService for Service {
    type SendStream = Answers<pb::SendResponse>;
    type SendFileStream = Answers<pb::SendFileResponse>;
    type WatchStream = Answers<pb::WatchResponse>;

    async fn send(
        &self,
        request: Request<pb::SendRequest>,
    ) -> Result<Response<Self::SendStream>, Status> {
        let permit = self.permit()?;
        let order = order(request.into_inner()).map_err(|failure| to_status(&failure))?;
        let (sender, receiver) = mpsc::channel(LINES_QUEUE);
        let (client, stop) = (self.client.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let sink = Sink::Socket(sender.clone());
            let last = tokio::select! {
                () = sender.closed() => return,
                () = stop.cancelled() => Err(leaving()),
                exit = deliver(&client, &order, &sink) => match exit {
                    Ok(exit) => Ok(pb::SendResponse {
                        last: true,
                        exit_code: exit.number().into(),
                        ..pb::SendResponse::default()
                    }),
                    Err(failure) => Err(to_status(&failure)),
                },
            };
            // A caller that left does not want to know.
            let _ = sender.send(last).await;
        });
        Ok(Response::new(answers(receiver)))
    }

    async fn send_file(
        &self,
        request: Request<pb::SendFileRequest>,
    ) -> Result<Response<Self::SendFileStream>, Status> {
        let permit = self.permit()?;
        let order = file_order(request.into_inner()).map_err(|failure| to_status(&failure))?;
        let (sender, receiver) = mpsc::channel(LINES_QUEUE);
        let (client, stop) = (self.client.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let mut sink = FileSink::Socket(&sender);
            let last = tokio::select! {
                () = sender.closed() => return,
                () = stop.cancelled() => Err(leaving()),
                exit = deliver_files(&client, &order, &mut sink) => match exit {
                    Ok(exit) => Ok(pb::SendFileResponse {
                        last: true,
                        exit_code: exit.number().into(),
                        ..pb::SendFileResponse::default()
                    }),
                    Err(failure) => Err(to_status(&failure)),
                },
            };
            // A caller that left does not want to know.
            let _ = sender.send(last).await;
        });
        Ok(Response::new(answers(receiver)))
    }

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let permit = self.permit()?;
        let wanted = request.into_inner().events;
        let (sender, receiver) = mpsc::channel(LINES_QUEUE);
        let (who, stop) = (self.client.who().clone(), self.stop.clone());
        // Before the answer: whoever has it misses nothing.
        let events = self.client.subscribe();
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = sender.closed() => {}
                () = stop.cancelled() => drop(sender.send(Err(leaving())).await),
                () = watch(events, &who, &wanted, &sender) => {}
            }
        });
        Ok(Response::new(answers(receiver)))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let status = answer::status(&self.client).await;
        let line = status.map_err(|failure| to_status(&failure))?;
        let json = line.to_json();
        Ok(Response::new(pb::StatusResponse { json }))
    }

    async fn query(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> Result<Response<pb::QueryResponse>, Status> {
        let request = request.into_inner();
        if request.question == doctor::QUESTION {
            let _permit = self.permit()?;
            let lines = doctor::of_running(&self.client).await;
            let lines = lines.map_err(|failure| to_status(&failure))?;
            return Ok(Response::new(said(&lines)));
        }
        let question = Question::from_wire(&request.question, &request.subject, request.accept);
        let question = question.map_err(|failure| to_status(&failure))?;
        let lines = answer::answer(&self.client, &question).await;
        let lines = lines.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(said(&lines)))
    }
}

fn said(lines: &[Line]) -> pb::QueryResponse {
    pb::QueryResponse {
        json: lines.iter().map(Line::to_json).collect(),
        ..pb::QueryResponse::default()
    }
}

async fn watch(
    mut events: Receiver<ClientEvent>,
    who: &Who,
    wanted: &[String],
    sender: &mpsc::Sender<Result<pb::WatchResponse, Status>>,
) {
    loop {
        let line = match events.recv().await {
            Ok(event) => line_of_event(&event, who),
            Err(RecvError::Lagged(missed)) => Some(Line::Warning {
                kind: "missed".to_owned(),
                detail: format!("{missed} events came faster than they were read"),
            }),
            Err(RecvError::Closed) => return,
        };
        let Some(line) = line.filter(|line| line.is_wanted(wanted)) else {
            continue;
        };
        let json = line.to_json();
        if sender.send(Ok(pb::WatchResponse { json })).await.is_err() {
            return;
        }
    }
}
