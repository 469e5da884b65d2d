//! Where a value or a string ends in text that was checked before, and how deep it goes.

use crate::json_string::plain_length;

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the value that begins at `at` ends, in text that was checked before. Of other text it is some place in it.
pub(super) fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => Some(end_of_string(bytes, at)),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = end_of_string(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            None
        }
        b'}' | b']' | b',' | b':' => None,
        _ => {
            let length = bytes[at..]
                .iter()
                .take_while(|byte| !is_blank(**byte) && !matches!(byte, b',' | b':' | b'}' | b']' | b'"'))
                .count();
            Some(at + length)
        }
    }
}

/// How many objects and arrays lie in each other, in text that was checked before.
pub(super) fn depth(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut open, mut deepest) = (0, 0usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Behind the closing quote of the string whose opening quote is at `at`.
pub(in crate::audit) fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(rest) = bytes.get(at..) {
        at += plain_length(rest);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => break,
        }
    }
    bytes.len()
}

/// The same when there is no escape in the string.
pub(super) fn end_of_plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + plain_length(&bytes[at + 1..]);
    (bytes.get(end) == Some(&b'"')).then_some(end + 1)
}
