//! The value of an unquoted YAML scalar: the core schema of YAML 1.2.2 (10.3.2), with `0b` besides
//! `0x` and `0o`. `yes`, `no`, `on` and `off` are texts, and so is a number with leading zeros.

use super::value::Value;

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<f64> {
    if let Some(whole) = integer(text) {
        return Some(whole as f64);
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1.0, &text[1..]),
        b'-' => (-1.0, &text[1..]),
        _ => (1.0, text),
    };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if digits == text => return Some(f64::NAN),
        _ => {}
    }
    // Rust's own parser also accepts signs, `inf` and `nan`. Here a number starts with a digit or a
    // point, and then has only digits, `.`, `e` and signs.
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !plain || padded(digits) {
        return None;
    }
    digits
        .parse()
        .ok()
        .filter(|v: &f64| v.is_finite())
        .map(|v| sign * v)
}

/// The value of a scalar that is written as a whole number.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'+' => (false, &text[1..]),
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        _ if padded(digits) => return None,
        _ => (10, digits),
    };
    // `from_str_radix` would accept a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// `007`: digits after a leading zero are a code, not a number.
fn padded(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `serde_yaml` read recipes before, and scalars keep the same meaning.
    #[test]
    fn scalars_mean_what_they_mean_to_serde_yaml() {
        for text in [
            "~",
            "null",
            "Null",
            "nULL",
            "true",
            "False",
            "yes",
            "no",
            "on",
            "1",
            "-1",
            "+1",
            "--1",
            "+-1",
            "0",
            "-0",
            "00",
            "007",
            "08",
            "0.5",
            "00.5",
            ".5",
            "5.",
            ".",
            "+",
            "1e3",
            "1E+3",
            "1e-3",
            "e3",
            "1e",
            "1e999",
            "0x1F",
            "0x",
            "0o17",
            "0b101",
            "0b2",
            "-0x1F",
            "+0x1f",
            "0x-1",
            "1_000",
            "1,5",
            ".inf",
            "-.inf",
            "+.INF",
            ".nan",
            "-.nan",
            "inf",
            "nan",
            "NaN",
            "infinity",
            "1.2.3",
            "2024-01-01",
            "12:30",
            "0.1e1",
            "1/255",
            "18446744073709551615",
            "abc",
            "#fff",
            "1 000",
        ] {
            let theirs: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
            // `#fff` alone is a comment.
            let theirs = if text.starts_with('#') {
                serde_yaml::Value::String(text.to_owned())
            } else {
                theirs
            };
            let same = match (resolve(text), &theirs) {
                (Value::Null, serde_yaml::Value::Null) => true,
                (Value::Bool(a), serde_yaml::Value::Bool(b)) => a == *b,
                (Value::Text(a), serde_yaml::Value::String(b)) => a == *b,
                (Value::Number(a), serde_yaml::Value::Number(b)) => {
                    assert_eq!(integer(text).is_some(), !b.is_f64(), "{text}");
                    let b = b.as_f64().unwrap();
                    a == b || (a.is_nan() && b.is_nan())
                }
                _ => false,
            };
            assert!(same, "{text}: {:?}, not {theirs:?}", resolve(text));
        }
    }
}
