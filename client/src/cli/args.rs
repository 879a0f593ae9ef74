//! The command line as clap reads it. Scripts rely on every name here: add, never rename.

use super::file_args::FilesArgs;
pub(crate) use super::file_args::{FileAction, FileArgs, FileId, SendFileArgs};
use super::units;
use beeline::CoordinatorOptions;
use beeline_proto::id::Label;
use clap::{Args, Parser, Subcommand, ValueEnum};
use client_core::Keep;
use client_core::limits::{LINKS_MAX, RELAY_FILES_PER_S_MAX};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Try it, everything in one process on this machine:
  beeline demo

A network of your own, three terminals:
  beeline serve                                     prints an invite link
  beeline --home carol join LINK --user carol
  beeline --home carol listen
  beeline --home alice join LINK --user alice
  beeline --home alice send carol 'Hello Carol!'

Exit codes: 0 done as asked, 1 error, 2 usage, 3 stored but not delivered, 4 still queued.
Logs go to stderr: RUST_LOG=info beeline listen";

/// Peer-to-peer messaging that asks the people you already know before it asks a server.
#[derive(Debug, Parser)]
#[command(name = "beeline", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where this device keeps its keys and messages [default: $XDG_DATA_HOME/beeline]
    #[arg(
        long,
        value_name = "DIR",
        env = "BEELINE_HOME",
        global = true,
        display_order = 901
    )]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON object a line, each with "event"
    #[arg(long, global = true, display_order = 902)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ice: super::ice_args::IceArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the specification's story happen: servers, Alice and Carol in one process
    #[cfg(feature = "serve")]
    Demo,
    /// Run a network's servers: registry and signal gateway, on SQLite unless told otherwise
    #[cfg(feature = "serve")]
    Serve(Box<super::serve_args::ServeArgs>),
    /// Make keys and become a member of a network
    Join(JoinArgs),
    /// Send a text and say truthfully where it is
    Send(SendArgs),
    /// Send files and folders, fast and verified; what is interrupted goes on where it was
    SendFile(SendFileArgs),
    /// List the files under way and waiting; hold back, give up, take or refuse one
    Files(FileArgs),
    /// Stay online and print messages as they come
    Listen(ListenArgs),
    /// Stay online without a terminal
    Run(RunArgs),
    /// Show who this device is and how it is connected
    Status,
    /// List known users and the state of the connection to each
    Peers,
    /// List cached ways to devices
    Routes,
    /// List messages to and from a user, oldest first
    History(HistoryArgs),
    /// Tell a user, or do not tell any more, that you have read its messages
    ReadReceipts(ReadReceiptsArgs),
    /// Show what happened to one message, step by step
    Why(WhyArgs),
    /// Show the safety number shared with a user, or accept a changed key
    Verify(VerifyArgs),
    /// Examine how this host is connected, and say what to change
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(LinkArgs),
    /// Print a bearer token for the REST interface, valid for ten minutes
    #[command(after_help = TOKEN_EXAMPLES)]
    Token,
    /// Link, list and revoke the user's devices
    Device(super::device_args::DeviceArgs),
    /// Administer a network: create it, invite, list and revoke members
    Network(super::network_args::NetworkArgs),
}

impl Command {
    /// Whether it runs servers and no client.
    pub(crate) fn serves(&self) -> bool {
        #[cfg(feature = "serve")]
        return matches!(self, Self::Serve(_));
        #[cfg(not(feature = "serve"))]
        return false;
    }
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  beeline doctor
  beeline --json doctor

While `listen` or `run` is at work in the home, it is asked, and tells of its links too; the options
here are for a home at rest. Nothing that is printed is secret, but your public address is in it.
Exit codes: 0 all works, 1 something does not.";

const TOKEN_EXAMPLES: &str = "\
Example:
  curl -H \"Authorization: Bearer $(beeline token)\" \\
    http://127.0.0.1:8080/network/home/active-peers";

/// How WebRTC reaches other devices.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LinkArgs {
    /// Add a STUN or TURN server: stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT; may be repeated
    #[arg(long = "ice-server", value_name = "URL")]
    pub(crate) ice_servers: Vec<String>,
    /// UDP ports that links may use, a coordinator's also TCP, such as 40000-40999 [default: any]
    #[arg(long, value_name = "LOW-HIGH", value_parser = units::port_range)]
    pub(crate) rtc_ports: Option<RangeInclusive<u16>>,
}

/// Whether a home that stays keeps parcels for others.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeepArgs {
    /// Keep no sealed messages for members that are away
    #[arg(long)]
    pub(crate) no_keep: bool,
    /// Bytes a second of files to hand on from one member to another where the two have no link;
    /// twice that for all; 0B for none [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = relayed)]
    pub(crate) relay_files: Option<u64>,
}

impl KeepArgs {
    /// How much to keep.
    pub(crate) fn keep(&self) -> Option<Keep> {
        (!self.no_keep).then(Keep::default)
    }
}

/// A size within what can be handed on in a second.
fn relayed(text: &str) -> Result<u64, String> {
    let size = units::size(text)?;
    if size > RELAY_FILES_PER_S_MAX {
        return Err("at most 1GiB".to_owned());
    }
    Ok(size)
}

/// `join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  beeline join 'http://127.0.0.1:8080/join#CgRob21l…' --user alice

The part of the link behind # is a secret: it is never sent to a server, and whoever has it may
join.
One home is one device in one network; use --home for another.")]
pub(crate) struct JoinArgs {
    /// The invite link, whole
    #[arg(value_name = "LINK")]
    pub(crate) link: String,
    /// The name others will send to: 1 to 64 of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "ID", value_parser = units::label)]
    pub(crate) user: Label,
    /// The name of this device [default: the user's, and six random characters]
    #[arg(long, value_name = "ID", value_parser = units::label)]
    pub(crate) device: Option<Label>,
    /// Also trust the certificate authorities in this PEM file; kept in the home
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// The state a `send` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// The recipient's device has committed it
    Delivered,
    /// Other members keep it for the recipient
    Stored,
    /// It is durable on this device
    Queued,
}

impl Wait {
    /// As typed, and as sent over the socket of a running client.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Stored => "stored",
            Self::Queued => "queued",
        }
    }
}

/// `send`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  beeline send carol 'Hello Carol!'
  date | beeline send carol -
  beeline send carol 'backup done' --timeout 5s --wait queued --idempotency-key backup-2026-11-22

Exit codes: 0 the awaited state or a higher one was reached; at the timeout 3 if the message is
stored with other members, else 4; 1 if it was refused or has expired. Unless it was
refused, the message stays in the outbox and is tried again whenever this home is online.")]
pub(crate) struct SendArgs {
    /// The recipient's user id
    #[arg(value_name = "USER", value_parser = units::label)]
    pub(crate) user: Label,
    /// The text, at most 12,000 bytes of UTF-8; - reads it from stdin, without the last newline
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) text: String,
    /// How long to wait for the state: a number and ms, s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// The state to wait for
    #[arg(long, value_name = "STATE", value_enum, default_value_t = Wait::Delivered)]
    pub(crate) wait: Wait,
    /// A key of yours, at most 128 bytes: a repeated call with it sends nothing twice
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

/// `listen`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  beeline listen
  beeline --json listen --count 1
  beeline listen --files ~/Downloads --files-from alice
  beeline listen --files ~/Downloads --files-from alice --files-ask

Messages are printed in the order they were sent, each once. Where some are missing a line says so,
and each is printed when it comes, with \"late\":true. A line that a killed process may or may not
have printed is printed again, with the same id and \"again\":true. Ctrl-C ends it cleanly.

With --json a message that offers a file has \"offer\":true, and \"file\" with \"name\", \"size\",
\"state\" and, where they are known, \"files\" (a folder's), \"path\", \"reason\" and \"detail\".")]
pub(crate) struct ListenArgs {
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// A person reads along: tell senders that what is printed was read, unless `read-receipts` is
    /// off for them
    #[arg(long)]
    pub(crate) read: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

/// `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  beeline run
  beeline --home bob run --coordinator
  beeline --home bob run --coordinator --listen 0.0.0.0:8443 --public-url https://hub.example.org:8443 \\
    --tls-cert cert.pem --tls-key key.pem

Messages that come in are kept; the next `listen` prints them. While it runs, every other command
with the same home works through it.

A coordinator is a member that stays up for the others: it answers who looks for somebody, relays,
and serves the signalling socket itself, so that the network finds together while its servers are
down. It needs a membership made for it: join with a link of
`beeline network invite --role coordinator`. Others remember its address, so keep it the same.")]
pub(crate) struct RunArgs {
    /// Serve the network as a coordinator
    #[arg(long)]
    pub(crate) coordinator: bool,
    /// Where the coordinator's signalling socket listens; port 0 takes the one of last time, else a
    /// free one [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDR", requires = "coordinator")]
    pub(crate) listen: Option<SocketAddr>,
    /// Origin under which others reach it, such as <https://hub.example.org> [default: as it listens]
    #[arg(long, value_name = "URL", requires = "coordinator")]
    pub(crate) public_url: Option<String>,
    /// Certificate chain in PEM, for wss; the end entity first
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "coordinator"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key in PEM of the certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "coordinator"])]
    pub(crate) tls_key: Option<PathBuf>,
    /// Links it takes at once, 1 to 512
    #[arg(long, value_name = "N", requires = "coordinator", default_value_t = LINKS_MAX,
          value_parser = units::links)]
    pub(crate) links: usize,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

/// Where a coordinator listens unless told otherwise: beside a `serve` of the same machine, whose
/// own coordinator is at 8082.
const COORDINATOR_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

impl RunArgs {
    /// How to serve as a coordinator, where that was asked for.
    pub(crate) fn coordinator(&self) -> Option<CoordinatorOptions> {
        self.coordinator.then(|| CoordinatorOptions {
            listen: self.listen.unwrap_or(COORDINATOR_LISTEN),
            public_url: self.public_url.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
        })
    }
}

/// `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --delete the texts are gone from this device for good, and only from this one. What was not
shown yet, or is still on its way, stays. The ids stay too, without any text: so nothing that comes
again is shown twice, and no idempotency key sends twice.")]
pub(crate) struct HistoryArgs {
    /// The other user
    #[arg(value_name = "USER", value_parser = units::label)]
    pub(crate) user: Label,
    /// Delete the conversation from this device
    #[arg(long)]
    pub(crate) delete: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOff {
    /// It is done
    On,
    /// It is not done
    Off,
}

/// `read-receipts`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  beeline read-receipts carol off

They are on for everybody at first. A message counts as read where a person said so: by
`listen --read`, or an application. What was told cannot be taken back.")]
pub(crate) struct ReadReceiptsArgs {
    /// The other user
    #[arg(value_name = "USER", value_parser = units::label)]
    pub(crate) user: Label,
    /// Whether the user is told
    #[arg(value_name = "on|off", value_enum)]
    pub(crate) told: OnOff,
}

/// `why`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  beeline why vb5xkq3rlm6z7o2ad4hnc7ytiq")]
pub(crate) struct WhyArgs {
    /// The message's id, as `send`, `listen` and `history` print it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Compare the 60 digits with the other person's, by voice or side by side: they see the same. If they
differ, somebody sits between you. A contact whose key has changed cannot be sent to until you
accept the new one: compare first, then `beeline verify USER --accept`.")]
pub(crate) struct VerifyArgs {
    /// The other user
    #[arg(value_name = "USER", value_parser = units::label)]
    pub(crate) user: Label,
    /// Accept the user's changed key, and say that the digits were compared
    #[arg(long)]
    pub(crate) accept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    #[test]
    fn the_definition_is_coherent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for wrong in [
            &["beeline"][..],
            &["beeline", "sing"],
            &["beeline", "send"],
            &["beeline", "send", "carol", "hi", "--timeout", "30"],
            &["beeline", "send", "carol", "hi", "--wait", "forever"],
            &["beeline", "listen", "--count", "0"],
            &["beeline", "run", "--listen", "127.0.0.1:0"],
            &["beeline", "run", "--coordinator", "--links", "513"],
            &["beeline", "run", "--coordinator", "--tls-cert", "c.pem"],
            &["beeline", "join", "x#y"],
            &["beeline", "history", "no such id"],
        ] {
            let error = Cli::try_parse_from(wrong).expect_err("must be refused");
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
        let help = Cli::try_parse_from(["beeline", "--help"]).expect_err("help is not a command");
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [
            ["beeline", "--home", "h", "--json", "status"],
            ["beeline", "status", "--json", "--home", "h"],
        ] {
            let cli = Cli::try_parse_from(line).expect("both orders are fine");
            assert!(cli.json);
            assert_eq!(cli.home, Some(PathBuf::from("h")));
        }
    }

    #[test]
    fn send_waits_half_a_minute_for_delivery() {
        let cli = Cli::try_parse_from(["beeline", "send", "carol", "-"]).expect("complete");
        let Command::Send(args) = cli.command else {
            panic!("send is send");
        };
        assert_eq!(args.timeout, Duration::from_secs(30));
        assert_eq!(args.wait, Wait::Delivered);
        assert_eq!(args.text, "-");
    }
}
