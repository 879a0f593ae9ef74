//! `--ice`, which every command takes: whichever starts a client may make links.

use beeline::rtc::IceMode;
use clap::Args;

/// What links may show.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct IceArgs {
    /// What other devices may learn of this host's addresses: all, no-private (none of its own,
    /// only what STUN servers see of it, and TURN) or relay-only (nothing: TURN alone)
    #[arg(
        long = "ice",
        value_name = "MODE",
        env = "BEELINE_ICE",
        global = true,
        display_order = 903,
        default_value_t
    )]
    pub(crate) mode: IceMode,
}
