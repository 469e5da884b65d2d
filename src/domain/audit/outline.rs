//! Finds the members of a body that the schemas name, in one walk.
//!
//! The schemas name a few keys; a body may contain a megabyte of other data. A [`Shape`] is the tree of the
//! names in the schemas; an [`Outline`] has one slot for each of them, so its size depends only on the
//! schemas. Of a repeated member, the last one counts, with its content.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::json::{Cursor, Json, QUICK_LEVELS, Unread};

/// Names of members, and the names within them.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, Names>);

/// [`Names`] as a flat list: members of the same object are adjacent, sorted by name.
#[derive(Debug)]
pub struct Shape(Vec<Slot>);

#[derive(Debug)]
struct Slot {
    name: String,
    /// The slots of its members.
    members: Range<usize>,
}

/// The values of one body.
pub struct Outline<'a> {
    shape: &'a Shape,
    /// One value for each slot of the shape.
    values: Vec<Option<Json<'a>>>,
}

/// The slot of the whole body.
const ROOT: usize = 0;

/// The maximum nesting depth, including the body itself. Ordinary events have about ten levels.
pub const DEPTH_MAX: usize = 128;

/// The maximum depth of a shape, as [`Json::walk_within`] requires.
const SHAPE_LEVELS_MAX: usize = DEPTH_MAX - QUICK_LEVELS;

impl Names {
    /// Adds the properties of `schema`, recursively.
    pub fn add(&mut self, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            self.member(name).add(schema);
        }
    }

    pub fn member(&mut self, name: &str) -> &mut Self {
        self.0.entry(name.to_owned()).or_default()
    }

    /// The maximum number of nested objects on a walk along these names.
    fn levels(&self) -> usize {
        self.0.values().map(|names| 1 + names.levels()).max().unwrap_or(0)
    }
}

impl Shape {
    pub fn of(names: &Names) -> Self {
        assert!(names.levels() <= SHAPE_LEVELS_MAX, "the schemas name members deeper than the check counts");
        let mut shape = Self(vec![Slot { name: String::new(), members: 0..0 }]);
        shape.lay_out(ROOT, names);
        shape
    }

    fn lay_out(&mut self, slot: usize, names: &Names) {
        let first = self.0.len();
        self.0.extend(names.0.keys().map(|name| Slot { name: name.clone(), members: 0..0 }));
        self.0[slot].members = first..self.0.len();
        for (at, names) in names.0.values().enumerate() {
            self.lay_out(first + at, names);
        }
    }

    fn members(&self, slot: usize) -> Range<usize> {
        self.0[slot].members.clone()
    }

    fn member(&self, slot: usize, name: &str) -> Option<usize> {
        let Range { start, end } = self.0[slot].members;
        let place = self.0[start..end].iter().position(|member| member.name == name)?;
        Some(start + place)
    }
}

impl<'a> Outline<'a> {
    /// Checks that `body` is JSON of at most [`DEPTH_MAX`] levels, and outlines it.
    pub fn of(shape: &'a Shape, body: &'a [u8]) -> Result<Self, Unread> {
        Json::walk_within(body, DEPTH_MAX, |at| {
            let mut outline = Self { shape, values: vec![None; shape.0.len()] };
            outline.fill(ROOT, at);
            outline
        })
    }

    /// The body with its content.
    pub fn whole(&self) -> Part<'_> {
        Part { json: self.values[ROOT].unwrap_or_default(), within: Some((self, ROOT)) }
    }

    /// The value of the member at the end of `path`.
    pub fn at(&self, path: &[&str]) -> Option<Json<'a>> {
        self.values[self.slot(path)?]
    }

    /// The same with its content.
    pub fn part(&self, path: &[&str]) -> Option<Part<'_>> {
        let slot = self.slot(path)?;
        Some(Part { json: self.values[slot]?, within: Some((self, slot)) })
    }

    fn slot(&self, path: &[&str]) -> Option<usize> {
        path.iter().try_fold(ROOT, |slot, name| self.shape.member(slot, name))
    }

    /// Descends as deep as the shape, and no deeper.
    fn fill(&mut self, slot: usize, at: &mut Cursor<'a>) {
        let shape = self.shape;
        if shape.members(slot).is_empty() {
            self.values[slot] = at.value();
            return;
        }
        let place = at.place();
        at.members(|key, at| {
            let Some(member) = shape.member(slot, key) else { return };
            if self.values[member].is_some() {
                self.forget_members(member);
            }
            self.fill(member, at);
        });
        self.values[slot] = at.since(place);
    }

    fn forget_members(&mut self, slot: usize) {
        for member in self.shape.members(slot) {
            self.values[member] = None;
            self.forget_members(member);
        }
    }
}

/// A value and its outlined members. A value that is not from an outline has none.
#[derive(Clone, Copy)]
pub struct Part<'o> {
    pub json: Json<'o>,
    within: Option<(&'o Outline<'o>, usize)>,
}

impl<'o> Part<'o> {
    /// A value without outlined members.
    pub fn alone(json: Json<'o>) -> Self {
        Self { json, within: None }
    }

    /// An outlined member.
    pub fn member(self, name: &str) -> Option<Self> {
        let (outline, slot) = self.within?;
        let slot = outline.shape.member(slot, name)?;
        Some(Self { json: outline.values[slot]?, within: Some((outline, slot)) })
    }

    /// The number of outlined members that are present.
    pub fn member_count(self) -> usize {
        let values = self.within.map(|(outline, slot)| &outline.values[outline.shape.members(slot)]);
        values.unwrap_or_default().iter().flatten().count()
    }

    /// The outlined members that are present, by name.
    pub fn members(self) -> Parts<'o> {
        let slots = self.within.map_or(0..0, |(outline, slot)| outline.shape.members(slot));
        Parts { outline: self.within.map(|(outline, _)| outline), slots }
    }
}

/// See [`Part::members`].
pub struct Parts<'o> {
    outline: Option<&'o Outline<'o>>,
    slots: Range<usize>,
}

impl<'o> Iterator for Parts<'o> {
    type Item = (&'o str, Part<'o>);

    fn next(&mut self) -> Option<Self::Item> {
        let outline = self.outline?;
        let (slot, json) = self.slots.find_map(|slot| Some((slot, outline.values[slot]?)))?;
        Some((&outline.shape.0[slot].name, Part { json, within: Some((outline, slot)) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use serde_json::value::RawValue;

    fn shape() -> Shape {
        let mut names = Names::default();
        names.add(&json!({ "properties": { "b": {}, "a": { "properties": { "c": {}, "b": {} } } } }));
        Shape::of(&names)
    }

    #[test]
    fn the_last_duplicate_wins_with_its_content() {
        let check = |body: &str, path: &[&str], expect: Option<&str>| {
            let shape = shape();
            let outline = Outline::of(&shape, body.as_bytes()).expect("JSON");
            assert_eq!(outline.at(path).map(Json::text), expect, "{body} {path:?}");
        };
        let body = r#" { "x": {"b": 1}, "a": { "c" : [ {} ] ,"d":{},"b":0 }, "\u0062":2 } "#;
        check(body, &[], Some(body.trim()));
        check(body, &["a"], Some(r#"{ "c" : [ {} ] ,"d":{},"b":0 }"#));
        check(body, &["a", "c"], Some("[ {} ]"));
        check(body, &["a", "b"], Some("0"));
        check(body, &["b"], Some("2"));
        check(body, &["x"], None);
        check(body, &["b", "a"], None);
        check(r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#, &["a", "b"], None);
        check(r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#, &["a", "c"], Some("3"));
        check(r#"{"a":{"b":1},"a":5}"#, &["a", "b"], None);
        check(r#"{"a":{"b":1},"a":5}"#, &["a"], Some("5"));
        check(r#"[{"a":1}]"#, &["a"], None);
        check("5", &[], Some("5"));
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Accepts the same texts as `serde_json`.
        #[test]
        fn text_that_is_not_json_has_no_outline(at in 0usize..200, byte in 0u8..128, cut: bool) {
            let mut text = br#" {"b":[1,{}],"a" : {"c":"\u00e5","b":{"x":-1.5e3},"d":true} ,"a":{},"x":{"a":[null,"]"]}} "#.to_vec();
            let at = at % text.len();
            text[at] = byte;
            text.truncate(if cut { at + 1 } else { text.len() });
            let is_json = serde_json::from_slice::<&RawValue>(&text).is_ok();
            prop_assert_eq!(Outline::of(&shape(), &text).is_ok(), is_json);
        }
    }
}
