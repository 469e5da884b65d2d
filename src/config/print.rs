//! The merged configuration for people: every value, and where it came from. Secrets are `***`, user information and
//! queries of addresses too.

use std::sync::Arc;

use config::{Value, ValueKind};

use butler_sos_settings::coerce::Kind;
use butler_sos_settings::schema::{DEFAULT_ORIGIN, Key, Leaf, Section, Shape};

use super::{
    Config,
    load::Loaded,
    masked::{self, HIDDEN},
    setting_path::join,
};

/// One value of the merged configuration, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Such as `Pipeline.journal.directory`.
    pub path: String,
    /// As YAML would have it; `***` for a secret that is set.
    pub value: String,
    /// `file.yaml:12:5`, `environment NAME`, `flag --set` or `default`.
    pub origin: String,
}

/// The column in which origins stand.
const ORIGIN_COLUMN: usize = 64;

/// What is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hides {
    Secrets,
    /// Also most of what names machines, people, certificates, topics and accounts, where it was configured:
    /// `configVisualisation.obfuscate`.
    SecretsAndNames,
}

/// The whole configuration, fit to be shown: as text, and value by value.
#[derive(Clone, Debug)]
pub struct ShownConfiguration {
    pub text: Arc<str>,
    pub settings: Arc<Vec<Shown>>,
}

/// Settings that name somebody or something, by their key. Of some Butler SOS shows the first ten characters; three
/// are enough to recognise one's own.
const NAMING_KEYS: [&str; 29] = [
    "accountId",
    "accountName",
    "allowedImageDownloadHosts",
    "allowedOrigins",
    "allowedSources",
    "brokerHost",
    "bucket",
    "ca",
    "cert",
    "clientCert",
    "clientCertCA",
    "clientCertKey",
    "clientId",
    "database",
    "dbName",
    "destinationAccount",
    "host",
    "hostIP",
    "key",
    "org",
    "remoteURL",
    "serverHost",
    "topic",
    "trustedProxies",
    "url",
    "userDirectory",
    "userId",
    "username",
    "virtualProxy",
];
/// Here `directory` is one of users, and a folder everywhere else.
const NAMING_LIST: &str = "excludeUser[";
/// Here the keys are names of hosts too.
const NAMING_MAP: &str = "Pipeline.screenshots.resolve.";
const NAME_CHARACTERS_SHOWN: usize = 3;
/// What stands for the rest, whatever its length.
const NAME_REST: &str = "**********";

/// Whether the setting at `path` names somebody or something.
fn is_name(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or_default();
    NAMING_KEYS.contains(&key) || path.contains(NAMING_LIST)
}

/// The beginning of a name, as YAML.
fn obfuscated(value: &str) -> String {
    if matches!(value, "null" | "\"\"" | "''" | "[]" | "{}") {
        return value.to_owned();
    }
    let characters = value.chars().filter(|c| !matches!(c, '"' | '\\' | '['));
    let shown: String = characters.take(NAME_CHARACTERS_SHOWN).collect();
    format!("\"{shown}{NAME_REST}\"")
}

impl Loaded {
    /// The merged configuration for people.
    pub fn configuration(&self, hides: Hides) -> ShownConfiguration {
        let lines = self.lines(hides);
        let text = yaml(&lines).into();
        let values = lines.into_iter();
        let settings = values
            .filter_map(|line| Some(Shown { path: line.path, value: line.value?, origin: line.origin }));
        ShownConfiguration { text, settings: Arc::new(settings.collect()) }
    }

    /// Every value in the order of the reference.
    pub fn shown(&self) -> Vec<Shown> {
        Arc::unwrap_or_clone(self.configuration(Hides::Secrets).settings)
    }

    /// The merged configuration as YAML, each value with a comment that tells its origin.
    pub fn print(&self) -> String {
        yaml(&self.lines(Hides::Secrets))
    }

    fn lines(&self, hides: Hides) -> Vec<Line> {
        let mut lines = Vec::new();
        lines_of(&Config::keys(), &self.tree, "", 0, &mut lines);
        if hides == Hides::SecretsAndNames {
            for line in &mut lines {
                line.obfuscate();
            }
        }
        lines
    }
}

fn yaml(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let head = match &line.value {
            Some(value) => format!("{}{}: {value}", "  ".repeat(line.depth), line.label),
            None => format!("{}{}:", "  ".repeat(line.depth), line.label),
        };
        match line.origin.as_str() {
            "" => text.push_str(&head),
            origin => text.push_str(&format!("{head:ORIGIN_COLUMN$} # {}", origin.escape_debug())),
        }
        text.push('\n');
    }
    text
}

struct Line {
    path: String,
    /// The key, with the dash of a list's item before it.
    label: String,
    depth: usize,
    value: Option<String>,
    origin: String,
}

impl Line {
    fn obfuscate(&mut self) {
        let is_in_map = self.path.starts_with(NAMING_MAP);
        // A default names nobody.
        if self.origin == DEFAULT_ORIGIN || !(is_in_map || is_name(&self.path)) {
            return;
        }
        self.value = self.value.take().map(|value| obfuscated(&value));
        if is_in_map {
            self.label = obfuscated(&self.label);
            self.path = format!("{NAMING_MAP}{}", self.label);
        }
    }
}

fn lines_of(keys: &[Key], value: &Value, path: &str, depth: usize, lines: &mut Vec<Line>) {
    let ValueKind::Table(table) = &value.kind else { return };
    for key in keys {
        if let Some(value) = table.get(key.name) {
            lines_of_key(&key.shape, value, &join(path, key.name), key.name, depth, lines);
        }
    }
}

fn lines_of_key(shape: &Shape, value: &Value, path: &str, label: &str, depth: usize, lines: &mut Vec<Line>) {
    let origin = value.origin().unwrap_or_default().to_owned();
    let mut line = |value: Option<String>, origin: String| {
        lines.push(Line { path: path.to_owned(), label: label.to_owned(), depth, value, origin });
    };
    match (shape, &value.kind) {
        (Shape::Ignored, _) => {}
        (Shape::Section(keys), _) => {
            line(None, String::new());
            lines_of(keys, value, path, depth + 1, lines);
        }
        (Shape::List(item), ValueKind::Array(items)) => match &**item {
            Shape::Section(keys) if !items.is_empty() => {
                line(None, origin);
                for (index, item) in items.iter().enumerate() {
                    let from = lines.len();
                    lines_of(keys, item, &format!("{path}[{index}]"), depth + 1, lines);
                    for (number, line) in lines[from..].iter_mut().enumerate() {
                        line.label.insert_str(0, if number == 0 { "- " } else { "  " });
                    }
                }
            }
            _ => {
                let items: Vec<String> = items.iter().map(|item| plain(&item.kind)).collect();
                line(Some(format!("[{}]", items.join(", "))), origin);
            }
        },
        (Shape::Map(_), ValueKind::Table(table)) if table.is_empty() => line(Some("{}".into()), origin),
        (Shape::Map(leaf), ValueKind::Table(table)) => {
            line(None, String::new());
            let mut keys: Vec<&String> = table.keys().collect();
            keys.sort();
            for key in keys {
                let shape = Shape::Scalar((**leaf).clone());
                let shown = masked::without_credentials(key);
                lines_of_key(&shape, &table[key], &join(path, &shown), &text(&shown), depth + 1, lines);
            }
        }
        (Shape::Scalar(Leaf { kind: Kind::Secret, .. }), kind) => {
            let is_set = matches!(kind, ValueKind::String(secret) if !secret.is_empty());
            line(Some(if is_set { format!("'{HIDDEN}'") } else { "''".into() }), origin);
        }
        (Shape::Scalar(Leaf { kind: Kind::SecretAddress, .. }), ValueKind::String(address)) => {
            line(Some(text(&masked::origin_only(address))), origin);
        }
        (_, kind) => line(Some(plain(kind)), origin),
    }
}

/// A scalar as YAML.
fn plain(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Nil => "null".into(),
        ValueKind::String(value) => text(&masked::without_credentials(value)),
        other => other.to_string(),
    }
}

/// Text as YAML: bare where nothing can be mistaken, else in double quotes with all escaped that a terminal or a
/// parser may take amiss.
fn text(value: &str) -> String {
    let is_bare = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&&*value.to_lowercase())
        && value.parse::<f64>().is_err()
        && value.chars().any(|c| c.is_ascii_alphanumeric());
    if is_bare {
        return value.to_owned();
    }
    let mut quoted = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}
