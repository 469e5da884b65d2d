//! JSON as text: read without building it, copied without changing it.
//!
//! An audit event must be stored as it was sent, also where a parser into values would lose something: the
//! order of keys, the spelling of numbers (`1.0`, `1e400`), a key that stands twice, half a surrogate pair.
//! So the body is checked once as a whole, on the first walk, which neither builds values nor recurses, and a value
//! is a slice of the body: [`Json`]. Walking it is a scan with a depth counter, so a body of 1 MiB of `[` costs
//! a scan and no stack.
//!
//! Where a string has to become text, half a surrogate pair becomes U+FFFD, since no text can hold it.

mod copy;
mod object;
mod scan;
mod string;
mod well_formed;

use std::borrow::Cow;
use std::fmt;

pub(crate) use object::Object;
pub use object::write_number;
pub(super) use scan::end_of_string;
pub use scan::{Cursor, Items, Members};
pub use string::write_string;

/// One JSON value, as the text it stands in, without blanks around it.
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

/// Why bytes are not JSON. The text says where and is safe to show to the sender.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(#[from] serde_json::Error);

impl<'a> Json<'a> {
    /// Checks that `bytes` are one JSON text in UTF-8 (RFC 8259). A byte order mark before it is skipped, as
    /// browsers' and Node's own readers do.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotJson> {
        Self::walk(bytes, Cursor::value).map(Option::unwrap_or_default)
    }

    /// [`parse`](Self::parse) and `walk` in one pass. `walk` begins before the value and must step over it. What it
    /// finds counts only when the whole is JSON; it may be called twice.
    pub fn walk<T>(bytes: &'a [u8], walk: impl Fn(&mut Cursor<'a>) -> T) -> Result<T, NotJson> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if let Ok(text) = std::str::from_utf8(bytes) {
            let mut cursor = Cursor::checking(text);
            let found = walk(&mut cursor);
            if cursor.is_at_end() {
                return Ok(found);
            }
        }
        // Far deeper than anybody sends, or no JSON: `serde_json` decides, and says why.
        let raw: &'a serde_json::value::RawValue = serde_json::from_slice(bytes)?;
        Ok(walk(&mut Cursor::new(Self(raw.get()))))
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
        self.0.as_bytes().first().map_or(Kind::Null, |byte| Kind::beginning_with(*byte))
    }

    /// The members of an object in the order they stand; none for anything else.
    pub fn members(self) -> Members<'a> {
        Members::of(self)
    }

    /// The items of an array; none for anything else.
    pub fn items(self) -> Items<'a> {
        Items::of(self)
    }

    /// The last member of that name, which is the one that every reader into values keeps.
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().filter(|(key, _)| key == name).map(|(_, value)| value).last()
    }

    /// The text of a string, its escapes resolved.
    pub fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| string::unescape(self.0))
    }

    /// How many characters that text has.
    pub fn character_count(self) -> Option<usize> {
        (self.kind() == Kind::String).then(|| string::character_count(self.0))
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
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_compact(self, out: &mut impl fmt::Write) -> fmt::Result {
        copy::compact(self.0, out)
    }

    /// The value on several lines.
    pub fn pretty(self) -> String {
        let mut out = String::with_capacity(self.0.len() * 2);
        copy::pretty(self.0, &mut out);
        out
    }

    /// [`Json::write_compact`] as a string of its own.
    pub fn compact(self) -> String {
        let mut out = String::with_capacity(self.0.len());
        // Writing into a string does not fail.
        let _ = self.write_compact(&mut out);
        out
    }
}

impl Kind {
    /// Of checked text, the first byte tells.
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
