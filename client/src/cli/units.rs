//! Values people type: durations, port ranges, ids. Each parser's error says what to type instead.

use beeline_proto::id::Label;
use client_core::limits::LINKS_MAX;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest duration taken: as long as a message is tried at all, 30 days.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Units of a duration with their length in milliseconds; the longest suffix is tried first.
const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `500ms`, `30s`, `5m`, `2h` or `7d`; at most [`DURATION_MAX`], at least one millisecond.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let advice = || "write a number and a unit: 500ms, 30s, 5m, 2h or 7d".to_owned();
    let (number, unit_ms) = UNITS
        .iter()
        .find_map(|(suffix, ms)| text.strip_suffix(suffix).map(|number| (number, *ms)))
        .ok_or_else(advice)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits
        .then(|| number.parse().ok())
        .flatten()
        .ok_or_else(advice)?;
    let ms = number
        .checked_mul(unit_ms)
        .filter(|ms| u128::from(*ms) <= DURATION_MAX.as_millis())
        .ok_or_else(|| "at most 30d".to_owned())?;
    if ms == 0 {
        return Err("at least 1ms".to_owned());
    }
    Ok(Duration::from_millis(ms))
}

/// Units of sizes, each 1,024 times the one before.
const SIZES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A number of bytes as people read it: `12 B`, `3.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (count, 0, 0);
    while whole >= 1_024 && unit + 1 < SIZES.len() {
        tenths = whole % 1_024 * 10 / 1_024;
        whole /= 1_024;
        unit += 1;
    }
    match unit {
        0 => format!("{whole} B"),
        _ => format!("{whole}.{tenths} {}", SIZES[unit]),
    }
}

/// A number of things as people read it: `1 file`, `2 files`.
pub(crate) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// What a file, or a folder of `files`, is, as people read it: its name, and how large it is.
pub(crate) fn sized(name: &str, files: Option<u32>, size: u64) -> String {
    let size = bytes(size);
    match files {
        Some(files) => {
            let files = counted(u64::from(files), "file", "files");
            format!("{name} ({files}, {size})")
        }
        None => format!("{name} ({size})"),
    }
}

/// A time that is left, as people read it: `40 s`, `12 min`, `3 h`.
pub(crate) fn left(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// Reads a size: `500B`, `10KiB`, `20MiB`, `4GiB` or `1TiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let advice = || "write a number and a unit: 500B, 10KiB, 20MiB, 4GiB or 1TiB".to_owned();
    // The longest suffix is tried first: each but `B` ends in it.
    let mut units = (0..SIZES.len()).rev();
    let found = units.find_map(|unit| Some((text.strip_suffix(SIZES[unit])?, unit)));
    let (number, unit) = found.ok_or_else(advice)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits
        .then(|| number.parse().ok())
        .flatten()
        .ok_or_else(advice)?;
    number
        .checked_mul(1 << (10 * unit))
        .ok_or_else(|| "that is more than there is".to_owned())
}

/// Reads `LOW-HIGH`, both 1 to 65535.
pub(crate) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let advice = || "write LOW-HIGH, such as 40000-40999".to_owned();
    let (low, high) = text.split_once('-').ok_or_else(advice)?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let low = port(low).ok_or_else(advice)?;
    let high = port(high).ok_or_else(advice)?;
    if low > high {
        return Err(format!("{low} is above {high}: write the lower port first"));
    }
    Ok(low..=high)
}

/// Reads how many links to take at once, 1 to [`LINKS_MAX`].
pub(crate) fn links(text: &str) -> Result<usize, String> {
    let links = text.parse().ok().filter(|n| (1..=LINKS_MAX).contains(n));
    links.ok_or_else(|| format!("write a number of links, 1 to {LINKS_MAX}"))
}

/// Reads a userId, deviceId or networkId.
pub(crate) fn label(text: &str) -> Result<Label, String> {
    Label::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_an_end() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("30d"), Ok(DURATION_MAX));
        for bad in [
            "",
            "30",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            "0s",
            "31d",
            "9999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!((size("0B"), size("7B")), (Ok(0), Ok(7)));
        assert_eq!(size("10KiB"), Ok(10_240));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        for bad in ["", "5", "KiB", "1.5MiB", "-1B", "20MB", "99999999TiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        let texts = [0, 1_023, 1_024, 1_536, 5 << 20, 1 << 40].map(bytes);
        assert_eq!(
            texts,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "1.0 TiB"]
        );
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn one_is_worded_as_one() {
        let sizes = [None, Some(0), Some(1), Some(2)].map(|files| sized("a", files, 2_048));
        assert_eq!(
            sizes,
            [
                "a (2.0 KiB)",
                "a (0 files, 2.0 KiB)",
                "a (1 file, 2.0 KiB)",
                "a (2 files, 2.0 KiB)"
            ]
        );
        assert_eq!(counted(1, "try", "tries"), "1 try");
    }

    #[test]
    fn times_left_are_rounded_up() {
        let texts = [0, 1, 99_000, 99_001, 720_000, 5_999_000, 6_000_000].map(left);
        assert_eq!(
            texts,
            ["0 s", "1 s", "99 s", "2 min", "12 min", "100 min", "2 h"]
        );
    }

    #[test]
    fn port_ranges_are_ordered() {
        assert_eq!(port_range("40000-40010"), Ok(40000..=40010));
        assert_eq!(port_range("5-5"), Ok(5..=5));
        for bad in ["", "1", "0-5", "9-8", "1-65536", "a-b"] {
            assert!(port_range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_say_what_is_allowed() {
        assert!(label("carol").is_ok());
        assert!(label("carol smith").is_err_and(|e| e.contains("A-Z a-z 0-9")));
    }
}
