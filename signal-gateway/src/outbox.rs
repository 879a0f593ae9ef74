//! What waits to be written to one socket: frames of others, and the reason to end. Bounded; a
//! reader too slow for the bound is cut.

use crate::authority::{AuthError, Identity};
use crate::core::hub::SocketId;
use crate::limits::{QUEUE_FRAMES_MAX, QUEUE_LEN_MAX};
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio_tungstenite::tungstenite::Message;

/// Why a socket must end.
#[derive(Clone, PartialEq, Debug)]
pub enum End {
    /// A newer socket took over; its proof, empty for a bearer's.
    Superseded(Vec<u8>),
    /// What it was signed in by no longer holds.
    Refused(AuthError),
    /// It does not read fast enough.
    Overflow,
    /// The gateway shuts down; come back after so many milliseconds.
    GoAway(u32),
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Message>,
    len: usize,
    end: Option<End>,
}

/// The way to one socket's task.
pub struct Outbox {
    /// Which socket.
    pub id: SocketId,
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// How many times the usual may wait.
    room: usize,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

impl PartialEq for Outbox {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Outbox {
    /// Nothing waiting, and room for `room` times the usual.
    pub fn new(id: SocketId, identity: Arc<Identity>, room: usize) -> Self {
        Self {
            id,
            identity,
            room,
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Queues a frame; false if the socket is ending, or ends because of it.
    pub fn push(&self, frame: Message) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.end.is_some() {
            return false;
        }
        let len = queue.len + frame.len();
        let taken =
            queue.frames.len() < QUEUE_FRAMES_MAX * self.room && len <= QUEUE_LEN_MAX * self.room;
        if taken {
            queue.len = len;
            queue.frames.push_back(frame);
        } else {
            queue.frames = VecDeque::new();
            queue.end = Some(End::Overflow);
        }
        drop(queue);
        self.waker.wake();
        taken
    }

    /// Ends the socket after what already waits; the first reason stays.
    pub fn end(&self, end: End) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.end.get_or_insert(end);
        drop(queue);
        self.waker.wake();
    }

    /// Ready when something waits. For the socket's own task alone.
    pub fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        // Registered first: what is pushed between the look and the registration wakes us.
        self.waker.register(cx.waker());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.frames.is_empty() && queue.end.is_none() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Takes all frames, into an empty `batch` whose room the queue gets in exchange; and the end.
    pub fn take(&self, batch: &mut VecDeque<Message>) -> Option<End> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.frames, batch);
        queue.len = 0;
        queue.end.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::QUEUE_OWN_FACTOR;
    use beeline_proto::id::{DeviceFp, NetworkFp};

    fn outbox() -> Outbox {
        outbox_with(1)
    }

    fn outbox_with(room: usize) -> Outbox {
        let identity = Identity {
            network: NetworkFp([1; 32]),
            network_label: "home".into(),
            device: DeviceFp([2; 32]),
            device_label: "alice_1".into(),
            serial: None,
            expires_ms: None,
        };
        Outbox::new(1, Arc::new(identity), room)
    }

    fn taken(outbox: &Outbox) -> (usize, Option<End>) {
        let mut batch = VecDeque::new();
        let end = outbox.take(&mut batch);
        (batch.len(), end)
    }

    #[test]
    fn frames_and_bytes_are_bounded() {
        let small = outbox();
        let pushed = (0..100)
            .take_while(|_| small.push(Message::text("x")))
            .count();
        assert_eq!(
            (pushed, taken(&small)),
            (QUEUE_FRAMES_MAX, (0, Some(End::Overflow)))
        );
        let own = outbox_with(QUEUE_OWN_FACTOR);
        let pushed = (0..10_000).take_while(|_| own.push(Message::text("x")));
        assert_eq!(pushed.count(), QUEUE_OWN_FACTOR * QUEUE_FRAMES_MAX);
        let large = outbox();
        let frame = Message::text("x".repeat(64 * 1024));
        let pushed = (0..100).take_while(|_| large.push(frame.clone())).count();
        assert_eq!((pushed, taken(&large)), (4, (0, Some(End::Overflow))));
    }

    #[test]
    fn the_first_end_stays_and_frames_before_it_are_kept() {
        let outbox = outbox();
        assert!(outbox.push(Message::text("x")));
        outbox.end(End::GoAway(7));
        outbox.end(End::Overflow);
        assert!(!outbox.push(Message::text("x")));
        assert_eq!(taken(&outbox), (1, Some(End::GoAway(7))));
    }
}
