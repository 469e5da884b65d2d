//! Copies of a value that differ only in blanks and in the spelling of escapes.

use std::fmt::{self, Write};
use std::ops::Range;

use super::scan::{end_of_plain_string, end_of_string, end_of_value, is_blank};
use super::string;

/// Copies one value without blanks.
pub(super) fn compact(text: &str, out: &mut impl Write) -> fmt::Result {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let is_string = *byte == b'"';
        if is_string && let Some(end) = end_of_plain_string(bytes, at) {
            at = end;
            continue;
        }
        let end = if is_string { end_of_string(bytes, at) } else { at + 1 };
        if is_string || is_blank(*byte) {
            out.write_str(&text[copied..at])?;
            copied = end;
        }
        if is_string {
            string::rewrite(&text[at..end], out)?;
        }
        at = end;
    }
    out.write_str(&text[copied..])
}

/// Copies one value on several lines, token by token, and the part at `whole` without blanks. Returns false
/// when it becomes longer than `bytes_max`, by one token at most; the copy is then incomplete.
pub(super) fn pretty(text: &str, whole: Range<usize>, bytes_max: usize, out: &mut String) -> bool {
    let bytes = text.as_bytes();
    let mut level = 0usize;
    let mut at = 0;
    let mut opened = false;
    while let Some(byte) = bytes.get(at) {
        let byte = *byte;
        if is_blank(byte) {
            at += 1;
            continue;
        }
        // Indentation alone can make a text exceed the limit.
        if out.len() + 2 * level > bytes_max {
            return false;
        }
        if at == whole.start && !whole.is_empty() {
            // Writing into a string does not fail.
            let _ = compact(&text[whole.clone()], out);
            at = whole.end;
            opened = false;
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if opened && !closes {
            level += 1;
            new_line(level, out);
        }
        if closes && !opened {
            level = level.saturating_sub(1);
            new_line(level, out);
        }
        opened = matches!(byte, b'{' | b'[');
        at = match byte {
            b'"' => {
                let plain_end = end_of_plain_string(bytes, at);
                let end = plain_end.unwrap_or_else(|| end_of_string(bytes, at));
                if plain_end.is_some() {
                    out.push_str(&text[at..end]);
                } else {
                    // Writing into a string does not fail.
                    let _ = string::rewrite(&text[at..end], out);
                }
                end
            }
            b'{' | b'[' | b'}' | b']' => {
                out.push(char::from(byte));
                at + 1
            }
            b',' => {
                out.push(',');
                new_line(level, out);
                at + 1
            }
            b':' => {
                out.push_str(": ");
                at + 1
            }
            _ => {
                let end = end_of_value(bytes, at).unwrap_or(bytes.len());
                out.push_str(&text[at..end]);
                end
            }
        };
    }
    out.len() <= bytes_max
}

fn new_line(level: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}
