//! Every line `--json` prints, as one type: what scripts rely on, what the socket of a running
//! client carries, and what [`super::human`] turns into text. Absent fields are left out.

mod check;
mod keeper;
mod status;

use super::device_line::DeviceLine;
pub(crate) use super::file_line::{FileLine, FilesLine};
pub(crate) use super::past::{AboutPart, FilePart, HistoryLine, WhyLine};
pub(crate) use check::CheckLine;
pub(crate) use keeper::KeeperPart;
use serde::{Deserialize, Serialize};
pub(crate) use status::{CoordinatorPart, FilesPart, StatusLine};

/// One line of output. The tag is `"event"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Line {
    /// The servers take connections.
    Ready {
        /// Base of REST; with ws for http, of the signalling socket.
        url: String,
        /// Address of gRPC.
        grpc: String,
        /// The networkId.
        network: String,
        /// An invite link.
        invite: String,
        /// Where the coordinator inside serves the signalling socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        coordinator: Option<String>,
    },
    /// This home is a member now.
    Joined {
        /// The networkId.
        network: String,
        /// The userId.
        user: String,
        /// The deviceId.
        device: String,
    },
    /// The device can be reached.
    Online {
        /// The networkId.
        network: String,
        /// The userId.
        user: String,
        /// The deviceId.
        device: String,
        /// Where a coordinator serves the signalling socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal_addr: Option<String>,
    },
    /// The device cannot be reached.
    Offline {
        /// Why.
        reason: String,
    },
    /// A message of ours changed.
    State(StateLine),
    /// A message for us.
    Message(MessageLine),
    /// A file, ours or for us, is somewhere else than before.
    File(FileLine),
    /// What became of all that a `send-file` was to send.
    Files(FilesLine),
    /// A connection changed.
    Peer(PeerLine),
    /// A way to a device.
    Route(RouteLine),
    /// A message of the past.
    History(HistoryLine),
    /// Messages that are missing right before the next line; they show when they come.
    Gap {
        /// Their sender.
        user: String,
        /// How many.
        missing: u64,
    },
    /// A conversation was deleted here.
    Deleted {
        /// The other user.
        user: String,
        /// How many messages that were.
        messages: u64,
    },
    /// Whether a user is told that its messages were read.
    ReadReceipts {
        /// The user.
        user: String,
        /// Whether it is.
        on: bool,
    },
    /// One step of a message's life.
    Why(Box<WhyLine>),
    /// What two people compare.
    Verify(VerifyLine),
    /// Who and how.
    Status(Box<StatusLine>),
    /// One thing that `doctor` looked at.
    Check(CheckLine),
    /// A bearer token.
    Token {
        /// The JWT.
        token: String,
        /// When it ends, RFC 3339.
        expires_at: String,
    },
    /// A network was created.
    Network {
        /// Its networkId.
        network: String,
        /// Fingerprint of its authority key.
        fingerprint: String,
    },
    /// An invite was made.
    Invite {
        /// The link.
        invite: String,
        /// The role a joiner gets.
        role: String,
        /// How many may join with it.
        uses: u32,
        /// When it ends, RFC 3339.
        expires_at: String,
    },
    /// A member.
    Member(MemberLine),
    /// A membership ended.
    Revoked {
        /// The user.
        user: String,
    },
    /// A step of the demonstration.
    Step(StepLine),
    /// Something a person should know; nothing stopped.
    Warning {
        /// One of a small set, such as `"fingerprint-mismatch"`.
        kind: String,
        /// For people.
        detail: String,
    },
    /// Why a command failed.
    Error {
        /// The shared error code, where one fits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// For people: what to do.
        message: String,
    },
    /// Of the user's devices.
    #[serde(untagged)]
    Device(DeviceLine),
}

/// One state of a message of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateLine {
    /// The message.
    pub(crate) id: String,
    /// `queued`, `trying`, `relayed`, `stored`, `delivered`, `read`, `expired` or `rejected`.
    pub(crate) state: String,
    /// The recipient.
    pub(crate) to: String,
    /// The small file that travels in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The rung being tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<String>,
    /// Custodians that hold it, for `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    /// Custodians wanted, for `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) k: Option<u32>,
    /// `direct`, `relay` or `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Which rung found the recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found_by: Option<String>,
    /// Why, for `expired`, `rejected`, or a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The same for people, where `reason` is a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// Milliseconds since the message was queued.
    pub(crate) elapsed_ms: u64,
}

/// A message for us.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageLine {
    /// The message.
    pub(crate) id: String,
    /// The sending user.
    pub(crate) from: String,
    /// The sending device's fingerprint.
    pub(crate) from_device: String,
    /// The text.
    pub(crate) text: String,
    /// `direct`, `relay` or `stored`.
    pub(crate) path: String,
    /// By the sender's clock, RFC 3339.
    pub(crate) sent_at: String,
    /// It may have been printed before, by a process that was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
    /// Later ones of its sender were printed already: it fills a gap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) late: bool,
    /// It offers a file; lines `file` with the same id tell what becomes of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) offer: bool,
    /// The file it offers, and where that stood when this was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FilePart>,
}

/// A user, and the connection to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerLine {
    /// The user.
    pub(crate) user: String,
    /// One of the specification's states, such as `CONNECTED`.
    pub(crate) state: String,
    /// Why it changed, where it just did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Fingerprint of the pinned user key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    /// A person compared the safety number.
    #[serde(default)]
    pub(crate) verified: bool,
    /// Another key claims the name; sending is blocked.
    #[serde(default)]
    pub(crate) key_changed: bool,
    /// Connected peers that say they are linked to it.
    #[serde(default)]
    pub(crate) via: u64,
    /// Messages waiting for it.
    #[serde(default)]
    pub(crate) waiting: u64,
    /// Milliseconds until the next try, where one is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in_ms: Option<u64>,
    /// Open links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<LinkPart>,
}

/// An open link to one device of a peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkPart {
    /// The deviceId.
    pub(crate) device: String,
    /// Which rung found it; absent where it found us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found_by: Option<String>,
    /// Smoothed milliseconds from a message to its ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<u64>,
    /// Milliseconds since it opened.
    pub(crate) open_ms: u64,
}

/// A row of the route cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteLine {
    /// The user.
    pub(crate) user: String,
    /// The device's fingerprint.
    pub(crate) device: String,
    /// Where its signalling socket is reached.
    pub(crate) signal_addr: String,
    /// Which rung found it.
    pub(crate) found_by: String,
    /// When it was last heard of, RFC 3339.
    pub(crate) seen_at: String,
    /// When a link was last open, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connected_at: Option<String>,
    /// `fresh`, or `stale`: dialled only if there is no fresh one.
    #[serde(default)]
    pub(crate) freshness: String,
    /// It failed lately and is passed over for now.
    #[serde(default)]
    pub(crate) demoted: bool,
}

/// What two people compare.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyLine {
    /// The other user.
    pub(crate) user: String,
    /// 60 digits in groups of five.
    pub(crate) safety_number: String,
    /// A person said the digits are the same.
    pub(crate) verified: bool,
    /// The digits with the key that now claims the name; sending is blocked until it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_safety_number: Option<String>,
}

/// A member as administrators see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberLine {
    /// The user.
    pub(crate) user: String,
    /// `member`, `coordinator` or `admin`.
    pub(crate) role: String,
    /// What a revocation names.
    pub(crate) serial: u64,
    /// Whether the membership was ended.
    pub(crate) revoked: bool,
    /// deviceIds.
    pub(crate) devices: Vec<String>,
    /// When it joined, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) joined_at: Option<String>,
}

/// A step of the demonstration, as it happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepLine {
    /// The step's number in the specification; absent for what comes before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<u32>,
    /// Who did it.
    pub(crate) who: String,
    /// What happened.
    pub(crate) what: String,
    /// Milliseconds since Alice asked to send for the first time; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) elapsed_ms: Option<f64>,
}

impl Line {
    /// As one line of JSON, without the newline.
    pub(crate) fn to_json(&self) -> String {
        // Only a map with keys that are no strings could fail, and there is none.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_printed_as_scripts_expect() {
        let line = Line::State(StateLine {
            id: "x".into(),
            state: "delivered".into(),
            to: "carol".into(),
            path: Some("direct".into()),
            found_by: Some("registry".into()),
            elapsed_ms: 7,
            ..StateLine::default()
        });
        assert_eq!(
            line.to_json(),
            concat!(
                r#"{"event":"state","id":"x","state":"delivered","to":"carol","path":"direct","#,
                r#""foundBy":"registry","elapsedMs":7}"#
            )
        );
    }

    #[test]
    fn a_message_says_again_only_when_it_is() {
        let mut line = MessageLine {
            id: "x".into(),
            text: "a\nb".into(),
            ..MessageLine::default()
        };
        assert!(!Line::Message(line.clone()).to_json().contains("again"));
        line.again = true;
        let json = Line::Message(line).to_json();
        assert!(json.contains(r#""again":true"#) && json.contains(r#""text":"a\nb""#));
        assert!(json.starts_with(r#"{"event":"message","#));
    }

    #[test]
    fn every_kind_of_line_survives_the_socket() {
        let lines = [
            Line::Offline { reason: "r".into() },
            Line::Invite {
                invite: "i".into(),
                role: "member".into(),
                uses: 3,
                expires_at: "t".into(),
            },
            Line::Status(Box::default()),
            Line::Error {
                code: None,
                message: "m".into(),
            },
            Line::Step(StepLine {
                elapsed_ms: Some(1.5),
                ..StepLine::default()
            }),
        ];
        for line in lines {
            let json = line.to_json();
            assert_eq!(
                serde_json::from_str::<Line>(&json).expect("reads back"),
                line,
                "{json}"
            );
        }
    }
}
