//! Tries as a person reads them: each rung once for a message, each reason once in a row. What is
//! left out stands in `--json` and in `why`.

use super::line::{Line, StateLine};
use client_core::event::DeliveryState;
use std::collections::BTreeSet;

/// What a person has read of the tries for one message.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Rungs told: there are six.
    rungs: BTreeSet<String>,
    /// The reason told last.
    reason: Option<String>,
}

impl Tries {
    /// Whether a line says something new.
    pub(crate) fn is_news(&mut self, line: &Line) -> bool {
        match line {
            Line::State(state) if state.state == DeliveryState::Trying.name() => self.note(state),
            _ => true,
        }
    }

    fn note(&mut self, line: &StateLine) -> bool {
        let fresh = line.rung.clone().map(|rung| self.rungs.insert(rung));
        match &line.reason {
            None => fresh.unwrap_or(true),
            reason => std::mem::replace(&mut self.reason, reason.clone()) != *reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_is_told_once_and_a_reason_when_it_is_another() {
        let mut tries = Tries::default();
        let mut told = |state: &str, rung: &str, reason: &str| {
            let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            tries.is_news(&Line::State(StateLine {
                state: state.to_owned(),
                rung: word(rung),
                reason: word(reason),
                ..StateLine::default()
            }))
        };
        assert!(told("queued", "", ""));
        assert!(told("trying", "cache", ""));
        assert!(told("trying", "registry", ""));
        assert!(told("trying", "registry", "no answer"));
        // The next climb finds the same.
        assert!(!told("trying", "cache", ""));
        assert!(!told("trying", "registry", ""));
        assert!(!told("trying", "registry", "no answer"));
        assert!(told("trying", "registry", "another"));
        assert!(told("trying", "store-and-forward", ""));
        assert!(told("stored", "", "") && told("stored", "", ""));
    }
}
