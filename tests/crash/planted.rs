//! The harness can fail: each of these bugs is found within a few stories.

use super::home::Planted;
use super::points::{POINTS, Point, Role};
use super::story::{Power, run};
use super::table::say;
use client_core::planted::{Bug, switch_on};

/// Stories in which a planted bug must show.
const STORIES: u64 = 40;

fn point(name: &str, role: Role) -> &'static Point {
    let fits = |point: &&Point| point.name == name && point.role == role;
    POINTS.iter().find(fits).expect("there is such a point")
}

/// What is found first, and by which seed.
fn found(point: &Point, planted: Planted) -> Option<(u64, String)> {
    (1..=STORIES).find_map(|seed| {
        let wrong = run(seed, point, Power::Always, planted).wrong;
        let (class, what) = wrong.into_iter().next()?;
        Some((seed, format!("{class:?}: {what}")))
    })
}

fn is_found(bug: &str, point: &Point, planted: Planted) {
    match found(point, planted) {
        Some((seed, what)) => say(&format!("{bug}: seed {seed}, {what}")),
        None => panic!(
            "{bug} is not found in {STORIES} stories at '{}'",
            point.name
        ),
    }
}

#[test]
fn synchronous_normal_is_found() {
    let normal = Planted {
        normal: true,
        ..Planted::default()
    };
    is_found(
        "NORMAL",
        point("C7 after an ACK left", Role::Recipient),
        normal,
    );
    is_found(
        "NORMAL",
        point("C2 after send returned", Role::Sender),
        normal,
    );
}

#[test]
fn an_ack_before_the_commit_is_found() {
    switch_on(Some(Bug::AckBeforeCommit));
    let at = point("C6 before commit of a message", Role::Recipient);
    let caught = found(at, Planted::default());
    switch_on(None);
    let (seed, what) = caught.expect("it is found");
    say(&format!("ACK before commit: seed {seed}, {what}"));
}

#[test]
fn a_message_that_leaves_before_its_commit_is_found() {
    switch_on(Some(Bug::SentBeforeCommit));
    let at = point("C1 before commit of a send", Role::Sender);
    let caught = found(at, Planted::default());
    switch_on(None);
    let (seed, what) = caught.expect("it is found");
    say(&format!("sent before commit: seed {seed}, {what}"));
}

#[test]
fn names_that_are_not_synced_are_found() {
    let names_unsynced = Planted {
        names_unsynced: true,
        ..Planted::default()
    };
    is_found(
        "no directory sync",
        point("C2 after send returned", Role::Sender),
        names_unsynced,
    );
    is_found(
        "no directory sync",
        point("C7 after an ACK left", Role::Recipient),
        names_unsynced,
    );
}
