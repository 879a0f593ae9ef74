//! Datagrams on a TCP stream, each behind its length in two bytes (RFC 4571 §2). Pure.
//!
//! The crate unpacks what it reads, up to 64 KiB a datagram and whoever sent it. This unpacks
//! before it, keeps what the gate admits, and gives a stream up that sends longer ones than anybody
//! here.

use super::limits::{MAX_TCP_DATAGRAM, TCP_READ};

/// Bytes of the length.
pub(super) const LENGTH: usize = 2;

/// A stream that sends what is no datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// What has been read of one stream and not been handed on: less than one datagram that is not
/// whole, and the admitted ones of one reading.
#[derive(Debug, Default)]
pub(super) struct Frames {
    partial: Vec<u8>,
    admitted: Vec<u8>,
    handed: usize,
}

impl Frames {
    /// Takes at most [`TCP_READ`] bytes; keeps whole datagrams that `admits` says yes to.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        mut admits: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), TooLong> {
        debug_assert!(bytes.len() <= TCP_READ);
        self.partial.extend_from_slice(bytes);
        let mut rest = &self.partial[..];
        while let Some((length, body)) = rest.split_first_chunk::<LENGTH>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_TCP_DATAGRAM {
                return Err(TooLong);
            }
            let Some((datagram, after)) = body.split_at_checked(length) else {
                break;
            };
            if admits(datagram) {
                self.admitted.extend_from_slice(&rest[..LENGTH + length]);
            }
            rest = after;
        }
        let left = rest.len();
        self.partial.drain(..self.partial.len() - left);
        Ok(())
    }

    /// Hands on admitted datagrams, in their frames; how many bytes.
    pub(super) fn hand_on(&mut self, room: &mut [u8]) -> usize {
        let waiting = &self.admitted[self.handed..];
        let count = waiting.len().min(room.len());
        room[..count].copy_from_slice(&waiting[..count]);
        self.handed += count;
        if self.handed == self.admitted.len() {
            self.admitted.clear();
            self.handed = 0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(datagrams: &[&[u8]]) -> Vec<u8> {
        let length = |datagram: &[u8]| u16::try_from(datagram.len()).expect("short").to_be_bytes();
        let frame = |datagram: &&[u8]| [&length(datagram)[..], datagram].concat();
        datagrams.iter().flat_map(frame).collect()
    }

    fn handed(frames: &mut Frames, room: usize) -> Vec<u8> {
        let (mut all, mut room) = (Vec::new(), vec![0; room]);
        loop {
            match frames.hand_on(&mut room) {
                0 => return all,
                count => all.extend_from_slice(&room[..count]),
            }
        }
    }

    #[test]
    fn datagrams_come_whole_however_they_are_cut() {
        let stream = framed(&[b"one", b"", b"three", &[7; 1_200]]);
        for cut in 1..stream.len() {
            let mut frames = Frames::default();
            let (head, tail) = stream.split_at(cut);
            let mut seen = 0;
            for part in [head, tail] {
                let took = frames.take(part, |_| {
                    seen += 1;
                    true
                });
                assert_eq!(took, Ok(()));
            }
            assert_eq!(
                (seen, handed(&mut frames, 7)),
                (4, stream.clone()),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn what_is_not_admitted_is_not_handed_on() {
        let mut frames = Frames::default();
        let stream = framed(&[b"good", b"bad", b"good too"]);
        let took = frames.take(&stream, |datagram| datagram.starts_with(b"good"));
        assert_eq!(took, Ok(()));
        assert_eq!(handed(&mut frames, 1_024), framed(&[b"good", b"good too"]));
        assert!(frames.partial.is_empty());
    }

    #[test]
    fn a_stream_of_something_else_is_given_up_and_held_by_no_more_than_a_datagram() {
        let mut frames = Frames::default();
        assert_eq!(frames.take(b"GET / HTTP/1.1\r\n", |_| true), Err(TooLong));
        let mut frames = Frames::default();
        let longest = u16::try_from(MAX_TCP_DATAGRAM)
            .expect("short")
            .to_be_bytes();
        assert_eq!(frames.take(&longest, |_| true), Ok(()));
        assert_eq!(
            frames.take(&vec![0; MAX_TCP_DATAGRAM - 1], |_| true),
            Ok(())
        );
        assert_eq!(handed(&mut frames, 16), b"");
        assert_eq!(frames.take(&[0], |_| true), Ok(()));
        assert_eq!(handed(&mut frames, 4_096).len(), LENGTH + MAX_TCP_DATAGRAM);
    }
}
