//! Doing what the core says: one small translation per kind of output.

use super::{Driver, Waiting};
use crate::clock;
use crate::error::SendError;
use crate::handle::Sent;
use crate::report::{Fact, LinkStep};
use crate::rest::Gateways;
use crate::rtc;
use crate::socket::Credentials;
use crate::store::Write;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::id::NetworkFp;
use beeline_proto::pb::identity::v1::Versions;
use client_core::event::Event;
use client_core::files::io::FileCommand;
use client_core::input::{Candidate, CommandId, Input, LinkId, LinkPath, RtcEvent};
use client_core::input::{SignalInput, SocketId};
use client_core::output::{Output, RtcCommand, SignalCommand, SocketCommand, StoreTicket};
use client_core::state::StoreOp;

impl Driver {
    pub(super) fn execute(&mut self, output: Output) {
        match output {
            Output::Signal(command) => self.send_signal(command),
            Output::Socket { socket, command } => self.command_socket(socket, &command),
            Output::Rtc { link, command } => self.command_link(link, command),
            Output::Registry { request, call } => {
                if let Some(refused) = self.registry.ask(request, call) {
                    self.inputs.push_back(refused);
                }
            }
            Output::Store { ticket, ops } => self.write(ticket, ops),
            Output::File(command) => self.command_file(command),
            Output::Event(event) => self.on_event(event),
        }
    }

    fn send_signal(&mut self, command: SignalCommand) {
        if !self.sockets.send(command) {
            // The core repeats what is not answered, over this route or another.
            tracing::debug!("a signalling frame was dropped: no room, or no such socket");
        }
    }

    fn command_socket(&mut self, socket: SocketId, command: &SocketCommand) {
        match command {
            SocketCommand::Open { addr } => {
                if self.registry.is_offline() || !self.sockets.open(socket, addr) {
                    let down = SignalInput::Down(socket);
                    self.inputs.push_back(Input::Signal(down));
                }
            }
            SocketCommand::Close => self.sockets.close(socket),
            SocketCommand::Redial => self.sockets.redial(socket),
        }
    }

    fn command_file(&mut self, command: FileCommand) {
        let link = match &command {
            FileCommand::Send { link, .. } => self.links.peer(*link),
            _ => None,
        };
        if let Some(event) = self.files.command(command, link) {
            self.inputs.push_back(Input::File(event));
        }
    }

    fn command_link(&mut self, link: LinkId, command: RtcCommand) {
        if !self.links.has(link)
            && matches!(
                command,
                RtcCommand::Offer { .. } | RtcCommand::AcceptOffer { .. }
            )
        {
            let step = LinkStep::Created;
            self.tell(Fact::Link { link: link.0, step });
        }
        if let Some(event) = self.links.command(link, command) {
            self.inputs.push_back(Input::Rtc { link, event });
        }
    }

    fn write(&mut self, ticket: StoreTicket, ops: Vec<StoreOp>) {
        for op in &ops {
            if let StoreOp::PutOwnChain { chain, revocations } = op {
                self.use_chain(chain, revocations);
            }
        }
        let at_ms = clock::wall_ms();
        self.backlog.push_back(Write { ticket, ops, at_ms });
    }

    /// A newer chain of our own: sockets sign in with it, REST goes where it says.
    fn use_chain(&mut self, chain: &[u8], revocations: &[u8]) {
        let network = self.registry.network();
        let link = self.registry.link_gateways().to_vec();
        match credentials(network, &link, chain, revocations) {
            Ok((credentials, gateways)) => {
                if let Some(served) = &self.served {
                    served.update(&credentials, revocations);
                }
                self.credentials.send_if_modified(|held| {
                    let newer = *held != credentials;
                    held.clone_from(&credentials);
                    newer
                });
                self.registry.use_gateways(gateways);
            }
            Err(error) => tracing::warn!(%error, "the core stored a chain that does not verify"),
        }
    }

    fn on_event(&mut self, event: Event) {
        match &event {
            Event::Queued {
                command,
                id,
                repeated,
            } => {
                let (id, repeated) = (*id, *repeated);
                self.conclude(*command, Ok(Some(Sent { id, repeated })));
            }
            Event::Done { command } => self.conclude(*command, Ok(None)),
            Event::Refused {
                command,
                code,
                detail,
            } => {
                let (code, detail) = (*code, detail.clone());
                self.conclude(*command, Err(SendError::Refused { code, detail }));
            }
            Event::Online => self.snapshot.send_modify(|s| s.online = true),
            Event::Offline { .. } => self.snapshot.send_modify(|s| s.online = false),
            Event::RunningElsewhere { detail } => {
                let detail = Some(detail.clone());
                self.snapshot.send_modify(|s| s.running_elsewhere = detail);
            }
            _ => {}
        }
        self.tell(Fact::Core(event));
    }

    /// Tells whoever gave a command what came of it; they may have gone.
    fn conclude(&mut self, command: CommandId, outcome: Result<Option<Sent>, SendError>) {
        match (self.waiting.remove(&command), outcome) {
            (Some(Waiting::Send(answer)), Ok(Some(sent))) => {
                let _ = answer.send(Ok(sent));
            }
            (Some(Waiting::Send(answer)), Err(refused)) => {
                let _ = answer.send(Err(refused));
            }
            (Some(Waiting::Done(answer)), outcome) => {
                let _ = answer.send(outcome.map(|_| ()));
            }
            // A `Done` for a send, or nobody waits: nothing to tell.
            (Some(Waiting::Send(_)) | None, _) => {}
        }
    }

    /// Turns an event of a link into an input, and into a fact where people may care.
    pub(super) fn on_rtc(&mut self, id: rtc::LinkId, event: rtc::RtcEvent) {
        let link = LinkId(id.0);
        if !self.links.has(link) {
            return;
        }
        let (step, event) = self.translate(link, event);
        if let Some(step) = step {
            let link = link.0;
            self.tell(Fact::Link { link, step });
        }
        if let Some(event) = event {
            self.inputs.push_back(Input::Rtc { link, event });
        }
    }

    fn translate(
        &mut self,
        link: LinkId,
        event: rtc::RtcEvent,
    ) -> (Option<LinkStep>, Option<RtcEvent>) {
        match event {
            rtc::RtcEvent::LocalDescription { sdp } => {
                let event = RtcEvent::LocalDescription { sdp };
                (Some(LinkStep::Described), Some(event))
            }
            rtc::RtcEvent::Candidate(candidate) => {
                (None, Some(RtcEvent::Candidate(from_rtc(candidate))))
            }
            rtc::RtcEvent::EndOfCandidates => (None, Some(RtcEvent::EndOfCandidates)),
            rtc::RtcEvent::Path(path) => (None, Some(RtcEvent::Path(path_from_rtc(path)))),
            rtc::RtcEvent::Open {
                local_fingerprint,
                remote_fingerprint,
            } => {
                let event = RtcEvent::Open {
                    local_fingerprint,
                    remote_fingerprint,
                };
                (Some(LinkStep::Open), Some(event))
            }
            rtc::RtcEvent::Message(bytes) => (None, Some(RtcEvent::Message(bytes.into()))),
            rtc::RtcEvent::Writable => (None, Some(RtcEvent::Writable)),
            rtc::RtcEvent::Interrupted => (Some(LinkStep::Interrupted), Some(RtcEvent::Silent)),
            rtc::RtcEvent::Resumed => (Some(LinkStep::Resumed), None),
            rtc::RtcEvent::Closed { reason } => {
                self.links.forget(link);
                let reason = reason.to_string();
                let step = LinkStep::Closed {
                    reason: reason.clone(),
                };
                (Some(step), Some(RtcEvent::Closed { reason }))
            }
        }
    }
}

fn from_rtc(candidate: rtc::IceCandidate) -> Candidate {
    Candidate {
        candidate: candidate.candidate,
        sdp_mid: candidate.sdp_mid.unwrap_or_default(),
        sdp_m_line_index: candidate.sdp_m_line_index.unwrap_or_default().into(),
        username_fragment: candidate.username_fragment.unwrap_or_default(),
    }
}

fn path_from_rtc(path: rtc::LinkPath) -> LinkPath {
    match path {
        rtc::LinkPath::Direct => LinkPath::Direct,
        rtc::LinkPath::Relayed => LinkPath::Relayed,
        rtc::LinkPath::Ending => LinkPath::Ending,
    }
}

/// What a chain of our own means for sockets and REST.
pub(super) fn credentials(
    network: NetworkFp,
    link: &[String],
    chain: &[u8],
    revocations: &[u8],
) -> Result<(Credentials, Gateways), beeline_proto::chain::ChainError> {
    let verified = VerifiedChain::open(chain, network)?;
    let revocations_version = match revocations {
        [] => 0,
        bytes => {
            verified
                .descriptor
                .open_revocations(bytes)?
                .payload()
                .version
        }
    };
    let gateways = Gateways::of(link, &verified);
    let credentials = Credentials {
        gateways: gateways.dial.clone(),
        chain: chain.to_vec(),
        versions: Versions {
            descriptor: verified.descriptor.version(),
            revocations: revocations_version,
            device_list: verified.devices.version(),
        },
    };
    Ok((credentials, gateways))
}
