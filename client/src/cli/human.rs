//! Lines as people read them. What others wrote cannot move the cursor or change colours: control
//! and reordering characters are shown, not obeyed.

mod status;

use super::device_line;
use super::file_line;
use super::file_past;
use super::line::{
    Line, MemberLine, MessageLine, PeerLine, RouteLine, StateLine, StepLine, VerifyLine,
};
use super::reason::by_path;
use super::{past, timeline};
use client_core::event::NEVER_ONLINE;
use status::render_status;
use std::fmt::Write as _;

/// Text with its colours, where colours are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether to colour.
    pub(crate) color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// An error's first word.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn careful(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// Shows characters that a terminal would obey; a newline stays, with the next line indented.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '\n' => out.push_str("\n    "),
            '\t' => out.push(c),
            c if c.is_control() || reorders => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The same of what has no second line: a name.
pub(super) fn one_line(text: &str) -> String {
    safe(text).replace('\n', " ")
}

/// One line of output as text, without the last newline.
pub(crate) fn render(line: &Line, style: Style) -> String {
    match line {
        Line::Ready { .. } | Line::Network { .. } | Line::Invite { .. } => {
            render_network(line, style)
        }
        Line::Joined { .. } | Line::Online { .. } => render_presence(line, style),
        Line::Offline { reason } => format!("{}: {}", style.careful("Offline"), safe(reason)),
        Line::State(state) => render_state(state, style),
        Line::Message(message) => render_message(message, style),
        Line::File(file) => file_line::render(file, style),
        Line::Files(files) => file_line::render_all(files, style),
        Line::Peer(peer) => render_peer(peer, style),
        Line::Route(route) => render_route(route, style),
        Line::History(message) => past::render_history(message, style),
        Line::Why(why) => timeline::render(why, style),
        Line::Verify(verify) => render_verify(verify, style),
        Line::Status(status) => render_status(status, style),
        Line::Check(check) => super::doctor::render(check, style),
        Line::Gap { .. } | Line::Deleted { .. } | Line::ReadReceipts { .. } => {
            past::render_upkeep(line, style)
        }
        Line::Token { token, .. } => token.clone(),
        Line::Member(member) => render_member(member, style),
        Line::Revoked { user } => format!("Revoked {}", style.strong(user)),
        Line::Step(step) => render_step(step, style),
        Line::Warning { kind, detail } => {
            format!(
                "{} {}: {}",
                style.careful("Warning"),
                safe(kind),
                safe(detail)
            )
        }
        Line::Device(line) => device_line::render(line, style),
        Line::Error { message, .. } => format!("{} {}", style.bad("error:"), safe(message)),
    }
}

/// What is said of a network and how to get in.
fn render_network(line: &Line, style: Style) -> String {
    match line {
        Line::Ready {
            url,
            grpc,
            network,
            invite,
            coordinator,
        } => {
            let at = coordinator.as_ref();
            let at = at.map_or_else(String::new, |at| format!("\n  coordinator  {at}"));
            format!(
                "{} network {network}\n  gateway      {url}\n  registry     {grpc} (gRPC){at}\n  \
                 invite       {}",
                style.good("Serving"),
                style.strong(invite),
            )
        }
        Line::Network {
            network,
            fingerprint,
        } => format!(
            "{} network {}, fingerprint {fingerprint}",
            style.good("Created"),
            style.strong(network),
        ),
        Line::Invite {
            invite,
            role,
            uses,
            expires_at,
        } => {
            let terms = format!("role {role}, for {uses}, until {expires_at}");
            format!("{invite}\n{}", style.dim(&terms))
        }
        _ => String::new(),
    }
}

/// What is said of ourselves in a network.
fn render_presence(line: &Line, style: Style) -> String {
    match line {
        Line::Joined {
            network,
            user,
            device,
        } => format!(
            "{} {network} as {}, device {device}",
            style.good("Joined"),
            style.strong(user),
        ),
        Line::Online {
            network,
            user,
            device,
            signal_addr,
        } => {
            let at = signal_addr.as_ref();
            let at = at.map_or_else(String::new, |at| format!(", coordinator at {at}"));
            format!(
                "{} in {network} as {}, device {device}{at}",
                style.good("Online"),
                style.strong(user),
            )
        }
        _ => String::new(),
    }
}

fn render_state(line: &StateLine, style: Style) -> String {
    let kept = line.n.zip(line.k);
    let never = line.reason.as_deref() == Some(NEVER_ONLINE);
    let state = match line.state.as_str() {
        "trying" if never => "Waiting:".to_owned(),
        "stored" => match kept {
            Some((n, k)) => format!("Stored with {n} of {k}"),
            None => capital("stored"),
        },
        "delivered" | "read" => style.good(&format!("\u{2713} {}", capital(&line.state))),
        "expired" | "rejected" => style.bad(&capital(&line.state)),
        other => capital(other),
    };
    let mut facts = Vec::new();
    // These say the path themselves.
    let says_path = matches!(line.state.as_str(), "relayed" | "stored");
    if let Some(rung) = line.rung.as_ref().filter(|_| !never) {
        facts.push(rung.clone());
    }
    if let Some(path) = line.path.as_ref().filter(|_| !says_path) {
        facts.push(by_path(path).to_owned());
    }
    if let Some(found_by) = &line.found_by {
        facts.push(format!("found by {found_by}"));
    }
    if let Some(reason) = line.detail.as_ref().or(line.reason.as_ref()) {
        facts.push(safe(reason));
    }
    facts.push(format!("{} ms", line.elapsed_ms));
    if line.state == "queued" {
        facts.push(format!("id {}", line.id));
    }
    let name = line.name.as_deref().map(one_line);
    let name = name.map_or_else(String::new, |name| format!("{}: ", style.strong(&name)));
    format!("{name}{state} {}", style.dim(&facts.join(", ")))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn render_message(line: &MessageLine, style: Style) -> String {
    let what = match &line.file {
        Some(file) => file_past::what(file, style),
        None => safe(&line.text),
    };
    let outcome = line.file.as_ref().and_then(file_past::outcome);
    let mut facts: Vec<String> = outcome.into_iter().collect();
    facts.extend([line.path.clone(), line.id.clone()]);
    if line.again {
        facts.push("again".to_owned());
    }
    if line.late {
        facts.push("late: it belongs before others shown already".to_owned());
    }
    let facts = style.dim(&format!("({})", facts.join(", ")));
    format!("{}: {what} {facts}", style.strong(&line.from))
}

fn render_peer(line: &PeerLine, style: Style) -> String {
    let state = match line.state.as_str() {
        "CONNECTED" => style.good(&line.state),
        "FAILED" => style.bad(&line.state),
        other => other.to_owned(),
    };
    let mut facts = Vec::new();
    facts.extend(line.links.iter().map(|link| match link.rtt_ms {
        Some(rtt) => format!("{}, {rtt} ms", link.device),
        None => link.device.clone(),
    }));
    if line.via > 0 {
        facts.push(format!("linked to {} of our peers", line.via));
    }
    if line.waiting > 0 {
        facts.push(format!("{} waiting", line.waiting));
    }
    if let Some(ms) = line.retry_in_ms {
        facts.push(format!("next try in {} s", ms.div_ceil(1000)));
    }
    facts.extend(line.reason.as_deref().map(safe));
    let mut text = format!(
        "{:<20} {state}  {}",
        line.user,
        style.dim(&facts.join(", "))
    );
    if line.key_changed {
        let what = format!("  key changed: beeline verify {}", line.user);
        text.push_str(&style.bad(&what));
    } else if line.verified {
        text.push_str(&style.good("  verified"));
    }
    text
}

fn render_route(line: &RouteLine, style: Style) -> String {
    let device = line.device.get(..12).unwrap_or(&line.device);
    let demoted = if line.demoted { ", failed lately" } else { "" };
    let facts = format!(
        "{}, found by {}, heard of {}{demoted}",
        line.freshness, line.found_by, line.seen_at
    );
    let addr = safe(&line.signal_addr);
    format!("{:<20} {device}  {addr}  {}", line.user, style.dim(&facts))
}

fn render_verify(line: &VerifyLine, style: Style) -> String {
    let digits = |number: &str| -> String {
        let groups: Vec<&str> = number.split(' ').collect();
        let rows = groups.chunks(4).map(|row| format!("  {}", row.join(" ")));
        rows.collect::<Vec<_>>().join("\n")
    };
    let user = style.strong(&line.user);
    let mut text = format!(
        "Safety number with {user}:\n{}\n",
        style.strong(&digits(&line.safety_number))
    );
    if let Some(claimed) = &line.claimed_safety_number {
        let _ = write!(
            text,
            "{} another key now claims this name. Its safety number:\n{}\nIf {} sees these \
             digits too: beeline verify {} --accept",
            style.bad("Sending is blocked:"),
            style.strong(&digits(claimed)),
            line.user,
            line.user,
        );
    } else if line.verified {
        text.push_str(&style.good("Verified."));
    } else {
        let _ = write!(
            text,
            "Compare them with {}. The same on both sides: nobody sits between you.",
            line.user
        );
    }
    text
}

fn render_member(line: &MemberLine, style: Style) -> String {
    let revoked = if line.revoked {
        style.bad("  revoked")
    } else {
        String::new()
    };
    let devices = style.dim(&line.devices.join(" "));
    format!("{:<20} {:<12}{revoked} {devices}", line.user, line.role)
}

fn render_step(line: &StepLine, style: Style) -> String {
    // A chapter of the story.
    if line.who.is_empty() && line.elapsed_ms.is_none() && line.step.is_none() {
        return format!("\n{}", style.strong(&safe(&line.what)));
    }
    let at = match line.elapsed_ms {
        Some(ms) => format!("{ms:>8.1} ms"),
        None => " ".repeat(11),
    };
    let step = match line.step {
        Some(step) => style.strong(&format!("STEP {step}")),
        None => "      ".to_owned(),
    };
    format!(
        "{}  {step}  {:<9} {}",
        style.dim(&at),
        line.who,
        safe(&line.what)
    )
}

#[cfg(test)]
mod tests {
    use super::super::line::FilePart;
    use super::*;

    const PLAIN: Style = Style { color: false };

    #[test]
    fn what_others_wrote_cannot_touch_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(safe("a\u{202e}b\rc"), "a\\u{202e}b\\u{d}c");
        assert_eq!(safe("one\ntwo"), "one\n    two");
        let line = Line::Message(MessageLine {
            from: "mallory".into(),
            text: "\u{1b}]0;owned\u{7}".into(),
            ..MessageLine::default()
        });
        let shown = render(&line, Style { color: false });
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
            "{shown:?}"
        );
    }

    #[test]
    fn a_message_that_offers_a_file_is_one_good_line() {
        let offer = |state: &str, path: Option<&str>| {
            let file = FilePart {
                name: "holiday\u{1b}.mov".into(),
                size: 3 << 20,
                state: state.into(),
                path: path.map(str::to_owned),
                ..FilePart::default()
            };
            let line = Line::Message(MessageLine {
                id: "ID".into(),
                from: "alice".into(),
                text: "[file] holiday.mov, 3145728 bytes".into(),
                path: "direct".into(),
                offer: true,
                file: Some(file),
                ..MessageLine::default()
            });
            render(&line, PLAIN)
        };
        let what = "alice: file holiday\\u{1b}.mov (3.0 MiB)";
        assert_eq!(offer("offered", None), format!("{what} (direct, ID)"));
        assert_eq!(offer("accepted", None), format!("{what} (direct, ID)"));
        // One that came while nobody looked says where it is.
        let done = offer("done", Some("/in/holiday.mov"));
        assert_eq!(
            done,
            format!("{what} (saved as /in/holiday.mov, direct, ID)")
        );
    }

    #[test]
    fn delivered_reads_well() {
        let line = Line::State(StateLine {
            state: "delivered".into(),
            path: Some("direct".into()),
            found_by: Some("registry".into()),
            elapsed_ms: 152,
            ..StateLine::default()
        });
        assert_eq!(
            render(&line, PLAIN),
            "\u{2713} Delivered directly, found by registry, 152 ms"
        );
        assert!(render(&line, Style { color: true }).starts_with("\u{1b}[32m"));
    }

    #[test]
    fn what_becomes_of_a_small_file_names_it() {
        let line = Line::State(StateLine {
            state: "delivered".into(),
            name: Some("note\n.txt".into()),
            path: Some("relay".into()),
            elapsed_ms: 7,
            ..StateLine::default()
        });
        let want = "note     .txt: \u{2713} Delivered through a peer, 7 ms";
        assert_eq!(render(&line, PLAIN), want);
    }

    #[test]
    fn one_for_somebody_who_was_never_online_waits() {
        let line = Line::State(StateLine {
            state: "trying".into(),
            rung: Some("registry".into()),
            reason: Some(NEVER_ONLINE.into()),
            detail: Some("carol has not been online yet".into()),
            elapsed_ms: 9,
            ..StateLine::default()
        });
        let text = render(&line, PLAIN);
        assert_eq!(text, "Waiting: carol has not been online yet, 9 ms");
    }

    #[test]
    fn a_changed_key_says_what_to_do() {
        let line = Line::Verify(VerifyLine {
            user: "carol".into(),
            safety_number: ["12345"; 12].join(" "),
            claimed_safety_number: Some(["54321"; 12].join(" ")),
            ..VerifyLine::default()
        });
        let text = render(&line, PLAIN);
        assert!(text.contains("beeline verify carol --accept"), "{text}");
        assert_eq!(text.matches("12345").count(), 12);
    }
}
