//! A user event: what a proxy's datagram says, after parsing and enrichment.
//!
//! One type goes the whole way. The parser makes it out of the datagram's bytes, the journal
//! keeps it as a record, each destination decodes the record without copying and encodes what
//! it needs. Contract: user-events.md.
//!
//! # The record in the journal
//!
//! ```text
//! offset  size  what
//! 0       1     format version, 1
//! 1       8     received_ns, u64, little endian: time of receipt in ns since 1970-01-01 UTC
//! 9       2     presence, u16, little endian: bit i is set when optional string i is there
//! 11      ..    the strings: length as u16, little endian, then that many bytes of UTF-8
//! ```
//!
//! The strings come in this order: `message_type`, `host`, `command` (always there), then those
//! whose bit is set, lowest bit first: 0 `user_directory`, 1 `user_id`, 2 `origin`, 3 `context`,
//! 4 `message`, 5 `app_id`, 6 `app_name`, 7 `browser_name`, 8 `browser_major`, 9 `os_name`,
//! 10 `os_version`. Two bits say that the datagram was not UTF-8: 11, it was read as the fallback encoding; 12, what is
//! not UTF-8 was replaced. Any other bit above 10, or a byte after the last string, is an error, so that a
//! record of a later format is never half understood. The record carries no checksum: the
//! journal's frame does.
//!
//! A string that is there and empty is not the same as one that is not there.

use std::borrow::Cow;
use std::fmt;

use simdutf8::compat::from_utf8;

use crate::fallback_encoding::Decoded;

/// The format version that [`UserEvent::encode_into`] writes.
pub const RECORD_VERSION: u8 = 1;

/// An app's name is cut to this many bytes: it comes from outside and is the one string
/// that no limit of the datagram holds.
pub const APP_NAME_BYTES_MAX: usize = 1024;

/// Bytes before the first string.
const HEAD_BYTES: usize = 11;

/// Bytes before each string.
const LENGTH_BYTES: usize = 2;

/// How many strings there are, and how many of them, the first ones, are in every record.
const TEXT_COUNT: usize = 14;
const FIXED_COUNT: usize = 3;

/// Bits of presence that say how the datagram became text.
const FALLBACK: u16 = 1 << 11;
const REPLACED: u16 = 1 << 12;

/// Which of the strings is the app's name.
const APP_NAME: usize = 9;

/// One user event. `None` means that the datagram did not have the part, or that it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserEvent<'a> {
    /// Time of receipt, ns since 1970-01-01 UTC; no two events share one ([`crate::receipt_clock`]).
    pub received_ns: u64,
    /// How the datagram became text.
    pub decoded: Decoded,
    /// `qseow-proxy-session`, `qseow-proxy-connection` or `proxy-user-event`.
    pub message_type: Cow<'a, str>,
    /// The Sense server that the event came from; not empty.
    pub host: Cow<'a, str>,
    /// `Start session`, `Stop session`, `Open connection`, `Close connection`, or another text; not empty.
    pub command: Cow<'a, str>,
    /// User directory, e.g. `LAB`.
    pub user_directory: Option<Cow<'a, str>>,
    /// User id within the directory; may hold backslashes.
    pub user_id: Option<Cow<'a, str>>,
    /// What caused the event, e.g. `AppAccess`.
    pub origin: Option<Cow<'a, str>>,
    /// The path that the user asked for, e.g. `/app/<id>`.
    pub context: Option<Cow<'a, str>>,
    /// The rest of the datagram.
    pub message: Option<Cow<'a, str>>,
    /// UUID of the app, as the context spells it.
    pub app_id: Option<Cow<'a, str>>,
    /// Name of the app; `<unknown app name>` when the id is not in the directory of apps.
    pub app_name: Option<Cow<'a, str>>,
    /// Browser, e.g. `Chrome`, `Microsoft Edge`.
    pub browser_name: Option<Cow<'a, str>>,
    /// Major version of the browser, e.g. `131`.
    pub browser_major: Option<Cow<'a, str>>,
    /// Operating system, e.g. `Windows`, `macOS`.
    pub os_name: Option<Cow<'a, str>>,
    /// Version of the operating system, e.g. `10`, `17.5.1`.
    pub os_version: Option<Cow<'a, str>>,
}

/// A record that is not one of ours, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("user event record ends in the middle")]
    Truncated,
    #[error("user event record has format version {0}, known is 1")]
    UnknownVersion(u8),
    #[error("user event record names unknown parts")]
    UnknownParts,
    #[error("user event record holds text that is not UTF-8")]
    NotUtf8,
    #[error("user event record is longer than its parts")]
    TrailingBytes,
}

/// The strings of a record that are still to be read.
///
/// To check a short string for UTF-8 costs more for itself than for its bytes. So as many as can be are checked together,
/// with the lengths between them: a length below 128 is two ASCII characters.
struct Texts<'a> {
    /// Begins with a string's length.
    rest: &'a [u8],
    /// The same, as far as it is known to be text.
    checked: &'a str,
}

/// Directory and id of one user, shown as `DIRECTORY\id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFull<'a> {
    pub directory: &'a str,
    pub id: &'a str,
}

// === impl UserEvent ===

impl<'a> UserEvent<'a> {
    /// `DIRECTORY\id` when both are there and not empty (contract: user-events.md, "Enrichment").
    pub fn user_full(&self) -> Option<UserFull<'_>> {
        let directory = self.user_directory.as_deref().filter(|text| !text.is_empty())?;
        let id = self.user_id.as_deref().filter(|text| !text.is_empty())?;
        Some(UserFull { directory, id })
    }

    /// Appends the record to `out`. Allocates only when `out` has to grow.
    ///
    /// A string longer than a length can say (65 535 bytes; an app's name: 1 024) is cut between
    /// characters. The parser's limits are far below that.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let texts = self.texts();
        let mut presence = match self.decoded {
            Decoded::Utf8 => 0,
            Decoded::Fallback => FALLBACK,
            Decoded::Replaced => REPLACED,
        };
        for (bit, text) in texts[FIXED_COUNT..].iter().enumerate() {
            presence |= u16::from(text.is_some()) << bit;
        }
        let mut head = [0; HEAD_BYTES];
        head[0] = RECORD_VERSION;
        head[1..9].copy_from_slice(&self.received_ns.to_le_bytes());
        head[9..].copy_from_slice(&presence.to_le_bytes());
        out.extend_from_slice(&head);
        for (place, text) in texts.into_iter().enumerate() {
            if let Some(text) = text {
                push_text(
                    out,
                    text,
                    if place == APP_NAME { APP_NAME_BYTES_MAX } else { usize::from(u16::MAX) },
                );
            }
        }
    }

    /// Reads a record; the event borrows its strings from `record`.
    pub fn decode(record: &'a [u8]) -> Result<UserEvent<'a>, RecordError> {
        let (&version, _) = record.split_first().ok_or(RecordError::Truncated)?;
        if version != RECORD_VERSION {
            return Err(RecordError::UnknownVersion(version));
        }
        let (head, texts) = record.split_at_checked(HEAD_BYTES).ok_or(RecordError::Truncated)?;
        let mut received_ns = [0; 8];
        received_ns.copy_from_slice(&head[1..9]);
        let presence = u16::from_le_bytes([head[9], head[10]]);
        let decoded = match presence >> (TEXT_COUNT - FIXED_COUNT) << (TEXT_COUNT - FIXED_COUNT) {
            0 => Decoded::Utf8,
            FALLBACK => Decoded::Fallback,
            REPLACED => Decoded::Replaced,
            _ => return Err(RecordError::UnknownParts),
        };
        let mut texts = Texts { rest: texts, checked: "" };
        let mut event =
            texts.event(u64::from_le_bytes(received_ns), presence).ok_or_else(|| texts.error())?;
        if !texts.rest.is_empty() {
            return Err(RecordError::TrailingBytes);
        }
        event.decoded = decoded;
        Ok(event)
    }

    /// The same event with strings of its own.
    pub fn into_owned(self) -> UserEvent<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        UserEvent {
            received_ns: self.received_ns,
            decoded: self.decoded,
            message_type: own(self.message_type),
            host: own(self.host),
            command: own(self.command),
            user_directory: self.user_directory.map(own),
            user_id: self.user_id.map(own),
            origin: self.origin.map(own),
            context: self.context.map(own),
            message: self.message.map(own),
            app_id: self.app_id.map(own),
            app_name: self.app_name.map(own),
            browser_name: self.browser_name.map(own),
            browser_major: self.browser_major.map(own),
            os_name: self.os_name.map(own),
            os_version: self.os_version.map(own),
        }
    }

    /// The strings in the order of the record.
    fn texts(&self) -> [Option<&str>; TEXT_COUNT] {
        [
            Some(&self.message_type),
            Some(&self.host),
            Some(&self.command),
            self.user_directory.as_deref(),
            self.user_id.as_deref(),
            self.origin.as_deref(),
            self.context.as_deref(),
            self.message.as_deref(),
            self.app_id.as_deref(),
            self.app_name.as_deref(),
            self.browser_name.as_deref(),
            self.browser_major.as_deref(),
            self.os_name.as_deref(),
            self.os_version.as_deref(),
        ]
    }
}

// === impl UserFull ===

impl fmt::Display for UserFull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\\{}", self.directory, self.id)
    }
}

// === impl Texts ===

impl<'a> Texts<'a> {
    /// `None` where a string cannot be read, which [`Texts::error`] then names.
    fn event(&mut self, received_ns: u64, presence: u16) -> Option<UserEvent<'a>> {
        Some(UserEvent {
            received_ns,
            decoded: Decoded::Utf8,
            message_type: self.take()?,
            host: self.take()?,
            command: self.take()?,
            user_directory: self.take_if(presence & 1 << 0)?,
            user_id: self.take_if(presence & 1 << 1)?,
            origin: self.take_if(presence & 1 << 2)?,
            context: self.take_if(presence & 1 << 3)?,
            message: self.take_if(presence & 1 << 4)?,
            app_id: self.take_if(presence & 1 << 5)?,
            app_name: self.take_if(presence & 1 << 6)?,
            browser_name: self.take_if(presence & 1 << 7)?,
            browser_major: self.take_if(presence & 1 << 8)?,
            os_name: self.take_if(presence & 1 << 9)?,
            os_version: self.take_if(presence & 1 << 10)?,
        })
    }

    #[inline]
    fn take_if(&mut self, bit: u16) -> Option<Option<Cow<'a, str>>> {
        if bit == 0 { Some(None) } else { self.take().map(Some) }
    }

    #[inline]
    fn take(&mut self) -> Option<Cow<'a, str>> {
        self.next().map(Cow::Borrowed)
    }

    fn next(&mut self) -> Option<&'a str> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length));
        let checked = match self.checked.get(LENGTH_BYTES..) {
            Some(checked) if checked.len() >= length => checked,
            _ => beginning_in_utf8(rest),
        };
        let (text, checked) = checked.split_at_checked(length)?;
        *self = Self { rest: rest.get(length..)?, checked };
        Some(text)
    }

    /// Why the next string cannot be read.
    fn error(&self) -> RecordError {
        match self.rest.split_first_chunk() {
            Some((length, rest)) if rest.len() >= usize::from(u16::from_le_bytes(*length)) => {
                RecordError::NotUtf8
            }
            _ => RecordError::Truncated,
        }
    }
}

// === helpers ===

/// The longest beginning of `text` that has at most `bytes_max` bytes and splits no character.
pub(crate) fn cut_bytes(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// `bytes` as far as they are text.
// Twice or so a record: out of the way of what is done for each string.
#[cold]
fn beginning_in_utf8(bytes: &[u8]) -> &str {
    match from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn push_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let text = if text.len() > bytes_max { cut_bytes(text, bytes_max) } else { text };
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> UserEvent<'static> {
        UserEvent {
            received_ns: 1_795_169_472_345_000_001,
            message_type: "qseow-proxy-session".into(),
            host: "pro2-win1".into(),
            command: "Start session".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("göran".into()),
            origin: Some("".into()),
            os_version: Some("10".into()),
            ..UserEvent::default()
        }
    }

    #[test]
    fn how_a_datagram_became_text_is_kept_and_old_records_are_utf8() {
        for decoded in [Decoded::Utf8, Decoded::Fallback, Decoded::Replaced] {
            let event = UserEvent { decoded, ..sample() };
            assert_eq!(UserEvent::decode(&record(&event)), Ok(event));
        }
        let mut old = record(&sample());
        assert_eq!(old[10] >> 3, 0, "nothing but what is there");
        old[10] |= 0x18;
        assert_eq!(UserEvent::decode(&old), Err(RecordError::UnknownParts));
    }

    fn record(event: &UserEvent<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        event.encode_into(&mut out);
        out
    }

    #[test]
    fn empty_and_missing_stay_apart() {
        let bytes = record(&sample());
        let event = UserEvent::decode(&bytes).expect("own record");
        assert_eq!(event, sample());
        assert_eq!(event.origin.as_deref(), Some(""));
        assert_eq!(event.context, None);
    }

    #[test]
    fn decoding_copies_no_text() {
        let bytes = record(&sample());
        let event = UserEvent::decode(&bytes).expect("own record");
        assert!(matches!(event.host, Cow::Borrowed(_)));
    }

    #[test]
    fn the_layout_is_the_one_described() {
        let event = UserEvent {
            received_ns: 0x0102,
            message_type: "t".into(),
            host: "h".into(),
            command: "c".into(),
            os_version: Some("é".into()),
            ..UserEvent::default()
        };
        let expect = b"\x01\x02\x01\0\0\0\0\0\0\x00\x04\x01\0t\x01\0h\x01\0c\x02\0\xc3\xa9";
        assert_eq!(record(&event), expect);
    }

    #[test]
    fn damage_is_named() {
        let good = record(&sample());
        let check = |bytes: &[u8], expect: RecordError| {
            assert_eq!(UserEvent::decode(bytes), Err(expect), "{bytes:?}");
        };
        check(b"", RecordError::Truncated);
        check(b"\x01", RecordError::Truncated);
        check(b"\x02", RecordError::UnknownVersion(2));
        check(&good[..good.len() - 1], RecordError::Truncated);
        check(&[&good[..], b"x"].concat(), RecordError::TrailingBytes);
        let mut parts = good.clone();
        parts[10] |= 0x80;
        check(&parts, RecordError::UnknownParts);
        let mut text = good;
        let last = text.len() - 1;
        text[last] = 0xff;
        check(&text, RecordError::NotUtf8);
    }

    #[test]
    fn a_long_app_name_is_cut_between_characters() {
        let event = UserEvent { app_name: Some("é".repeat(600).into()), ..sample() };
        let bytes = record(&event);
        let decoded = UserEvent::decode(&bytes).expect("own record");
        assert_eq!(decoded.app_name.as_deref(), Some("é".repeat(512).as_str()));
        let event = UserEvent { app_name: Some(format!("x{}", "é".repeat(600)).into()), ..sample() };
        let bytes = record(&event);
        let decoded = UserEvent::decode(&bytes).expect("own record");
        assert_eq!(decoded.app_name.map(|name| name.len()), Some(1023));
    }

    #[test]
    fn the_full_user_needs_both_parts() {
        let check = |directory: Option<&'static str>, id: Option<&'static str>, expect: Option<&str>| {
            let event = UserEvent {
                user_directory: directory.map(Cow::from),
                user_id: id.map(Cow::from),
                ..sample()
            };
            assert_eq!(event.user_full().map(|full| full.to_string()).as_deref(), expect);
        };
        check(Some("LAB"), Some("goran"), Some("LAB\\goran"));
        check(Some("NONE"), Some("anonymous\\0a"), Some("NONE\\anonymous\\0a"));
        check(Some("LAB"), Some(""), None);
        check(Some(""), Some("goran"), None);
        check(None, Some("goran"), None);
        check(Some("LAB"), None, None);
    }

    prop_compose! {
        fn any_event()(
            received_ns in any::<u64>(),
            decoded in prop::sample::select(vec![Decoded::Utf8, Decoded::Fallback, Decoded::Replaced]),
            fixed in proptest::array::uniform3(".{0,40}"),
            optional in proptest::collection::vec(proptest::option::of(".{0,60}"), TEXT_COUNT - FIXED_COUNT),
        ) -> UserEvent<'static> {
            let [message_type, host, command] = fixed.map(Cow::Owned);
            let mut parts = optional.into_iter().map(|part| part.map(Cow::Owned));
            let mut next = || parts.next().flatten();
            UserEvent {
                received_ns, decoded, message_type, host, command,
                user_directory: next(), user_id: next(), origin: next(), context: next(),
                message: next(), app_id: next(), app_name: next(), browser_name: next(),
                browser_major: next(), os_name: next(), os_version: next(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(event in any_event()) {
            let bytes = record(&event);
            prop_assert_eq!(UserEvent::decode(&bytes), Ok(event));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = UserEvent::decode(&bytes);
        }

        #[test]
        fn any_damage_is_answered(event in any_event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = record(&event);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = UserEvent::decode(&bytes);
        }
    }
}
