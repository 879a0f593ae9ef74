//! The head of a signalling frame: `type`, `from` and `to`, read from JSON text or protobuf without
//! building the rest, the bytes left as they came.
//!
//! What is forwarded is what was checked: a receiver must read the same `from` as this parser,
//! whatever its own does with a key given twice. So a field given twice, in any spelling (escapes,
//! `sdpMid` beside `sdp_mid`, `From` beside `from`), is refused, and text must be one well-formed
//! JSON object.

use crate::core::name::Name;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// How a frame is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// JSON in a text frame.
    #[default]
    Text,
    /// Protobuf in a binary frame.
    Binary,
}

/// What the gateway reads of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the frame is; never `Unspecified`.
    pub kind: Type,
    /// Who says to have sent it; empty if absent.
    pub from: Name,
    /// Who shall have it; empty if absent.
    pub to: Name,
}

/// Why a frame has no head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// Not one JSON object, or not a protobuf message.
    #[error("the frame is not one well-formed JSON object or protobuf message")]
    Malformed,
    /// A field twice.
    #[error("the frame gives a field twice")]
    Twice,
    /// `type` is missing or unknown.
    #[error("the frame's type is missing or unknown")]
    UnknownType,
    /// `from` or `to` breaks the pattern of labels.
    #[error("from and to must be deviceIds: 1 to 64 of A-Z a-z 0-9 _ -")]
    BadName,
}

/// Reads a frame's head.
pub fn parse(form: Form, frame: &[u8]) -> Result<Head, HeadError> {
    let scan = match form {
        Form::Text => parse_json(frame)?,
        Form::Binary => parse_protobuf(frame)?,
    };
    match scan.kind {
        Some(kind) if kind != Type::Unspecified => Ok(Head {
            kind,
            from: scan.from,
            to: scan.to,
        }),
        _ => Err(HeadError::UnknownType),
    }
}

/// JSON names of `SignalFrame`'s fields with the numbers of the schema; where the two spellings of
/// proto3 JSON differ, both.
const FIELDS: &[(&str, u32)] = &[
    ("type", 1),
    ("from", 2),
    ("to", 3),
    ("sdp", 4),
    ("candidate", 5),
    ("sdpMid", 6),
    ("sdp_mid", 6),
    ("sdpMLineIndex", 7),
    ("sdp_m_line_index", 7),
    ("usernameFragment", 8),
    ("username_fragment", 8),
    ("parcel", 9),
    ("nonce", 10),
    ("proof", 11),
    ("token", 12),
    ("code", 13),
    ("message", 14),
    ("retryAfterMs", 15),
    ("retry_after_ms", 15),
    ("chain", 16),
    ("ready", 17),
    ("versions", 18),
    ("descriptor", 19),
    ("revocations", 20),
];

/// Numbers of the three fields that are read.
const TYPE: u32 = 1;
const FROM: u32 = 2;
const TO: u32 = 3;

/// What has been seen so far.
struct Scan {
    kind: Option<Type>,
    from: Name,
    to: Name,
    /// One bit per field number below 32.
    seen: u32,
    /// The first thing wrong, where the parser's own error would not tell.
    wrong: Option<HeadError>,
}

impl Scan {
    const NEW: Self = Self {
        kind: None,
        from: Name::EMPTY,
        to: Name::EMPTY,
        seen: 0,
        wrong: None,
    };

    /// Notes a field; a known one is taken once only. Numbers from 32 on are nobody's.
    fn note(&mut self, field: u32) -> Result<(), HeadError> {
        let bit = 1u32.checked_shl(field).unwrap_or(0);
        if self.seen & bit != 0 {
            return Err(HeadError::Twice);
        }
        self.seen |= bit;
        Ok(())
    }
}

// --- protobuf ------------------------------------------------------------------------------------

fn parse_protobuf(frame: &[u8]) -> Result<Scan, HeadError> {
    let malformed = |_| HeadError::Malformed;
    let mut scan = Scan::NEW;
    let mut rest = frame;
    while !rest.is_empty() {
        let (field, wire) = decode_key(&mut rest).map_err(malformed)?;
        scan.note(field)?;
        match (field, wire) {
            (TYPE, WireType::Varint) => {
                let code = decode_varint(&mut rest).map_err(malformed)?;
                let code = i32::try_from(code).map_err(|_| HeadError::UnknownType)?;
                scan.kind = Some(Type::try_from(code).map_err(|_| HeadError::UnknownType)?);
            }
            (FROM | TO, WireType::LengthDelimited) => {
                let text = std::str::from_utf8(take(&mut rest)?).map_err(|_| HeadError::BadName)?;
                let name = Name::new(text).ok_or(HeadError::BadName)?;
                *(if field == FROM {
                    &mut scan.from
                } else {
                    &mut scan.to
                }) = name;
            }
            (TYPE | FROM | TO, _) => return Err(HeadError::Malformed),
            (_, WireType::Varint) => {
                decode_varint(&mut rest).map_err(malformed)?;
            }
            (_, WireType::LengthDelimited) => {
                take(&mut rest)?;
            }
            (_, WireType::ThirtyTwoBit) => skip(&mut rest, 4)?,
            (_, WireType::SixtyFourBit) => skip(&mut rest, 8)?,
            // Groups nest, and no field of ours is one.
            (_, WireType::StartGroup | WireType::EndGroup) => return Err(HeadError::Malformed),
        }
    }
    Ok(scan)
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], HeadError> {
    let len = decode_varint(rest).map_err(|_| HeadError::Malformed)?;
    let len = usize::try_from(len).map_err(|_| HeadError::Malformed)?;
    let (field, tail) = rest.split_at_checked(len).ok_or(HeadError::Malformed)?;
    *rest = tail;
    Ok(field)
}

fn skip(rest: &mut &[u8], len: usize) -> Result<(), HeadError> {
    *rest = rest.get(len..).ok_or(HeadError::Malformed)?;
    Ok(())
}

// --- JSON ----------------------------------------------------------------------------------------

fn parse_json(frame: &[u8]) -> Result<Scan, HeadError> {
    let mut scan = Scan::NEW;
    let mut json = serde_json::Deserializer::from_slice(frame);
    let read = ObjectSeed(&mut scan).deserialize(&mut json);
    if let Some(wrong) = scan.wrong {
        return Err(wrong);
    }
    read.and_then(|()| json.end())
        .map_err(|_| HeadError::Malformed)?;
    Ok(scan)
}

/// Stops the parser; what was wrong is in the scan.
fn stop<E: de::Error>() -> E {
    E::custom("refused")
}

/// The frame's object.
struct ObjectSeed<'a>(&'a mut Scan);

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let scan = self.0;
        while let Some(field) = map.next_key_seed(KeySeed(scan))? {
            match field {
                TYPE | FROM | TO => map.next_value_seed(ValueSeed { scan, field })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// One key, as the field's number; 0 for an unknown one.
struct KeySeed<'a>(&'a mut Scan);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = u32;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<u32, E> {
        let field = match FIELDS.iter().find(|(name, _)| *name == key) {
            Some((_, field)) => *field,
            // A reader that ignores case would take it for the real one.
            None if ["type", "from", "to"]
                .iter()
                .any(|k| k.eq_ignore_ascii_case(key)) =>
            {
                self.0.wrong = Some(HeadError::Twice);
                return Err(stop());
            }
            None => return Ok(0),
        };
        if let Err(twice) = self.0.note(field) {
            self.0.wrong = Some(twice);
            return Err(stop());
        }
        Ok(field)
    }
}

/// The value of `type`, `from` or `to`; null means absent, as in proto3 JSON.
struct ValueSeed<'a> {
    scan: &'a mut Scan,
    field: u32,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    fn wrong<E: de::Error>(self, error: HeadError) -> Result<(), E> {
        self.scan.wrong = Some(error);
        Err(stop())
    }
}

impl Visitor<'_> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if self.field == TYPE {
            self.scan.kind = Type::from_str_name(text);
            return match self.scan.kind {
                Some(_) => Ok(()),
                None => self.wrong(HeadError::UnknownType),
            };
        }
        let Some(name) = Name::new(text) else {
            return self.wrong(HeadError::BadName);
        };
        match self.field {
            FROM => self.scan.from = name,
            _ => self.scan.to = name,
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, code: u64) -> Result<(), E> {
        if self.field != TYPE {
            return self.wrong(HeadError::BadName);
        }
        self.scan.kind = i32::try_from(code)
            .ok()
            .and_then(|c| Type::try_from(c).ok());
        match self.scan.kind {
            Some(_) => Ok(()),
            None => self.wrong(HeadError::UnknownType),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "frame_head_tests.rs"]
mod tests;
