//! What a setting looks like: the one description of every key from which the typed structs, the checks, the
//! defaults, `print-config` and the reference are all derived.
//!
//! A section is declared once with [`section!`]: documentation, key as it stands in the file, field, type and shape
//! with its default and its range. The macro makes the struct (read by serde), its `Default` and its [`Key`] list.
//! A key that Butler SOS has or had and this server does not use is declared as `ignored`, so that a file that names it
//! is taken as it is while a misspelt key is still found. `was` names what a key was called in older versions.

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::coerce::{self, Kind};

/// Where a value comes from that nobody has set.
pub const DEFAULT_ORIGIN: &str = "default";

/// One key of a section.
pub struct Key {
    /// As written in the file, camelCase.
    pub name: &'static str,
    /// Other spellings that are taken for this key.
    pub aliases: &'static [&'static str],
    /// Names that older versions of Butler SOS had for it: refused as Butler SOS does, with the name of today.
    pub old_names: &'static [&'static str],
    /// Why the key exists, one string a line.
    pub about: &'static [&'static str],
    pub shape: Shape,
}

/// What may stand behind a key.
pub enum Shape {
    /// Known keys, each with its own shape.
    Section(Vec<Key>),
    /// Any number of items of one shape; empty when nothing is said.
    List(Box<Shape>),
    /// Names that the administrator chooses, each with one scalar; empty when nothing is said.
    Map(Box<Leaf>),
    Scalar(Leaf),
    /// Butler SOS has or had it, this server does not: anything is accepted and nothing is read.
    Ignored,
}

/// One scalar.
#[derive(Clone)]
pub struct Leaf {
    pub kind: Kind,
    pub default: Fallback,
}

/// What holds when nothing is said.
#[derive(Clone)]
pub enum Fallback {
    /// This text, as if it stood in the file.
    Text(String),
    /// None: the field is an `Option`.
    Nothing,
    /// The key must be there (only inside list items).
    Required,
}

/// A group of keys with a struct of its own.
pub trait Section: DeserializeOwned {
    /// What the section is for, one string a line.
    const ABOUT: &'static [&'static str];
    fn keys() -> Vec<Key>;
}

impl Shape {
    /// The value that holds when a file says nothing.
    pub fn default_value(&self, origin: &String) -> Value {
        match self {
            Shape::Section(keys) => section_defaults(keys, origin),
            Shape::List(_) => Value::new(Some(origin), ValueKind::Array(Vec::new())),
            Shape::Map(_) => Value::new(Some(origin), ValueKind::Table(Map::new())),
            Shape::Scalar(leaf) => Value::new(Some(origin), leaf.default_kind()),
            Shape::Ignored => Value::new(Some(origin), ValueKind::Nil),
        }
    }
}

impl Leaf {
    /// The default, read like text from a file. A default that cannot be read is nothing; a test finds it.
    pub fn default_kind(&self) -> ValueKind {
        match &self.default {
            Fallback::Text(text) => coerce::scalar(&self.kind, text).unwrap_or(ValueKind::Nil),
            Fallback::Nothing | Fallback::Required => ValueKind::Nil,
        }
    }
}

/// The defaults of a list of keys as one table.
pub fn section_defaults(keys: &[Key], origin: &String) -> Value {
    let table: Map<String, Value> = keys
        .iter()
        .filter(|key| !matches!(key.shape, Shape::Ignored))
        .map(|key| (key.name.to_owned(), key.shape.default_value(origin)))
        .collect();
    Value::new(Some(origin), ValueKind::Table(table))
}

/// A section as its keys' defaults make it.
pub fn defaults<S: Section>() -> S {
    section_defaults(&S::keys(), &DEFAULT_ORIGIN.to_owned())
        .try_deserialize()
        .expect("the built-in defaults fit their own types; a test reads them all")
}

// === shapes, in the words used by the sections ===

pub fn group<S: Section>() -> Shape {
    Shape::Section(S::keys())
}

pub fn list_of<S: Section>() -> Shape {
    Shape::List(Box::new(group::<S>()))
}

pub fn list_of_text() -> Shape {
    Shape::List(Box::new(scalar(Kind::Text, Fallback::Required)))
}

/// Ports of other servers.
pub fn list_of_ports() -> Shape {
    Shape::List(Box::new(scalar(Kind::Int { min: 1, max: 65_535 }, Fallback::Required)))
}

pub fn map_of_text() -> Shape {
    Shape::Map(Box::new(Leaf { kind: Kind::Text, default: Fallback::Required }))
}

fn scalar(kind: Kind, default: Fallback) -> Shape {
    Shape::Scalar(Leaf { kind, default })
}

pub fn yes() -> Shape {
    scalar(Kind::Bool, Fallback::Text("true".into()))
}

pub fn no() -> Shape {
    scalar(Kind::Bool, Fallback::Text("false".into()))
}

pub fn text(default: &str) -> Shape {
    scalar(Kind::Text, Fallback::Text(default.into()))
}

/// Text that may be left out.
pub fn maybe_text() -> Shape {
    scalar(Kind::Text, Fallback::Nothing)
}

/// Text that an item of a list must have.
pub fn needed_text() -> Shape {
    scalar(Kind::Text, Fallback::Required)
}

pub fn secret() -> Shape {
    scalar(Kind::Secret, Fallback::Text(String::new()))
}

/// An address that may hold a secret, or none.
pub fn maybe_secret_address() -> Shape {
    scalar(Kind::SecretAddress, Fallback::Nothing)
}

pub fn int(default: i64, range: std::ops::RangeInclusive<i64>) -> Shape {
    scalar(Kind::Int { min: *range.start(), max: *range.end() }, Fallback::Text(default.to_string()))
}

pub fn maybe_int(range: std::ops::RangeInclusive<i64>) -> Shape {
    scalar(Kind::Int { min: *range.start(), max: *range.end() }, Fallback::Nothing)
}

pub fn float(default: f64, range: std::ops::RangeInclusive<f64>) -> Shape {
    scalar(Kind::Float { min: *range.start(), max: *range.end() }, Fallback::Text(default.to_string()))
}

pub fn bytes(default: &str, range: std::ops::RangeInclusive<i64>) -> Shape {
    scalar(Kind::Bytes { min: *range.start(), max: *range.end() }, Fallback::Text(default.into()))
}

pub fn seconds(default: &str, range: std::ops::RangeInclusive<i64>) -> Shape {
    scalar(Kind::Seconds { min: *range.start(), max: *range.end() }, Fallback::Text(default.into()))
}

pub fn one_of(default: &str, detail: &'static [&'static str]) -> Shape {
    scalar(Kind::OneOf(detail), Fallback::Text(default.into()))
}

/// A port to listen on; 0 lets the system choose.
pub fn listen_port(default: i64) -> Shape {
    int(default, 0..=65_535)
}

/// A port to connect to.
pub fn remote_port(default: i64) -> Shape {
    int(default, 1..=65_535)
}

/// Milliseconds between 1 ms and a day.
pub fn millis(default: i64) -> Shape {
    int(default, 1..=86_400_000)
}

/// Declares a section: struct, defaults and keys from one list. See the head of this file.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:literal $(| $alias:literal)* $(was $old:literal)* => $field:ident : $type:ty = $shape:expr;
            )*
            $( ignored $ignored:literal; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $key)]
                pub $field: $type,
            )*
        }

        impl $crate::schema::Section for $name {
            const ABOUT: &'static [&'static str] = &[$($about),*];

            fn keys() -> Vec<$crate::schema::Key> {
                #[allow(unused_imports)]
                use $crate::schema::*;
                vec![
                    $( Key {
                        name: $key,
                        aliases: &[$($alias),*],
                        old_names: &[$($old),*],
                        about: &[$($doc),*],
                        shape: $shape,
                    }, )*
                    $( Key {
                        name: $ignored,
                        aliases: &[],
                        old_names: &[],
                        about: &[],
                        shape: Shape::Ignored,
                    }, )*
                ]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::schema::defaults()
            }
        }
    };
}
