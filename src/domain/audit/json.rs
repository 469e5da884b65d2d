//! JSON as text: read without building it, copied without changing it.
//!
//! An audit event must be stored as it was sent, also where a parser into values would lose something: the
//! order of keys, the spelling of numbers (`1.0`, `1e400`), a key that stands twice, half a surrogate pair.
//! So the body is checked once as a whole by `serde_json`, which for that neither builds values nor recurses, and
//! from then on a value is a slice of the body: [`Json`]. Walking it is a scan with a depth counter, so
//! a body of 1 MiB of `[` costs a scan and no stack.
//!
//! Where a string has to become text, half a surrogate pair becomes U+FFFD, since no text can hold it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One JSON value, as the text it stands in, without blanks around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<'a>(&'a str);

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// Why bytes are not JSON. The text says where and is safe to show to the sender.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(#[from] serde_json::Error);

impl<'a> Json<'a> {
    /// Checks that `bytes` are one JSON text in UTF-8 (RFC 8259). A byte order mark before it is skipped, as
    /// browsers' and Node's own readers do.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotJson> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let raw: &'a serde_json::value::RawValue = serde_json::from_slice(bytes)?;
        Ok(Self(trim(raw.get())))
    }

    /// Text that this program put together of checked values, and that needs no check.
    pub(crate) fn assembled(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as received.
    pub fn text(self) -> &'a str {
        self.0
    }

    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// The members of an object in the order they stand; none for anything else.
    pub fn members(self) -> Members<'a> {
        Members(Cursor::inside(self, Kind::Object))
    }

    /// The items of an array; none for anything else.
    pub fn items(self) -> Items<'a> {
        Items(Cursor::inside(self, Kind::Array))
    }

    /// The last member of that name, which is the one that every reader into values keeps.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().filter(|(key, _)| key == name).map(|(_, value)| value).last()
    }

    /// The text of a string, its escapes resolved.
    pub fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(self.0))
    }

    /// A number that a double can hold; `1e400` is none.
    pub fn number(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.0.parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Appends the value without blanks. Keys keep their order, numbers their spelling, and strings get the
    /// shortest escapes (`"\u00e5"` becomes `"å"`); half a surrogate pair stays an escape.
    pub fn write_compact(self, out: &mut String) {
        rewrite(self.0, None, out);
    }

    /// The value on several lines.
    pub fn pretty(self) -> String {
        let mut out = String::with_capacity(self.0.len() * 2);
        rewrite(self.0, Some(0), &mut out);
        out
    }

    /// [`Json::write_compact`] as a string of its own.
    pub fn compact(self) -> String {
        let mut out = String::with_capacity(self.0.len());
        self.write_compact(&mut out);
        out
    }
}

/// Appends a number: `1234`, `1234.5`, `1e300`. JSON has no word for what is not finite; that becomes `null`.
pub fn write_number(number: f64, out: &mut String) {
    let magnitude = number.abs();
    let _ = if !number.is_finite() {
        write!(out, "null")
    } else if magnitude >= 1e21 || (magnitude > 0.0 && magnitude < 1e-6) {
        write!(out, "{number:e}")
    } else {
        write!(out, "{number}")
    };
}

/// Appends `text` as a JSON string, the way `JSON.stringify` spells it.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    // What is escaped is ASCII, so bytes are as good as characters.
    while let Some(at) = rest.bytes().position(|byte| needs_escape(char::from(byte))) {
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = after.chars();
        characters.next().into_iter().for_each(|character| write_escape(character, out));
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn needs_escape(character: char) -> bool {
    matches!(character, '"' | '\\' | '\0'..='\x1f')
}

fn write_escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        other => {
            let _ = write!(out, "\\u{:04x}", u32::from(other));
        }
    }
}

/// A JSON object in the making, written member by member in the order of the calls.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// A member whose value is JSON already.
    pub(crate) fn json(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.push_str(value);
        self
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_string(value, &mut self.0);
        self
    }

    /// JSON, or `null`.
    pub(crate) fn json_or_null(self, name: &str, value: Option<&str>) -> Self {
        self.json(name, value.unwrap_or("null"))
    }

    /// Text, or `null`.
    pub(crate) fn text_or_null(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.json(name, "null"),
        }
    }

    pub(crate) fn done(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        write_string(name, &mut self.0);
        self.0.push(':');
    }
}

// === reading ===

/// See [`Json::members`].
pub struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.value()?.string()?;
        self.0.skip(b':');
        let value = self.0.value()?;
        self.0.skip(b',');
        Some((key, value))
    }
}

/// See [`Json::items`].
pub struct Items<'a>(Cursor<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.0.value()?;
        self.0.skip(b',');
        Some(value)
    }
}

/// A place in text that was checked before. Text that was not checked ends the walk early, nothing worse.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the first thing inside the brackets, or at the end when the value is of another kind.
    fn inside(value: Json<'a>, kind: Kind) -> Self {
        let at = if value.kind() == kind { 1 } else { value.0.len() };
        Self { text: value.0, at }
    }

    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| is_blank(**byte)).count();
    }

    fn skip(&mut self, byte: u8) {
        self.blanks();
        if self.text.as_bytes().get(self.at) == Some(&byte) {
            self.at += 1;
        }
    }

    /// The value that begins here; none at a closing bracket or the end.
    fn value(&mut self) -> Option<Json<'a>> {
        self.blanks();
        let start = self.at;
        self.at = end_of_value(self.text.as_bytes(), start)?;
        self.text.get(start..self.at).map(Json)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// Where the value that begins at `at` ends.
fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
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

/// Behind the closing quote of the string whose opening quote is at `at`.
pub(super) fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(skip) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += skip;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The inside of a string with its quotes.
fn between_quotes(quoted: &str) -> &str {
    let inside = quoted.strip_prefix('"').unwrap_or(quoted);
    inside.strip_suffix('"').unwrap_or(inside)
}

fn unescape(quoted: &str) -> Cow<'_, str> {
    let inside = between_quotes(quoted);
    if !inside.contains('\\') {
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

/// What the inside of a string is made of.
enum Piece<'a> {
    Plain(&'a str),
    Character(char),
    /// A surrogate without its other half.
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
            let (plain, rest) = text.split_at(text.find('\\').unwrap_or(text.len()));
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

// === copying ===

/// Copies one value token by token. `level` is the indentation to begin with, none for a single line.
fn rewrite(text: &str, level: Option<usize>, out: &mut String) {
    let bytes = text.as_bytes();
    let mut level = level;
    let mut at = 0;
    let mut opened = false;
    while let Some(byte) = bytes.get(at) {
        let byte = *byte;
        if is_blank(byte) {
            at += 1;
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if opened && !closes {
            level = level.map(|level| level + 1);
            new_line(level, out);
        }
        if closes && !opened {
            level = level.map(|level| level.saturating_sub(1));
            new_line(level, out);
        }
        opened = false;
        at = match byte {
            b'"' => {
                let end = end_of_string(bytes, at);
                rewrite_string(&text[at..end], out);
                end
            }
            b'{' | b'[' => {
                opened = true;
                out.push(char::from(byte));
                at + 1
            }
            b'}' | b']' => {
                out.push(char::from(byte));
                at + 1
            }
            b',' => {
                out.push(',');
                new_line(level, out);
                at + 1
            }
            b':' => {
                out.push_str(if level.is_some() { ": " } else { ":" });
                at + 1
            }
            _ => {
                let end = end_of_value(bytes, at).unwrap_or(bytes.len());
                out.push_str(&text[at..end]);
                end
            }
        };
    }
}

fn new_line(level: Option<usize>, out: &mut String) {
    if let Some(level) = level {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level));
    }
}

fn rewrite_string(quoted: &str, out: &mut String) {
    let inside = between_quotes(quoted);
    if !inside.contains('\\') {
        out.push_str(quoted);
        return;
    }
    out.push('"');
    for piece in Pieces(inside) {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Character(character) if needs_escape(character) => write_escape(character, out),
            Piece::Character(character) => out.push(character),
            Piece::HalfPair(unit) => {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in
            ["", " ", "{", "{}x", "{'a':1}", "\"\u{1}\"", "[1,]", "nul", "01", "{\"a\":1 \"b\":2}", "\"\\x\""]
        {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        assert!(Json::parse(b"\xef\xbb\xbf{}").is_ok());
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}1{},\"b\":2}}", "[".repeat(500_000), "]".repeat(500_000));
        let json = parsed(&deep);
        assert_eq!(json.get("b").and_then(Json::number), Some(2.0));
        assert_eq!(json.compact(), deep);
        assert!(Json::parse("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn strings() {
        let check =
            |json: &str, expect: &str| assert_eq!(parsed(json).string().as_deref(), Some(expect), "{json}");
        check(r#""""#, "");
        check(r#""plain å""#, "plain å");
        check(r#""\"\\\/\b\f\n\r\t\u0000\u00e5""#, "\"\\/\x08\x0c\n\r\t\0å");
        check(r#""\ud83d\ude00""#, "😀");
        check(r#""a\ud83d""#, "a\u{fffd}");
        check(r#""\ude00\ud83dx""#, "\u{fffd}\u{fffd}x");
        check(r#""\ud83d\u0041""#, "\u{fffd}A");
        check(r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀");
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_a_name_counts() {
        let json = parsed(r#" { "b" : 1.0 , "a":[ 1 , {} ] ,"b":"x","\ud800":null } "#);
        let members: Vec<_> = json.members().map(|(key, value)| format!("{key}={}", value.text())).collect();
        assert_eq!(members, ["b=1.0", "a=[ 1 , {} ]", "b=\"x\"", "\u{fffd}=null"]);
        assert_eq!(json.get("b").and_then(Json::string).as_deref(), Some("x"));
        assert_eq!(json.get("a").map(|a| a.items().count()), Some(2));
        assert_eq!(json.get("c"), None);
        assert_eq!(parsed("[]").items().count(), 0);
        assert_eq!(parsed("5").members().count(), 0);
    }

    #[test]
    fn numbers() {
        assert_eq!(parsed("-1.5e3").number(), Some(-1500.0));
        assert_eq!(parsed("1e400").number(), None);
        assert_eq!(parsed("\"1\"").number(), None);
    }

    #[test]
    fn copies() {
        let check = |json: &str, compact: &str, pretty: &str| {
            assert_eq!(parsed(json).compact(), compact);
            assert_eq!(parsed(json).pretty(), pretty);
        };
        check("{ }", "{}", "{}");
        check("[ [ ] , { } ]", "[[],{}]", "[\n  [],\n  {}\n]");
        check(
            "{\"z\" : 1.0, \"a\":[ 1e3,\"\\u00e5\\/\\ud800\\u001f\" ], \"z\":true}",
            "{\"z\":1.0,\"a\":[1e3,\"å/\\ud800\\u001f\"],\"z\":true}",
            "{\n  \"z\": 1.0,\n  \"a\": [\n    1e3,\n    \"å/\\ud800\\u001f\"\n  ],\n  \"z\": true\n}",
        );
        check("null", "null", "null");
    }

    proptest! {
        #[test]
        fn written_strings_read_back(text: String) {
            let mut json = String::new();
            write_string(&text, &mut json);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.clone());
            prop_assert_eq!(parsed(&json).string().unwrap(), text);
        }

        #[test]
        fn any_text_is_walked_without_harm(text in "[\\[\\]{}\",:\\\\u0-9a-f \u{e5}]{0,40}") {
            let json = Json(&text);
            let _ = (json.members().count(), json.items().count(), json.string(), json.number(), json.compact());
            if let Ok(json) = Json::parse(text.as_bytes()) {
                let compact = json.compact();
                prop_assert_eq!(parsed(&compact).compact(), compact.clone());
                if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                    prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), value);
                }
            }
        }
    }
}
