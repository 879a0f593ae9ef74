//! The driver: one task that owns the peer manager, tells it what happens and when, and does what
//! it says. It translates and waits; it decides nothing.
//!
//! ```text
//!   handles ─┐                              ┌─ store thread
//!   socket ──┤   Input ─▶ PeerManager ─▶    ├─ WebRTC links
//!   links ───┤            Output            ├─ signalling socket
//!   REST ────┤                              ├─ REST requests
//!   timer ───┘                              └─ events to subscribers
//! ```

mod files;
mod links;
mod outputs;
mod registry;
mod start;

pub(crate) use start::start;

use crate::clock;
use crate::coordinator::Served;
use crate::crash;
use crate::error::{SendError, StoreError};
use crate::files::{FileWork, Source};
use crate::handle::Sent;
use crate::limits::{
    COMMANDS_PENDING_MAX, COMMANDS_PER_TURN, DRAIN_TIMEOUT, GROUP_COMMIT_MAX, STORE_BACKLOG_MAX,
};
use crate::network::Network;
use crate::report::{ClientEvent, Fact, Snapshot};
use crate::rtc;
use crate::socket::{Credentials, SocketEvent, Sockets};
use crate::store::{Answer, NotTaken, Store, Write};
use beeline_proto::id::{Label, MessageId, UserFp};
use client_core::files::io::FileSource;
use client_core::files::now::FileNow;
use client_core::input::{Command, CommandId, SignalInput, SocketId, StoreFailure};
use client_core::status::{PeerInfo, RouteInfo, Status};
use client_core::{Input, PeerManager};
use links::Links;
use registry::Registry;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Sleep;

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum DriverCommand {
    Send {
        to: Label,
        text: String,
        idempotency_key: Option<String>,
        answer: oneshot::Sender<Result<Sent, SendError>>,
    },
    AcceptKey {
        user: Label,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    PutDeviceList {
        device_list: Vec<u8>,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    SendFile {
        to: Label,
        file: Box<FileSource>,
        source: Box<Source>,
        idempotency_key: Option<String>,
        answer: oneshot::Sender<Result<Sent, SendError>>,
    },
    PauseFile {
        id: MessageId,
        on: bool,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    CancelFile {
        id: MessageId,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    DecideFile {
        id: MessageId,
        accept: bool,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    MarkRead(Vec<(UserFp, MessageId)>),
    SetReadReceipts {
        user: Label,
        on: bool,
        answer: oneshot::Sender<Result<(), SendError>>,
    },
    Connect(Label),
    Picture(Picture),
    Drain {
        answer: oneshot::Sender<()>,
    },
}

/// A picture of the peer manager, for whoever asked.
#[derive(Debug)]
pub(crate) enum Picture {
    Status(oneshot::Sender<Status>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Routes(oneshot::Sender<Vec<RouteInfo>>),
    Reports(oneshot::Sender<Reports>),
    Files(oneshot::Sender<Vec<FileNow>>),
}

/// What each link will say of itself; one that is gone says nothing.
pub(crate) type Reports = Vec<(
    client_core::input::LinkId,
    oneshot::Receiver<rtc::LinkReport>,
)>;

/// A call whose outcome is waited for.
enum Waiting {
    Send(oneshot::Sender<Result<Sent, SendError>>),
    Done(oneshot::Sender<Result<(), SendError>>),
}

pub(crate) struct Driver {
    manager: PeerManager,
    /// Inputs that outputs caused, for after the drain.
    inputs: VecDeque<Input>,
    commands: mpsc::Receiver<DriverCommand>,
    waiting: BTreeMap<CommandId, Waiting>,
    next_command: u64,
    events: broadcast::Sender<ClientEvent>,
    snapshot: watch::Sender<Snapshot>,
    store: Store,
    answers: mpsc::Receiver<Answer>,
    /// Writes the store's queue has no room for yet, in order.
    backlog: VecDeque<Write>,
    /// Writes handed over and not answered.
    under_way: usize,
    links: Links,
    files: FileWork,
    rtc_events: mpsc::Receiver<(rtc::LinkId, rtc::RtcEvent)>,
    sockets: Sockets,
    credentials: watch::Sender<Credentials>,
    /// The signalling server of a coordinator.
    served: Option<Served>,
    registry: Registry,
    network: Network,
    /// Set when draining: who waits for it, and until when.
    draining: Option<(oneshot::Sender<()>, Instant)>,
}

impl Driver {
    /// Runs until drained, or until nobody holds a handle any more.
    pub(crate) async fn run(mut self) {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        self.pump();
        loop {
            if self.is_drained() {
                break;
            }
            self.arm(timer.as_mut());
            if !self.wait(timer.as_mut()).await {
                break;
            }
            self.pump();
        }
        if let Some((answer, _)) = self.draining.take() {
            // The caller may have given up waiting.
            let _ = answer.send(());
        }
        self.served = None;
        // The links close with their handles.
        self.sockets.end().await;
    }

    /// Waits for one thing to happen and turns it into inputs. `false` when the last handle went.
    async fn wait(&mut self, timer: Pin<&mut Sleep>) -> bool {
        // While the store cannot keep up nothing new is taken: what is taken may have to be stored.
        let room = self.backlog.len() < STORE_BACKLOG_MAX;
        let more = room && self.waiting.len() < COMMANDS_PENDING_MAX;
        tokio::select! {
            Some(answer) = self.answers.recv() => self.on_answer(answer),
            Some((link, event)) = self.rtc_events.recv(), if room => self.on_rtc(link, event),
            event = self.files.next(), if room => self.inputs.push_back(Input::File(event)),
            (socket, event) = self.sockets.next(), if room => self.on_socket(socket, event),
            Some(finished) = self.registry.next() => self.on_registry(finished),
            command = self.commands.recv(), if more => match command {
                Some(command) => self.on_commands(command),
                None => return false,
            },
            () = timer => self.inputs.push_back(Input::Timeout),
            () = self.links.closed() => {}
            () = self.network.changed() => self.on_network_changed(),
        }
        true
    }

    /// Feeds the inputs and does what the core wants, until neither is left.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.manager.poll_output() {
                let act = crash::act(&output);
                crash::at_with("before", act);
                self.execute(output);
                crash::at_with("after", act);
            }
            for (link, event) in self.links.take_refused() {
                self.inputs.push_front(Input::Rtc { link, event });
            }
            if self.inputs.is_empty() {
                // All writes of this turn at once, so that they share a commit.
                self.hand_over();
            }
            let Some(input) = self.inputs.pop_front() else {
                break;
            };
            self.manager.handle_input(clock::now(), input);
        }
    }

    /// Hands writes to the store while it has room. A store that has ended refuses them.
    fn hand_over(&mut self) {
        while !self.backlog.is_empty() {
            let count = self.backlog.len().min(GROUP_COMMIT_MAX);
            let writes = self.backlog.drain(..count).collect();
            match self.store.try_write(writes) {
                Ok(()) => self.under_way += count,
                Err(NotTaken::Later(writes)) => {
                    let later = std::mem::take(&mut self.backlog);
                    self.backlog = writes.into_iter().chain(later).collect();
                    return;
                }
                Err(NotTaken::Ended(tickets)) => {
                    let failure = StoreFailure {
                        transient: false,
                        detail: StoreError::Failed.to_string(),
                    };
                    self.inputs.extend(tickets.into_iter().map(|ticket| {
                        let result = Err(failure.clone());
                        Input::Store { ticket, result }
                    }));
                }
            }
        }
    }

    fn arm(&self, timer: Pin<&mut Sleep>) {
        let wanted = self.manager.poll_timeout().map(clock::at);
        let drained = self.draining.as_ref().map(|(_, until)| *until);
        let at = [wanted, drained].into_iter().flatten().min();
        // Nothing pending: a distant moment, and the loop comes round once a day.
        let at = at.unwrap_or_else(|| clock::instant() + Duration::from_secs(24 * 3600));
        timer.reset(at.into());
    }

    fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Done { ticket, result } => {
                // The writes of one commit are answered together.
                let mut writes = vec![(ticket, result)];
                let mut failed = None;
                while let Ok(answer) = self.answers.try_recv() {
                    match answer {
                        Answer::Done { ticket, result } => writes.push((ticket, result)),
                        answer @ Answer::Failed(_) => {
                            failed = Some(answer);
                            break;
                        }
                    }
                }
                self.under_way = self.under_way.saturating_sub(writes.len());
                self.inputs.push_back(Input::Stored(writes));
                if let Some(failed) = failed {
                    self.on_answer(failed);
                }
            }
            Answer::Failed(failed) => {
                if let Some(detail) = failed.clone() {
                    self.tell(Fact::StoreFailed { detail });
                }
                self.snapshot.send_modify(|s| s.store_failed = failed);
            }
        }
    }

    fn on_socket(&mut self, socket: SocketId, event: SocketEvent) {
        match event {
            SocketEvent::Up { gateway } => {
                self.tell(Fact::SocketUp {
                    gateway: gateway.clone(),
                });
                self.note_socket(socket, Some(gateway));
                self.signal(SignalInput::Up(socket));
            }
            SocketEvent::Down { gateway, reason } => {
                self.tell(Fact::SocketDown { gateway, reason });
                self.note_socket(socket, None);
                self.signal(SignalInput::Down(socket));
            }
            SocketEvent::Signal(input) => self.signal(input),
            SocketEvent::Carried {
                sent,
                kind,
                peer,
                bytes,
            } => self.tell(Fact::Signal {
                sent,
                kind,
                peer,
                bytes,
            }),
            SocketEvent::Superseded { proof, dial_again } => {
                self.signal(SignalInput::Superseded { socket, proof });
                self.pump();
                let elsewhere = self.snapshot.borrow().running_elsewhere.is_some();
                // A socket task that is gone needs no answer.
                let _ = dial_again.send(!elsewhere);
            }
        }
    }

    /// Shows where the gateway's socket is open.
    fn note_socket(&self, socket: SocketId, gateway: Option<String>) {
        if socket == SocketId::GATEWAY {
            self.snapshot.send_modify(|s| s.socket = gateway);
        }
    }

    fn signal(&mut self, input: SignalInput) {
        self.inputs.push_back(Input::Signal(input));
    }

    /// Takes a command and what waits behind it, up to a bound.
    fn on_commands(&mut self, first: DriverCommand) {
        self.on_command(first);
        for _ in 1..COMMANDS_PER_TURN {
            let Ok(next) = self.commands.try_recv() else {
                return;
            };
            self.on_command(next);
        }
    }

    fn on_command(&mut self, command: DriverCommand) {
        match command {
            DriverCommand::Send {
                to,
                text,
                idempotency_key,
                answer,
            } => {
                let command = self.await_outcome(Waiting::Send(answer));
                self.command(Command::Send {
                    command,
                    to,
                    text,
                    idempotency_key,
                });
            }
            DriverCommand::AcceptKey { user, answer } => {
                let command = self.await_outcome(Waiting::Done(answer));
                self.command(Command::AcceptKey { command, user });
            }
            DriverCommand::SetReadReceipts { user, on, answer } => {
                let command = self.await_outcome(Waiting::Done(answer));
                self.command(Command::SetReadReceipts { command, user, on });
            }
            DriverCommand::PutDeviceList {
                device_list,
                answer,
            } => {
                let command = self.await_outcome(Waiting::Done(answer));
                self.command(Command::PutDeviceList {
                    command,
                    device_list,
                });
            }
            DriverCommand::SendFile { .. }
            | DriverCommand::PauseFile { .. }
            | DriverCommand::CancelFile { .. }
            | DriverCommand::DecideFile { .. } => self.on_file_command(command),
            DriverCommand::MarkRead(messages) => self.command(Command::MarkRead { messages }),
            DriverCommand::Connect(to) => self.command(Command::Connect { to }),
            DriverCommand::Picture(picture) => self.draw(picture),
            DriverCommand::Drain { answer } => {
                let until = clock::instant() + DRAIN_TIMEOUT / 2;
                if self.draining.is_none() {
                    self.draining = Some((answer, until));
                    self.inputs.push_back(Input::Drain);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.inputs.push_back(Input::Command(command));
    }

    fn await_outcome(&mut self, waiting: Waiting) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.waiting.insert(id, waiting);
        id
    }

    /// Answers with a picture; whoever asked may have gone.
    fn draw(&self, picture: Picture) {
        let now = clock::now();
        let _ = match picture {
            Picture::Status(to) => to.send(self.manager.status(now)).is_ok(),
            Picture::Peers(to) => to.send(self.manager.peers(now)).is_ok(),
            Picture::Routes(to) => to.send(self.manager.routes(now)).is_ok(),
            Picture::Reports(to) => to.send(self.links.reports()).is_ok(),
            Picture::Files(to) => to.send(self.manager.files()).is_ok(),
        };
    }

    fn on_network_changed(&mut self) {
        tracing::info!("the network changed");
        self.registry.leave_connections();
        self.links.forget_network();
        self.inputs.push_back(Input::NetworkChanged);
    }

    /// Whether a drain has nothing left to wait for, or no time.
    fn is_drained(&self) -> bool {
        let Some((_, until)) = &self.draining else {
            return false;
        };
        let idle = self.under_way == 0 && self.backlog.is_empty() && self.links.is_idle();
        idle || clock::instant() >= *until
    }

    /// Tells every subscriber; without one nobody hears it.
    fn tell(&self, fact: Fact) {
        let at = clock::instant();
        let _ = self.events.send(ClientEvent { at, fact });
    }
}
