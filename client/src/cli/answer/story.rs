//! The answer to `why`: a message's life as lines, with who keeps a copy of it.

use super::super::line::{AboutPart, FilePart, KeeperPart, Line, WhyLine};
use super::super::reason::in_words;
use super::{at, state_word};
use beeline::report::{HistoryItem, Story, StoryKeeper, StoryStep};
use beeline_proto::id::Label;
use client_core::event::{DeliveryState, NEVER_ONLINE, Rung};

/// Of tries in a row so many first and so many last ones are told: one climb of the ladder each.
const TRIES_SHOWN: usize = 6;

/// The life of a message, its heading with the first step.
pub(super) fn story_lines(story: &Story) -> Vec<Line> {
    let start = story.steps.first().map_or(0, |step| step.at_ms);
    let mut about = Some(about(story));
    let line = |step: &StoryStep| WhyLine {
        about: about.take(),
        skipped: 0,
        id: story.item.id.to_text(),
        state: step.state.clone(),
        at: at(step.at_ms),
        rung: step.rung.map(|rung| rung.name().to_owned()),
        path: step.path.map(|path| path.name().to_owned()),
        reason: step.reason.clone(),
        detail: in_words_of(step, &story.item),
        n: step.kept.map(|kept| kept.n),
        k: step.kept.map(|kept| kept.k),
        keeper: None,
        elapsed_ms: step.at_ms.saturating_sub(start),
    };
    let mut lines: Vec<WhyLine> = story.steps.iter().map(line).collect();
    leave_out_tries(&mut lines);
    for keeper in &story.keepers {
        let elapsed_ms = keeper.since_ms.saturating_sub(start);
        let kept = WhyLine {
            id: story.item.id.to_text(),
            state: "kept".to_owned(),
            at: at(keeper.since_ms),
            keeper: Some(keeper_part(keeper)),
            elapsed_ms,
            ..WhyLine::default()
        };
        // Where it began, after the step that stands first in any case.
        let before = lines.iter().rposition(|line| line.elapsed_ms <= elapsed_ms);
        lines.insert(before.map_or(lines.len(), |before| before + 1), kept);
    }
    let boxed = lines.into_iter().map(Box::new);
    boxed.map(Line::Why).collect()
}

fn keeper_part(keeper: &StoryKeeper) -> KeeperPart {
    let or = |label: &Option<Label>, fp: String| label.as_ref().map_or(fp, ToString::to_string);
    KeeperPart {
        user: or(&keeper.user_label, keeper.user.to_string()),
        device: or(&keeper.device_label, keeper.device.to_string()),
        recipient: or(&keeper.recipient_label, keeper.recipient.to_string()),
        heard_at: at(keeper.heard_ms),
        until: at(keeper.until_ms),
    }
}

/// A month of tries is no story: of many in a row the first and the last few stay.
fn leave_out_tries(lines: &mut Vec<WhyLine>) {
    let mut kept: Vec<WhyLine> = Vec::with_capacity(lines.len());
    let is_try = |line: &WhyLine| line.state == DeliveryState::Trying.name();
    for chunk in lines.chunk_by(|a, b| is_try(a) && is_try(b)) {
        let skipped = chunk.len().saturating_sub(2 * TRIES_SHOWN);
        if skipped == 0 {
            kept.extend_from_slice(chunk);
            continue;
        }
        kept.extend_from_slice(&chunk[..TRIES_SHOWN]);
        let mut rest = chunk[TRIES_SHOWN + skipped..].to_vec();
        if let Some(next) = rest.first_mut() {
            next.skipped = skipped as u64;
        }
        kept.extend(rest);
    }
    *lines = kept;
}

fn in_words_of(step: &StoryStep, item: &HistoryItem) -> Option<String> {
    let reason = step.reason.as_deref();
    reason.and_then(|reason| in_words(reason, item.with.as_str()))
}

fn about(story: &Story) -> AboutPart {
    let item = &story.item;
    AboutPart {
        direction: if item.ours { "sent" } else { "received" }.to_owned(),
        user: item.with.to_string(),
        text: item.text.clone(),
        state: state_word(item).to_owned(),
        device: item.sent_by.map(|device| device.short().to_string()),
        reason: item.reason.clone().or_else(|| still_why(story)),
        at: at(item.at_ms),
        file: item.file.as_ref().map(FilePart::from),
    }
}

/// Why nothing of a message can go out yet, while that is so: what was tried later without a reason
/// changed nothing, unless it was a way known.
fn still_why(story: &Story) -> Option<String> {
    let waits = story.item.state <= DeliveryState::Trying && story.item.sent_by.is_none();
    let known = [Some(Rung::Connected), Some(Rung::Cache)];
    let mut told = story.steps.iter().rev();
    let last = told.find(|step| step.reason.is_some() || known.contains(&step.rung))?;
    let reason = last.reason.clone().filter(|_| waits);
    reason.filter(|reason| reason == NEVER_ONLINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::{DeviceFp, MessageId};

    fn story(state: DeliveryState, sent_by: Option<DeviceFp>, steps: Vec<StoryStep>) -> Story {
        Story {
            item: HistoryItem {
                id: MessageId([1; 16]),
                ours: true,
                with: Label::new("carol").expect("a label"),
                text: "hi".to_owned(),
                at_ms: 0,
                sent_at_ms: 0,
                state,
                path: None,
                reason: None,
                sent_by,
                missing: 0,
                file: None,
            },
            steps,
            keepers: Vec::new(),
        }
    }

    fn tried(rung: Rung, reason: Option<&str>) -> StoryStep {
        StoryStep {
            at_ms: 1,
            state: "trying".to_owned(),
            rung: Some(rung),
            path: None,
            reason: reason.map(str::to_owned),
            kept: None,
        }
    }

    #[test]
    fn one_that_another_device_of_ours_sent_stands_as_copied() {
        let device = DeviceFp([0xab; 32]);
        let about = about(&story(DeliveryState::Queued, Some(device), Vec::new()));
        assert_eq!(about.state, "copied");
        assert_eq!(about.device.as_deref(), Some("abababab"));
    }

    #[test]
    fn what_cannot_go_out_yet_says_so_as_long_as_that_is_so() {
        let never = || tried(Rung::Registry, Some(NEVER_ONLINE));
        let reason = |state, steps| about(&story(state, None, steps)).reason;
        let trying = DeliveryState::Trying;
        let told = Some(NEVER_ONLINE.to_owned());
        assert_eq!(reason(trying, vec![never()]), told);
        let again = vec![never(), tried(Rung::Peers, None)];
        assert_eq!(reason(trying, again), told);
        let known = vec![never(), tried(Rung::Cache, None)];
        assert_eq!(reason(trying, known), None);
        let other = vec![never(), tried(Rung::Registry, Some("no answer"))];
        assert_eq!(reason(trying, other), None);
        assert_eq!(reason(DeliveryState::Delivered, vec![never()]), None);
    }

    #[test]
    fn a_month_of_tries_is_told_in_a_few_lines() {
        let step = |state: &str| WhyLine {
            state: state.to_owned(),
            ..WhyLine::default()
        };
        let story = |tries: usize| {
            let tries = std::iter::repeat_n(step("trying"), tries);
            let mut lines: Vec<WhyLine> = [step("queued")].into_iter().chain(tries).collect();
            lines.push(step("expired"));
            leave_out_tries(&mut lines);
            let skipped: u64 = lines.iter().map(|line| line.skipped).sum();
            (lines.len(), skipped)
        };
        assert_eq!(story(0), (2, 0));
        assert_eq!(story(2 * TRIES_SHOWN), (2 + 2 * TRIES_SHOWN, 0));
        assert_eq!(
            story(64),
            (2 + 2 * TRIES_SHOWN, 64 - 2 * TRIES_SHOWN as u64)
        );
    }
}
