//! Crashes.

mod check;
mod disk;
mod home;
mod points;
mod story;

use home::Planted;
use points::POINTS;
use story::{Power, run};

#[test]
fn every_failpoint_once() {
    for (n, point) in POINTS.iter().enumerate() {
        for seed in 0..3 {
            let outcome = run(
                seed * 1000 + n as u64,
                point,
                Power::Sometimes,
                Planted::default(),
            );
            println!(
                "{} {} fired {} crashes {} messages {} wrong {}",
                point.name,
                point.role.name(),
                outcome.fired,
                outcome.crashes,
                outcome.messages,
                outcome.wrong.len()
            );
            if let Some(wrong) = outcome.wrong.first() {
                println!("{wrong:?}\n{}", outcome.story.join("\n"));
                panic!();
            }
        }
    }
}
