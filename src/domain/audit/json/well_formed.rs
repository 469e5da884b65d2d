//! The grammar (RFC 8259): finds the end of a well-formed value in one pass, without building values or
//! recursion.
//!
//! It returns an end only when it is certain. It does not follow nesting deeper than [`DEPTH_MAX`], and does
//! not explain why a text is not JSON.

use super::scan::is_blank;
use crate::json_string::plain_length;

/// The number of levels that fit into the bits of one integer.
pub(super) const DEPTH_MAX: u32 = u64::BITS - 1;

/// The end of the value that begins at `at`; `None` when it is not, or not certainly, well formed.
pub(super) fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
    let mut check = Check { bytes, at, open: NOTHING_OPEN };
    check.value()?;
    Some(check.at)
}

/// The position after the closing quote of the string whose opening quote is at `at`.
pub(super) fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut check = Check { bytes, at, open: NOTHING_OPEN };
    check.string()?;
    Some(check.at)
}

struct Check<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The open objects and arrays, the innermost in the lowest bit: 1 for an object, 0 for an array. A 1
    /// marks the top.
    open: u64,
}

const NOTHING_OPEN: u64 = 1;

/// Each step returns `None` when the text is invalid or uncertain.
impl Check<'_> {
    fn value(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                b'{' => {
                    self.enter(1)?;
                    if self.byte()? != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(0)?;
                    if self.byte()? != b']' {
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => return None,
            }
            if self.reach_next_value()? {
                return Some(());
            }
        }
    }

    /// After a value: closes what ends here. Returns whether the whole value is complete; otherwise another
    /// value begins here.
    fn reach_next_value(&mut self) -> Option<bool> {
        loop {
            if self.open == NOTHING_OPEN {
                return Some(true);
            }
            self.blanks();
            let in_object = self.open & 1 == 1;
            match self.byte()? {
                b',' => {
                    self.at += 1;
                    self.blanks();
                    if in_object {
                        self.key()?;
                    }
                    return Some(false);
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ => return None,
            }
            self.at += 1;
            self.open >>= 1;
        }
    }

    fn enter(&mut self, bracket: u64) -> Option<()> {
        if self.open >> DEPTH_MAX != 0 {
            return None;
        }
        self.open = (self.open << 1) | bracket;
        self.at += 1;
        self.blanks();
        Some(())
    }

    fn key(&mut self) -> Option<()> {
        if self.byte()? != b'"' {
            return None;
        }
        self.string()?;
        self.blanks();
        self.word(b":")?;
        self.blanks();
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += plain_length(self.bytes.get(self.at..)?);
            let escape = match self.bytes.get(self.at..)? {
                [b'"', ..] => {
                    self.at += 1;
                    return Some(());
                }
                [b'\\', escape @ ..] => escape,
                _ => return None,
            };
            self.at += match escape {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                [b'u', digits @ ..] if digits.first_chunk::<4>()?.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return None,
            };
        }
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn blanks(&mut self) {
        while self.byte().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn is_well_formed(text: &str) -> bool {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        end_of_value(text.as_bytes(), 0) == Some(text.len())
    }

    fn is_json(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok()
    }

    /// Compares the result with `serde_json`.
    fn check(text: &str) {
        assert_eq!(is_well_formed(text), is_json(text), "{text:?}");
    }

    #[test]
    fn agrees_with_serde_json() {
        let values = [
            "null",
            "nul",
            "nulll",
            "true",
            "false",
            "tru",
            "0",
            "-0",
            "00",
            "01",
            "-",
            "1.",
            "1.0",
            ".5",
            "1e5",
            "1E+5",
            "1e-05",
            "1e",
            "1e+",
            "1.5e3",
            "-1.5E-3",
            "+1",
            "1e400",
            "NaN",
            "\"\"",
            "\"a",
            "\"\\\"\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u00e5\"",
            "\"\\u00g5\"",
            "\"\\u00e\"",
            "\"\\ud800\"",
            "\"\\u\"",
            "\"\u{1}\"",
            "\"\u{7f}å😀\"",
            "\"eight by\u{1f}\"",
            "\"eight bytes \t\"",
            "{}",
            "[]",
            "[1,2]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "[1}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\",1}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1]",
            "{\"a\":{\"b\":[{},[],\"}\"]},\"c\":[[1],[2]]}",
            "",
            ",",
            "]",
            "}",
            "1 1",
            "{}{}",
            "\"a\"b",
        ];
        for value in values {
            for text in [
                value.to_owned(),
                format!(" \t\r\n{value} \n"),
                format!("[{value} , {{ \"k\" : {value}\n}} ]"),
            ] {
                check(&text);
            }
        }
    }

    #[test]
    fn depth() {
        for depth in 1..200 {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(is_well_formed(&text), depth <= DEPTH_MAX as usize, "{depth}");
        }
        assert!(!is_well_formed(&"[".repeat(1 << 20)));
        assert!(!is_well_formed(&"{\"a\":".repeat(1 << 18)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn never_accepts_more_than_serde_json(text in "[\\[\\]{}\",:\\\\/u0-9a-fl-t.+E \n\u{1}\u{e5}-]{0,24}") {
            prop_assert_eq!(is_well_formed(&text), is_json(&text));
        }

        #[test]
        fn with_a_byte_changed(at in 0usize..200, byte in 0u8..128) {
            let mut text = r#"{"a":[1,-2.5e+3,{"b\u00e5\n":"text of some length, \"quoted\""},[],{}],"c":true,"d":null,"e":"åäö"}"#.to_owned().into_bytes();
            let at = at % text.len();
            text[at] = byte;
            if let Ok(text) = std::str::from_utf8(&text) {
                prop_assert_eq!(is_well_formed(text), is_json(text));
            }
        }
    }
}
