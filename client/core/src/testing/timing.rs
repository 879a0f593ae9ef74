//! How long things take in a world.

/// How long everything takes, milliseconds; each is lengthened by up to `jitter_ms` by chance.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// One way through the gateway.
    pub signal_ms: u64,
    /// One way over a link.
    pub link_ms: u64,
    /// Bytes that leave by one direction of a link in one round trip, as with the first congestion
    /// window of SCTP; what is beyond it waits for the next.
    pub link_window: usize,
    /// From both descriptions to an open channel.
    pub ice_ms: u64,
    /// A question to the registry and back.
    pub registry_ms: u64,
    /// From a write to its commit.
    pub commit_ms: u64,
    /// From a commit to its answer.
    pub answer_ms: u64,
    /// Until the other side notices that a process is gone.
    pub dead_ms: u64,
    /// Chance added to each of these.
    pub jitter_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            signal_ms: 3,
            link_ms: 2,
            link_window: usize::MAX,
            ice_ms: 8,
            registry_ms: 6,
            commit_ms: 2,
            answer_ms: 1,
            dead_ms: 6_000,
            jitter_ms: 0,
        }
    }
}
