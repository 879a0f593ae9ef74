//! `status` as people read it.

use super::super::line::{CoordinatorPart, StatusLine};
use super::super::units::counted;
use super::{Style, safe};
use beeline::rtc::IceMode;
use std::fmt::Write as _;

/// Who this device is, how it is connected, and what it holds.
pub(super) fn render_status(line: &StatusLine, style: Style) -> String {
    let short = |fingerprint: &str| fingerprint.chars().take(12).collect::<String>();
    let mut rows = vec![
        (
            "user",
            format!(
                "{} ({})",
                style.strong(&line.user),
                short(&line.user_fingerprint)
            ),
        ),
        (
            "device",
            format!("{} ({})", line.device, short(&line.device_fingerprint)),
        ),
        (
            "network",
            format!("{} ({})", line.network, short(&line.network_fingerprint)),
        ),
        ("state", status_state(line, style)),
        (
            "links",
            format!("{} open, {} being made", line.links, line.connecting),
        ),
        ("known", known(line)),
        ("outbox", format!("{} waiting", line.outbox)),
        ("inbox", format!("{} not shown yet", line.unshown)),
    ];
    if let Some(mode) = line
        .ice
        .as_deref()
        .filter(|mode| *mode != IceMode::All.name())
    {
        rows.push(("privacy", format!("--ice {}", safe(mode))));
    }
    if !line.files.is_empty() {
        rows.push(("files", files_state(line)));
    }
    if line.kept > 0 || line.kept_bytes_max > 0 {
        rows.push(("keeps", kept_state(line)));
    }
    for coordinator in &line.coordinators {
        rows.push(("coordinator", coordinator_state(coordinator, style)));
    }
    if let Some(addr) = &line.signal_addr {
        rows.push(("serves", addr.clone()));
    }
    if let Some(detail) = &line.running_elsewhere {
        rows.push(("elsewhere", style.bad(&safe(detail))));
    }
    if let Some(detail) = &line.removed {
        rows.push(("removed", style.bad(&safe(detail))));
    }
    if let Some(detail) = &line.store_failed {
        rows.push(("store", style.bad(&safe(detail))));
    }
    for (kind, count) in &line.refused {
        rows.push(("refused", format!("{count} x {}", safe(kind))));
    }
    let rows = rows
        .iter()
        .map(|(name, value)| format!("{name:<13}{value}"));
    rows.collect::<Vec<_>>().join("\n")
}

fn known(line: &StatusLine) -> String {
    let contacts = counted(line.contacts, "contact", "contacts");
    format!("{contacts}, {}", counted(line.routes, "route", "routes"))
}

/// What there is of files, and where to read more.
fn files_state(line: &StatusLine) -> String {
    let files = &line.files;
    let counts = [
        (files.moving, "under way"),
        (files.waiting, "waiting"),
        (files.paused, "held back"),
        (files.undecided, "for you to accept or reject"),
    ];
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = some
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    format!("{}: beeline files", words.join(", "))
}

/// What is kept for others, and how full that makes the space.
fn kept_state(line: &StatusLine) -> String {
    let of = match line.kept_bytes_max {
        0 => "until they are fetched; nothing new is taken".to_owned(),
        max => format!("of {}", amount(max)),
    };
    let what = counted(line.kept, "sealed message", "sealed messages");
    let kept = amount(line.kept_bytes);
    format!("{what} for others, {kept} {of}")
}

/// Bytes, rounded up to the unit people would use.
fn amount(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}

fn coordinator_state(part: &CoordinatorPart, style: Style) -> String {
    let linked = if part.linked {
        style.good("linked")
    } else {
        style.dim("not linked")
    };
    let mut text = format!("{} ({}), {linked}", part.user, part.device);
    if part.capacity > 0 {
        let _ = write!(text, ", {} of {} links in use", part.load, part.capacity);
    }
    if part.socket {
        text.push_str(", by its own socket");
    }
    text
}

fn status_state(line: &StatusLine, style: Style) -> String {
    let Some(pid) = line.pid.filter(|_| line.running) else {
        return "not running".to_owned();
    };
    if line.online {
        let gateway = line.gateway.as_deref().unwrap_or("no gateway");
        return format!("{}, process {pid}, {gateway}", style.good("online"));
    }
    format!("{}, process {pid}", style.careful("not reachable yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_as_a_person_would_say_it() {
        let line = |kept, kept_bytes, kept_bytes_max| StatusLine {
            kept,
            kept_bytes,
            kept_bytes_max,
            ..StatusLine::default()
        };
        for (line, text) in [
            (
                line(0, 0, 256 << 20),
                "0 sealed messages for others, 0 KiB of 256 MiB",
            ),
            (
                line(1, 1, 256 << 20),
                "1 sealed message for others, 1 KiB of 256 MiB",
            ),
            (
                line(9, (1 << 20) - 1, 1 << 20),
                "9 sealed messages for others, 1024 KiB of 1 MiB",
            ),
            (
                line(2, (1 << 20) + 1, 0),
                "2 sealed messages for others, 2 MiB until they are fetched; nothing new is taken",
            ),
        ] {
            assert_eq!(kept_state(&line), text);
        }
    }
}
