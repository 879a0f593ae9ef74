//! `why` as a person reads it: what the message is, where it stands, and how it came there, rung by
//! rung. Everything `why` shows is worded here.

use super::file_past;
use super::human::{Style, safe};
use super::line::{AboutPart, WhyLine};
use super::reason::{by_path, in_words};
use super::units::counted;
use client_core::event::NEVER_ONLINE;

/// Characters of a text that its heading shows.
const HEADING_CHARS_MAX: usize = 60;

/// One step; the first stands under a heading.
pub(super) fn render(line: &WhyLine, style: Style) -> String {
    let heading = line.about.as_ref().map(|about| heading(about, style));
    let words = words(line);
    let state = format!("{:<10}", line.state);
    let state = match line.state.as_str() {
        "delivered" | "read" | "shown" => style.good(&state),
        "expired" | "rejected" => style.bad(&state),
        _ => state,
    };
    let after = style.dim(&format!("{:>10}", after(line.elapsed_ms)));
    let skipped = match line.skipped {
        0 => String::new(),
        n => format!(
            "{}\n",
            style.dim(&format!(
                "{:>10}  ({} between)",
                "\u{2026}",
                counted(n, "try", "tries")
            ))
        ),
    };
    let step = format!("{skipped}{after}  {state} {words}");
    match heading {
        Some(heading) => format!("{heading}\n{step}"),
        None => step,
    }
}

/// What the message is and where it stands.
fn heading(about: &AboutPart, style: Style) -> String {
    let user = style.strong(&safe(&about.user));
    let way = if about.direction == "sent" {
        "To"
    } else {
        "From"
    };
    let text = match &about.file {
        Some(file) => file_past::what(file, style),
        None if about.text.is_empty() => style.dim("(deleted)"),
        None => shortened(&about.text),
    };
    let now = match &about.file {
        Some(file) => {
            let ours = about.direction == "sent";
            let said = file_past::sentence(file, &about.user, ours);
            format!("{said} Its offer, step by step:")
        }
        None => standing(about),
    };
    format!("{way} {user}: {text}\n{now}\n{}", style.dim(&about.at))
}

fn shortened(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let mut short: String = safe(first).chars().take(HEADING_CHARS_MAX).collect();
    if short.len() < safe(text).len() {
        short.push('\u{2026}');
    }
    format!("\u{201c}{short}\u{201d}")
}

/// Where it stands now, in a sentence.
fn standing(about: &AboutPart) -> String {
    let user = safe(&about.user);
    if about.direction != "sent" {
        return "It is here.".to_owned();
    }
    match about.state.as_str() {
        "delivered" => format!("Delivered: a device of {user} has it."),
        "read" => format!("Read: {user} has seen it."),
        "expired" => format!(
            "Not delivered: we stopped trying. If {user} turns out to have it after all, this will \
             say so."
        ),
        "rejected" => {
            let reason = about.reason.as_deref().unwrap_or_default();
            format!(
                "Not delivered, and not tried any more: {}.",
                why(reason, &user)
            )
        }
        "copied" => {
            let device = about.device.as_deref().map(safe).unwrap_or_default();
            format!("Sent by our device {device}: where it stands is known there; ask why there.")
        }
        "stored" => format!("On its way: others keep it until {user} is back; we go on trying."),
        _ => match about.reason.as_deref().and_then(|r| in_words(r, &user)) {
            Some(words) => format!("Waiting: {words}."),
            None => {
                format!(
                    "On its way: nobody has it but this device; we go on trying to reach {user}."
                )
            }
        },
    }
}

/// What a reason means.
fn why(reason: &str, user: &str) -> String {
    in_words(reason, user).unwrap_or_else(|| safe(reason))
}

/// A step, in words.
fn words(line: &WhyLine) -> String {
    let text = match line.state.as_str() {
        "queued" => "safe on this device".to_owned(),
        "trying" => trying(line.rung.as_deref()).to_owned(),
        "relayed" => "a peer linked to the recipient took it along".to_owned(),
        "stored" => stored(line),
        "kept" => return kept(line),
        "delivered" => delivered(line),
        "read" => "a person has seen it".to_owned(),
        "expired" => return safe(line.reason.as_deref().unwrap_or("we stopped trying")),
        "rejected" => {
            return why(line.reason.as_deref().unwrap_or_default(), "the recipient");
        }
        "received" => "verified and kept; acknowledged".to_owned(),
        "copied" => "a copy of it came here, verified and kept".to_owned(),
        "released" => "its turn has come: nothing before it is waited for".to_owned(),
        "showing" => "being shown".to_owned(),
        "shown" => "shown".to_owned(),
        other => safe(other),
    };
    match line.detail.as_ref().or(line.reason.as_ref()) {
        // The heading says it at length, and each climb of the ladder finds it again.
        Some(_) if line.reason.as_deref() == Some(NEVER_ONLINE) => {
            format!("{text}; the recipient was never online")
        }
        Some(reason) => format!("{text}; {}", safe(reason)),
        None => text,
    }
}

fn trying(rung: Option<&str>) -> &'static str {
    match rung {
        Some("connected") => "over an open link",
        Some("cache") => "the ways known from before",
        Some("peers") => "asking the peers we are linked to",
        Some("coordinators") => "asking coordinators",
        Some("registry") => "asking the registry, the last resort",
        Some("store-and-forward") => "asking others to keep it",
        _ => "again",
    }
}

fn stored(line: &WhyLine) -> String {
    match line.n.zip(line.k) {
        Some((1, 1)) => "one other keeps it for the recipient".to_owned(),
        Some((n, k)) => format!("{n} of {k} others keep it for the recipient"),
        None => "others keep it for the recipient".to_owned(),
    }
}

/// Who keeps it, for whom, and until when.
fn kept(line: &WhyLine) -> String {
    let Some(keeper) = &line.keeper else {
        return "by another".to_owned();
    };
    let (user, device) = (safe(&keeper.user), safe(&keeper.device));
    let (recipient, until) = (safe(&keeper.recipient), &keeper.until);
    format!("by {user} (device {device}) for {recipient}, until {until}")
}

fn delivered(line: &WhyLine) -> String {
    let here = "the recipient's device has it";
    let way = match &line.path {
        Some(path) => format!("{here}, {}", by_path(path)),
        None => here.to_owned(),
    };
    match line.rung.as_deref() {
        Some("connected") => format!("{way}, over a link that was open"),
        Some("cache") => format!("{way}, by a way known from before"),
        Some("peers") => format!("{way}, found through peers"),
        Some("coordinators") => format!("{way}, found through coordinators"),
        Some("registry") => format!("{way}, found through the registry"),
        _ => way,
    }
}

/// How long after the first step.
fn after(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        _ if ms == 0 => "at once".to_owned(),
        0..10 => format!("+{ms} ms"),
        10..600 => format!("+{s} s"),
        600..36_000 => format!("+{} min", s / 60),
        36_000..864_000 => format!("+{} h", s / 3_600),
        _ => format!("+{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::KeeperPart;
    use super::*;

    const PLAIN: Style = Style { color: false };

    fn about(state: &str, reason: Option<&str>) -> Option<AboutPart> {
        Some(AboutPart {
            direction: "sent".into(),
            user: "carol".into(),
            text: "Hello Carol!".into(),
            state: state.into(),
            device: None,
            reason: reason.map(str::to_owned),
            at: "2026-11-25T22:08:03.120Z".into(),
            file: None,
        })
    }

    fn step(state: &str, rung: &str, path: &str, reason: &str, elapsed_ms: u64) -> WhyLine {
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        WhyLine {
            state: state.into(),
            rung: word(rung),
            path: word(path),
            reason: word(reason),
            elapsed_ms,
            ..WhyLine::default()
        }
    }

    fn story(state: &str, reason: Option<&str>, steps: Vec<WhyLine>) -> String {
        let mut steps = steps;
        steps[0].about = about(state, reason);
        let lines = steps.iter().map(|line| render(line, PLAIN));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_delivered_message_tells_how() {
        let steps = vec![
            step("queued", "", "", "", 0),
            step("trying", "registry", "", "", 3),
            step("delivered", "registry", "direct", "", 152),
        ];
        let want = "\
To carol: \u{201c}Hello Carol!\u{201d}
Delivered: a device of carol has it.
2026-11-25T22:08:03.120Z
   at once  queued     safe on this device
     +3 ms  trying     asking the registry, the last resort
   +152 ms  delivered  the recipient's device has it, directly, found through the registry";
        assert_eq!(story("delivered", None, steps), want);
    }

    #[test]
    fn a_stored_message_tells_that_it_is_on_its_way() {
        let steps = vec![
            step("queued", "", "", "", 0),
            step(
                "trying",
                "store-and-forward",
                "",
                "no device of carol answers",
                1_002,
            ),
            WhyLine {
                n: Some(2),
                k: Some(3),
                ..step("stored", "", "stored", "", 1_300)
            },
            WhyLine {
                keeper: Some(KeeperPart {
                    user: "coordinator_1".into(),
                    device: "coordinator_1_x".into(),
                    recipient: "carol_phone".into(),
                    heard_at: "2026-11-25T22:08:04.380Z".into(),
                    until: "2026-12-25T22:08:04.380Z".into(),
                }),
                ..step("kept", "", "", "", 1_260)
            },
        ];
        let text = story("stored", None, steps);
        assert!(
            text.contains("On its way: others keep it until carol is back"),
            "{text}"
        );
        assert!(
            text.contains("+1002 ms  trying     asking others to keep it; no device"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "\
  +1300 ms  stored     2 of 3 others keep it for the recipient
  +1260 ms  kept       by coordinator_1 (device coordinator_1_x) for carol_phone, until \
                 2026-12-25T22:08:04.380Z"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_for_somebody_who_was_never_online_says_that_it_waits() {
        let words = in_words(NEVER_ONLINE, "carol").expect("words");
        let mut try_it = step("trying", "registry", "", NEVER_ONLINE, 9);
        try_it.detail = Some(words.clone());
        let steps = vec![step("queued", "", "", "", 0), try_it.clone(), try_it];
        let text = story("trying", Some(NEVER_ONLINE), steps);
        assert!(text.contains(&format!("\nWaiting: {words}.\n")), "{text}");
        assert_eq!(text.matches(&words).count(), 1, "at length once: {text}");
        let short = "asking the registry, the last resort; the recipient was never online";
        assert_eq!(text.matches(short).count(), 2, "{text}");
    }

    #[test]
    fn an_expired_and_a_rejected_message_tell_why() {
        let month_ms = 30 * 24 * 3_600 * 1_000;
        let reason = "we stopped trying: not delivered in 30 days";
        let steps = vec![
            step("queued", "", "", "", 0),
            step("expired", "", "", reason, month_ms),
        ];
        let text = story("expired", Some(reason), steps);
        assert!(text.contains("If carol turns out to have it"), "{text}");
        assert!(
            text.ends_with(&format!("+30 days  expired    {reason}")),
            "{text}"
        );

        let steps = vec![
            step("queued", "", "", "", 0),
            step("rejected", "", "", "USER_KEY_CHANGED", 40_000),
        ];
        let text = story("rejected", Some("USER_KEY_CHANGED"), steps);
        assert!(text.contains("beeline verify carol"), "{text}");
        assert!(
            text.contains("     +40 s  rejected   the key changed"),
            "{text}"
        );
    }

    #[test]
    fn one_that_another_device_of_ours_sent_says_where_to_ask() {
        let mut copied = step("copied", "", "", "", 0);
        copied.about = about("copied", None);
        if let Some(about) = &mut copied.about {
            about.device = Some("b5c0f1d2".into());
        }
        let want = "\
To carol: \u{201c}Hello Carol!\u{201d}
Sent by our device b5c0f1d2: where it stands is known there; ask why there.
2026-11-25T22:08:03.120Z
   at once  copied     a copy of it came here, verified and kept";
        assert_eq!(render(&copied, PLAIN), want);
    }

    #[test]
    fn what_others_wrote_cannot_touch_the_terminal() {
        let mut line = step("rejected", "", "", "\u{1b}[31m", 0);
        line.about = about("rejected", Some("\u{1b}]0;x"));
        if let Some(about) = &mut line.about {
            about.text = format!("a\u{1b}[2J{}\nsecond line", "x".repeat(200));
            about.user = "\u{202e}".to_owned();
        }
        let text = render(&line, PLAIN);
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text:?}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() < 200),
            "{text}"
        );
        assert!(!text.contains("second line"), "a heading is short");
    }
}
