//! What a peer can do inside SCTP: endless messages (T-SCTP-1), many streams (T-SCTP-2), TSNs
//! that wrap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use beeline::rtc::{Abuse, CloseReason, RtcEvent, RtcFactory, SendError};
use beeline_tests::hostile::{
    BEGIN, END, HostileCrypto, Rewrite, UNORDERED, chunk, set_word, word,
};
use beeline_tests::rtc::{Node, connect, loopback, message, next};
use bytes::Bytes;
use webrtc::runtime::default_runtime;

/// What the attacker would send if nobody stopped it; the crate's own window is 1 MiB.
const FLOOD: usize = 64 * 1024 * 1024;
/// What the bare crate is shown to hold, bytes: four of its windows.
const BARE_HOLDS: usize = 4 * 1024 * 1024;
/// What a wrapped peer may be made to hold, bytes.
const WRAPPED_HOLDS: usize = 4 * 1024 * 1024;

fn honest() -> RtcFactory {
    RtcFactory::new(loopback()).expect("a sound configuration")
}

/// A peer whose DATA chunks are rewritten by `lie`, and who ignores the receiver's window.
fn liar(lie: impl Fn(&mut [u8]) + Send + Sync + 'static) -> RtcFactory {
    let sent: Rewrite = Arc::new(move |kind, bytes| {
        if kind == chunk::DATA {
            lie(bytes);
        }
    });
    let received: Rewrite = Arc::new(|kind, bytes| {
        if kind == chunk::SACK {
            set_word(bytes, 8, 8 * 1024 * 1024);
        }
    });
    let runtime = default_runtime().expect("tokio is built in");
    RtcFactory::with_parts(loopback(), runtime, HostileCrypto::provider(sent, received))
        .expect("a sound configuration")
}

/// Floods until `limit` bytes are acknowledged or the victim ends it; the bytes acknowledged
/// without one message delivered, which is what the victim must be holding.
async fn flood(attacker: &mut Node, victim: &mut Node, limit: usize) -> usize {
    let message = Bytes::from(vec![0x55; 32 * 1024]);
    let mut sent = 0;
    loop {
        let held = |node: &Node| sent - node.handle().buffered().min(sent);
        if held(attacker) >= limit {
            return held(attacker);
        }
        match attacker.handle().send(message.clone()) {
            Ok(()) => {
                sent += message.len();
                tokio::task::yield_now().await;
                continue;
            }
            Err(SendError::Blocked) => {}
            Err(_) => return held(attacker),
        }
        tokio::select! {
            event = next(victim) => match event {
                RtcEvent::Message(_) => panic!("nothing that was sent can be delivered"),
                RtcEvent::Closed { .. } => return held(attacker),
                _ => {}
            },
            event = next(attacker) => if matches!(event, RtcEvent::Closed { .. }) {
                return held(attacker);
            },
        }
    }
}

/// Makes every chunk a middle one of a message without end.
fn endless(order: u8) -> impl Fn(&mut [u8]) + Send + Sync + 'static {
    let first = AtomicU32::new(BEGIN.into());
    move |bytes| {
        let begin = first.swap(0, Ordering::Relaxed);
        bytes[1] = order | u8::try_from(begin).expect("a flag");
        bytes[10..12].fill(0);
    }
}

async fn attack(lie: impl Fn(&mut [u8]) + Send + Sync + 'static) -> (usize, Option<CloseReason>) {
    let (attacker, victim) = (liar(lie), honest());
    let (mut attacker, mut victim) = (Node::wrapped(&attacker, 1), Node::wrapped(&victim, 2));
    connect(&mut attacker, &mut victim).await;
    assert!(victim.open.is_some(), "{:?}", victim.closed);
    let held = flood(&mut attacker, &mut victim, FLOOD).await;
    while victim.closed.is_none() {
        next(&mut victim).await;
    }
    (held, victim.closed)
}

#[tokio::test]
async fn t_sctp_1_a_message_without_end_is_cut_off() {
    for order in [0, UNORDERED] {
        let (held, closed) = attack(endless(order)).await;
        assert_eq!(
            closed,
            Some(CloseReason::Abuse(Abuse::EndlessMessage)),
            "order {order}"
        );
        assert!(held <= WRAPPED_HOLDS, "{held} bytes, order {order}");
    }
}

#[tokio::test]
async fn t_sctp_1_the_bare_crate_holds_whatever_is_sent() {
    for order in [0, UNORDERED] {
        let attacker = liar(endless(order));
        let mut attacker = Node::wrapped(&attacker, 1);
        let mut victim = Node::bare(default_runtime().expect("tokio is built in"), None).await;
        connect(&mut attacker, &mut victim).await;
        let held = flood(&mut attacker, &mut victim, BARE_HOLDS).await;
        assert!(
            held >= BARE_HOLDS,
            "the crate now bounds assembly ({held}): the guard may go"
        );
        assert_eq!(victim.closed, None);
    }
}

/// Whole messages, but the first of the order never comes: none can be read.
#[tokio::test]
async fn t_sctp_1_messages_nobody_can_read_are_cut_off() {
    let (held, closed) = attack(|bytes| {
        let number = u16::from_be_bytes([bytes[10], bytes[11]]).wrapping_add(1);
        bytes[10..12].copy_from_slice(&number.to_be_bytes());
    })
    .await;
    assert_eq!(closed, Some(CloseReason::Abuse(Abuse::UnreadableWindow)));
    assert!(held <= 4 * WRAPPED_HOLDS, "{held} bytes");
}

#[tokio::test]
async fn t_sctp_2_streams_nobody_agreed_on_are_cut_off() {
    let (held, closed) = attack(|bytes| {
        let stream = u16::try_from(word(bytes, 4) % 1_000).expect("below 1,000");
        bytes[8..10].copy_from_slice(&stream.to_be_bytes());
        bytes[1] = (bytes[1] & !END) | BEGIN;
    })
    .await;
    assert_eq!(closed, Some(CloseReason::Abuse(Abuse::UnknownStream)));
    assert!(held <= WRAPPED_HOLDS, "{held} bytes");
}

/// A peer may begin at any TSN, and an honest one wraps after 2³² chunks. The crate adds to TSNs
/// without wrapping, so it must be built without overflow checks (see the root manifest).
#[tokio::test]
async fn tsns_may_wrap() {
    let shift = Arc::new(AtomicU32::new(0));
    let (out, back) = (Arc::clone(&shift), shift);
    let sent: Rewrite = Arc::new(move |kind, bytes| match kind {
        chunk::INIT | chunk::INIT_ACK => {
            let begin = u32::MAX - 20;
            out.store(begin.wrapping_sub(word(bytes, 16)), Ordering::Relaxed);
            set_word(bytes, 16, begin);
        }
        chunk::DATA => {
            let tsn = word(bytes, 4).wrapping_add(out.load(Ordering::Relaxed));
            set_word(bytes, 4, tsn);
        }
        _ => {}
    });
    let received: Rewrite = Arc::new(move |kind, bytes| {
        if kind == chunk::SACK {
            let tsn = word(bytes, 4).wrapping_sub(back.load(Ordering::Relaxed));
            set_word(bytes, 4, tsn);
        }
    });
    let runtime = default_runtime().expect("tokio is built in");
    let shifted =
        RtcFactory::with_parts(loopback(), runtime, HostileCrypto::provider(sent, received))
            .expect("a sound configuration");
    let (mut a, mut b) = (Node::wrapped(&shifted, 1), Node::wrapped(&honest(), 2));
    connect(&mut a, &mut b).await;
    assert!(b.open.is_some(), "{:?}", b.closed);
    for n in 0..40u8 {
        let sent = Bytes::from(vec![n; 8 * 1024]);
        a.handle()
            .send(sent.clone())
            .expect("an open link takes it");
        assert_eq!(message(&mut b).await, sent);
    }
}
