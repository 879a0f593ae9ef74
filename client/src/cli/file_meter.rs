//! How fast files move, for the lines that tell of them.

use super::file_line::FileLine;
use std::collections::VecDeque;
use std::time::Instant;

/// Marks of progress a speed is worked out from: three seconds, at four a second.
const MARKS: usize = 12;

/// How fast a file moves: what came in the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// When so many bytes were there, the oldest first.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Adds to the line of a moving file how fast it is and how long it takes.
    pub(crate) fn measure(&mut self, line: &mut FileLine, now: Instant) {
        let Some(done) = line.done.filter(|_| line.state == "moving") else {
            return self.marks.clear();
        };
        self.marks.push_back((now, done));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
        let Some((first, before)) = self.marks.front() else {
            return;
        };
        let ms = now.saturating_duration_since(*first).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let speed = done.saturating_sub(*before).saturating_mul(1_000) / ms.max(1);
        if ms > 0 && speed > 0 {
            line.bytes_per_s = Some(speed);
            line.left_ms = Some(line.size.saturating_sub(done).saturating_mul(1_000) / speed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), tokio::time::Instant::now().into_std());
        let mut last = FileLine::default();
        for n in 0..40u64 {
            let mut line = FileLine {
                state: "moving".to_owned(),
                size: 100_000,
                done: Some(n * 1_000),
                ..FileLine::default()
            };
            let at = start + std::time::Duration::from_millis(250 * n);
            meter.measure(&mut line, at);
            last = line;
        }
        assert_eq!(
            (last.bytes_per_s, last.left_ms),
            (Some(4_000), Some(15_250))
        );
    }
}
