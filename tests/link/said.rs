//! The shape alone, with times that are said rather than measured.

use beeline_tests::link::{Fate, Shape, Shaper};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn due(fate: Fate) -> Duration {
    match fate {
        Fate::Due(due) => due,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bare_link_passes_everything_at_once() {
    let mut bare = Shaper::new(Shape::default());
    for at in 0..1_000 {
        assert_eq!(bare.offer(at * MS, 1_500), Fate::Due(at * MS));
    }
}

#[test]
fn delay_is_added_and_jitter_spreads_it_in_order() {
    let shape = Shape {
        delay: 25 * MS,
        ..Shape::default()
    };
    assert_eq!(
        Shaper::new(shape.clone()).offer(7 * MS, 100),
        Fate::Due(32 * MS)
    );
    let mut shaky = Shaper::new(Shape {
        jitter: 10 * MS,
        ..shape
    });
    let mut last = Duration::ZERO;
    let mut sum = Duration::ZERO;
    for at in 0..1_000 {
        // Far enough apart that order holds nobody back.
        let now = at * 20 * MS;
        let due = due(shaky.offer(now, 100));
        assert!((25 * MS..=35 * MS).contains(&(due - now)) && due >= last);
        last = due;
        sum += due - now;
    }
    let mean = sum / 1_000;
    assert!((29 * MS..31 * MS).contains(&mean), "{mean:?}");
}

#[test]
fn jitter_keeps_packets_in_order() {
    let mut shaky = Shaper::new(Shape {
        jitter: 50 * MS,
        ..Shape::default()
    });
    let mut last = Duration::ZERO;
    for at in 0..1_000 {
        let due = due(shaky.offer(at * MS, 100));
        assert!(due >= last);
        last = due;
    }
}

#[test]
fn loss_is_the_share_asked_for_and_its_seed_repeats_it() {
    let fates = |loss, seed| {
        let mut shaper = Shaper::new(Shape {
            loss,
            seed,
            ..Shape::default()
        });
        (0..100_000)
            .map(|_| shaper.offer(MS, 100))
            .collect::<Vec<_>>()
    };
    for (loss, fewest, most) in [(0.01, 900, 1_100), (0.2, 19_500, 20_500)] {
        let lost = fates(loss, 1)
            .iter()
            .filter(|fate| **fate == Fate::Lost)
            .count();
        assert!(
            (fewest..=most).contains(&lost),
            "{lost} of 100000 at {loss}"
        );
    }
    assert!(fates(1.0, 1).iter().all(|fate| *fate == Fate::Lost));
    assert_eq!(fates(0.2, 5), fates(0.2, 5));
    assert_ne!(fates(0.2, 5), fates(0.2, 6));
}

#[test]
fn a_rate_spaces_packets_and_a_full_queue_drops() {
    // 1,000 bytes a millisecond; room for ten packets beside the one being sent.
    let shape = Shape {
        rate: Some(1_000_000),
        queue: 10_000,
        ..Shape::default()
    };
    let mut slow = Shaper::new(shape);
    for n in 1..=11 {
        assert_eq!(slow.offer(Duration::ZERO, 1_000), Fate::Due(n * MS));
    }
    assert_eq!(slow.offer(Duration::ZERO, 1_000), Fate::Full);
    // Two milliseconds later two have left.
    assert_eq!(slow.offer(2 * MS, 1_000), Fate::Due(12 * MS));
    assert_eq!(slow.offer(2 * MS, 1_000), Fate::Due(13 * MS));
    assert_eq!(slow.offer(2 * MS, 1_000), Fate::Full);
    // An idle link starts anew.
    assert_eq!(slow.offer(100 * MS, 500), Fate::Due(100 * MS + MS / 2));
}

proptest! {
    /// Nothing comes out before it went in plus the delay, and nothing overtakes.
    #[test]
    fn no_packet_is_early_or_overtakes(
        delay in 0_u32..50, jitter in 0_u32..50, loss in 0.0..0.5_f64,
        rate in proptest::option::of(10_000_u64..100_000_000), seed: u64,
        packets in proptest::collection::vec((0_u32..5, 20_usize..1_500), 1..200),
    ) {
        let shape = Shape {
            delay: delay * MS, jitter: jitter * MS, loss, rate, seed, ..Shape::default()
        };
        let mut shaper = Shaper::new(shape);
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for (pause, len) in packets {
            now += pause * MS;
            if let Fate::Due(due) = shaper.offer(now, len) {
                prop_assert!(due >= now + delay * MS && due >= last);
                last = due;
            }
        }
    }
}
