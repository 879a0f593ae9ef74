//! How much of a file to have under way. Pure: what was sent and acknowledged when, in; bytes, out.
//!
//! The crate sends the messages of an association in the order it got them, whatever their
//! channel, so a word of chat waits for every byte of file that was handed over before it. Too
//! little under way wastes a long path. So as much as the path holds: the best rate of late times
//! the shortest time to an acknowledgement, [`FILE_GAIN`] times, and a little for what machines
//! take.
//!
//! The shortest time is only seen while little is under way. It is forgotten after a while, for
//! paths change; then less is sent for two rounds, so that it is seen again and not our own queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::limits::{FILE_BASE_FOR, FILE_GAIN, FILE_SLACK, FILE_WINDOW_FIRST, FILE_WINDOW_MAX};

/// Rounds whose best rate counts; a round ends when what was sent in it is acknowledged.
const ROUNDS: usize = 8;

/// One message under way.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Bytes sent up to its end, since the channel opened.
    end: u64,
    at: Instant,
    /// Bytes acknowledged when it was sent, and when that was so.
    acked: u64,
    acked_at: Instant,
}

/// Learns a path from its acknowledgements.
#[derive(Debug, Default)]
pub(super) struct FileWindow {
    marks: VecDeque<Mark>,
    acked: u64,
    acked_at: Option<Instant>,
    sent: u64,
    /// Best rate of each round, bytes a second; the newest last.
    rates: VecDeque<f64>,
    round_end: u64,
    /// Shortest time to an acknowledgement in this period and the one before.
    base: [Option<Duration>; 2],
    period: Option<Instant>,
    /// Rounds to go with less under way.
    probing: u8,
}

impl FileWindow {
    /// Bytes up to `end` were handed over.
    pub(super) fn sent(&mut self, end: u64, now: Instant) {
        if self.marks.is_empty() {
            // The time nothing was under way says nothing of the path.
            self.acked_at = Some(now);
        }
        self.sent = end;
        self.marks.push_back(Mark {
            end,
            at: now,
            acked: self.acked,
            acked_at: self.acked_at.unwrap_or(now),
        });
    }

    /// Bytes up to `acked` are acknowledged.
    pub(super) fn acknowledged(&mut self, acked: u64, now: Instant) {
        let mut newest = None;
        while let Some(mark) = self.marks.front().filter(|mark| mark.end <= acked) {
            newest = Some(*mark);
            self.marks.pop_front();
        }
        if acked <= self.acked {
            return;
        }
        (self.acked, self.acked_at) = (acked, Some(now));
        let Some(mark) = newest else {
            return;
        };
        self.learn_base(now.saturating_duration_since(mark.at), now);
        let took = now.saturating_duration_since(mark.acked_at);
        let took = took.max(self.base().unwrap_or_default()).as_secs_f64();
        if took > 0.0 {
            self.learn_rate((acked - mark.acked) as f64 / took, mark.end);
        }
    }

    fn learn_base(&mut self, sample: Duration, now: Instant) {
        let period = *self.period.get_or_insert(now);
        if now.saturating_duration_since(period) >= FILE_BASE_FOR {
            self.base = [None, self.base[0]];
            self.period = Some(now);
            self.probing = 2;
        }
        self.base[0] = Some(self.base[0].map_or(sample, |base| base.min(sample)));
    }

    fn learn_rate(&mut self, rate: f64, end: u64) {
        if end > self.round_end || self.rates.is_empty() {
            self.round_end = self.sent;
            self.probing = self.probing.saturating_sub(1);
            if self.rates.len() == ROUNDS {
                self.rates.pop_front();
            }
            self.rates.push_back(0.0);
        }
        if let Some(best) = self.rates.back_mut() {
            *best = best.max(rate);
        }
    }

    fn base(&self) -> Option<Duration> {
        self.base.iter().flatten().min().copied()
    }

    /// Bytes that may be under way before the next message is handed over.
    pub(super) fn bytes(&self) -> usize {
        let Some(base) = self.base() else {
            return FILE_WINDOW_FIRST;
        };
        let rate = self.rates.iter().copied().fold(0.0, f64::max);
        // While the shortest time is looked for, the queue of our own making must be gone.
        let (gain, slack) = match self.probing {
            0 => (FILE_GAIN, FILE_SLACK.as_secs_f64()),
            _ => (0.5, 0.0),
        };
        let bytes = rate * (base.as_secs_f64() * gain + slack);
        // As a float it saturates; nothing that is not a number gets here.
        (bytes as usize).min(FILE_WINDOW_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 64 * 1024;
    const MS: Duration = Duration::from_millis(1);

    /// Sends as the window allows over a path of so many bytes a second and such a delay until
    /// `lasting` has passed; returns what is under way then, and the most that ever was in the
    /// second half.
    fn over(rate: f64, delay: Duration, lasting: Duration) -> (usize, usize) {
        let mut window = FileWindow::default();
        #[expect(
            clippy::disallowed_methods,
            reason = "any moment does: the rest is counted from it"
        )]
        let start = Instant::now();
        let (mut now, mut free) = (start, start);
        let (mut sent, mut acked, mut most) = (0, 0, 0);
        let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
        while now < start + lasting {
            while sent - acked <= window.bytes() as u64 {
                sent += FRAME;
                free = free.max(now) + Duration::from_secs_f64(FRAME as f64 / rate);
                under_way.push_back((sent, free + delay));
                window.sent(sent, now);
            }
            if now > start + lasting / 2 {
                most = most.max(sent - acked);
            }
            let (end, at) = under_way.pop_front().expect("something is under way");
            (now, acked) = (at, end);
            window.acknowledged(acked, now);
        }
        (window.bytes(), most as usize)
    }

    #[test]
    fn it_settles_at_what_the_path_holds_and_stays_there() {
        for (rate, delay) in [
            (2e6, 40 * MS),
            (20e6, 10 * MS),
            (30e6, 100 * MS),
            (200e6, MS),
        ] {
            let trip = delay.as_secs_f64() + FRAME as f64 / rate + FILE_SLACK.as_secs_f64();
            let holds = rate * trip;
            let (bytes, most) = over(rate, delay, Duration::from_secs(60));
            let ratio = bytes as f64 / holds.min(FILE_WINDOW_MAX as f64);
            assert!(
                (0.5..=2.5).contains(&ratio),
                "{rate} {delay:?}: {bytes} of {holds}"
            );
            // Also while the shortest time is forgotten and seen again.
            assert!(
                most as f64 <= 3.0 * holds + 2.0 * FRAME as f64,
                "{rate} {delay:?}: {most}"
            );
        }
    }

    #[test]
    fn it_never_passes_its_bounds() {
        let (bytes, most) = over(1e9, 200 * MS, Duration::from_secs(20));
        assert_eq!(bytes, FILE_WINDOW_MAX);
        assert!(most <= FILE_WINDOW_MAX + FRAME as usize);
        assert_eq!(FileWindow::default().bytes(), FILE_WINDOW_FIRST);
    }

    #[test]
    fn acknowledgements_out_of_nowhere_do_no_harm() {
        #[expect(
            clippy::disallowed_methods,
            reason = "any moment does: the rest is counted from it"
        )]
        let now = Instant::now();
        let mut window = FileWindow::default();
        window.acknowledged(0, now);
        window.acknowledged(10, now);
        window.sent(5, now);
        window.sent(20, now);
        window.acknowledged(20, now);
        window.acknowledged(7, now + MS);
        assert!(window.bytes() <= FILE_WINDOW_MAX);
    }
}
