//! JSON objects written key by key, in the order that a contract gives.
//!
//! An event's JSON is flat and mostly text; writing it straight into the caller's buffer needs no
//! tree, and parts that are the same for every event are rendered once and copied.

use crate::json_string::push_string;

/// Writes one object at the end of a buffer; ends with [`ObjectWriter::end`].
#[must_use = "an object ends with `end`"]
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

// === impl ObjectWriter ===

impl<'o> ObjectWriter<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// `"key":"value"`. Here as in the others a key is one of ours, which has nothing to escape.
    pub(crate) fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.key(key);
        push_string(value, self.out);
        self
    }

    /// The same, when there is a value.
    pub(crate) fn text_if_some(&mut self, key: &'static str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// `"key":json`, where `json` is a value already.
    pub(crate) fn json(&mut self, key: &'static str, json: &[u8]) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(json);
        self
    }

    /// Whole members that [`members`] rendered.
    pub(crate) fn members(&mut self, members: &[u8]) -> &mut Self {
        if !members.is_empty() {
            self.part();
            self.out.extend_from_slice(members);
        }
        self
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &'static str) {
        self.part();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn part(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }
}

/// `"key":"value","key":"value"`, without braces. Of two with one key the later counts.
pub(crate) fn members(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, (key, value)) in pairs.iter().enumerate() {
        if pairs[at + 1..].iter().any(|(later, _)| later == key) {
            continue;
        }
        if !out.is_empty() {
            out.push(b',');
        }
        push_string(key, &mut out);
        out.push(b':');
        push_string(value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_in_order() {
        let pairs = [("b", "1"), ("a", "\"\\\n\u{1}é"), ("b", "2")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let rendered = members(&pairs);
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.text("z", "").text_if_some("none", None).json("n", b"17").members(&rendered).members(b"");
        object.end();
        let expect = r#"{"z":"","n":17,"a":"\"\\\n\u0001é","b":"2"}"#;
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn an_empty_object() {
        let mut out = Vec::new();
        ObjectWriter::new(&mut out).end();
        assert_eq!(out, b"{}");
    }
}
