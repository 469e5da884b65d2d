//! Figures and texts as people read them in a terminal.

use butler_sos_domain::audit::time::rfc3339;

use crate::logging::line::escaped;

/// `1 234 567`, with blanks that do not break.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// `1.5 MiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1_024 {
        return format!("{number} B");
    }
    let (mut figure, mut unit) = (number as f64 / 1_024.0, UNITS[0]);
    for next in &UNITS[1..] {
        if figure < 1_023.95 {
            break;
        }
        (figure, unit) = (figure / 1_024.0, next);
    }
    format!("{figure:.1} {unit}")
}

/// `3 s`, `5 min 20 s`, `3 h 12 min`, `2 d 4 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    // Negative and absurd figures become the nearest there is.
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// RFC 3339 with milliseconds, in UTC.
#[must_use]
pub fn moment(unix_ms: u64) -> String {
    rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

/// One line: control characters escaped, cut to so many characters.
#[must_use]
pub fn one_line(text: &str, characters_max: usize) -> String {
    let text = escaped(text);
    match text.char_indices().nth(characters_max) {
        None => text,
        Some((_, _)) => text.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_at_a_glance() {
        for (number, expect) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(count(number).replace('\u{a0}', " "), expect);
        }
        let check = |number: u64, expect: &str| assert_eq!(bytes(number), expect);
        check(1_023, "1023 B");
        check(1_536, "1.5 KiB");
        check(1_048_575, "1.0 MiB");
        check(4 << 30, "4.0 GiB");
        check(u64::MAX, "16777216.0 TiB");
        for (seconds, expect) in [
            (-1.0, "0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (7_260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(duration(seconds), expect);
        }
        assert_eq!(moment(1_760_000_000_123), "2025-10-09T08:53:20.123Z");
    }

    #[test]
    fn text_from_outside_steers_no_terminal() {
        let check = |text: &str, max: usize, expect: &str| assert_eq!(one_line(text, max), expect);
        check("a\u{1b}[2Jb\n", 100, "a\\u{1b}[2Jb\\n");
        check("\u{202e}x\u{9b}", 100, "\\u{202e}x\\u{9b}");
        check("Göran", 5, "Göran");
        check("Görans", 5, "Göra…");
        check("", 0, "");
        check("a", 0, "…");
    }
}
