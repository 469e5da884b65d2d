//! One layer of the configuration: a tree of text held against the shapes, giving typed values that know their origin,
//! and the mistakes met on the way.
//!
//! A file, an environment variable and a flag differ only in where their tree comes from. Layers are put on top of
//! each other by the `config` crate: tables are merged, everything else is replaced.

use std::cell::RefCell;

use config::{ConfigError, Map, Source, Value, ValueKind};

use butler_sos_settings::coerce::{self, Kind};
use butler_sos_settings::schema::{Fallback, Key, Leaf, Shape};

use super::{
    environment::{Environment, is_reference, secret},
    masked::{self, quoted},
    mistake::{Mistake, MistakeKind},
    setting_path::join,
    yaml::{self, Entry, Node, NodeValue, Place},
};

/// Values of one layer, ready for the `config` crate.
#[derive(Clone, Debug)]
pub struct Layer(Map<String, Value>);

impl Layer {
    pub fn new(table: Map<String, Value>) -> Self {
        Self(table)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Holds trees against shapes.
pub struct Reader<'a> {
    environment: &'a dyn Environment,
    /// Name of the file, or the whole origin of something that has no lines.
    source: String,
    pub mistakes: RefCell<Vec<Mistake>>,
    /// Paths of what this server does not have.
    pub ignored: RefCell<Vec<String>>,
    /// The first secret that stands here in clear.
    pub clear_secret: RefCell<Option<String>>,
}

impl<'a> Reader<'a> {
    pub fn new(source: impl Into<String>, environment: &'a dyn Environment) -> Self {
        Self {
            environment,
            source: source.into(),
            mistakes: RefCell::default(),
            ignored: RefCell::default(),
            clear_secret: RefCell::default(),
        }
    }

    fn origin(&self, place: Place) -> String {
        match place.line {
            0 => self.source.clone(),
            line => format!("{}:{line}:{}", self.source, place.column),
        }
    }

    fn mistake(&self, path: &str, place: Place, kind: MistakeKind, detail: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake::new(path, self.origin(place), kind, detail));
    }

    /// Reads a whole document against the top-level keys.
    pub fn document(&self, keys: &[Key], text: &str) -> Map<String, Value> {
        let document = match yaml::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let detail = format!("invalid YAML: {}", error.detail);
                self.mistake("", error.place, MistakeKind::Unreadable, detail);
                return Map::new();
            }
        };
        for (path, place) in &document.duplicates {
            self.mistake(path, *place, MistakeKind::Unknown, "duplicate key");
        }
        match document.root.value {
            NodeValue::Null => Map::new(),
            NodeValue::Table(entries) => self.table(keys, &entries, "", false),
            other => {
                let detail = format!("expected the sections Butler-SOS and Pipeline, found {}", other.noun());
                self.mistake("", document.root.place, MistakeKind::Unreadable, detail);
                Map::new()
            }
        }
    }

    /// Reads what stands behind `path`; none: nothing was said.
    pub fn value(&self, shape: &Shape, node: &Node, path: &str) -> Option<Value> {
        let origin = self.origin(node.place);
        let wrong = |expected: &str| {
            let detail = format!("expected {expected}, found {}", node.value.noun());
            self.mistake(path, node.place, MistakeKind::Value, detail);
            None
        };
        match (shape, &node.value) {
            (Shape::Ignored, NodeValue::Null) => None,
            (Shape::Ignored, _) => {
                self.ignored.borrow_mut().push(path.to_owned());
                None
            }
            (Shape::Section(_), NodeValue::Null) => None,
            (Shape::Section(keys), NodeValue::Table(entries)) => {
                let table = self.table(keys, entries, path, false);
                Some(Value::new(Some(&origin), ValueKind::Table(table)))
            }
            (Shape::Section(_), _) => wrong("a section"),
            (Shape::List(_), NodeValue::Null) => {
                Some(Value::new(Some(&origin), ValueKind::Array(Vec::new())))
            }
            (Shape::List(shape), NodeValue::List(items)) => {
                let items = items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.item(shape, item, &format!("{path}[{index}]")))
                    .collect();
                Some(Value::new(Some(&origin), ValueKind::Array(items)))
            }
            (Shape::List(_), _) => wrong("a list"),
            (Shape::Map(_), NodeValue::Null) => None,
            (Shape::Map(leaf), NodeValue::Table(entries)) => {
                let table = entries
                    .iter()
                    .filter_map(|entry| {
                        let path = format!("{path}.{}", entry.key);
                        let value = self.scalar(leaf, &entry.node, &path)?;
                        Some((entry.key.clone(), value))
                    })
                    .collect();
                Some(Value::new(Some(&origin), ValueKind::Table(table)))
            }
            (Shape::Map(_), _) => wrong("names with values"),
            (Shape::Scalar(leaf), _) => self.scalar(leaf, node, path),
        }
    }

    /// An item of a list. What it leaves out has its default at once, for layers do not merge inside lists.
    fn item(&self, shape: &Shape, node: &Node, path: &str) -> Option<Value> {
        match (shape, &node.value) {
            (_, NodeValue::Null) => None,
            (Shape::Section(keys), NodeValue::Table(entries)) => {
                let mut table = self.table(keys, entries, path, true);
                if keys.iter().any(|key| is_required(&key.shape) && !table.contains_key(key.name)) {
                    return None;
                }
                let origin = self.origin(node.place);
                for key in keys.iter().filter(|key| !matches!(key.shape, Shape::Ignored)) {
                    table.entry(key.name.to_owned()).or_insert_with(|| key.shape.default_value(&origin));
                }
                Some(Value::new(Some(&origin), ValueKind::Table(table)))
            }
            _ => self.value(shape, node, path),
        }
    }

    /// The entries of a section.
    fn table(&self, keys: &[Key], entries: &[Entry], path: &str, is_item: bool) -> Map<String, Value> {
        let mut table = Map::new();
        for entry in entries {
            let inner = join(path, &entry.key);
            let known = keys.iter().find(|key| key.name == entry.key || key.aliases.contains(&&*entry.key));
            match known {
                Some(key) => {
                    if table.contains_key(key.name) {
                        let detail = format!("means the same as `{}`, which is also set", key.name);
                        self.mistake(&inner, entry.place, MistakeKind::Unknown, detail);
                    }
                    if let Some(value) = self.value(&key.shape, &entry.node, &inner) {
                        table.insert(key.name.to_owned(), value);
                    }
                }
                None => self.unknown(keys, path, entry),
            }
        }
        if is_item {
            let place = entries.first().map(|entry| entry.place).unwrap_or_default();
            let missing = |key: &&Key| is_required(&key.shape) && !table.contains_key(key.name);
            for key in keys.iter().filter(missing) {
                let reported = |entry: &&Entry| entry.key == key.name || key.aliases.contains(&&*entry.key);
                match entries.iter().find(reported) {
                    None => {
                        let detail = format!("`{}` is missing", key.name);
                        self.mistake(path, place, MistakeKind::Value, detail);
                    }
                    Some(entry) if entry.node.value == NodeValue::Null => {
                        let inner = join(path, &entry.key);
                        self.mistake(&inner, entry.place, MistakeKind::Missing, "a value is needed");
                    }
                    // What is wrong with its value has been told.
                    Some(_) => {}
                }
            }
        }
        table
    }

    /// A key that nobody knows: refused with the nearest one that is known. Directly under `Butler-SOS` Butler SOS
    /// itself takes anything, so there only what looks like a slip is refused; at the top, names that begin with
    /// `x-` are free for anchors.
    fn unknown(&self, keys: &[Key], path: &str, entry: &Entry) {
        if path.is_empty() && entry.key.starts_with("x-") {
            return;
        }
        let is_far = nearest(keys, &entry.key).is_none_or(|(_, distance)| distance > 2);
        let inner = join(path, &shown_key(keys, entry, is_far));
        if path == "Butler-SOS" && is_far {
            self.ignored.borrow_mut().push(inner);
            return;
        }
        self.mistake(&inner, entry.place, MistakeKind::Unknown, unknown_words(keys, &entry.key));
    }

    fn scalar(&self, leaf: &Leaf, node: &Node, path: &str) -> Option<Value> {
        let origin = self.origin(node.place);
        let text = match &node.value {
            NodeValue::Scalar(text) => text,
            NodeValue::Null => {
                // Nothing behind a key means none where there can be none, and else the default.
                return matches!(
                    (&leaf.default, &leaf.kind),
                    (Fallback::Nothing, _) | (_, Kind::Secret | Kind::SecretAddress)
                )
                .then(|| Value::new(Some(&origin), leaf.default_kind()));
            }
            other => {
                let detail = format!("expected {}, found {}", coerce::expected(&leaf.kind), other.noun());
                self.mistake(path, node.place, MistakeKind::Value, detail);
                return None;
            }
        };
        let text = if leaf.kind.is_secret() {
            if !text.is_empty() && !is_reference(text) {
                self.clear_secret.borrow_mut().get_or_insert_with(|| path.to_owned());
            }
            match secret(self.environment, text) {
                Ok(secret) => secret,
                Err(detail) => {
                    self.mistake(path, node.place, MistakeKind::Value, detail);
                    return None;
                }
            }
        } else {
            text.clone()
        };
        if text.is_empty() && matches!(leaf.default, Fallback::Nothing) {
            return Some(Value::new(Some(&origin), ValueKind::Nil));
        }
        match coerce::scalar(&leaf.kind, &text) {
            Ok(kind) => Some(Value::new(Some(&origin), kind)),
            Err(expected) => {
                let detail = format!("{} is not {expected}", quoted(&text));
                self.mistake(path, node.place, MistakeKind::Value, detail);
                None
            }
        }
    }
}

fn is_required(shape: &Shape) -> bool {
    matches!(shape, Shape::Scalar(Leaf { default: Fallback::Required, .. }))
}

/// What a message shows of a key that nobody knows. In `{password: a,b}` the key `b` is a piece of a password.
fn shown_key(keys: &[Key], entry: &Entry, is_far: bool) -> String {
    let is_secret = |key: &Key| matches!(&key.shape, Shape::Scalar(leaf) if leaf.kind.is_secret());
    let shown = masked::key(&entry.key);
    if is_far && shown == entry.key && entry.node.value == NodeValue::Null && keys.iter().any(is_secret) {
        return masked::HIDDEN.to_owned();
    }
    shown
}

/// What to do about a key that nobody knows.
fn unknown_words(keys: &[Key], name: &str) -> String {
    let is_old = |key: &&Key| key.old_names.iter().any(|old| old.eq_ignore_ascii_case(name));
    if let Some(key) = keys.iter().find(is_old) {
        return format!("a key of an older version; the nearest known key is `{}`", key.name);
    }
    match (deeper(keys, name), nearest(keys, name)) {
        (Some(place), _) => format!("unknown key; it belongs to `{place}`"),
        (None, Some((name, _))) => format!("unknown key; the nearest known key is `{name}`"),
        (None, None) => "unknown key".to_owned(),
    }
}

/// The known key that looks most like `name`, and how many letters differ. Where no key looks like it, one that ends
/// with the same word is nearer than others, and then one that begins with it: `host` is more like `brokerHost` than
/// like `qos`.
pub fn nearest<'k>(keys: &'k [Key], name: &str) -> Option<(&'k str, usize)> {
    /// So many letters are a slip of the finger, where they are no more than a third of the name.
    const SLIP: usize = 2;
    let plain = name.to_lowercase();
    let (first, last) = outer_words(name);
    keys.iter()
        .map(|key| {
            let distance = strsim::damerau_levenshtein(&key.name.to_lowercase(), &plain);
            let (key_first, key_last) = outer_words(key.name);
            let is_slip = distance <= SLIP && distance * 3 <= plain.chars().count();
            let likeness = [is_slip, key_last == last, key_first == first];
            let rank = likeness.iter().position(|holds| *holds).unwrap_or(likeness.len());
            (rank, distance, key.name)
        })
        .min_by_key(|(rank, distance, _)| (*rank, *distance))
        .map(|(_, distance, name)| (name, distance))
}

/// The first and the last word of a name in camelCase, in small letters.
fn outer_words(name: &str) -> (String, String) {
    let is_start = |(at, c): &(usize, char)| {
        let before = name[..*at].chars().next_back();
        c.is_uppercase() && before.is_some_and(|before| !before.is_uppercase())
    };
    let mut starts = name.char_indices().filter(is_start).map(|(at, _)| at);
    let first = starts.next();
    let last = starts.next_back().or(first);
    (name[..first.unwrap_or(name.len())].to_lowercase(), name[last.unwrap_or_default()..].to_lowercase())
}

/// The path below these keys where exactly this key is known, when there is just one.
fn deeper(keys: &[Key], name: &str) -> Option<String> {
    fn search(keys: &[Key], name: &str, path: &str, depth: usize, found: &mut Vec<String>) {
        for key in keys {
            let inner = join(path, key.name);
            if !path.is_empty() && key.name == name {
                found.push(inner.clone());
            }
            if let (Shape::Section(keys), 1..) = (&key.shape, depth) {
                search(keys, name, &inner, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    search(keys, name, "", 2, &mut found);
    (found.len() == 1).then(|| found.swap_remove(0))
}

/// A setting named by its path, from the environment or a flag. Segments are compared without case, `-` and `_`.
///
/// A scalar is its text; a list is comma-separated text or YAML in brackets; names with values are YAML in braces.
/// Gives the table that leads to the value.
pub fn setting(reader: &Reader<'_>, keys: &[Key], segments: &[&str], text: &str) -> Map<String, Value> {
    let Some((path, shape, map_key)) = resolve(reader, keys, segments) else { return Map::new() };
    let dotted = path.join(".");
    let node = match (shape, &map_key) {
        (Shape::List(_) | Shape::Map(_), None) => match collection(shape, text) {
            Some(node) => node,
            None => {
                let detail = "expected a list such as `[a, b]` or names such as `{a: b}`, as YAML";
                reader.mistake(&dotted, Place::default(), MistakeKind::Value, detail);
                return Map::new();
            }
        },
        // An empty variable is one that is not set, unless empty text means something here.
        (Shape::Scalar(leaf), _)
            if text.is_empty() && !matches!(leaf.kind, Kind::Text) && !leaf.kind.is_secret() =>
        {
            return Map::new();
        }
        _ => Node { place: Place::default(), value: NodeValue::Scalar(text.to_owned()) },
    };
    let value = match (shape, map_key) {
        (Shape::Map(leaf), Some(key)) => {
            let Some(value) = reader.scalar(leaf, &node, &join(&dotted, &key)) else { return Map::new() };
            Value::new(Some(&reader.source), ValueKind::Table(Map::from_iter([(key, value)])))
        }
        _ => match reader.value(shape, &node, &dotted) {
            Some(value) => value,
            None => return Map::new(),
        },
    };
    let mut path = path.into_iter().rev();
    let last = path.next().unwrap_or_default();
    path.fold(Map::from_iter([(last, value)]), |inner, key| {
        Map::from_iter([(key, Value::new(Some(&reader.source), ValueKind::Table(inner)))])
    })
}

type Resolved<'k> = (Vec<String>, &'k Shape, Option<String>);

fn resolve<'k>(reader: &Reader<'_>, keys: &'k [Key], segments: &[&str]) -> Option<Resolved<'k>> {
    let mut keys = keys;
    let mut path = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
        let Some(key) = keys.iter().find(|key| plain(key.name) == plain(segment)) else {
            let dotted = join(&path.join("."), segment);
            let detail = unknown_words(keys, segment);
            reader.mistake(&dotted, Place::default(), MistakeKind::Unknown, detail);
            return None;
        };
        path.push(key.name.to_owned());
        let rest = &segments[index + 1..];
        match &key.shape {
            Shape::Section(inner) if !rest.is_empty() => keys = inner,
            Shape::Ignored => {
                reader.ignored.borrow_mut().push(path.join("."));
                return None;
            }
            shape @ Shape::Map(_) => {
                let map_key = (!rest.is_empty()).then(|| rest.join("."));
                return Some((path, shape, map_key));
            }
            shape if rest.is_empty() => return Some((path, shape, None)),
            Shape::List(_) => {
                let detail = "a list can only be set as a whole";
                reader.mistake(&path.join("."), Place::default(), MistakeKind::Unknown, detail);
                return None;
            }
            _ => {
                let dotted = join(&path.join("."), &rest.join("."));
                reader.mistake(&dotted, Place::default(), MistakeKind::Unknown, "unknown key");
                return None;
            }
        }
    }
    None
}

/// A list or names with values from one text.
fn collection(shape: &Shape, text: &str) -> Option<Node> {
    let text = text.trim();
    let nowhere = Place::default();
    if text.starts_with(['[', '{']) {
        let mut root = yaml::parse(text).ok()?.root;
        forget_places(&mut root);
        return Some(root);
    }
    match shape {
        Shape::List(item) if matches!(**item, Shape::Scalar(_)) || text.is_empty() => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items = items.map(|item| Node { place: nowhere, value: NodeValue::Scalar(item.to_owned()) });
            Some(Node { place: nowhere, value: NodeValue::List(items.collect()) })
        }
        _ => None,
    }
}

/// Lines and columns within a variable or a flag tell nobody anything.
fn forget_places(node: &mut Node) {
    node.place = Place::default();
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().for_each(forget_places),
        NodeValue::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = Place::default();
            forget_places(&mut entry.node);
        }),
        NodeValue::Null | NodeValue::Scalar(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::butler::{influxdb::InfluxdbConfig, mqtt::MqttConfig, user_events::UdpServerConfig};
    use butler_sos_settings::schema::Section;

    fn check(keys: &[Key], name: &str, expect: &str) {
        let detail = unknown_words(keys, name);
        assert!(detail.ends_with(&format!("`{expect}`")), "{name}: {detail}");
    }

    #[test]
    fn old_and_misspelt_keys_are_told_with_the_one_that_is_meant() {
        let influxdb = InfluxdbConfig::keys();
        for (name, expect) in [
            ("hostPort", "port"),
            ("hostIP", "host"),
            ("hostip", "host"),
            ("enableInfluxdb", "enable"),
            ("auth", "v1Config.auth"),
            ("dbName", "v1Config.dbName"),
            ("retentionPolicy", "v1Config.retentionPolicy"),
            ("prot", "port"),
            ("serverPort", "port"),
        ] {
            check(&influxdb, name, expect);
        }
        let mqtt = MqttConfig::keys();
        for (name, expect) in [
            ("host", "brokerHost"),
            ("port", "brokerPort"),
            ("enableMQTT", "enable"),
            ("pasword", "password"),
        ] {
            check(&mqtt, name, expect);
        }
        check(&UdpServerConfig::keys(), "port", "portUserActivityEvents");
        check(&UdpServerConfig::keys(), "host", "serverHost");
    }
}
