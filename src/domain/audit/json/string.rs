//! Contents of strings: resolves, counts and minimises escapes.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::json_string::{plain_length, write_character};

/// The text of a quoted string, with escapes resolved.
pub(super) fn unescape(quoted: &str) -> Cow<'_, str> {
    let inside = between_quotes(quoted);
    if plain_length(inside.as_bytes()) == inside.len() {
        return Cow::Borrowed(inside);
    }
    let mut out = String::with_capacity(inside.len());
    for piece in Pieces(inside) {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Character(character) => out.push(character),
            Piece::HalfPair(_) => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    Cow::Owned(out)
}

/// The number of characters in the text of a quoted string.
pub(super) fn character_count(quoted: &str) -> usize {
    let inside = between_quotes(quoted);
    if plain_length(inside.as_bytes()) == inside.len() {
        return inside.chars().count();
    }
    let in_piece = |piece| match piece {
        Piece::Plain(text) => text.chars().count(),
        Piece::Character(_) | Piece::HalfPair(_) => 1,
    };
    Pieces(inside).map(in_piece).sum()
}

/// Copies a quoted string with the shortest escapes.
pub(super) fn rewrite(quoted: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for piece in Pieces(between_quotes(quoted)) {
        match piece {
            Piece::Plain(text) => out.write_str(text)?,
            Piece::Character(character) => write_character(character, out)?,
            Piece::HalfPair(unit) => write!(out, "\\u{unit:04x}")?,
        }
    }
    out.write_char('"')
}

/// The content of a quoted string.
fn between_quotes(quoted: &str) -> &str {
    let inside = quoted.strip_prefix('"').unwrap_or(quoted);
    inside.strip_suffix('"').unwrap_or(inside)
}

/// A part of a string's content.
enum Piece<'a> {
    Plain(&'a str),
    Character(char),
    /// An unpaired surrogate.
    HalfPair(u16),
}

struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let text = self.0;
        if text.is_empty() {
            return None;
        }
        let Some(after) = text.strip_prefix('\\') else {
            let (plain, rest) = text.split_at(memchr::memchr(b'\\', text.as_bytes()).unwrap_or(text.len()));
            self.0 = rest;
            return Some(Piece::Plain(plain));
        };
        let mut characters = after.chars();
        let simple = match characters.next() {
            Some('u') => None,
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some(itself) => Some(itself),
            None => Some(char::REPLACEMENT_CHARACTER),
        };
        self.0 = characters.as_str();
        if let Some(character) = simple {
            return Some(Piece::Character(character));
        }
        let Some(unit) = hex_unit(self.0) else {
            return Some(Piece::Character(char::REPLACEMENT_CHARACTER));
        };
        self.0 = &self.0[4..];
        if let Some(character) = char::from_u32(u32::from(unit)) {
            return Some(Piece::Character(character));
        }
        let low = self.0.strip_prefix("\\u").and_then(hex_unit);
        match low.and_then(|low| char::decode_utf16([unit, low]).next()?.ok()) {
            Some(character) => {
                self.0 = &self.0[6..];
                Some(Piece::Character(character))
            }
            None => Some(Piece::HalfPair(unit)),
        }
    }
}

fn hex_unit(text: &str) -> Option<u16> {
    let digits = text.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}
