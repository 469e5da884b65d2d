//! JSON strings as they are written: how much of a text stands for itself, and how the rest is escaped.
//!
//! Eight bytes are compared at once, in one number. A comparison flags bytes by their highest bit. It may flag
//! too many, but only behind one that it flags rightly, so the first flag is right (Mycroft 1987).

use std::fmt::{self, Write};

const BYTES: usize = 8;
/// 1 in each byte, and the highest bit of each.
const ONES: u64 = u64::MAX / 0xff;
const FLAGS: u64 = ONES << 7;

/// How many bytes from the front stand for themselves: those before a quote, a backslash or a control character.
pub(crate) fn plain_length(text: &[u8]) -> usize {
    let (detail, rest) = text.as_chunks::<BYTES>();
    for (at, word) in detail.iter().enumerate() {
        let flags = special(u64::from_le_bytes(*word));
        if flags != 0 {
            return at * BYTES + first(flags);
        }
    }
    if rest.is_empty() {
        return text.len();
    }
    detail.len() * BYTES + first(special(last(text, rest.len()))).min(rest.len())
}

/// Whether a control character or `byte` is anywhere in a text.
pub(crate) fn holds_control_or(byte: u8, text: &[u8]) -> bool {
    let flags = |word| (below(word, 0x20) | equal(word, byte)) & FLAGS;
    let (detail, rest) = text.as_chunks::<BYTES>();
    if detail.iter().any(|word| flags(u64::from_le_bytes(*word)) != 0) {
        return true;
    }
    // Behind the last bytes are zeros.
    !rest.is_empty() && first(flags(last(text, rest.len()))) < rest.len()
}

/// Appends `text` as a JSON string, quotes included, the way `JSON.stringify` spells it.
pub fn write_string(text: &str, out: &mut String) {
    append(text, out);
}

/// The same into bytes.
pub(crate) fn push_string(text: &str, out: &mut Vec<u8>) {
    append(text, out);
}

/// Appends one character of a JSON string, escaped when it has to be.
pub(crate) fn write_character(character: char, out: &mut impl Write) -> fmt::Result {
    match character {
        '"' | '\\' | '\0'..='\x1f' => match u8::try_from(character).ok().and_then(letter) {
            Some(letter) => {
                out.write_char('\\')?;
                out.write_char(char::from(letter))
            }
            None => write!(out, "\\u{:04x}", u32::from(character)),
        },
        _ => out.write_char(character),
    }
}

/// What a string is appended to. Neither kind fails, and both are written to for each event.
trait Buffer: Sized {
    fn text(&mut self, text: &str);
    fn ascii(&mut self, byte: u8);
}

impl Buffer for String {
    fn text(&mut self, text: &str) {
        self.push_str(text);
    }

    fn ascii(&mut self, byte: u8) {
        self.push(char::from(byte));
    }
}

impl Buffer for Vec<u8> {
    fn text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    fn ascii(&mut self, byte: u8) {
        self.push(byte);
    }
}

fn append(text: &str, out: &mut impl Buffer) {
    out.ascii(b'"');
    let mut rest = text;
    loop {
        // What is escaped is ASCII, so bytes are as good as characters.
        let (plain, behind) = rest.split_at(plain_length(rest.as_bytes()));
        out.text(plain);
        let Some(&byte) = behind.as_bytes().first() else { break };
        match letter(byte) {
            Some(letter) => {
                out.ascii(b'\\');
                out.ascii(letter);
            }
            None => out.text(&format!("\\u{byte:04x}")),
        }
        rest = &behind[1..];
    }
    out.ascii(b'"');
}

/// The letter behind the backslash for a byte that does not stand for itself; none when its number does.
fn letter(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => return None,
    })
}

/// Flags what does not stand for itself.
fn special(word: u64) -> u64 {
    (below(word, 0x20) | equal(word, b'"') | equal(word, b'\\')) & FLAGS
}

/// Flags bytes below `limit`, which is at most 0x80.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word
}

fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// The last bytes of `text`, fewer than eight, the first one lowest; zeros behind them.
fn last(text: &[u8], count: usize) -> u64 {
    if let Some(last) = text.last_chunk::<BYTES>() {
        return u64::from_le_bytes(*last) >> (8 * (BYTES - count));
    }
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Which byte is the first one flagged.
fn first(flags: u64) -> usize {
    flags.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_control_character_or_a_byte_is_found_at_any_place() {
        for length in 0..20 {
            let plain = vec![b'x'; length];
            assert!(!holds_control_or(b';', &plain), "{length}");
            for at in 0..length {
                for (byte, is_found) in [
                    (b';', true),
                    (b'\n', true),
                    (0x1f, true),
                    (0, true),
                    (b' ', false),
                    (b':', false),
                    (0x80, false),
                    (0xff, false),
                ] {
                    let mut text = plain.clone();
                    text[at] = byte;
                    assert_eq!(holds_control_or(b';', &text), is_found, "{byte} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(text in proptest::collection::vec(any::<u8>(), 0..40), plain in "[a\u{7f}å]{0,40}") {
            for text in [[plain.as_bytes(), &text].concat(), plain.into_bytes(), text] {
                let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
                prop_assert_eq!(plain_length(&text), text.iter().position(is_special).unwrap_or(text.len()));
            }
        }

        #[test]
        fn strings_are_those_of_serde(text in "([a-z]{0,20}|[\\x00-\\x7f]{0,3}|[\"\\\\é/]{0,3}){0,8}") {
            let (mut string, mut bytes) = (String::new(), Vec::new());
            write_string(&text, &mut string);
            push_string(&text, &mut bytes);
            let mut characters = String::new();
            text.chars().for_each(|character| write_character(character, &mut characters).expect("a string"));
            let expect = serde_json::to_string(&text).expect("a string");
            prop_assert_eq!(&string, &expect);
            prop_assert_eq!(bytes, string.as_bytes());
            prop_assert_eq!(format!("\"{characters}\""), expect);
        }
    }
}
