//! JSON as text: reads it without building values, and copies it without changes.
//!
//! An audit event must be stored as it was sent, also where a parser into values would lose something: the
//! order of keys, the spelling of numbers (`1.0`, `1e400`), repeated keys, unpaired surrogates. So the body
//! is checked once as a whole, on the first walk, which neither builds values nor recurses, and a value is a
//! slice of the body: [`Json`]. Walking it is a scan with a depth counter, so a body of 1 MiB of `[` costs a
//! scan and no stack.
//!
//! When a string is converted to text, an unpaired surrogate becomes U+FFFD, because text cannot contain it.

mod copy;
mod cursor;
mod object;
mod scan;
mod string;
mod well_formed;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

pub use crate::json_string::write_string;
pub use cursor::{Cursor, Items, Members};
pub(crate) use object::Object;
pub use object::write_number;
pub(super) use scan::end_of_string;

/// One JSON value as a slice of its text, without blanks around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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

/// Why bytes are not JSON. The message names the position and is safe to show to the sender.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(#[from] serde_json::Error);

/// Why a body is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// JSON with objects and arrays nested deeper than allowed.
    #[error("nested {depth} levels deep")]
    TooDeep { depth: usize },
}

/// The maximum depth of the quick check of one value. Deeper values are checked more slowly.
pub const QUICK_LEVELS: usize = well_formed::DEPTH_MAX as usize;

impl<'a> Json<'a> {
    /// Checks that `bytes` are one JSON text in UTF-8 (RFC 8259). Skips a leading byte order mark, as
    /// browsers and Node do.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotJson> {
        Self::walk(bytes, Cursor::value).map(Option::unwrap_or_default)
    }

    /// [`parse`](Self::parse) and `walk` in one pass. `walk` begins before the value and must skip it. Its
    /// result is valid only if the whole is JSON. It may be called twice.
    pub fn walk<T>(bytes: &'a [u8], walk: impl Fn(&mut Cursor<'a>) -> T) -> Result<T, NotJson> {
        match Self::walk_quickly(bytes, &walk) {
            Some(found) => Ok(found),
            None => Ok(walk(&mut Cursor::new(Self::parse_slowly(bytes)?))),
        }
    }

    /// The same for JSON of at most `depth_max` levels. `walk` enters so few levels that they and
    /// [`QUICK_LEVELS`] do not exceed that, so the quick check also checks the depth at no cost.
    pub fn walk_within<T>(
        bytes: &'a [u8],
        depth_max: usize,
        walk: impl Fn(&mut Cursor<'a>) -> T,
    ) -> Result<T, Unread> {
        if let Some(found) = Self::walk_quickly(bytes, &walk) {
            return Ok(found);
        }
        let json = Self::parse_slowly(bytes)?;
        match json.depth() {
            depth if depth > depth_max => Err(Unread::TooDeep { depth }),
            _ => Ok(walk(&mut Cursor::new(json))),
        }
    }

    /// `None` for deep JSON, or text that is not JSON.
    fn walk_quickly<T>(bytes: &'a [u8], walk: impl Fn(&mut Cursor<'a>) -> T) -> Option<T> {
        let mut cursor = Cursor::checking(std::str::from_utf8(without_mark(bytes)).ok()?);
        let found = walk(&mut cursor);
        cursor.is_at_end().then_some(found)
    }

    /// Very deep, or not JSON: `serde_json` decides and gives the reason.
    fn parse_slowly(bytes: &'a [u8]) -> Result<Self, NotJson> {
        let raw: &'a serde_json::value::RawValue = serde_json::from_slice(without_mark(bytes))?;
        Ok(Self(raw.get()))
    }

    /// The nesting depth of objects and arrays: 0 for a text or a number, 1 for `{}`.
    pub fn depth(self) -> usize {
        scan::depth(self.0)
    }

    /// Text that this program assembled from checked values, so it needs no check.
    pub(crate) fn assembled(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as received.
    pub fn text(self) -> &'a str {
        self.0
    }

    pub fn kind(self) -> Kind {
        self.0.as_bytes().first().map_or(Kind::Null, |byte| Kind::beginning_with(*byte))
    }

    /// The members of an object in order; none for other values.
    pub fn members(self) -> Members<'a> {
        Members::of(self)
    }

    /// The items of an array; none for other values.
    pub fn items(self) -> Items<'a> {
        Items::of(self)
    }

    /// The last member of that name. Readers into values keep the same one.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().filter(|(key, _)| key == name).map(|(_, value)| value).last()
    }

    /// The text of a string, with escapes resolved.
    pub fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| string::unescape(self.0))
    }

    /// The number of characters of that text.
    pub fn character_count(self) -> Option<usize> {
        (self.kind() == Kind::String).then(|| string::character_count(self.0))
    }

    /// A number in the range of a double; `None` for `1e400`.
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
    /// shortest escapes (`"\u00e5"` becomes `"å"`); an unpaired surrogate stays an escape.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_compact(self, out: &mut impl fmt::Write) -> fmt::Result {
        copy::compact(self.0, out)
    }

    /// The value on several lines; the part at `compact` of its text without blanks. `None` when that exceeds
    /// `bytes_max`: lines are indented by depth, so a small text may become very large.
    pub(crate) fn pretty(self, compact: Range<usize>, bytes_max: usize) -> Option<String> {
        let mut out = String::with_capacity((self.0.len() * 2).min(bytes_max));
        copy::pretty(self.0, compact, bytes_max, &mut out).then_some(out)
    }

    /// [`Json::write_compact`] as a new string.
    pub fn compact(self) -> String {
        let mut out = String::with_capacity(self.0.len());
        // Writing into a string does not fail.
        let _ = self.write_compact(&mut out);
        out
    }
}

/// Removes a byte order mark, as browsers and Node do.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Kind {
    /// In checked text, the first byte determines the kind.
    fn beginning_with(byte: u8) -> Self {
        match byte {
            b'{' => Self::Object,
            b'[' => Self::Array,
            b'"' => Self::String,
            b't' | b'f' => Self::Bool,
            b'-' | b'0'..=b'9' => Self::Number,
            _ => Self::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for text in
            ["", " ", "{", "{}x", "{'a':1}", "\"\u{1}\"", "[1,]", "nul", "01", "{\"a\":1 \"b\":2}", "\"\\x\""]
        {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        assert!(Json::parse(b"\xef\xbb\xbf{}").is_ok());
    }

    #[test]
    fn deep_nesting_uses_no_stack() {
        let deep = format!("{{\"a\":{}1{},\"b\":2}}", "[".repeat(500_000), "]".repeat(500_000));
        let json = parsed(&deep);
        assert_eq!(json.get("b").and_then(Json::number), Some(2.0));
        assert_eq!(json.compact(), deep);
        assert!(Json::parse("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn strings() {
        let check = |json: &str, expect: &str| {
            assert_eq!(parsed(json).string().as_deref(), Some(expect), "{json}");
            assert_eq!(parsed(json).character_count(), Some(expect.chars().count()), "{json}");
        };
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
    fn members_keep_their_order_and_the_last_duplicate_wins() {
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
            assert_eq!(parsed(json).pretty(0..0, pretty.len()).as_deref(), Some(pretty));
            assert_eq!(parsed(json).pretty(0..0, pretty.len() - 1), None);
            assert_eq!(parsed(json).pretty(0..json.len(), usize::MAX).as_deref(), Some(compact));
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

    #[test]
    fn the_compact_part_has_no_line_breaks() {
        let text = r#"{"a":[1],"b":[{"c": 2}, []],"d":[]}"#;
        let at = text.find("[{").expect("it is there");
        let got = parsed(text).pretty(at..at + 14, 100);
        let expect = "{\n  \"a\": [\n    1\n  ],\n  \"b\": [{\"c\":2},[]],\n  \"d\": []\n}";
        assert_eq!(got.as_deref(), Some(expect));
    }

    #[test]
    fn depths() {
        let check = |text: &str, expect: usize| assert_eq!(parsed(text).depth(), expect, "{text}");
        check("5", 0);
        check("\"[[[\\\"[\"", 0);
        check("{}", 1);
        check("[[],{\"a\":[1]},[]]", 3);
        check(&format!("{}{}", "[".repeat(500_000), "]".repeat(500_000)), 500_000);
    }

    #[test]
    fn depth_is_limited_exactly() {
        for depth in 1..300 {
            for text in [
                format!("{}1{}", "[".repeat(depth), "]".repeat(depth)),
                format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)),
            ] {
                for levels in [0, 1, 4] {
                    let read = Json::walk_within(text.as_bytes(), 128, |at| enter(at, levels));
                    match read {
                        Ok(()) => assert!(depth <= 128),
                        Err(Unread::TooDeep { depth: reported }) => assert!(reported == depth && depth > 128),
                        Err(Unread::NotJson(error)) => panic!("{error}"),
                    }
                }
            }
        }
        assert!(matches!(Json::walk_within(b"[", 128, Cursor::value), Err(Unread::NotJson(_))));
    }

    fn enter(at: &mut Cursor<'_>, levels: usize) {
        if levels == 0 {
            at.value();
        } else {
            at.members(|_, at| enter(at, levels - 1));
        }
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
        fn walking_any_text_does_not_panic(text in "[\\[\\]{}\",:\\\\u0-9a-f \u{e5}]{0,40}") {
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
