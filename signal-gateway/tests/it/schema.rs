//! The part of JSON Schema 2020-12 that the OpenAPI document uses. A keyword it does not know fails
//! the test that meets it: nothing passes unchecked.

use serde_json::Value;

/// Keywords without a say in whether a value is valid.
const ANNOTATIONS: &[&str] = &["description", "contentEncoding"];

/// Holds `value` against `schema`, whose references are looked up in `document`.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$ref" => {
                let pointer = rule
                    .as_str()
                    .and_then(|r| r.strip_prefix('#'))
                    .expect("a local one");
                let target = document
                    .pointer(pointer)
                    .expect("the reference leads somewhere");
                check(document, target, value)?;
                true
            }
            "type" => match rule {
                Value::Array(kinds) => kinds.iter().any(|kind| is_kind(kind, value)),
                kind => is_kind(kind, value),
            },
            "properties" => {
                for (name, schema) in rule.as_object().expect("properties") {
                    if let Some(member) = value.get(name) {
                        check(document, schema, member).map_err(|e| format!("{name}: {e}"))?;
                    }
                }
                true
            }
            "required" => rule
                .as_array()
                .expect("names")
                .iter()
                .all(|name| value.get(name.as_str().expect("name")).is_some()),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(document, rule, item)?;
                }
                true
            }
            "enum" => rule.as_array().expect("values").contains(value),
            "minimum" => value
                .as_f64()
                .is_none_or(|v| v >= rule.as_f64().expect("number")),
            "maximum" => value
                .as_f64()
                .is_none_or(|v| v <= rule.as_f64().expect("number")),
            "format" if rule == "date-time" => value.as_str().is_none_or(|t| t.ends_with('Z')),
            "pattern" => value.as_str().is_none_or(|text| fits(rule, text)),
            known if ANNOTATIONS.contains(&known) => true,
            other => return Err(format!("{other} is not a keyword this checker knows")),
        };
        if !holds {
            return Err(format!("{keyword} {rule} does not hold for {value}"));
        }
    }
    Ok(())
}

fn is_kind(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a kind") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unknown kind {other}"),
    }
}

/// The two patterns the document has.
fn fits(pattern: &Value, text: &str) -> bool {
    match pattern.as_str().expect("a pattern") {
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
        "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$" => beeline_proto::id::Label::new(text).is_ok(),
        other => panic!("unknown pattern {other}"),
    }
}

#[test]
fn the_checker_can_fail() {
    use serde_json::json;
    let document = json!({ "a": { "type": "string", "enum": ["x"] } });
    let schema = json!({
        "type": "object",
        "required": ["n"],
        "properties": {
            "n": { "type": "integer", "minimum": 1 },
            "s": { "$ref": "#/a" },
            "l": { "type": "array", "items": { "type": "boolean" } },
            "d": { "type": "string", "pattern": "^[0-9]+$" },
            "t": { "type": "string", "format": "date-time" },
        },
    });
    let good = json!({ "n": 1, "s": "x", "l": [true], "d": "07", "t": "2026-01-01T00:00:00Z" });
    assert_eq!(check(&document, &schema, &good), Ok(()));
    for (name, bad) in [
        ("n", json!(0)),
        ("n", json!("1")),
        ("s", json!("y")),
        ("l", json!([1])),
        ("d", json!("7x")),
        ("t", json!("2026-01-01T00:00:00+01:00")),
    ] {
        let mut value = good.clone();
        value[name] = bad;
        assert!(check(&document, &schema, &value).is_err(), "{value}");
    }
    assert!(check(&document, &schema, &json!({})).is_err());
    assert!(check(&document, &json!({ "not": {} }), &good).is_err());
}
