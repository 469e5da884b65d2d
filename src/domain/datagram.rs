//! Parses a datagram of a Sense proxy. Contract: user-events.md, "Datagrams".
//!
//! # The three layouts
//!
//! Fields are separated by `;`. The first one names the layout. It is compared case-insensitively and without
//! leading and trailing `/`.
//!
//! ```text
//! qseow-proxy-session;host;command;user_directory;user_id;origin;context;message
//! qseow-proxy-connection;host;command;user_directory;user_id;origin;context;message
//! proxy-user-event;host;subsystem;context;message
//! ```
//!
//! Everything after the last separator of the layout is the message. In the first two layouts the last three
//! fields are optional. Control characters (0x00-0x1F, 0x7F), including a line end after the message, are
//! removed from every field, and the field is then cut to its limit in characters. A leading byte order mark
//! is skipped. A datagram that is not UTF-8 is decoded as a whole by [`crate::fallback_encoding`], and
//! marked.
//!
//! # The five fields of `proxy-user-event`
//!
//! This layout has no field for command, user and origin. The command is the first two words of the message
//! (each command of the proxy has two): `Opening connection` and `Closing connection` become `Open
//! connection` and `Close connection`, others are unchanged, because every message that passed the log4net
//! filter is an event. The user is searched in message and context; without one, the event is kept with an
//! empty user and the caller counts it. The origin is missing. The subsystem is the name of the proxy's
//! logger; it says nothing about the event, and is dropped.

use std::borrow::Cow;

use crate::event::UserEvent;
use crate::fallback_encoding::FallbackEncoding;
use crate::identity;

/// A session began.
pub const START_SESSION: &str = "Start session";
/// A session ended.
pub const STOP_SESSION: &str = "Stop session";
/// An app was opened in a browser tab.
pub const OPEN_CONNECTION: &str = "Open connection";
/// An app's browser tab was closed.
pub const CLOSE_CONNECTION: &str = "Close connection";

/// Limits of the fields, in characters. Longer fields are cut.
const NAME_CHARS_MAX: usize = 100;
const ORIGIN_CHARS_MAX: usize = 200;
const CONTEXT_CHARS_MAX: usize = 500;
const MESSAGE_CHARS_MAX: usize = 1000;

/// Why a datagram is not an event. The caller counts it by [`Rejection::reason`] and stores the datagram in
/// the quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the first field names no known layout")]
    UnknownType,
    #[error("fewer than five fields")]
    TooFewFields,
    #[error("the host is empty")]
    EmptyHost,
    #[error("the command is empty")]
    EmptyCommand,
}

/// The parsed event, and the properties that the caller counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Without app and user agent, which [`crate::enrichment`] adds.
    pub event: UserEvent<'a>,
    /// The five-field layout contained no user.
    pub user_not_found: bool,
}

/// The two families of layouts.
enum Layout {
    Proxy,
    ProxyUserEvent,
}

/// The layouts by the name in their first field.
const LAYOUTS: [(&str, Layout); 3] = [
    ("qseow-proxy-session", Layout::Proxy),
    ("qseow-proxy-connection", Layout::Proxy),
    ("proxy-user-event", Layout::ProxyUserEvent),
];

// === impl Rejection ===

impl Rejection {
    /// All reasons, for counters.
    pub const ALL: [Rejection; 4] =
        [Rejection::UnknownType, Rejection::TooFewFields, Rejection::EmptyHost, Rejection::EmptyCommand];

    /// A short stable name: metric label and log value.
    pub fn reason(self) -> &'static str {
        match self {
            Rejection::UnknownType => "unknown-type",
            Rejection::TooFewFields => "too-few-fields",
            Rejection::EmptyHost => "empty-host",
            Rejection::EmptyCommand => "empty-command",
        }
    }
}

/// Parses one datagram. The event borrows unchanged parts from `datagram`.
pub fn parse(datagram: &[u8], received_ns: u64, fallback: FallbackEncoding) -> Result<Parsed<'_>, Rejection> {
    let bytes = datagram.strip_prefix(b"\xef\xbb\xbf").unwrap_or(datagram);
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => parse_text(text, received_ns),
        Err(_) => {
            let (text, decoded) = fallback.decode(bytes);
            let Parsed { event, user_not_found } = parse_text(&text, received_ns)?;
            let event = UserEvent { decoded, ..event.into_owned() };
            Ok(Parsed { event, user_not_found })
        }
    }
}

fn parse_text(text: &str, received_ns: u64) -> Result<Parsed<'_>, Rejection> {
    let text = text.trim_end_matches(['\r', '\n']);
    let clean = Cleaner::of(text);
    let mut fields = Fields { rest: Some(text) };
    let first = clean.field(fields.next().unwrap_or_default(), NAME_CHARS_MAX);
    let name = first.trim_matches('/');
    let (name, layout) =
        LAYOUTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or(Rejection::UnknownType)?;
    let parsed = match layout {
        Layout::Proxy => proxy(fields, clean),
        Layout::ProxyUserEvent => proxy_user_event(fields, clean),
    };
    let Parsed { mut event, user_not_found } = parsed.ok_or(Rejection::TooFewFields)?;
    if event.host.is_empty() {
        return Err(Rejection::EmptyHost);
    }
    if event.command.is_empty() {
        return Err(Rejection::EmptyCommand);
    }
    event.received_ns = received_ns;
    event.message_type = Cow::Borrowed(name);
    Ok(Parsed { event, user_not_found })
}

/// `host;command;user_directory;user_id;origin;context;message`, the last three optional.
/// `None` when there are too few fields.
fn proxy(mut fields: Fields<'_>, clean: Cleaner) -> Option<Parsed<'_>> {
    let host = clean.field(fields.next()?, NAME_CHARS_MAX);
    let command = clean.field(fields.next()?, NAME_CHARS_MAX);
    let user_directory = clean.field(fields.next()?, NAME_CHARS_MAX);
    let user_id = clean.field(fields.next()?, NAME_CHARS_MAX);
    let event = UserEvent {
        host,
        command,
        user_directory: Some(user_directory),
        user_id: Some(user_id),
        origin: fields.next().map(|text| clean.field(text, ORIGIN_CHARS_MAX)),
        context: fields.next().map(|text| clean.field(text, CONTEXT_CHARS_MAX)),
        message: fields.rest.map(|text| clean.field(text, MESSAGE_CHARS_MAX)),
        ..UserEvent::default()
    };
    Some(Parsed { event, user_not_found: false })
}

/// `host;subsystem;context;message`. `None` when there are too few fields.
fn proxy_user_event(mut fields: Fields<'_>, clean: Cleaner) -> Option<Parsed<'_>> {
    let host = clean.field(fields.next()?, NAME_CHARS_MAX);
    let _subsystem = fields.next()?;
    let context = clean.field(fields.next()?, CONTEXT_CHARS_MAX);
    let message = clean.field(fields.rest?, MESSAGE_CHARS_MAX);

    let command = command_text(command_of(&message));
    let user = identity::find_in_text(&[&message, &context]);
    let user_not_found = user.is_none();
    let part = |text: &str| Cow::Owned(cut_chars(text, NAME_CHARS_MAX).to_owned());
    let (user_directory, user_id) =
        user.map_or((Cow::Borrowed(""), Cow::Borrowed("")), |user| (part(user.directory), part(user.id)));
    let event = UserEvent {
        host,
        command,
        user_directory: Some(user_directory),
        user_id: Some(user_id),
        context: Some(context),
        message: Some(message),
        ..UserEvent::default()
    };
    Some(Parsed { event, user_not_found })
}

/// The command in a message of the five-field layout.
enum Command<'a> {
    Known(&'static str),
    Other(&'a str),
}

/// The beginnings of messages in the proxy's log, and their commands.
const BEGINNINGS: [(&str, &str); 4] = [
    ("Start session", START_SESSION),
    ("Stop session", STOP_SESSION),
    ("Opening connection", OPEN_CONNECTION),
    ("Closing connection", CLOSE_CONNECTION),
];

fn command_of(message: &str) -> Command<'_> {
    let message = message.trim_start();
    let begins = |text: &str| message.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text));
    if let Some((_, command)) = BEGINNINGS.iter().find(|(beginning, _)| begins(beginning)) {
        return Command::Known(command);
    }
    let second_end = message.match_indices(' ').nth(1).map_or(message.len(), |(at, _)| at);
    Command::Other(message[..second_end].trim_end())
}

fn command_text(command: Command<'_>) -> Cow<'static, str> {
    match command {
        Command::Known(text) => Cow::Borrowed(text),
        Command::Other(text) => Cow::Owned(cut_chars(text, NAME_CHARS_MAX).to_owned()),
    }
}

/// The unread fields of a datagram. The rest is the message.
struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let separator = memchr::memchr(b';', rest.as_bytes());
        self.rest = separator.map(|at| &rest[at + 1..]);
        Some(separator.map_or(rest, |at| &rest[..at]))
    }
}

/// Removes control characters from the fields of one datagram. Most datagrams contain none, so the whole is
/// scanned once, not each field.
#[derive(Clone, Copy)]
struct Cleaner {
    has_controls: bool,
}

impl Cleaner {
    fn of(text: &str) -> Self {
        // These bytes never occur within a longer UTF-8 sequence. There is no early exit, so that many bytes
        // are compared at a time.
        let has_controls = text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == 0x7f));
        Self { has_controls }
    }

    /// A field without control characters, cut to its limit. Borrowed when nothing was removed.
    fn field(self, field: &str, chars_max: usize) -> Cow<'_, str> {
        if self.has_controls && field.contains(|c: char| c.is_ascii_control()) {
            let kept = field.chars().filter(|c| !c.is_ascii_control()).take(chars_max);
            Cow::Owned(kept.collect())
        } else {
            Cow::Borrowed(cut_chars(field, chars_max))
        }
    }
}

/// The first `chars_max` characters of `text`.
fn cut_chars(text: &str, chars_max: usize) -> &str {
    if text.len() <= chars_max {
        return text;
    }
    text.char_indices().nth(chars_max).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fallback_encoding::Decoded;
    use proptest::prelude::*;

    fn parse(datagram: &[u8], received_ns: u64) -> Result<Parsed<'_>, Rejection> {
        super::parse(datagram, received_ns, FallbackEncoding::NONE)
    }

    fn event(datagram: &str) -> UserEvent<'_> {
        parse(datagram.as_bytes(), 7).expect(datagram).event
    }

    #[test]
    fn eight_fields() {
        let got = event("/QSEOW-Proxy-Session/;h;Start session;LAB;goran;AppAccess;/hub;a; \"b\r\n;c\r\n");
        let expect = UserEvent {
            received_ns: 7,
            message_type: "qseow-proxy-session".into(),
            host: "h".into(),
            command: "Start session".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("goran".into()),
            origin: Some("AppAccess".into()),
            context: Some("/hub".into()),
            message: Some("a; \"b;c".into()),
            ..UserEvent::default()
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn missing_is_not_empty() {
        let five = event("qseow-proxy-session;h;c;LAB;goran");
        assert_eq!((five.origin, five.context, five.message), (None, None, None));
        let empty = event("qseow-proxy-session;h;c;;;;;");
        assert_eq!(empty.user_directory.as_deref(), Some(""));
        assert_eq!(empty.origin.as_deref(), Some(""));
        assert_eq!(empty.message.as_deref(), Some(""));
        let seven = event("qseow-proxy-connection;h;c;LAB;goran;o;x\n");
        assert_eq!((seven.context.as_deref(), seven.message), (Some("x"), None));
    }

    /// log4net writes `(null)` for an unset property. It is treated as text, as in Butler SOS: the proxy's
    /// data is evidence, and a user may have this name.
    #[test]
    fn an_unset_property_is_the_text_null() {
        let got = event("/qseow-proxy-session/;h;Start session;(null);(null);(null);(null);(null)");
        assert_eq!(got.user_full().map(|full| full.to_string()).as_deref(), Some("(null)\\(null)"));
        for part in [got.origin, got.context, got.message] {
            assert_eq!(part.as_deref(), Some("(null)"));
        }
        let five = parse(b"/proxy-user-event/;h;Service.Proxy;(null);Start session", 0).expect("an event");
        assert!(five.user_not_found, "no user is made of it");
        assert_eq!(five.event.context.as_deref(), Some("(null)"));
    }

    #[test]
    fn rejections() {
        let check = |datagram: &[u8], expect: Rejection| {
            assert_eq!(parse(datagram, 0).map(|parsed| parsed.event), Err(expect), "{datagram:?}");
        };
        check(b"", Rejection::UnknownType);
        check(b"\xef\xbb\xbf", Rejection::UnknownType);
        check(b"hello world", Rejection::UnknownType);
        check(b"/qseow-engine/;h;c;d;u;o;c;m", Rejection::UnknownType);
        check(b" qseow-proxy-session;h;c;d;u;o;c;m", Rejection::UnknownType);
        check(b"/qseow-proxy-session/", Rejection::TooFewFields);
        check(b"/qseow-proxy-session/;h;c;LAB", Rejection::TooFewFields);
        check(b"/proxy-user-event/;h;s;c", Rejection::TooFewFields);
        check(b"/qseow-proxy-session/;;c;LAB;goran", Rejection::EmptyHost);
        check(b"/qseow-proxy-session/;\r\n;c;LAB;goran", Rejection::EmptyHost);
        check(b"/qseow-proxy-session/;h;;LAB;goran;o;c;m", Rejection::EmptyCommand);
        check(b"/proxy-user-event/;h;s;c;", Rejection::EmptyCommand);
        check(b"/proxy-user-event/;h;s;c;  \n", Rejection::EmptyCommand);
        let reasons: std::collections::HashSet<_> = Rejection::ALL.map(Rejection::reason).into();
        assert_eq!(reasons.len(), Rejection::ALL.len());
    }

    #[test]
    fn limits_count_characters() {
        let long = |c: &str, count: usize| c.repeat(count);
        let datagram = format!(
            "/qseow-proxy-session/;{};{};{};{};{};{};{}",
            long("å", 101),
            long("c", 101),
            long("🚀", 101),
            long("u", 100),
            long("o", 300),
            long("x", 501),
            long("é", 1001)
        );
        let got = event(&datagram);
        assert_eq!(got.host, long("å", 100));
        assert_eq!(got.command, long("c", 100));
        assert_eq!(got.user_directory, Some(long("🚀", 100).into()));
        assert_eq!(got.user_id, Some(long("u", 100).into()));
        assert_eq!(got.origin, Some(long("o", 200).into()));
        assert_eq!(got.context, Some(long("x", 500).into()));
        assert_eq!(got.message, Some(long("é", 1000).into()));
        let controls = format!("/qseow-proxy-session/;{};c;d;u", long("\x01å", 150));
        assert_eq!(event(&controls).host, long("å", 100));
    }

    #[test]
    fn unchanged_fields_are_borrowed() {
        let got = event("/qseow-proxy-session/;hé;Start session;LAB;goran;AppAccess;/hub;m\r\n");
        assert!(matches!(got.host, Cow::Borrowed(_)));
        assert!(matches!(got.message_type, Cow::Borrowed(_)));
        assert!(matches!(got.context, Some(Cow::Borrowed(_))));
    }

    #[test]
    fn odd_bytes() {
        let bom = parse(b"\xef\xbb\xbf/qseow-proxy-session/;h;c;d;u", 0).expect("a leading mark is skipped");
        assert_eq!((bom.event.host.as_ref(), bom.event.decoded), ("h", Decoded::Utf8));
        let latin = parse(b"/qseow-proxy-session/;h;c;d;g\xf6ran", 0).expect("kept");
        let got = (latin.event.user_id.as_deref(), latin.event.decoded);
        assert_eq!(got, (Some("g\u{fffd}ran"), Decoded::Replaced));
        let type_bytes = parse(b"/qseow-proxy-session\x00/;h;c;d;u", 0).expect("controls do not count");
        assert_eq!(type_bytes.event.message_type, "qseow-proxy-session");
    }

    #[test]
    fn users_of_a_windows_code_page_stay_distinct() {
        let western = FallbackEncoding::of_label("windows-1252").expect("known");
        let user = |datagram: &[u8]| {
            let event = super::parse(datagram, 0, western).expect("an event").event;
            (event.user_full().map(|full| full.to_string()), event.decoded)
        };
        let gören = user(b"/proxy-user-event/;h;Session;ctx;Start session for user 'LAB\\g\xf6ren'");
        let gåren = user(b"/proxy-user-event/;h;Session;ctx;Start session for user 'LAB\\g\xe5ren'");
        assert_eq!(gören, (Some("LAB\\gören".to_owned()), Decoded::Fallback));
        assert_eq!(gåren, (Some("LAB\\gåren".to_owned()), Decoded::Fallback));
        let mixed = user(b"/qseow-proxy-session/;h;c;d\xc3\xb6;g\xf6ren");
        assert_eq!(mixed, (Some("dö\\g\u{fffd}ren".to_owned()), Decoded::Replaced));
    }

    #[test]
    fn limits_count_characters_of_the_decoded_text() {
        let japanese = FallbackEncoding::of_label("932").expect("known");
        // 150 characters of two bytes. The second byte of each is a backslash, which must not separate a user
        // here.
        let host = [0x83, 0x5c].repeat(150);
        let datagram = [b"/qseow-proxy-session/;", host.as_slice(), b";c;d;u"].concat();
        let event = super::parse(&datagram, 0, japanese).expect("an event").event;
        assert_eq!(event.host, "ソ".repeat(100));
    }

    #[test]
    fn five_fields() {
        let check = |context: &str, message: &str, command: &str, user: Option<(&str, &str)>| {
            let datagram = format!("/proxy-user-event/;h;Service.Proxy;{context};{message}");
            let parsed = parse(datagram.as_bytes(), 7).expect("an event");
            let event = parsed.event;
            assert_eq!(event.message_type, "proxy-user-event");
            assert_eq!(event.command, command, "{message:?}");
            let got = (event.user_directory.as_deref(), event.user_id.as_deref());
            let (directory, id) = user.unwrap_or_default();
            assert_eq!(got, (Some(directory), Some(id)), "{message:?}");
            assert_eq!(parsed.user_not_found, user.is_none());
            assert_eq!((event.origin, event.context.as_deref()), (None, Some(context)));
        };
        let goran = Some(("LAB", "goran"));
        check("/hub", "Start session for user 'LAB\\goran'; x;y", START_SESSION, goran);
        check("/hub", "Stop session for user: 'LAB\\goran'", STOP_SESSION, goran);
        check("/app/x", "Opening connection UserDirectory=LAB; UserId=goran.", OPEN_CONNECTION, goran);
        check("/app/x", "closing connection LAB\\goran", CLOSE_CONNECTION, goran);
        check("LAB\\goran", "Start session", START_SESSION, goran);
        check("", "Start session", START_SESSION, None);
        check("", "NONE\\anonymous\\0a", "NONE\\anonymous\\0a", Some(("NONE", "anonymous\\0a")));
        check("", "Session expired for LAB\\goran", "Session expired", goran);
        check("", "Restarted", "Restarted", None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, 0);
        }

        #[test]
        fn any_fields_are_kept_within_their_limits(
            kind in "(/?qseow-proxy-session/?|/?proxy-user-event/?)",
            rest in "(;\\PC{0,120}|;[a-z\\x00-\\x20\\\\']{0,20}|;user 'A\\\\b'){0,10}",
        ) {
            if let Ok(parsed) = parse(format!("{kind}{rest}").as_bytes(), 0) {
                let event = parsed.event;
                prop_assert!(!event.host.is_empty() && !event.command.is_empty());
                let names = [Some(&event.host), Some(&event.command), event.user_id.as_ref(),
                    event.user_directory.as_ref()];
                for text in names.into_iter().flatten() {
                    prop_assert!(text.chars().count() <= 100);
                    prop_assert!(!text.contains(|c: char| c.is_ascii_control()));
                }
            }
        }
    }
}
