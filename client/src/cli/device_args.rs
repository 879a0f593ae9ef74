//! `beeline device`: flags.

use super::units;
use beeline_proto::id::Label;
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `device`.
#[derive(Debug, Args)]
#[command(after_help = "\
One user, several devices: each has keys of its own, gets every message, and shows what the others
sent. The device that joined the network first holds the user key, which signs the list of all; it
alone links and revokes.

Examples:
  beeline device link                                on the first device: prints a link, waits
  beeline --home laptop device join 'beeline://…'    on the new machine
  beeline device list
  beeline device revoke alice_k3j2h1")]
pub(crate) struct DeviceArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) action: DeviceAction,
}

/// One task.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceAction {
    /// Take in one more device: print a link for it, compare six digits, say yes
    #[command(after_help = "\
The new machine must reach this one at the address in the link. Both show six digits; say yes only
if they are the same. The link is good for one device and ten minutes.")]
    Link {
        /// Where the new device reaches this one [default: a free port of the address by which the
        /// gateway is reached]
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
    },
    /// Make this home another device of the user that a device link is of
    Join {
        /// What `device link` printed, whole
        #[arg(value_name = "LINK")]
        link: String,
        /// The name of this device [default: the user's, and six random characters]
        #[arg(long, value_name = "ID", value_parser = units::label)]
        device: Option<Label>,
        /// Also trust the certificate authorities in this PEM file; kept in the home
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// List the user's devices
    List,
    /// Take a device off: it gets nothing any more, and nobody believes what it says
    Revoke {
        /// The device's id, as `device list` prints it
        #[arg(value_name = "DEVICE", value_parser = units::label)]
        device: Label,
    },
}
