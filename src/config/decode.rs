//! The bytes of a file as text: UTF-8, with or without a byte order mark.
//!
//! Editors on Windows save as ANSI or UTF-16 unless told otherwise. Butler SOS reads an ANSI file with damaged letters, so
//! such a file is read here too: each line that is no UTF-8 as windows-1252, and the first of them is named. UTF-16
//! is refused by its name.

use super::yaml::Place;

/// A file's text, and where it was no UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub text: String,
    /// The first byte that is no UTF-8, and how many lines have one.
    pub other: Option<OtherEncoding>,
}

/// Lines in windows-1252.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherEncoding {
    /// Line and column (in characters) of the first byte.
    pub first: Place,
    pub lines: usize,
}

/// The file is UTF-16, with or without a byte order mark.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file is UTF-16; save it as UTF-8")]
pub struct Utf16;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the bytes of a configuration file.
pub fn text(bytes: &[u8]) -> Result<Decoded, Utf16> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if is_utf16(bytes) {
        return Err(Utf16);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Decoded { text: text.to_owned(), other: None });
    }
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut other: Option<OtherEncoding> = None;
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(error) => {
                let before = line.get(..error.valid_up_to()).unwrap_or_default();
                let column = String::from_utf8_lossy(before).chars().count() as u64 + 1;
                let found =
                    other.get_or_insert(OtherEncoding { first: Place { line: number, column }, lines: 0 });
                found.lines += 1;
                let (line, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(line);
                // What windows-1252 leaves open comes out as control characters, which no YAML may hold.
                let is_open = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
                text.extend(line.chars().map(|c| if is_open(c) { char::REPLACEMENT_CHARACTER } else { c }));
            }
        }
    }
    Ok(Decoded { text, other })
}

/// A byte order mark says it, or the zero bytes that every second byte of plain letters then is.
fn is_utf16(bytes: &[u8]) -> bool {
    /// So many bytes show it.
    const LOOKED_AT: usize = 64;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return true;
    }
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let half = head.len() / 2;
    half >= 2 && ((even == 0 && odd * 4 >= half * 3) || (odd == 0 && even * 4 >= half * 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str, other: Option<(u64, u64, usize)>) {
        let other = other.map(|(line, column, lines)| OtherEncoding { first: Place { line, column }, lines });
        assert_eq!(text(bytes), Ok(Decoded { text: expect.to_owned(), other }), "{bytes:?}");
    }

    #[test]
    fn text_is_utf8_and_else_windows_1252_line_by_line() {
        check(b"", "", None);
        check("a: ü\r\n".as_bytes(), "a: ü\r\n", None);
        check(b"\xef\xbb\xbfa: 1\n", "a: 1\n", None);
        check(b"a: 1\n# f\xf6r\n", "a: 1\n# för\n", Some((2, 4, 1)));
        check(b"a: \x80 \x93x\x94\n", "a: € “x”\n", Some((1, 4, 1)));
        check(b"# \xc3\xbc\n# \xfc\n\n# \xe4\n", "# ü\n# ü\n\n# ä\n", Some((2, 3, 2)));
        check(b"# \xc3\xbc\xfc\n", "# Ã¼ü\n", Some((1, 4, 1)));
        check(b"# \x81\x8d\n", "# \u{fffd}\u{fffd}\n", Some((1, 3, 1)));
    }

    #[test]
    fn utf16_is_named() {
        let sample = "Butler-SOS:\r\n  logLevel: info # ü\r\n";
        let little: Vec<u8> = sample.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = sample.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little, &big, &[b"\xff\xfe", &little[..]].concat(), &[b"\xfe\xff", &big[..]].concat()]
        {
            assert_eq!(text(bytes), Err(Utf16));
        }
        assert!(text(b"a: \0b\n").is_ok(), "the reader of YAML tells its place");
        assert!(text(b"a").is_ok());
    }
}
