//! A YAML file as a tree whose every key and value knows its line and column.
//!
//! Scalars are kept as their text in the file: whether `0123` is a number or a password is for the setting's kind to
//! say, not for the parser. Aliases and merge keys (`<<`) work within limits that a configuration never meets; a bomb
//! of aliases is refused.

use std::collections::HashMap;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    Error as YamlError, Location, Options, Spanned,
    options::{AliasLimits, DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::{masked, setting_path::join};

/// Most bytes of a file.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Most keys and values of a file: some 80 000 excluded users.
const NODES_MAX: usize = 400_000;
/// Most anchors, and most aliases, of a file.
const ALIASES_MAX: usize = 10_000;
/// Most nodes that aliases may stand for, all together.
const REPLAYED_EVENTS_MAX: usize = 200_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: NodeValue,
}

/// Line and column, from 1; 0 when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl NodeValue {
    /// What it is, for a message.
    pub fn noun(&self) -> &'static str {
        match self {
            NodeValue::Null => "nothing",
            NodeValue::Scalar(_) => "a single value",
            NodeValue::List(_) => "a list",
            NodeValue::Table(_) => "a section",
        }
    }
}

/// Why a text is no YAML.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SyntaxError {
    pub detail: String,
    pub place: Place,
}

/// A tree, and the keys that stand twice in a table.
pub struct Document {
    pub root: Node,
    pub duplicates: Vec<(String, Place)>,
}

/// Reads one YAML document.
///
/// Keys that stand twice do not end the reading: the later one holds, and they are listed, so that the rest of the
/// file can be checked too.
pub fn parse(text: &str) -> Result<Document, SyntaxError> {
    if text.len() > FILE_BYTES_MAX {
        let detail = format!("larger than {FILE_BYTES_MAX} bytes");
        return Err(SyntaxError { detail, place: Place::default() });
    }
    let mut duplicates = Vec::new();
    let raw =
        match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options(DuplicateKeyPolicy::Error)) {
            Err(error @ YamlError::DuplicateMappingKey { .. }) => {
                let again = serde_saphyr::from_str_with_options::<Spanned<Raw>>(
                    text,
                    options(DuplicateKeyPolicy::LastWins),
                );
                duplicates.push((String::new(), place(error.location())));
                again
            }
            other => other,
        }
        .map_err(|error| syntax_error(&error))?;
    let found_first = !duplicates.is_empty();
    let root = node(raw, text, "", &mut duplicates);
    if found_first && duplicates.len() > 1 {
        duplicates.remove(0);
    }
    Ok(Document { root, duplicates })
}

/// What to do about a backslash in double quotes, where most paths of Windows are no longer what they look like.
pub const BACKSLASH_HINT: &str =
    "in double quotes `\\n` and `\\t` mean line feed and tab: use single quotes or `/`";

/// The parser's words and, where a backslash is likely the cause, what to do about it. The words never hold more than
/// one character of the file.
fn syntax_error(error: &YamlError) -> SyntaxError {
    let text = error.without_snippet().to_string();
    let mut detail = text.lines().next().unwrap_or_default().to_owned();
    if ["escape character", "hexadecimal number", "unicode"].iter().any(|part| detail.contains(part)) {
        detail = format!("{detail}; {BACKSLASH_HINT}");
    }
    SyntaxError { detail, place: place(error.location()) }
}

fn options(duplicates: DuplicateKeyPolicy) -> Options {
    let mut limits = AliasLimits::default();
    limits.max_total_replayed_events = REPLAYED_EVENTS_MAX;
    limits.max_replay_stack_depth = 16;
    let budget = serde_saphyr::budget! {
        max_events: 2 * NODES_MAX,
        max_nodes: NODES_MAX,
        max_aliases: ALIASES_MAX,
        max_anchors: ALIASES_MAX,
        max_documents: 1,
        max_depth: 48,
        // One anchor may be used as often as the limits above allow: a block of tags for each of many servers.
        enforce_alias_anchor_ratio: false
    };
    serde_saphyr::options! {
        budget: budget,
        // Nothing reads comments here. When they are emitted, the parser buffers and therefore limits them.
        emit_comments: false,
        duplicate_keys: duplicates,
        alias_limits: limits,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false
    }
}

fn place(location: Option<Location>) -> Place {
    location.map_or_else(Place::default, |at| Place { line: at.line(), column: at.column() })
}

/// What the parser tells, before the text of scalars is put back.
enum Raw {
    Null,
    /// A string as the parser read it: quotes and escapes are gone.
    Text(String),
    /// Something that the parser took for a number or a truth value; the text is in the source.
    Plain(String),
    List(Vec<Spanned<Raw>>),
    /// A key that is `null` or `~` is none.
    Table(Vec<(Spanned<Option<String>>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, source: &str, path: &str, duplicates: &mut Vec<(String, Place)>) -> Node {
    let at = raw.defined;
    let value = match raw.value {
        Raw::Null => NodeValue::Null,
        Raw::Text(text) => NodeValue::Scalar(text),
        Raw::Plain(fallback) => NodeValue::Scalar(slice(source, &at).map_or(fallback, str::to_owned)),
        Raw::List(items) => {
            NodeValue::List(items.into_iter().map(|item| node(item, source, path, duplicates)).collect())
        }
        Raw::Table(pairs) => {
            let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
            let mut known: HashMap<String, usize> = HashMap::with_capacity(pairs.len());
            for (key, value) in pairs {
                let key_place = place(Some(key.defined));
                let key = key.value.unwrap_or_else(|| "null".to_owned());
                let inner = join(path, &masked::key(&key));
                let node = node(value, source, &inner, duplicates);
                let entry = Entry { key, place: key_place, node };
                match known.get(&entry.key) {
                    Some(index) => {
                        duplicates.push((inner, key_place));
                        entries[*index] = entry;
                    }
                    None => {
                        known.insert(entry.key.clone(), entries.len());
                        entries.push(entry);
                    }
                }
            }
            NodeValue::Table(entries)
        }
    };
    Node { place: place(Some(at)), value }
}

/// The text of a plain scalar as it stands in the file.
fn slice<'a>(source: &'a str, at: &Location) -> Option<&'a str> {
    let span = at.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    source.get(start..start.checked_add(len)?).map(str::trim).filter(|text| !text.is_empty())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Raw, A::Error> {
        let mut table = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            table.push(pair);
        }
        Ok(Raw::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(node: &'a Node, path: &str) -> &'a Entry {
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let NodeValue::Table(entries) = &node.value else { panic!("no table at {path}") };
        let entry = entries.iter().find(|entry| entry.key == head).expect(path);
        if rest.is_empty() { entry } else { find(&entry.node, rest) }
    }

    fn check_text(yaml: &str, path: &str, expect: &str) {
        let document = parse(yaml).expect(yaml);
        let entry = find(&document.root, path);
        assert_eq!(entry.node.value, NodeValue::Scalar(expect.to_owned()), "{yaml}");
    }

    #[test]
    fn scalars_keep_their_text() {
        check_text("a: 0123", "a", "0123");
        check_text("a: 1.10 # twice", "a", "1.10");
        check_text("a: Yes", "a", "Yes");
        check_text("a: 0x1F", "a", "0x1F");
        check_text("a: \"1\\t2\"", "a", "1\t2");
        check_text("a: |\n  two\n  lines\n", "a", "two\nlines\n");
        check_text("a: .nan", "a", ".nan");
        check_text("a: 123456789012345678901234567890", "a", "123456789012345678901234567890");
        check_text("a: {b: 1e3 , c: 2}", "a.b", "1e3");
        check_text("é: ü\na: 017\n", "a", "017");
        check_text("a: !!str 5", "a", "5");
        check_text("\u{feff}a: 007\r\nb: 010\r\n", "b", "010");
    }

    #[test]
    fn places_are_known() {
        let document = parse("one:\n  two: x\n  three: [a, b]\n").expect("yaml");
        let entry = find(&document.root, "one.two");
        assert_eq!((entry.place.line, entry.place.column), (2, 3));
        assert_eq!((entry.node.place.line, entry.node.place.column), (2, 8));
    }

    #[test]
    fn merge_keys_and_aliases_work() {
        let yaml = "x-base: &base {host: a, port: 0017}\none:\n  <<: *base\n  host: b\ntwo: *base\n";
        check_text(yaml, "one.host", "b");
        check_text(yaml, "one.port", "0017");
        check_text(yaml, "two.host", "a");
        assert!(parse(yaml).expect("yaml").duplicates.is_empty());
    }

    #[test]
    fn keys_that_stand_twice_are_all_found() {
        let document = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").expect("yaml");
        let found: Vec<_> = document.duplicates.iter().map(|(key, at)| (key.as_str(), at.line)).collect();
        assert_eq!(found, [("b.c", 4), ("a", 5)]);
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        for (yaml, line) in
            [("a: [1\nb: 2\n", 2), ("a: 1\n\tb: 2\n", 1), ("a: *nobody\n", 1), ("a: 1\n---\nb: 2\n", 0)]
        {
            let error = parse(yaml).err().expect(yaml);
            assert!(error.place.line >= line, "{yaml:?} gave {error:?}");
            assert!(!error.detail.is_empty());
        }
        assert!(parse("").is_ok_and(|document| document.root.value == NodeValue::Null));
    }

    #[test]
    fn comments_cost_nothing_and_change_nothing() {
        let many = |indent: &str| format!("{indent}# a comment: 'of' [no] {{account}}\n").repeat(5_000);
        for (yaml, path, expect) in [
            (format!("a:\n{}b: 1\n", many("  ")), "b", "1"),
            (format!("a:\n{}  b: 1\n", many("  ")), "a.b", "1"),
            (format!("a:\n{}  b: 1\n", many("")), "a.b", "1"),
            (format!("{}a: 1\n{}", many(""), many("    ")), "a", "1"),
            (format!("a: {{\n{}  b: 1,\n{}}}\n", many(""), many("  ")), "a.b", "1"),
            (format!("a: # here\n{}  |\n  1\n", many("  ")), "a", "1\n"),
        ] {
            check_text(&yaml, path, expect);
        }
        let list = parse(&format!("a:\n{}  - x\n{}  - y\n", many("  "), many("  "))).expect("a list");
        let NodeValue::List(items) = &find(&list.root, "a").node.value else { panic!("no list") };
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn long_files_are_read() {
        let users: String =
            (0..20_000).map(|n| format!("  - directory: LAB\n    userId: user{n}\n")).collect();
        assert!(parse(&format!("excludeUser:\n{users}")).is_ok());
        let blank = "\n".repeat(100_000);
        check_text(&format!("a:{blank}  b: 1{blank}"), "a.b", "1");
        let long = "x".repeat(200_000);
        check_text(&format!("a: {long}\n"), "a", &long);
        check_text(&format!("a: '{long}'\n"), "a", &long);
        check_text(
            &format!("a: &tags [{{name: n}}]\nb: [{}]\nc: {long}", "*tags, ".repeat(2_000)),
            "c",
            &long,
        );
    }

    #[test]
    fn keys_may_be_anything_that_is_no_collection() {
        check_text("1: x\ntrue: y\n~: z\n", "1", "x");
        check_text("1: x\ntrue: y\n~: z\n", "null", "z");
    }

    #[test]
    fn a_backslash_in_double_quotes_is_explained() {
        for path in ["C:\\Qlik", "C:\\Users\\me", "C:\\Program Files\\y", "\\\\server\\xport", "C:\\u12"] {
            match parse(&format!("a: \"{path}\"\n")) {
                Err(error) => assert!(error.detail.ends_with(BACKSLASH_HINT), "{error:?}"),
                Ok(document) => {
                    // `\P` is a paragraph separator: the check of paths tells it.
                    assert!(path.contains("\\P") || path.contains("server"), "{:?}", document.root);
                }
            }
        }
        check_text("a: C:\\new\\table", "a", "C:\\new\\table");
        check_text("a: 'C:\\new\\table'", "a", "C:\\new\\table");
        check_text("a: \\\\server\\share\\x", "a", "\\\\server\\share\\x");
        check_text("a: C:/x # y", "a", "C:/x");
    }

    #[test]
    fn a_syntax_error_repeats_nothing_of_the_file() {
        for yaml in [
            "a: *SECRET\n",
            "a: @SECRET\n",
            "a: %SECRET\n",
            "a: |SECRET\n",
            "a: >SECRET\n",
            "a: \"SECRET\n",
            "a: 'SECRET' x\n",
            "a: b: SECRET\n",
            "a:\n  b:SECRET\n  c: d\n",
            "a: {b: SEC}RET}\n",
            "a: {b: SECRET\n",
            "a:\n\tSECRET: d\n",
            "a: ]SECRET\n",
            "a: - SECRET\n",
            "a: !!int SECRET\n",
            "a: !!binary SECRET\n",
            "<<: SECRET\n",
            "a: SECRET\nb\n",
            "a: x\u{7}SECRET\n",
            "a: \"\\SECRET\"\n",
            "a: !!float SECRET\n",
            "a: !!bool SECRET\n",
            "a: !!null SECRET\n",
            "a: !!map SECRET\n",
            "a: !!seq SECRET\n",
            "%SECRET\n---\na: 1\n",
            "%TAG SECRET\n---\na: 1\n",
            "a: !SECRET!x y\n",
            "a: &SECRET\n",
            "a: !<SECRET\n",
        ] {
            if let Err(error) = parse(yaml) {
                assert!(!error.detail.contains("SECRET"), "{yaml:?} gave {error:?}");
            }
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let one = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [one.as_str(); 10].join(", ")));
        }
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(5_000)).is_err());
        assert!(parse(&"{a: ".repeat(5_000)).is_err());
    }
}
