//! `beeline network`: flags.

use super::units;
use beeline_proto::id::Label;
use beeline_proto::limits::INVITE_USES_MAX;
use beeline_proto::pb::identity::v1::Role as PbRole;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// `network`.
#[derive(Debug, Args)]
#[command(after_help = "\
Two ways to be allowed to:
  with --data DIR, on the machine where `beeline serve --data DIR` runs;
  in the home of a member with the role admin.

Examples:
  beeline network invite --uses 10 --expires 2d --data ~/beeline-server
  beeline network members
  beeline network revoke mallory")]
pub(crate) struct NetworkArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) action: NetworkAction,
}

/// Where the right to administer comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Authority {
    /// Data directory of a `serve` that runs on this machine
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where gRPC answers, for a `beeline-registry` of its own with this data directory
    #[arg(long, value_name = "URL", requires = "data")]
    pub(crate) registry: Option<String>,
    /// The network, where the server has more than one [default: the first, or the home's]
    #[arg(long, value_name = "ID", value_parser = units::label)]
    pub(crate) network: Option<Label>,
}

/// One task.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkAction {
    /// Create another network on a server; needs --data
    Create {
        /// Its id in URLs: 1 to 64 of A-Z a-z 0-9 _ -
        #[arg(value_name = "ID", value_parser = units::label)]
        id: Label,
        /// Data directory of a `serve` that runs on this machine
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where gRPC answers, for a `beeline-registry` of its own with this data directory
        #[arg(long, value_name = "URL")]
        registry: Option<String>,
    },
    /// Print a new invite link
    Invite {
        /// How many may join with it, 1 to 10,000
        #[arg(long, value_name = "N", default_value_t = 1,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(INVITE_USES_MAX)))]
        uses: u32,
        /// How long it works: a number and s, m, h or d; at most 30d
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::duration)]
        expires: Duration,
        /// What the joiners may do
        #[arg(long, value_enum, default_value_t = Role::Member)]
        role: Role,
        #[command(flatten)]
        authority: Authority,
    },
    /// List the members with their devices
    Members {
        #[command(flatten)]
        authority: Authority,
    },
    /// End a user's membership, for all of the user's devices
    Revoke {
        /// The user
        #[arg(value_name = "USER", value_parser = units::label)]
        user: Label,
        #[command(flatten)]
        authority: Authority,
    },
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Send and receive
    Member,
    /// Also act as a coordinator
    Coordinator,
    /// Also invite, list and revoke
    Admin,
}

impl Role {
    /// As on the wire.
    pub(crate) fn to_pb(self) -> PbRole {
        match self {
            Self::Member => PbRole::Member,
            Self::Coordinator => PbRole::Coordinator,
            Self::Admin => PbRole::Admin,
        }
    }
}

/// A role of the wire as typed and printed.
pub(crate) fn role_name(role: PbRole) -> &'static str {
    match role {
        PbRole::Unspecified => "unknown",
        PbRole::Member => "member",
        PbRole::Coordinator => "coordinator",
        PbRole::Admin => "admin",
    }
}
