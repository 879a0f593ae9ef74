//! Signalling frames to and from what the core knows. Pure.

use beeline_proto::code::ErrorCode;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use client_core::input::{SignalInput, SocketId};
use client_core::output::{SignalCommand, SignalKind};
use prost::Message as _;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// Devices remembered for having written text; beyond it all are forgotten, and answered in binary
/// until they write again.
const TEXT_PEERS_MAX: usize = 256;

/// What a received frame is.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    /// For the core.
    Input(SignalInput),
    /// For the core, with a parcel inside.
    Carried(SignalInput, SignalKind, usize),
    /// A newer socket took over; its proof.
    Superseded(Vec<u8>),
    /// The gateway goes away.
    GoAway(Duration),
    /// A HELLO.
    Hello(Box<SignalFrame>),
    /// Nothing anybody needs.
    Nothing,
    /// Not a frame.
    Malformed,
}

/// One socket's frames. Which devices write text; they are answered in text, everybody else in
/// binary.
#[derive(Debug)]
pub(super) struct Forms {
    socket: SocketId,
    text: BTreeSet<String>,
}

impl Forms {
    /// Of a socket nothing was heard on yet.
    pub(super) fn new(socket: SocketId) -> Self {
        let text = BTreeSet::new();
        Self { socket, text }
    }

    fn heard(&mut self, from: &str, text: bool) {
        if !text {
            self.text.remove(from);
        } else if !self.text.contains(from) {
            if self.text.len() >= TEXT_PEERS_MAX {
                self.text.clear();
            }
            self.text.insert(from.to_owned());
        }
    }

    /// The message that carries a parcel to a device, in the form that device last used.
    pub(super) fn encode(&self, from: &str, command: SignalCommand) -> Message {
        let kind = match command.kind {
            SignalKind::Offer => Type::Offer,
            SignalKind::Answer => Type::Answer,
            SignalKind::IceCandidate => Type::IceCandidate,
            SignalKind::RelayRequest => Type::RelayRequest,
        };
        let frame = SignalFrame {
            r#type: kind.into(),
            from: from.to_owned(),
            to: command.to.to_string(),
            parcel: command.parcel,
            ..SignalFrame::default()
        };
        let in_text = self.text.contains(command.to.as_str());
        match in_text.then(|| serde_json::to_string(&frame)) {
            Some(Ok(json)) => Message::text(json),
            _ => Message::binary(frame.encode_to_vec()),
        }
    }

    /// Reads a received message.
    pub(super) fn decode(&mut self, message: &Message) -> Received {
        let (frame, text) = match message {
            Message::Text(json) => (serde_json::from_str(json.as_str()).ok(), true),
            Message::Binary(bytes) => (SignalFrame::decode(bytes.as_ref()).ok(), false),
            _ => return Received::Nothing,
        };
        let Some(frame): Option<SignalFrame> = frame else {
            return Received::Malformed;
        };
        let kind = match frame.r#type() {
            Type::Offer => SignalKind::Offer,
            Type::Answer => SignalKind::Answer,
            Type::IceCandidate => SignalKind::IceCandidate,
            Type::RelayRequest => SignalKind::RelayRequest,
            Type::Error => return error(self.socket, frame),
            Type::Superseded => return Received::Superseded(frame.proof),
            Type::Goaway => {
                let wait = Duration::from_millis(frame.retry_after_ms.into());
                return Received::GoAway(wait);
            }
            Type::Hello => return Received::Hello(Box::new(frame)),
            Type::Unspecified => return Received::Malformed,
        };
        self.heard(&frame.from, text);
        let (socket, from) = (self.socket, frame.from);
        if frame.parcel.is_empty() {
            return Received::Input(SignalInput::Plain { socket, from });
        }
        let (parcel, bytes) = (frame.parcel.clone(), frame.parcel.len());
        let input = SignalInput::Parcel {
            socket,
            kind,
            from,
            parcel,
        };
        Received::Carried(input, kind, bytes)
    }
}

fn error(socket: SocketId, frame: SignalFrame) -> Received {
    let code = ErrorCode::from_name(&frame.code).unwrap_or(ErrorCode::Internal);
    let to = frame.to;
    Received::Input(SignalInput::Error { socket, code, to })
}

/// The signed lists a gateway's HELLO hands over, if any.
pub(super) fn lists(hello: SignalFrame) -> Option<SignalInput> {
    let (descriptor, revocations) = (hello.descriptor, hello.revocations);
    let any = !descriptor.is_empty() || !revocations.is_empty();
    any.then_some(SignalInput::Lists {
        descriptor,
        revocations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::Label;

    const SOCKET: SocketId = SocketId(3);

    fn command(to: &str) -> SignalCommand {
        SignalCommand {
            socket: SOCKET,
            kind: SignalKind::Offer,
            to: Label::new(to).expect("label"),
            parcel: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_frame_survives_both_forms_and_the_form_is_answered_in_kind() {
        let (mut alice, mut bob) = (Forms::new(SOCKET), Forms::new(SOCKET));
        let offer = alice.encode("alice", command("bob"));
        assert!(offer.is_binary());
        let want = SignalInput::Parcel {
            socket: SOCKET,
            kind: SignalKind::Offer,
            from: "alice".to_owned(),
            parcel: vec![1, 2, 3],
        };
        let carried = Received::Carried(want, SignalKind::Offer, 3);
        assert_eq!(bob.decode(&offer), carried);

        alice.heard("bob", true);
        let offer = alice.encode("alice", command("bob"));
        assert!(offer.is_text());
        assert_eq!(bob.decode(&offer), carried);
        assert!(bob.encode("bob", command("alice")).is_text());
        bob.heard("alice", false);
        assert!(bob.encode("bob", command("alice")).is_binary());
    }

    #[test]
    fn everything_else_is_told_apart() {
        let mut forms = Forms::new(SOCKET);
        let mut read = |json: &str| forms.decode(&Message::text(json));
        assert_eq!(
            read(r#"{"type":"OFFER","from":"a","to":"b","sdp":"v=0"}"#),
            Received::Input(SignalInput::Plain {
                socket: SOCKET,
                from: "a".to_owned()
            })
        );
        assert_eq!(
            read(r#"{"type":"ERROR","code":"PEER_OFFLINE","to":"b"}"#),
            Received::Input(SignalInput::Error {
                socket: SOCKET,
                code: ErrorCode::PeerOffline,
                to: "b".to_owned()
            })
        );
        assert_eq!(
            read(r#"{"type":"GOAWAY","retryAfterMs":1500}"#),
            Received::GoAway(Duration::from_millis(1500))
        );
        assert_eq!(
            read(r#"{"type":"SUPERSEDED","proof":"AQI="}"#),
            Received::Superseded(vec![1, 2])
        );
        assert!(matches!(read(r#"{"type":"HELLO"}"#), Received::Hello(_)));
        for bad in ["", "{", r#"{"type":"NONE"}"#, r#"{"from":"a"}"#] {
            assert_eq!(read(bad), Received::Malformed, "{bad}");
        }
        let cut = Message::binary(vec![0x0a]);
        assert_eq!(forms.decode(&cut), Received::Malformed);
    }

    #[test]
    fn the_memory_of_forms_is_bounded() {
        let mut forms = Forms::new(SOCKET);
        for n in 0..10 * TEXT_PEERS_MAX {
            forms.heard(&format!("peer{n}"), true);
            assert!(forms.text.len() <= TEXT_PEERS_MAX);
        }
    }
}
