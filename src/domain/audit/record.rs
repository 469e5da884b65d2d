//! The record of an audit event in the journal.
//!
//! The body is stored as it was sent, byte for byte, at the end of the record. Before it are values that the
//! body does not contain: the time of receipt and, for a screenshot with a finished download, the result.
//!
//! ```text
//! offset  size  what
//! 0       1     format version, 1
//! 1       8     received_ns, u64 little endian: nanoseconds since 1970
//! 9       1     flags: 1 source offset follows, 2 sha256 follows, 4 error follows, 8 the body contains
//!               pseudonyms and the sealed part follows, 32 the event has the ids of an earlier one; other bits are 0
//! 10      8     source offset, u64 little endian (only with flag 1): the offset of this event in the
//!               stream `screenshots`
//! ..      2     number of saved paths, u16 little endian
//! ..      4+n   each path: length u32 little endian, then this many bytes of UTF-8
//! ..      4+n   sha256 (only with flag 2), the same way
//! ..      4+n   error (only with flag 4), the same way
//! ..      4+n   the sealed part (only with flag 8): length u32 little endian, then this many bytes; empty
//!               when a download needs no name
//! ..      16    first half of the SHA-256 of that earlier event's stored body (only with flag 32)
//! ..      rest  the body exactly as received, or with its user's names replaced
//! ```
//!
//! A record has no checksum, because the journal's frame has one. Contract: `delivery.md`, "The journal".

use std::borrow::Cow;

use super::body_hash::BodyHash;

/// The only format so far.
const FORMAT: u8 = 1;

const HAS_SOURCE_OFFSET: u8 = 1;
const HAS_SHA256: u8 = 2;
const HAS_ERROR: u8 = 4;
const HAS_SEALED: u8 = 8;
const HAS_CONFLICT: u8 = 32;

/// An audit event as stored in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditRecord<'a> {
    /// The time of receipt, in nanoseconds since 1970.
    pub received_ns: u64,
    /// The offset of this event in the stream `screenshots`, if it is a screenshot with a finished download.
    /// It makes appending the finished event idempotent: the same offset is the same event.
    pub source_offset: Option<u64>,
    /// The result of the download; empty for every other event.
    pub screenshot: ScreenshotOutcome<'a>,
    /// Only in the stream `screenshots` with pseudonyms: `body` contains pseudonyms, and the clear values
    /// that a download needs are encrypted here ([`super::pseudonymous::Clear`]); empty when it needs none.
    pub sealed: Option<Cow<'a, [u8]>>,
    /// The first body with the ids of this event, if this is another one ([`super::conflict`]).
    pub conflict_of: Option<BodyHash>,
    /// The request's body, exactly as received except for replaced names.
    pub body: &'a [u8],
}

/// The result of a screenshot's download. All parts are empty when nothing was downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScreenshotOutcome<'a> {
    /// The paths of the image, one per storage target. At most 65 535 are stored.
    pub saved_paths: Vec<Cow<'a, str>>,
    /// SHA-256 of the image's bytes, in lower-case hex.
    pub sha256: Option<Cow<'a, str>>,
    /// Why there is no image: a short stable reason from `screenshots.md`, such as `http-404`.
    pub error: Option<Cow<'a, str>>,
}

impl ScreenshotOutcome<'_> {
    pub fn is_empty(&self) -> bool {
        self.saved_paths.is_empty() && self.sha256.is_none() && self.error.is_none()
    }
}

/// Why bytes from the journal are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("audit record of unknown format {0}")]
    Format(u8),
    #[error("audit record with unknown flags {0:#04x}")]
    Flags(u8),
    #[error("audit record ends before its {0}")]
    Short(&'static str),
    #[error("audit record holds a {0} that is not UTF-8")]
    Text(&'static str),
}

impl<'a> AuditRecord<'a> {
    /// A new event, as the HTTP intake stores it.
    pub fn received(received_ns: u64, body: &'a [u8]) -> Self {
        Self { received_ns, body, ..Self::default() }
    }

    /// Appends the record to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let paths =
            &self.screenshot.saved_paths[..self.screenshot.saved_paths.len().min(usize::from(u16::MAX))];
        out.reserve(64 + self.body.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.received_ns.to_le_bytes());
        let mut flags = 0;
        for (bit, present) in [
            (HAS_SOURCE_OFFSET, self.source_offset.is_some()),
            (HAS_SHA256, self.screenshot.sha256.is_some()),
            (HAS_ERROR, self.screenshot.error.is_some()),
            (HAS_SEALED, self.sealed.is_some()),
            (HAS_CONFLICT, self.conflict_of.is_some()),
        ] {
            if present {
                flags |= bit;
            }
        }
        out.push(flags);
        if let Some(offset) = self.source_offset {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(&(paths.len() as u16).to_le_bytes());
        for text in paths.iter().chain(&self.screenshot.sha256).chain(&self.screenshot.error) {
            put_text(out, text);
        }
        if let Some(sealed) = &self.sealed {
            // It has some hundred bytes.
            out.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(sealed);
        }
        if let Some(BodyHash(first)) = &self.conflict_of {
            out.extend_from_slice(first);
        }
        out.extend_from_slice(self.body);
    }

    /// Reads a record; all text and the body borrow from `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut rest = Rest(bytes);
        let [format] = rest.array("format")?;
        if format != FORMAT {
            return Err(RecordError::Format(format));
        }
        let received_ns = u64::from_le_bytes(rest.array("time of receipt")?);
        let [flags] = rest.array("flags")?;
        if flags & !(HAS_SOURCE_OFFSET | HAS_SHA256 | HAS_ERROR | HAS_SEALED | HAS_CONFLICT) != 0 {
            return Err(RecordError::Flags(flags));
        }
        let source_offset = match flags & HAS_SOURCE_OFFSET {
            0 => None,
            _ => Some(u64::from_le_bytes(rest.array("source offset")?)),
        };
        let count = u16::from_le_bytes(rest.array("number of paths")?);
        // Paths are read one by one, so that a damaged count allocates nothing.
        let mut saved_paths = Vec::new();
        for _ in 0..count {
            saved_paths.push(Cow::Borrowed(rest.text("path")?));
        }
        let sha256 = match flags & HAS_SHA256 {
            0 => None,
            _ => Some(Cow::Borrowed(rest.text("sha256")?)),
        };
        let error = match flags & HAS_ERROR {
            0 => None,
            _ => Some(Cow::Borrowed(rest.text("error")?)),
        };
        let sealed = match flags & HAS_SEALED {
            0 => None,
            _ => Some(Cow::Borrowed(rest.bytes("sealed part")?)),
        };
        let conflict_of = match flags & HAS_CONFLICT {
            0 => None,
            _ => Some(BodyHash(rest.array("first body's hash")?)),
        };
        let screenshot = ScreenshotOutcome { saved_paths, sha256, error };
        Ok(Self { received_ns, source_offset, screenshot, sealed, conflict_of, body: rest.0 })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Paths, hashes and reasons are far below 4 GiB. A longer one is cut between characters.
    let end = text.floor_char_boundary(u32::MAX as usize);
    out.extend_from_slice(&(end as u32).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

/// The unread part.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], RecordError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(RecordError::Short(what))?;
        self.0 = tail;
        Ok(*head)
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], RecordError> {
        let length = u32::from_le_bytes(self.array(what)?) as usize;
        let (head, tail) = self.0.split_at_checked(length).ok_or(RecordError::Short(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| RecordError::Text(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(record: &AuditRecord<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        record.encode_into(&mut out);
        out
    }

    #[test]
    fn a_new_event_needs_twelve_bytes() {
        let bytes = encoded(&AuditRecord::received(0x0102_0304_0506_0708, b"{}"));
        assert_eq!(bytes, [1, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, b'{', b'}']);
    }

    #[test]
    fn errors_name_the_damage() {
        let whole = encoded(&AuditRecord {
            received_ns: 7,
            source_offset: Some(9),
            screenshot: ScreenshotOutcome {
                saved_paths: vec!["/a/b.png".into()],
                sha256: Some("00ff".into()),
                error: Some("timeout".into()),
            },
            sealed: Some(b"secret".into()),
            conflict_of: Some(BodyHash([5; 16])),
            body: b"",
        });
        for cut in 0..whole.len() {
            assert!(matches!(AuditRecord::decode(&whole[..cut]), Err(RecordError::Short(_))), "cut at {cut}");
        }
        let check = |at: usize, byte: u8, expect: RecordError| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert_eq!(AuditRecord::decode(&bytes), Err(expect));
        };
        check(0, 2, RecordError::Format(2));
        check(9, 0x80, RecordError::Flags(0x80));
        check(24, 0xff, RecordError::Text("path"));
        check(23, 0x7f, RecordError::Short("path"));
    }

    fn text() -> impl Strategy<Value = Cow<'static, str>> {
        any::<String>().prop_map(Cow::Owned)
    }

    proptest! {
        #[test]
        fn round_trip(
            received_ns: u64, source_offset: Option<u64>,
            saved_paths in prop::collection::vec(text(), 0..4),
            sha256 in prop::option::of(text()), error in prop::option::of(text()),
            sealed: Option<Vec<u8>>, first: Option<[u8; 16]>, body: Vec<u8>,
        ) {
            let screenshot = ScreenshotOutcome { saved_paths, sha256, error };
            let sealed = sealed.map(Cow::Owned);
            let conflict_of = first.map(BodyHash);
            let record = AuditRecord { received_ns, source_offset, screenshot, sealed, conflict_of, body: &body };
            let mut bytes = b"before".to_vec();
            record.encode_into(&mut bytes);
            prop_assert_eq!(AuditRecord::decode(&bytes[6..]), Ok(record));
        }

        #[test]
        fn any_bytes_are_answered(mut bytes: Vec<u8>) {
            let _ = AuditRecord::decode(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            if bytes.len() > 9 {
                bytes[9] &= 15 | HAS_CONFLICT;
            }
            let _ = AuditRecord::decode(&bytes);
        }
    }
}
