//! Lines of `beeline device`, for scripts and for people.

use super::human::{Style, safe};
use serde::{Deserialize, Serialize};

/// One line. The tag is `"event"`, as in [`super::line::Line`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum DeviceLine {
    /// The new machine is waited for.
    DeviceLink {
        /// What it takes.
        link: String,
    },
    /// What both machines show.
    DeviceDigits {
        /// Six digits.
        digits: String,
        /// Whose device it becomes.
        user: String,
        /// What it will be called; not known yet on the new device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    /// A device was taken in.
    DeviceLinked {
        /// Its deviceId.
        device: String,
        /// Whether the registry holds the list with it.
        published: bool,
    },
    /// A device was taken off.
    DeviceRevoked {
        /// Its deviceId.
        device: String,
        /// Whether the registry holds the list without it.
        published: bool,
    },
    /// A list is in force.
    DeviceList {
        /// Whether the registry holds it.
        published: bool,
        /// Why the registry refused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A device of the user.
    Device {
        /// Its deviceId.
        device: String,
        /// Its fingerprint.
        fingerprint: String,
        /// Whether it is this one.
        here: bool,
        /// Whether it is this one, and holds the user key.
        holds_user_key: bool,
        /// When it was last heard of here, RFC 3339.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen_at: Option<String>,
    },
}

/// One line as text.
pub(crate) fn render(line: &DeviceLine, style: Style) -> String {
    match line {
        DeviceLine::DeviceLink { link } => format!(
            "On the new machine, within ten minutes:\n\n  beeline device join '{link}'\n\nWaiting \
             for it (Ctrl-C to give up)"
        ),
        DeviceLine::DeviceDigits {
            digits,
            user,
            device,
        } => {
            let spaced = format!(
                "{} {}",
                &digits[..digits.len() / 2],
                &digits[digits.len() / 2..]
            );
            let of = device.as_ref();
            let of = of.map_or_else(
                || format!("to become a device of {user}; waiting for the yes over there"),
                |device| format!("to take in {device} as a device of {user}"),
            );
            format!(
                "Both machines must show {}, {}",
                style.strong(&spaced),
                safe(&of)
            )
        }
        DeviceLine::DeviceLinked { device, published } => {
            format!("{} {device}{}", style.good("Linked"), later(*published))
        }
        DeviceLine::DeviceRevoked { device, published } => {
            format!("Revoked {}{}", style.strong(device), later(*published))
        }
        DeviceLine::DeviceList { published, reason } => {
            let reason = reason.as_deref().map(safe);
            format!(
                "The list is in force{}{}",
                later(*published),
                reason.unwrap_or_default()
            )
        }
        DeviceLine::Device {
            device,
            fingerprint,
            here,
            holds_user_key,
            seen_at,
        } => {
            let mut facts = vec![fingerprint.clone()];
            facts.extend(here.then(|| "this one".to_owned()));
            facts.extend(holds_user_key.then(|| "holds the user key".to_owned()));
            facts.extend(seen_at.as_ref().map(|at| format!("last seen {at}")));
            let facts = style.dim(&format!("({})", facts.join(", ")));
            format!("{:<24} {facts}", style.strong(device))
        }
    }
}

fn later(published: bool) -> &'static str {
    if published {
        ""
    } else {
        "; the registry does not know it yet, and is told when this home is online"
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;

    #[test]
    fn lines_survive_the_socket_and_say_their_event() {
        let line = Line::Device(DeviceLine::DeviceLinked {
            device: "alice_laptop".into(),
            published: true,
        });
        let json = line.to_json();
        let want = r#"{"event":"device-linked","device":"alice_laptop","published":true}"#;
        assert_eq!(json, want);
        assert_eq!(serde_json::from_str::<Line>(&json).expect("a line"), line);
    }

    #[test]
    fn people_see_the_digits_in_two_groups() {
        let line = DeviceLine::DeviceDigits {
            digits: "012345".into(),
            user: "alice".into(),
            device: None,
        };
        let text = render(&line, Style { color: false });
        assert!(text.contains("012 345") && text.contains("alice"), "{text}");
    }
}
