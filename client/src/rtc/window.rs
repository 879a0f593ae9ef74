//! How much of a file to have under way. Pure: what was sent and acknowledged when, in; bytes, out.
//!
//! The crate sends the messages of an association in the order it got them, whatever their
//! channel, so a word of chat waits for every byte of file that was handed over before it. Too
//! little under way wastes a long path. So as much as the path holds: the best rate of late times
//! the shortest time to an acknowledgement, [`FILE_GAIN`] times, and a little for what machines
//! take.
//!
//! The shortest time is only seen while little is under way. It is forgotten after a while, for
//! paths change; then less is sent for a moment, so that it is seen again and not our own queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::limits::{
    FILE_BASE_FOR, FILE_GAIN, FILE_LATE_FOR, FILE_RATE_OVER, FILE_SLACK, FILE_WINDOW_FIRST,
    FILE_WINDOW_MAX,
};

/// Late rates of which the best counts.
const RATES: usize = 8;
/// Rates to be measured before the shortest time is taken for seen again: the first may still be
/// of what was sent before.
const PROBING: u8 = 2;

/// Learns a path from its acknowledgements.
#[derive(Debug, Default)]
pub(super) struct FileWindow {
    /// Messages under way: bytes sent up to the end of each since the channel opened, and when.
    marks: VecDeque<(u64, Instant)>,
    acked: u64,
    /// When something was acknowledged last.
    acked_at: Option<Instant>,
    /// Bytes acknowledged when the rate now measured began, and when that was.
    since: Option<(u64, Instant)>,
    /// Late rates, bytes a second; the newest last.
    rates: VecDeque<f64>,
    /// Shortest time to an acknowledgement in this period and the one before.
    base: [Option<Duration>; 2],
    period: Option<Instant>,
    /// Rates to be measured with less under way.
    probing: u8,
    /// Since when every acknowledgement was late, and the shortest time of those.
    late: Option<(Instant, Duration)>,
}

impl FileWindow {
    /// Bytes up to `end` were handed over.
    pub(super) fn sent(&mut self, end: u64, now: Instant) {
        // Time in which nothing was under way says nothing of the path. Unless it is short: then
        // the window was too small, which only the rate can tell.
        let rested = self.acked_at.map(|at| now.saturating_duration_since(at));
        let was_away = self.marks.is_empty() && rested.is_none_or(|rest| rest >= FILE_RATE_OVER);
        if was_away || self.since.is_none() {
            self.since = Some((self.acked, now));
        }
        self.marks.push_back((end, now));
    }

    /// Bytes up to `acked` are acknowledged.
    pub(super) fn acknowledged(&mut self, acked: u64, now: Instant) {
        if acked <= self.acked {
            return;
        }
        (self.acked, self.acked_at) = (acked, Some(now));
        while let Some((_, at)) = self.marks.pop_front_if(|(end, _)| *end <= acked) {
            self.learn_base(now.saturating_duration_since(at), now);
        }
        let Some((before, at)) = self.since else {
            return;
        };
        let (took, base) = (now.saturating_duration_since(at), self.base());
        // Whoever is busy takes acknowledgements in bursts: a short time would tell their rate.
        let Some(over) = base.map(|base| base.max(FILE_RATE_OVER)) else {
            return;
        };
        if took >= over {
            self.since = Some((acked, now));
            self.learn_rate((acked - before) as f64 / took.as_secs_f64());
        } else if self.rates.is_empty() {
            // At first a low one is better than none.
            self.learn_rate((acked - before) as f64 / over.as_secs_f64());
        }
    }

    fn learn_base(&mut self, sample: Duration, now: Instant) {
        let period = *self.period.get_or_insert(now);
        if now.saturating_duration_since(period) >= FILE_BASE_FOR {
            self.base = [None, self.base[0]];
            self.period = Some(now);
            self.probing = PROBING;
        }
        self.base[0] = Some(self.base[0].map_or(sample, |base| base.min(sample)));
        self.learn_longer(sample, now);
    }

    /// What is under way makes an acknowledgement wait so long at most, if the path is what it was.
    /// Where all wait longer it is another one: a tunnel, another network, somebody else's queue.
    fn learn_longer(&mut self, sample: Duration, now: Instant) {
        let longest = self
            .base()
            .map(|base| base.mul_f64(1.0 + FILE_GAIN) + FILE_SLACK);
        if longest.is_some_and(|longest| sample <= longest) {
            self.late = None;
            return;
        }
        let (since, least) = self.late.unwrap_or((now, sample));
        let least = least.min(sample);
        self.late = Some((since, least));
        if now.saturating_duration_since(since) >= FILE_LATE_FOR {
            (self.base, self.late) = ([Some(least), None], None);
        }
    }

    fn learn_rate(&mut self, rate: f64) {
        self.probing = self.probing.saturating_sub(1);
        if self.rates.len() == RATES {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
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
        let (gain, slack, least) = match self.probing {
            0 => (FILE_GAIN, FILE_SLACK.as_secs_f64(), FILE_WINDOW_FIRST),
            _ => (0.5, 0.0, 0),
        };
        let bytes = rate * (base.as_secs_f64() * gain + slack);
        // As a float it saturates; nothing that is not a number gets here. With less than the least
        // SCTP's own window, which loss keeps small, would not be used up, and so never grow.
        (bytes as usize).clamp(least, FILE_WINDOW_MAX)
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
        let (bytes, most, _) = over_changing(rate, &|_| delay, lasting);
        (bytes, most)
    }

    /// The same where the delay changes with the time since the start; also how many bytes were
    /// acknowledged in the second half.
    fn over_changing(
        rate: f64,
        delay: &dyn Fn(Duration) -> Duration,
        lasting: Duration,
    ) -> (usize, usize, u64) {
        let mut window = FileWindow::default();
        #[expect(
            clippy::disallowed_methods,
            reason = "any moment does: the rest is counted from it"
        )]
        let start = Instant::now();
        let (mut now, mut free) = (start, start);
        let (mut sent, mut acked, mut most, mut half) = (0, 0, 0, None);
        let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
        while now < start + lasting {
            while sent - acked <= window.bytes() as u64 {
                sent += FRAME;
                free = free.max(now) + Duration::from_secs_f64(FRAME as f64 / rate);
                under_way.push_back((sent, free + delay(now - start)));
                window.sent(sent, now);
            }
            if now > start + lasting / 2 {
                most = most.max(sent - acked);
                half = half.or(Some(acked));
            }
            let (end, at) = under_way.pop_front().expect("something is under way");
            (now, acked) = (at, end);
            window.acknowledged(acked, now);
        }
        let late = acked - half.unwrap_or_default();
        (window.bytes(), most as usize, late)
    }

    #[test]
    fn it_gets_over_a_path_that_became_longer() {
        for (rate, before, after) in [(60e6, 2 * MS, 30 * MS), (20e6, 10 * MS, 60 * MS)] {
            let delay = |at: Duration| match at < Duration::from_secs(5) {
                true => before,
                false => after,
            };
            // The second half begins when the path has been longer for a second.
            let (_, _, late) = over_changing(rate, &delay, Duration::from_secs(12));
            let share = late as f64 / (6.0 * rate);
            assert!(share > 0.6, "{rate} {before:?} {after:?}: {share}");
        }
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
        let (bytes, _) = over(3e5, 50 * MS, Duration::from_secs(9));
        assert_eq!(bytes, FILE_WINDOW_FIRST);
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
