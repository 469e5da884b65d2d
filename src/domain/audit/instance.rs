//! A [`Part`] of an outline as an instance of JSON Schema: answers the validator's questions from the text,
//! without building values.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{self, Node, NodeIdentity};
use serde_json::{Map, Number, Value};

use super::json::{Items, Json, Kind, write_string};
use super::outline::{Part, Parts};

/// The representation of JSON whose nodes are [`Part`]s.
pub struct Outlined;

impl json::Json for Outlined {
    type Node<'a> = Part<'a>;
    type PreparedKey = String;
    type StringBuffer = String;

    // A lookup compares names one by one, like a walk.
    const KEYS_PER_LOOKUP: usize = 2;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut String, string: &str, f: impl FnOnce(Part<'_>) -> T) -> T {
        buffer.clear();
        write_string(string, buffer);
        f(Part::alone(Json::assembled(buffer)))
    }
}

impl<'o> Node<'o, Outlined> for Part<'o> {
    type Object = Self;
    type Array = Self;
    type Number = Number;

    fn as_object(&self) -> Option<Self> {
        (self.json.kind() == Kind::Object).then_some(*self)
    }

    fn as_array(&self) -> Option<Self> {
        (self.json.kind() == Kind::Array).then_some(*self)
    }

    fn as_string(&self) -> Option<Cow<'o, str>> {
        self.json.string()
    }

    fn string_length(&self) -> Option<u64> {
        self.json.character_count().map(|count| count as u64)
    }

    /// A number beyond the range of a double is replaced by the largest double.
    fn as_number(&self) -> Option<Number> {
        if !self.is_number() {
            return None;
        }
        let text = self.json.text();
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Number::from(whole));
        }
        let greatest = if text.starts_with('-') { f64::MIN } else { f64::MAX };
        Number::from_f64(self.json.number().unwrap_or(greatest))
    }

    fn as_boolean(&self) -> Option<bool> {
        self.json.boolean()
    }

    fn is_null(&self) -> bool {
        self.json.kind() == Kind::Null
    }

    fn is_number(&self) -> bool {
        self.json.kind() == Kind::Number
    }

    fn json_type(&self) -> JsonType {
        match self.json.kind() {
            Kind::Object => JsonType::Object,
            Kind::Array => JsonType::Array,
            Kind::String => JsonType::String,
            Kind::Number => JsonType::Number,
            Kind::Bool => JsonType::Boolean,
            Kind::Null => JsonType::Null,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match expected {
            Value::String(expected) => self.as_string().is_some_and(|text| text == *expected),
            other => json::cmp::equal(&self.to_value(), other),
        }
    }

    /// For error messages, which omit the content of objects and arrays.
    fn to_value(&self) -> Cow<'o, Value> {
        Cow::Owned(match self.json.kind() {
            Kind::Object => Value::Object(Map::new()),
            Kind::Array => Value::Array(Vec::new()),
            Kind::String => self.as_string().unwrap_or_default().into(),
            Kind::Number => self.as_number().into(),
            Kind::Bool => self.as_boolean().into(),
            Kind::Null => Value::Null,
        })
    }

    /// No schema refers to another, so there are no cycles.
    fn identity(&self) -> Option<NodeIdentity> {
        None
    }
}

impl<'o> json::Object<'o, Outlined> for Part<'o> {
    type Node = Self;
    type MemberName = &'o str;
    type MembersIter = Parts<'o>;

    fn len(&self) -> usize {
        self.member_count()
    }

    fn get(&self, key: &String) -> Option<Self> {
        self.member(key)
    }

    fn members(&self) -> Self::MembersIter {
        Part::members(*self)
    }
}

/// The schemas restrict the number of items, never the items.
impl<'o> json::Array<'o, Outlined> for Part<'o> {
    type Node = Self;
    type ElementsIter = std::iter::Map<Items<'o>, fn(Json<'o>) -> Self>;

    fn len(&self) -> usize {
        self.json.items().count()
    }

    fn elements(&self) -> Self::ElementsIter {
        self.json.items().map(Part::alone)
    }
}
