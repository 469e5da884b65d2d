//! A cursor that moves forward over a text, into objects and out of them.

use std::borrow::Cow;

use super::scan::{end_of_plain_string, end_of_value, is_blank};
use super::{Json, Kind, string, well_formed};

/// A position in a text. When the text is not JSON, the cursor is at its end and invalid.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Whether the text was not checked before, so that the cursor checks it.
    checks: bool,
    lost: bool,
}

/// See [`Json::members`].
pub struct Members<'a> {
    cursor: Cursor<'a>,
    is_first: bool,
}

/// See [`Json::items`].
pub struct Items<'a>(Cursor<'a>);

impl<'a> Cursor<'a> {
    pub fn new(json: Json<'a>) -> Self {
        Self { text: json.0, at: 0, checks: false, lost: false }
    }

    /// Over text that was not checked before. [`is_at_end`](Self::is_at_end) then tells whether it is JSON.
    pub(super) fn checking(text: &'a str) -> Self {
        Self { text, at: 0, checks: true, lost: false }
    }

    /// Whether the cursor has reached the end of valid text.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.blanks();
        !self.lost && self.at == self.text.len()
    }

    /// Skips the value that begins here. If it is an object, `each` is called at the beginning of each
    /// member's value; the unread rest of that value is skipped.
    pub fn members(&mut self, mut each: impl FnMut(&str, &mut Self)) {
        if !self.enter(Kind::Object) {
            self.value();
            return;
        }
        let mut is_first = true;
        while let Some(key) = self.key(std::mem::take(&mut is_first)) {
            let place = self.at;
            each(&key, self);
            if self.at == place {
                self.value();
            }
        }
    }

    /// Skips the value that begins here, and returns it.
    pub fn value(&mut self) -> Option<Json<'a>> {
        let start = self.place();
        let bytes = self.text.as_bytes();
        let end =
            if self.checks { well_formed::end_of_value(bytes, start) } else { end_of_value(bytes, start) };
        self.at = end.or_else(|| self.lose())?;
        self.since(start)
    }

    /// The position of the next value, for [`since`](Self::since).
    pub fn place(&mut self) -> usize {
        self.blanks();
        self.at
    }

    /// The value that began at `place` and ended here.
    pub fn since(&self, place: usize) -> Option<Json<'a>> {
        self.text.get(place..self.at).map(Json)
    }

    /// Enters the object or array that begins here, if it has this kind.
    fn enter(&mut self, kind: Kind) -> bool {
        self.blanks();
        let enters = self.byte().is_some_and(|byte| Kind::beginning_with(byte) == kind);
        self.at += usize::from(enters);
        enters
    }

    /// The next key of the current object; its value follows. After the last one the cursor leaves the
    /// object.
    fn key(&mut self, is_first: bool) -> Option<Cow<'a, str>> {
        self.blanks();
        if self.byte() == Some(b'}') {
            self.at += 1;
            return None;
        }
        if !is_first {
            self.step_over(b',')?;
        }
        if self.byte() != Some(b'"') {
            return self.lose();
        }
        let start = self.at;
        let bytes = self.text.as_bytes();
        let key = if let Some(end) = end_of_plain_string(bytes, start) {
            self.at = end;
            Cow::Borrowed(self.text.get(start + 1..end - 1)?)
        } else {
            self.at = well_formed::end_of_string(bytes, start).or_else(|| self.lose())?;
            string::unescape(self.text.get(start..self.at)?)
        };
        self.blanks();
        self.step_over(b':')?;
        Some(key)
    }

    /// Skips a required byte and blanks after it.
    fn step_over(&mut self, byte: u8) -> Option<()> {
        if self.byte() != Some(byte) {
            return self.lose();
        }
        self.at += 1;
        self.blanks();
        Some(())
    }

    #[cold]
    fn lose<T>(&mut self) -> Option<T> {
        self.lost = true;
        self.at = self.text.len();
        None
    }

    fn blanks(&mut self) {
        while self.byte().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

impl<'a> Members<'a> {
    pub(super) fn of(json: Json<'a>) -> Self {
        let mut cursor = Cursor::new(json);
        if !cursor.enter(Kind::Object) {
            cursor.at = json.0.len();
        }
        Self { cursor, is_first: true }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.cursor.key(std::mem::take(&mut self.is_first))?;
        Some((key, self.cursor.value()?))
    }
}

impl<'a> Items<'a> {
    pub(super) fn of(json: Json<'a>) -> Self {
        let mut cursor = Cursor::new(json);
        if !cursor.enter(Kind::Array) {
            cursor.at = json.0.len();
        }
        Self(cursor)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self(cursor) = self;
        cursor.blanks();
        cursor.at += usize::from(cursor.byte() == Some(b','));
        cursor.value()
    }
}
