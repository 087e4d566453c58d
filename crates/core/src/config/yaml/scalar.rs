//! The core schema of YAML 1.2 (section 10.3.2): which plain texts are null, booleans and numbers.

use serde_json::{Number, Value};

/// The value of a plain scalar.
///
/// Infinities and not-a-number stay texts, because JSON has no such numbers; so do whole numbers that no
/// 64 bits hold, rather than lose digits.
pub fn core_scalar(text: &str) -> Value {
    let known = match text.as_bytes() {
        [] | b"~" | b"null" | b"Null" | b"NULL" => Some(Value::Null),
        b"true" | b"True" | b"TRUE" => Some(Value::Bool(true)),
        b"false" | b"False" | b"FALSE" => Some(Value::Bool(false)),
        [b'0'..=b'9' | b'+' | b'-' | b'.', ..] => number(text).map(Value::Number),
        _ => None,
    };
    known.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits_of(digits, 16).map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits_of(digits, 8).map(Number::from);
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)?),
        Some(b'+') => (false, text.get(1..)?),
        _ => (false, text),
    };
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let value: u64 = unsigned.parse().ok()?;
        return if negative {
            0i64.checked_sub_unsigned(value).map(Number::from)
        } else {
            Some(value.into())
        };
    }
    if is_float(unsigned) {
        Number::from_f64(text.strip_prefix('+').unwrap_or(text).parse().ok()?)
    } else {
        None
    }
}

fn digits_of(digits: &str, radix: u32) -> Option<u64> {
    // The standard library would take a sign here.
    if digits.starts_with(['+', '-']) {
        None
    } else {
        u64::from_str_radix(digits, radix).ok()
    }
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn follows_the_core_schema() {
        let cases = [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("nUll", json!("nUll")),
            ("true", json!(true)),
            ("False", json!(false)),
            ("no", json!("no")),
            ("yes", json!("yes")),
            ("off", json!("off")),
            ("on", json!("on")),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("+12", json!(12)),
            ("0123", json!(123)),
            ("0o17", json!(15)),
            ("0xFf", json!(255)),
            ("0x", json!("0x")),
            ("0x+1", json!("0x+1")),
            ("0b1", json!("0b1")),
            ("1_000", json!("1_000")),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("-1e3", json!(-1000.0)),
            ("1.5E-3", json!(0.0015)),
            (".", json!(".")),
            ("1e", json!("1e")),
            ("e1", json!("e1")),
            (".inf", json!(".inf")),
            (".nan", json!(".nan")),
            ("1.2.3", json!("1.2.3")),
            ("10s", json!("10s")),
            ("10.0.0.0/8", json!("10.0.0.0/8")),
            ("12:30:45", json!("12:30:45")),
            ("2024-01-01", json!("2024-01-01")),
            ("-", json!("-")),
            ("+", json!("+")),
        ];
        for (text, value) in cases {
            assert_eq!(core_scalar(text), value, "{text}");
        }
    }
}
