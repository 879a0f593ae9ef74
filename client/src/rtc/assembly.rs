//! The bound on what a peer may make the crate keep (T-SCTP-1, T-SCTP-2). Pure: decrypted SCTP
//! packets (RFC 9260) in, verdict out.
//!
//! The crate's receive limit is a window, not a message limit: when the window is shut and nothing
//! can be read, it still takes the next DATA chunk in sequence, so a peer that never sends the
//! last fragment grows its memory without end. Four rules close the link instead:
//!
//! 1. a stream nobody agreed on;
//! 2. more of one unfinished message than a few largest messages;
//! 3. more chunks held than any honest window needs;
//! 4. our own SACKs: the advertised window is zero and the cumulative TSN still moves. That is the
//!    exact mark of the branch above, whatever trick filled the window.

use super::limits::{
    CHUNK_OVERHEAD, MAX_CHUNKS_BEYOND_WINDOW, MAX_STREAMS, MAX_UNREAD_CHUNKS, UNFINISHED_MESSAGES,
};

/// What a peer did that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// DATA on a stream beyond [`MAX_STREAMS`].
    UnknownStream,
    /// A message that grows and does not end.
    EndlessMessage,
    /// More chunks than [`MAX_UNREAD_CHUNKS`] that cannot be read.
    TooManyChunks,
    /// The window is full of data that cannot be read.
    UnreadableWindow,
}

impl Abuse {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownStream => "peer used a stream nobody agreed on",
            Self::EndlessMessage => "peer sent a message without end",
            Self::TooManyChunks => "peer sent more pieces than can be read",
            Self::UnreadableWindow => "peer filled the window with data that cannot be read",
        }
    }
}

const COMMON_HEADER: usize = 12;
const CHUNK_HEADER: usize = 4;
const DATA: u8 = 0;
const SACK: u8 = 3;
const DATA_HEADER: usize = 16;
const FLAG_END: u8 = 1;

/// Watches both directions of one SCTP association.
#[derive(Debug)]
pub(super) struct AssemblyGuard {
    window: u32,
    unfinished_limit: usize,
    unfinished: [usize; MAX_STREAMS as usize],
    /// First and newest TSN since the last moment nothing was held.
    held: Option<(u32, u32)>,
    /// Chunks read since then, estimated from above.
    read: u32,
    /// Cumulative TSN of the first SACK that shut the window.
    shut_at: Option<u32>,
}

impl AssemblyGuard {
    /// `window` is our receive window and `max_message` the largest message accepted, in bytes.
    pub(super) fn new(window: u32, max_message: usize) -> Self {
        Self {
            window,
            unfinished_limit: max_message.saturating_mul(UNFINISHED_MESSAGES),
            unfinished: [0; MAX_STREAMS as usize],
            held: None,
            read: 0,
            shut_at: None,
        }
    }

    /// Judges a packet from the peer, before the crate sees it.
    ///
    /// # Errors
    /// The rule it breaks.
    pub(super) fn inbound(&mut self, packet: &[u8]) -> Result<(), Abuse> {
        for (kind, flags, chunk) in chunks(packet) {
            if kind == DATA && chunk.len() >= DATA_HEADER {
                self.data(flags, chunk)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, flags: u8, chunk: &[u8]) -> Result<(), Abuse> {
        let tsn = be32(chunk, 4);
        let stream = usize::from(u16::from_be_bytes([chunk[8], chunk[9]]));
        let unfinished = self
            .unfinished
            .get_mut(stream)
            .ok_or(Abuse::UnknownStream)?;
        if flags & FLAG_END == 0 {
            *unfinished += chunk.len() - DATA_HEADER + CHUNK_OVERHEAD;
        } else {
            *unfinished = 0;
        }
        if *unfinished > self.unfinished_limit {
            return Err(Abuse::EndlessMessage);
        }
        let (first, newest) = self.held.get_or_insert((tsn, tsn));
        if newer(tsn, *newest) {
            *newest = tsn;
        }
        let held = newest.wrapping_sub(*first).saturating_sub(self.read);
        if held > MAX_UNREAD_CHUNKS {
            Err(Abuse::TooManyChunks)
        } else {
            Ok(())
        }
    }

    /// Takes note that the application was given a message of `bytes`.
    pub(super) fn delivered(&mut self, bytes: usize) {
        // Every stack fills its fragments to 512 bytes or more, but for one at either end.
        let chunks = u32::try_from(bytes / 512)
            .unwrap_or(u32::MAX)
            .saturating_add(2);
        self.read = self.read.saturating_add(chunks);
    }

    /// Judges a packet of our own: what it acknowledges tells what the crate has taken.
    ///
    /// # Errors
    /// [`Abuse::UnreadableWindow`].
    pub(super) fn outbound(&mut self, packet: &[u8]) -> Result<(), Abuse> {
        for (kind, _, chunk) in chunks(packet) {
            if kind == SACK && chunk.len() >= CHUNK_HEADER + 8 {
                self.sack(be32(chunk, 4), be32(chunk, 8))?;
            }
        }
        Ok(())
    }

    fn sack(&mut self, cumulative: u32, window: u32) -> Result<(), Abuse> {
        if window > 0 {
            self.shut_at = None;
            if window >= self.window {
                // Nothing is held up to here: count afresh.
                let newest = self.held.map_or(cumulative, |(_, newest)| newest);
                self.held = Some((cumulative, newest));
                self.read = 0;
            }
            return Ok(());
        }
        let shut_at = *self.shut_at.get_or_insert(cumulative);
        let beyond = cumulative.wrapping_sub(shut_at);
        if newer(cumulative, shut_at) && beyond > MAX_CHUNKS_BEYOND_WINDOW {
            return Err(Abuse::UnreadableWindow);
        }
        Ok(())
    }
}

/// Serial number arithmetic (RFC 1982).
fn newer(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0u8; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// The chunks of a packet: type, flags, and the chunk with its header. Stops at nonsense, which
/// the crate refuses as a whole.
fn chunks(packet: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let header = rest.get(..CHUNK_HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < CHUNK_HEADER {
            return None;
        }
        let chunk = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header[0], header[1], chunk))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 1 << 22;
    const MESSAGE: usize = 64 * 1024;
    const BEGIN: u8 = 2;

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0u8; COMMON_HEADER];
        for chunk in chunks {
            out.extend_from_slice(chunk);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn data(flags: u8, tsn: u32, stream: u16, bytes: usize) -> Vec<u8> {
        let length = u16::try_from(DATA_HEADER + bytes).expect("a chunk fits");
        let mut chunk = vec![DATA, flags];
        chunk.extend_from_slice(&length.to_be_bytes());
        chunk.extend_from_slice(&tsn.to_be_bytes());
        chunk.extend_from_slice(&stream.to_be_bytes());
        chunk.resize(usize::from(length), 0);
        chunk
    }

    fn sack(cumulative: u32, window: u32) -> Vec<u8> {
        let mut chunk = vec![SACK, 0, 0, 16];
        chunk.extend_from_slice(&cumulative.to_be_bytes());
        chunk.extend_from_slice(&window.to_be_bytes());
        chunk.extend_from_slice(&[0; 4]);
        chunk
    }

    fn guard() -> AssemblyGuard {
        AssemblyGuard::new(WINDOW, MESSAGE)
    }

    /// Sends chunks until one is refused; the number taken, and why it ended.
    fn flood(make: impl Fn(u32) -> Vec<u8>) -> (u32, Abuse) {
        let mut guard = guard();
        for n in 0..10_000_000 {
            if let Err(abuse) = guard.inbound(&packet(&[make(n)])) {
                return (n, abuse);
            }
        }
        panic!("never refused");
    }

    #[test]
    fn endless_fragments_end() {
        let first = |n: u32| if n == 0 { BEGIN } else { 0 };
        let (taken, why) = flood(|n| data(first(n), n, 0, 1_100));
        assert_eq!(why, Abuse::EndlessMessage);
        assert!(taken * 1_100 < 5 * 64 * 1024, "{taken}");
        let (taken, why) = flood(|n| data(first(n), n, 0, 1));
        assert_eq!(why, Abuse::EndlessMessage);
        assert!(taken < 1_100, "tiny fragments are charged for: {taken}");
        let (_, why) = flood(|n| data(BEGIN, n, 0, 1_100));
        assert_eq!(why, Abuse::EndlessMessage, "a second beginning is no end");
        let (taken, why) = flood(|n| data(0, n, (n % 8) as u16, 1_100));
        assert_eq!(why, Abuse::EndlessMessage);
        assert!(taken * 1_100 < 8 * 5 * 64 * 1024, "{taken}");
    }

    #[test]
    fn streams_are_few() {
        let (_, why) = flood(|n| data(3, n, (n % 1_000) as u16, 1));
        assert_eq!(why, Abuse::UnknownStream);
    }

    #[test]
    fn whole_messages_nobody_can_read_end_too() {
        let (taken, why) = flood(|n| data(3, n, 0, 1));
        assert_eq!((taken - 1, why), (MAX_UNREAD_CHUNKS, Abuse::TooManyChunks));
    }

    #[test]
    fn honest_traffic_goes_on_for_ever() {
        let mut guard = guard();
        // Messages of 64 KiB in 57 fragments, a lossy start, TSNs that wrap, a SACK per message.
        let mut tsn = u32::MAX - 1_000;
        for _ in 0..5_000 {
            for part in 0..57 {
                let flags = u8::from(part == 56) | if part == 0 { BEGIN } else { 0 };
                let chunk = data(flags, tsn, 0, 1_150);
                assert_eq!(guard.inbound(&packet(&[chunk.clone(), chunk])), Ok(()));
                tsn = tsn.wrapping_add(1);
            }
            guard.delivered(57 * 1_150);
            assert_eq!(guard.outbound(&packet(&[sack(tsn, WINDOW - 1)])), Ok(()));
        }
        // Small messages, never an empty window, for long.
        for _ in 0..300_000 {
            assert_eq!(guard.inbound(&packet(&[data(3, tsn, 0, 20)])), Ok(()));
            guard.delivered(20);
            tsn = tsn.wrapping_add(1);
        }
    }

    #[test]
    fn a_full_window_that_still_takes_is_abuse() {
        let mut guard = guard();
        assert_eq!(guard.outbound(&packet(&[sack(100, 0)])), Ok(()));
        let last = 100 + MAX_CHUNKS_BEYOND_WINDOW;
        assert_eq!(guard.outbound(&packet(&[sack(last, 0)])), Ok(()));
        let over = guard.outbound(&packet(&[sack(last + 1, 0)]));
        assert_eq!(over, Err(Abuse::UnreadableWindow));
    }

    #[test]
    fn a_slow_reader_is_not_abuse() {
        let mut guard = guard();
        for round in 0..1_000u32 {
            // Shut, and nothing more is taken; then open again, far ahead.
            for _ in 0..10 {
                assert_eq!(guard.outbound(&packet(&[sack(round * 4_000, 0)])), Ok(()));
            }
            assert_eq!(
                guard.outbound(&packet(&[sack(round * 4_000, 5_000)])),
                Ok(())
            );
        }
    }

    #[test]
    fn nonsense_is_left_to_the_crate() {
        let mut guard = guard();
        for bytes in [
            &[][..],
            &[0; 5],
            &[0; 12],
            &[0; 16],
            &[0, 0, 255, 255],
            &[0xff; 64],
        ] {
            assert_eq!(guard.inbound(bytes), Ok(()));
            assert_eq!(guard.outbound(bytes), Ok(()));
        }
    }
}
