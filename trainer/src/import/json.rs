//! JSON as annotation tools write it: in several encodings, with Python's numbers, and with varying
//! value types.

use std::path::Path;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use serde_json::Value;

use crate::error::{Error, Result};

/// The text of a JSON file, and whether its encoding was assumed.
///
/// The encoding follows from a byte order mark or UTF-16's zeros; otherwise it is the given one, or
/// without one UTF-8, or Windows-1252 if the file is not valid UTF-8.
pub(super) fn read(path: &Path, encoding: Option<&'static Encoding>) -> Result<(String, bool)> {
    let bytes = fcn::file::read_whole(path)
        .map_err(|error| Error::new(format!("{} cannot be read: {error}", path.display())))?;
    let (told, mark) = match (Encoding::for_bom(&bytes), bytes.as_slice()) {
        (Some((encoding, length)), _) => (Some(encoding), length),
        (None, [_, 0, ..]) => (Some(UTF_16LE), 0),
        (None, [0, _, ..]) => (Some(UTF_16BE), 0),
        _ => (encoding, 0),
    };
    let decode =
        |encoding: &'static Encoding| encoding.decode_without_bom_handling_and_without_replacement(&bytes[mark..]);
    let encoding = told.unwrap_or(UTF_8);
    let (text, assumed) = match (decode(encoding), told) {
        (Some(text), _) => (text, false),
        (None, None) => (WINDOWS_1252.decode_without_bom_handling(&bytes[mark..]).0, true),
        (None, Some(_)) => {
            return Err(Error::new(format!("{} is no text in {}", path.display(), encoding.name())));
        }
    };
    Ok((without_python_numbers(text.into_owned()), assumed))
}

/// Python writes NaN, Infinity and -Infinity, which JSON does not have: replaced by null.
fn without_python_numbers(text: String) -> String {
    const NUMBERS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !NUMBERS.iter().any(|number| text.contains(number)) {
        return text;
    }
    let (mut result, mut rest, mut in_string) = (String::with_capacity(text.len()), text.as_str(), false);
    while let Some(next) = rest.chars().next() {
        let number = NUMBERS.iter().find(|number| !in_string && rest.starts_with(**number));
        let length = match (number, next) {
            (Some(number), _) => {
                result.push_str("null");
                rest = &rest[number.len()..];
                continue;
            }
            // A backslash and the character it escapes.
            (None, '\\') if in_string => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            _ => next.len_utf8(),
        };
        result.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    result
}

/// A number, possibly written as a string.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// An entry's identifier: 7, 7.0, "7" and "7.0" are the same; "07" is different.
pub(super) fn id(value: &Value) -> Option<String> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then(|| format!("{number:.0}"));
    match value {
        Value::Number(number) => number.as_f64().and_then(whole).or_else(|| Some(number.to_string())),
        Value::String(text) => {
            let text = text.trim();
            let number = text.strip_suffix(".0").unwrap_or(text);
            Some(if number.parse::<i64>().is_ok_and(|n| n.to_string() == number) { number } else { text }.to_owned())
        }
        _ => None,
    }
}

/// A length in pixels: at least 1.
pub(super) fn length(value: &Value) -> Option<usize> {
    number(value).filter(|length| (1.0..=1e9).contains(length)).map(|length| length.round() as usize)
}

/// A name, possibly written as a number.
pub(super) fn name(value: &Value) -> Option<String> {
    let name = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// Whether a flag is set: true, 1, 1.0, "1" or "true".
pub(super) fn flag(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        value => number(value).is_some_and(|number| number != 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn encodings_are_told_by_marks_and_zeros_or_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let utf16 = |text: &str, swap: bool| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        };
        let gbk = Encoding::for_label(b"gbk").unwrap();
        let good = "{\"a\": \"Stra\u{df}e\"}";
        for (bytes, encoding, expected) in [
            (good.as_bytes().to_vec(), None, (good, false)),
            (format!("\u{feff}{good}").into_bytes(), Some(gbk), (good, false)),
            (utf16(&format!("\u{feff}{good}"), false), None, (good, false)),
            (utf16(&format!("\u{feff}{good}"), true), None, (good, false)),
            (utf16(good, false), None, (good, false)),
            (utf16(good, true), None, (good, false)),
            (b"{\"a\": \"Stra\xdfe\"}".to_vec(), None, (good, true)),
            (b"{\"a\": \"Stra\xdfe\"}".to_vec(), Some(WINDOWS_1252), (good, false)),
            (b"{\"a\": \"\xb9\xb7\"}".to_vec(), Some(gbk), ("{\"a\": \"\u{72d7}\"}", false)),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path, encoding), Ok((expected.0.to_owned(), expected.1)), "{bytes:?}");
        }
        std::fs::write(&path, b"{\"a\": \"\xff\xff\"}").unwrap();
        assert!(read(&path, Some(gbk)).unwrap_err().to_string().contains("is no text in GBK"));
    }

    #[test]
    fn pythons_numbers_become_null_outside_of_texts() {
        for (text, expected) in [
            ("[NaN, -Infinity,Infinity, 1]", "[null, null,null, 1]"),
            ("{\"NaN\": \"a \\\" NaN\", \"b\\\\\": NaN}", "{\"NaN\": \"a \\\" NaN\", \"b\\\\\": null}"),
            ("[1, \"Infinity\"]", "[1, \"Infinity\"]"),
        ] {
            assert_eq!(without_python_numbers(text.to_owned()), expected);
        }
    }

    #[test]
    fn values_may_have_other_types() {
        for value in [json!(7), json!(7.0), json!("7"), json!(" 7 "), json!("7.0")] {
            assert_eq!((id(&value).as_deref(), length(&value), number(&value)), (Some("7"), Some(7), Some(7.0)));
        }
        for text in ["a7", "007", "7.5", "1e2", "-0", ""] {
            assert_eq!(id(&json!(text)).as_deref(), Some(text));
        }
        assert_eq!(id(&json!(9_007_199_254_740_993_u64)).as_deref(), Some("9007199254740993"));
        for value in [json!(null), json!([7]), json!({})] {
            assert_eq!((id(&value), length(&value), name(&value), number(&value)), (None, None, None, None));
        }
        assert_eq!([json!(0), json!(-3), json!("1e12")].map(|value| length(&value)), [None; 3]);
        for (value, expected) in [(json!(true), true), (json!(1), true), (json!("1"), true), (json!("True"), true)] {
            assert_eq!(flag(&value), expected, "{value}");
        }
        for value in [json!(false), json!(0), json!(null), json!("0"), json!("false"), json!("")] {
            assert!(!flag(&value), "{value}");
        }
        assert_eq!(name(&json!(3)).as_deref(), Some("3"));
        assert_eq!(name(&json!("  ")), None);
    }
}
