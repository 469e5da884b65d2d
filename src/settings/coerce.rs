//! From the text of a scalar to its value, the same for a file, the environment and the command line.

use config::ValueKind;

/// How the text of a scalar is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Bool,
    /// A whole number within bounds, both included.
    Int {
        min: i64,
        max: i64,
    },
    /// A number within bounds, both included.
    Float {
        min: f64,
        max: f64,
    },
    /// A number of bytes: `1048576`, `64 MiB`, `1GB`.
    Bytes {
        min: i64,
        max: i64,
    },
    /// A span of time, kept in seconds: `90`, `90s`, `15m`, `24h`, `7d`.
    Seconds {
        min: i64,
        max: i64,
    },
    Text,
    /// Text that is never shown; `${NAME}` and `file:/path` are looked up.
    Secret,
    /// The same for an address: its scheme, host and port are shown, for its path may hold a secret.
    SecretAddress,
    /// One of these words, compared without case.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// Whether its text is looked up in environment and files, and hidden.
    pub fn is_secret(&self) -> bool {
        matches!(self, Kind::Secret | Kind::SecretAddress)
    }
}

/// Reads `text` as `kind` says. The error tells what would be right, and never repeats the text.
pub fn scalar(kind: &Kind, text: &str) -> Result<ValueKind, String> {
    match kind {
        Kind::Text | Kind::Secret | Kind::SecretAddress => Ok(ValueKind::String(text.to_owned())),
        Kind::Bool => boolean(text.trim()).map(ValueKind::Boolean).ok_or_else(|| expected(kind)),
        Kind::Int { min, max } => within(whole_number(text.trim()), *min, *max).ok_or_else(|| expected(kind)),
        Kind::Bytes { min, max } => {
            within(sized(text.trim(), BYTE_UNITS), *min, *max).ok_or_else(|| expected(kind))
        }
        Kind::Seconds { min, max } => {
            within(sized(text.trim(), TIME_UNITS), *min, *max).ok_or_else(|| expected(kind))
        }
        Kind::Float { min, max } => number(text.trim())
            .filter(|number| *number >= *min && *number <= *max)
            .map(ValueKind::Float)
            .ok_or_else(|| expected(kind)),
        Kind::OneOf(detail) => detail
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text.trim()))
            // Where the words are numbers, `3.0` is 3.
            .or_else(|| {
                detail.iter().find(|word| {
                    whole_number(word) == whole_number(text.trim()) && whole_number(word).is_some()
                })
            })
            .map(|word| ValueKind::String((*word).to_owned()))
            .ok_or_else(|| expected(kind)),
    }
}

/// What would be right, in words.
pub fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Float { min, max } => format!("a number from {min} to {max}"),
        Kind::Bytes { min, max } => {
            format!("a number of bytes from {min} to {max}, for instance 64 MiB")
        }
        Kind::Seconds { min, max } => {
            format!("a time from {min} to {max} seconds, for instance 30s, 15m, 24h or 7d")
        }
        Kind::Text | Kind::Secret => "text".into(),
        Kind::SecretAddress => "an http or https address".into(),
        Kind::OneOf(detail) => format!("one of {}", detail.join(", ")),
    }
}

const BYTE_UNITS: &[(&str, i64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

const TIME_UNITS: &[(&str, i64)] = &[("", 1), ("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number in any notation that YAML has: `9997`, `+9997`, `0x270D`, `0o23415`, `9997.0`, `9.997e3`; also with
/// the `_` and the `0b` of YAML 1.1, which Butler SOS reads too.
fn whole_number(text: &str) -> Option<i64> {
    /// Beyond it a float no longer tells one whole number from the next.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let digits = text.replace('_', "");
    if let Some(number) = digits.parse().ok().or_else(|| in_another_base(&digits)) {
        return Some(number);
    }
    let number = decimal(&digits).filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)?;
    // Exact: it is whole, and small enough.
    #[allow(clippy::cast_possible_truncation)]
    Some(number as i64)
}

/// A number in any notation that YAML has.
fn number(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    // Exact for every limit that a setting has.
    #[allow(clippy::cast_precision_loss)]
    decimal(&digits).or_else(|| in_another_base(&digits).map(|number| number as f64))
}

/// Hexadecimal, octal, binary, with a sign or without.
fn in_another_base(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    [("0x", 16), ("0o", 8), ("0b", 2)].iter().find_map(|(prefix, base)| {
        let digits =
            digits.strip_prefix(prefix).filter(|digits| digits.chars().all(|c| c.is_digit(*base)))?;
        i64::from_str_radix(digits, *base).ok()?.checked_mul(sign)
    })
}

/// A decimal number with fraction or exponent; neither infinite nor none.
fn decimal(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse::<f64>().ok().filter(|number| is_plain && number.is_finite())
}

/// A whole number, or one with a unit behind it, with or without blanks between.
fn sized(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    if let Some(number) = whole_number(text) {
        return Some(number);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.replace('_', "").parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn within(number: Option<i64>, min: i64, max: i64) -> Option<ValueKind> {
    number.filter(|number| (min..=max).contains(number)).map(ValueKind::I64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str, expect: Option<ValueKind>) {
        assert_eq!(scalar(&kind, text).ok(), expect, "{text:?} as {kind:?}");
    }

    #[test]
    fn text_becomes_values() {
        let bytes = || Kind::Bytes { min: 0, max: i64::MAX };
        let seconds = || Kind::Seconds { min: 0, max: 1_000_000 };
        let port = || Kind::Int { min: 1, max: 65_535 };
        check(Kind::Bool, "true", Some(ValueKind::Boolean(true)));
        check(Kind::Bool, " Off ", Some(ValueKind::Boolean(false)));
        check(Kind::Bool, "1", Some(ValueKind::Boolean(true)));
        check(Kind::Bool, "ture", None);
        check(port(), "9997", Some(ValueKind::I64(9997)));
        check(port(), "9_997", Some(ValueKind::I64(9997)));
        check(port(), "0", None);
        check(port(), "65536", None);
        check(port(), "", None);
        check(port(), "99999999999999999999999", None);
        for notation in [
            "0x270D",
            "0x270d",
            "0o23415",
            "9997.0",
            "9.997e3",
            "9.997E+3",
            "99970e-1",
            "+9997",
            "0b10011100001101",
            "09997",
        ] {
            check(port(), notation, Some(ValueKind::I64(9997)));
            check(bytes(), notation, Some(ValueKind::I64(9997)));
            check(seconds(), notation, Some(ValueKind::I64(9997)));
        }
        for wrong in [
            "0x", "0xfffff", "0o9", "0b2", "0x-1", "0x+1", "9997.5", "1e30", ".inf", "inf", "nan", ".nan",
            "1e", "0x1p3",
        ] {
            check(port(), wrong, None);
        }
        check(bytes(), "0x10 MiB", None);
        check(Kind::Float { min: 1.0, max: 100.0 }, "0x10", Some(ValueKind::Float(16.0)));
        check(Kind::Float { min: 1.0, max: 100.0 }, "1e1", Some(ValueKind::Float(10.0)));
        check(Kind::Float { min: 1.0, max: 100.0 }, ".inf", None);
        check(Kind::OneOf(&["3", "5"]), "3.0", Some(ValueKind::String("3".into())));
        check(Kind::OneOf(&["3", "5"]), "4", None);
        check(Kind::Text, "0x270D", Some(ValueKind::String("0x270D".into())));
        check(bytes(), "8 MiB", Some(ValueKind::I64(8 << 20)));
        check(bytes(), "1GB", Some(ValueKind::I64(1_000_000_000)));
        check(bytes(), "512", Some(ValueKind::I64(512)));
        check(bytes(), "MiB", None);
        check(bytes(), "-1", None);
        check(bytes(), "9999999 TiB", None);
        check(seconds(), "24h", Some(ValueKind::I64(86_400)));
        check(seconds(), "90", Some(ValueKind::I64(90)));
        check(seconds(), "1 fortnight", None);
        check(Kind::Float { min: 1.0, max: 10.0 }, "2.5", Some(ValueKind::Float(2.5)));
        check(Kind::Float { min: 1.0, max: 10.0 }, "NaN", None);
        check(Kind::OneOf(&["http", "https"]), "HTTPS", Some(ValueKind::String("https".into())));
        check(Kind::OneOf(&["http", "https"]), "ftp", None);
    }
}
