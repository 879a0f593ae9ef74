//! What a link does to a packet: whether it is lost, and when it comes out. Pure: told the time,
//! seeded, so that a run can be said in advance.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Bytes that wait for a slow link before more are dropped, unless told otherwise: about what a
/// home router keeps.
pub const QUEUE: usize = 256 * 1024;

/// How a link is, in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// How long a packet is under way.
    pub delay: Duration,
    /// Up to how much longer, evenly spread. Packets stay in order.
    pub jitter: Duration,
    /// Share of packets lost, 0 to 1, each on its own.
    pub loss: f64,
    /// Bytes a second; as fast as it goes if `None`.
    pub rate: Option<u64>,
    /// Bytes that wait for their turn at `rate`; more are dropped.
    pub queue: usize,
    /// What chance starts from.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            rate: None,
            queue: QUEUE,
            seed: 0,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is lost on the way.
    Lost,
    /// The queue is full.
    Full,
    /// It comes out at this time.
    Due(Duration),
}

/// One direction of a link. Times count from the link's start.
#[derive(Debug)]
pub struct Shaper {
    shape: Shape,
    chance: ChaCha8Rng,
    /// When the last bit of what was taken is on the wire.
    free_at: Duration,
    last_due: Duration,
}

impl Shaper {
    /// One at its start.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let chance = ChaCha8Rng::seed_from_u64(shape.seed);
        Self {
            shape,
            chance,
            free_at: Duration::ZERO,
            last_due: Duration::ZERO,
        }
    }

    /// Decides about a packet of `len` bytes.
    pub fn offer(&mut self, now: Duration, len: usize) -> Fate {
        // Both draws for every packet, so that the n-th packet's fate hangs on n alone.
        let (lost, late) = (self.chance.random::<f64>(), self.chance.random::<f64>());
        if lost < self.shape.loss {
            return Fate::Lost;
        }
        let start = self.free_at.max(now);
        if let Some(rate) = self.shape.rate {
            let waits = (start - now).as_secs_f64() * as_f64(rate);
            if waits > as_f64(self.shape.queue as u64) {
                return Fate::Full;
            }
            self.free_at = start + Duration::from_secs_f64(as_f64(len as u64) / as_f64(rate));
        } else {
            self.free_at = start;
        }
        let due = self.free_at + self.shape.delay + self.shape.jitter.mul_f64(late);
        self.last_due = self.last_due.max(due);
        Fate::Due(self.last_due)
    }
}

/// Exact below 2⁵³: rates and queues are.
#[expect(clippy::cast_precision_loss, reason = "rates and queues are below 2⁵³")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
