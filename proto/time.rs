//! Time as plain data. [`Now`] is handed to every pure machine; [`Timestamp`] is the wire's
//! `google.protobuf.Timestamp`, whose JSON always ends in `Z`.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The two clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    /// Monotonic milliseconds since some start: for timers.
    pub mono_ms: u64,
    /// Unix milliseconds: for certificates and display, never for order or dedup.
    pub wall_ms: u64,
}

/// `google.protobuf.Timestamp`, limited to the years 1 to 9999 as its specification says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, leap seconds left out.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// From Unix milliseconds; later than the year 9999 becomes its end.
    pub fn from_ms(ms: u64) -> Self {
        let ms = ms.min(YEAR_10000_S as u64 * 1000 - 1);
        Self {
            seconds: (ms / 1000) as i64,
            nanos: ((ms % 1000) * 1_000_000) as i32,
        }
    }

    /// Unix milliseconds; before 1970 becomes 0.
    pub fn to_ms(self) -> u64 {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        let nanos = u64::try_from(self.nanos).unwrap_or(0);
        seconds
            .saturating_mul(1000)
            .saturating_add(nanos / 1_000_000)
    }
}

/// First second of the year 10000.
const YEAR_10000_S: i64 = 253_402_300_800;

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction, as the proto3 JSON mapping wants;
    /// seconds outside the years 1 to 9999 print as the nearest end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.clamp(-62_135_596_800, YEAR_10000_S - 1);
        let at = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        let text = at.format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(text.trim_end_matches('Z'))?;
        match self.nanos.clamp(0, 999_999_999) {
            0 => f.write_str("Z"),
            n if n % 1_000_000 == 0 => write!(f, ".{:03}Z", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, ".{:06}Z", n / 1_000),
            n => write!(f, ".{n:09}Z"),
        }
    }
}

/// Parses RFC 3339 with any offset.
fn parse(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Timestamp {
        seconds: at.unix_timestamp(),
        nanos: i32::try_from(at.nanosecond()).ok()?,
    })
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| de::Error::custom("expected a time as in RFC 3339, ending in Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_end_in_z() {
        assert_eq!(
            Timestamp::from_ms(1_705_737_600_000).to_string(),
            "2024-01-20T08:00:00Z"
        );
        assert_eq!(
            Timestamp::from_ms(1_705_737_600_123).to_string(),
            "2024-01-20T08:00:00.123Z"
        );
        assert_eq!(
            Timestamp::from_ms(1_705_737_600_500).to_string(),
            "2024-01-20T08:00:00.500Z"
        );
        assert_eq!(
            Timestamp {
                seconds: -1,
                nanos: 5
            }
            .to_string(),
            "1969-12-31T23:59:59.000000005Z"
        );
        assert_eq!(
            Timestamp::from_ms(u64::MAX).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn rfc_3339_is_read() {
        let at = |t: &str| parse(t).map(Timestamp::to_ms);
        assert_eq!(at("2024-01-20T08:00:00Z"), Some(1_705_737_600_000));
        assert_eq!(at("2024-01-20T09:30:00.25+01:30"), Some(1_705_737_600_250));
        for bad in [
            "",
            "2024-02-30T00:00:00Z",
            "2024-01-20",
            "2024-01-20T08:00:00",
            "2024-01-20T08:00:00.Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
