//! From files, environment and command line to one verified configuration, or to all that is wrong with it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use config::{Config as Layers, ConfigError, Map, Value, ValueKind};

use butler_sos_settings::schema::{DEFAULT_ORIGIN, Key, Section, Shape, section_defaults};

use super::{
    Config,
    butler::audit_events::DestinationKind,
    decode::{self, OtherEncoding},
    environment::{Environment, Process},
    layer::{Layer, Reader, setting},
    mistake::{Mistake, MistakeKind, Mistakes},
    setting_path::join,
    verify,
    yaml::{self, Place},
};
use crate::cli::Settings;

/// The file that is read when none is named and it is there.
pub const SYSTEM_FILE: &str = "/etc/butler-sos/butler-sos.yaml";
/// What holds when no file is named and none is there: everything local, nothing else needed.
const BUILT_IN_FILE: &str = include_str!("../../conf/default.yaml");
/// Variables that begin so are settings.
const ENVIRONMENT_PREFIX: &str = "BUTLER_SOS__";
/// The permission bit that lets everybody read a file.
const READABLE_BY_ALL: u32 = 0o004;

/// A configuration that can be run.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// What the files name and this server does not have, for one info line at start.
    pub ignored: Vec<String>,
    /// Legal, and probably not meant; one warning line each at start.
    pub warnings: Vec<String>,
    /// The files read, in order.
    pub files: Vec<String>,
    /// The merged values with their origins. It holds secrets.
    pub(super) tree: Value,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("files", &self.files)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Where the setting at `path` was said: `file.yaml:12:5`, `environment NAME`, `flag --set` or `default`.
    pub fn origin(&self, path: &str) -> String {
        origin(&self.tree, path)
    }

    /// Whether every file that the settings name can be read. Opens files.
    pub fn verify_resources(&self) -> Result<(), Mistakes> {
        let mistakes = verify::resources(&self.config, &|path| self.origin(path));
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
    }
}

/// Reads and verifies the configuration that the command line asks for.
pub fn load(settings: &Settings) -> Result<Loaded, Mistakes> {
    load_from(settings, &Process)
}

/// The same with environment of the caller's choice.
pub fn load_from(settings: &Settings, environment: &dyn Environment) -> Result<Loaded, Mistakes> {
    let keys = Config::keys();
    let mut gathered = Gathered::default();
    let Value { kind: ValueKind::Table(defaults), .. } = section_defaults(&keys, &DEFAULT_ORIGIN.to_owned())
    else {
        return Err(Mistakes::default());
    };
    gathered.layers.push(Layer::new(defaults));
    gathered.files(&keys, settings, environment);
    gathered.environment(&keys, environment);
    gathered.flags(&keys, settings, environment);
    let Gathered { layers, mut mistakes, mut ignored, files, mut warnings } = gathered;

    let builder = layers.into_iter().fold(Layers::builder(), |builder, layer| builder.add_source(layer));
    let built = builder.build().and_then(|built| {
        let mut tree = built.cache;
        add_accounts(&mut tree, settings);
        Ok((tree.clone().try_deserialize::<Config>()?, tree))
    });
    let (config, tree) = match built {
        Ok(built) => built,
        Err(error) => {
            mistakes.push(Mistake::new("", "configuration", MistakeKind::Unreadable, without_value(&error)));
            return Err(Mistakes { mistakes, warnings });
        }
    };

    let off = switched_off(&config, &keys, &tree);
    let unchecked = unchecked(&tree);
    let (unused, mut mistakes): (Vec<_>, Vec<_>) =
        mistakes.into_iter().partition(|mistake| match mistake.kind {
            MistakeKind::Value => is_within(&off, &mistake.path) || is_within(&unchecked, &mistake.path),
            MistakeKind::Unknown | MistakeKind::Missing => is_within(&unchecked, &mistake.path),
            MistakeKind::Unreadable | MistakeKind::Sense => false,
        });
    warnings.extend(unused.iter().map(|mistake| format!("{mistake} (not used: the section is disabled)")));
    let found = verify::settings(&config, &|path| origin(&tree, path));
    // What could not be read is missing too; that is no second mistake.
    let reported: BTreeSet<String> = mistakes.iter().map(|mistake| mistake.path.clone()).collect();
    mistakes.extend(found.mistakes.into_iter().filter(|mistake| !reported.contains(&mistake.path)));
    warnings.extend(found.warnings);
    if settings.skip_config_verification {
        let (forgiven, left): (Vec<_>, Vec<_>) = mistakes
            .into_iter()
            .partition(|mistake| matches!(mistake.kind, MistakeKind::Unknown | MistakeKind::Sense));
        warnings.extend(forgiven.iter().map(Mistake::to_string));
        mistakes = left;
    }
    if !mistakes.is_empty() {
        return Err(Mistakes { mistakes, warnings });
    }
    ignored.dedup();
    Ok(Loaded { config, ignored, warnings, files, tree })
}

/// The error's words without the value, which may be a secret.
fn without_value(error: &ConfigError) -> String {
    match error {
        ConfigError::Type { expected, key, .. } => {
            format!("expected {expected} for `{}`", key.as_deref().unwrap_or_default())
        }
        _ => "the settings do not fit together".to_owned(),
    }
}

/// What the layers gave.
#[derive(Default)]
struct Gathered {
    layers: Vec<Layer>,
    mistakes: Vec<Mistake>,
    ignored: Vec<String>,
    files: Vec<String>,
    warnings: Vec<String>,
}

impl Gathered {
    fn take(&mut self, reader: Reader<'_>, table: Map<String, Value>) {
        self.mistakes.append(&mut reader.mistakes.into_inner());
        self.ignored.append(&mut reader.ignored.into_inner());
        self.layers.push(Layer::new(table));
    }

    fn files(&mut self, keys: &[Key], settings: &Settings, environment: &dyn Environment) {
        let mut named: Vec<PathBuf> = settings.config_files.clone();
        if named.is_empty() && environment.exists(Path::new(SYSTEM_FILE)) {
            named.push(PathBuf::from(SYSTEM_FILE));
        }
        if named.is_empty() {
            let reader = Reader::new("built-in default.yaml", environment);
            let table = reader.document(keys, BUILT_IN_FILE);
            self.files.push("built-in default.yaml".into());
            self.take(reader, table);
        }
        for path in named {
            let name = path.display().to_string();
            self.file(keys, &path, &name, environment);
            self.files.push(name);
        }
    }

    fn file(&mut self, keys: &[Key], path: &Path, name: &str, environment: &dyn Environment) {
        let bytes = environment.file(path, yaml::FILE_BYTES_MAX as u64);
        let bytes = bytes.map_err(|error| format!("the file cannot be read: {error}"));
        let decoded = match bytes.and_then(|bytes| decode::text(&bytes).map_err(|error| error.to_string())) {
            Ok(decoded) => decoded,
            Err(detail) => {
                self.mistakes.push(Mistake::new("", name, MistakeKind::Unreadable, detail));
                return;
            }
        };
        if let Some(OtherEncoding { first: Place { line, column }, lines }) = decoded.other {
            let more = match lines {
                1 => String::new(),
                _ => format!(" (and {} more)", lines - 1),
            };
            self.warnings.push(format!(
                "{name}:{line}:{column}: this line{more} is not UTF-8 and is read as windows-1252: save the file as UTF-8"
            ));
        }
        let reader = Reader::new(name, environment);
        let table = reader.document(keys, &decoded.text);
        let mode = environment.mode(path).filter(|mode| mode & READABLE_BY_ALL != 0);
        if let Some((mode, secret)) = mode.zip(reader.clear_secret.take()) {
            self.warnings.push(format!(
                "{name}: everybody on this machine can read the file (mode {mode:04o}), and it holds secrets in clear, \
                 such as {secret}: `chmod 640`, or give them as ${{NAME}} or file:/path"
            ));
        }
        self.take(reader, table);
    }

    fn environment(&mut self, keys: &[Key], environment: &dyn Environment) {
        let mut variables: Vec<(String, String)> = environment
            .variables()
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        variables.sort();
        for (name, text) in variables {
            let segments: Vec<&str> = name[ENVIRONMENT_PREFIX.len()..].split("__").collect();
            let reader = Reader::new(format!("environment {name}"), environment);
            let table = setting(&reader, keys, &segments, &text);
            self.take(reader, table);
        }
    }

    fn flags(&mut self, keys: &[Key], settings: &Settings, environment: &dyn Environment) {
        if let Some(level) = settings.log_level {
            let reader = Reader::new("flag --loglevel", environment);
            let table = setting(&reader, keys, &["Butler-SOS", "logLevel"], level.name());
            self.take(reader, table);
        }
        for (path, text) in &settings.set {
            let segments: Vec<&str> = path.split('.').collect();
            let reader = Reader::new("flag --set", environment);
            let table = setting(&reader, keys, &segments, text);
            self.take(reader, table);
        }
    }
}

/// Accounts from the command line: one of the same name is replaced, others are added.
fn add_accounts(tree: &mut Value, settings: &Settings) {
    let path = ["Butler-SOS", "thirdPartyToolsCredentials", "newRelic"];
    let Some(Value { kind: ValueKind::Array(accounts), .. }) = path.iter().try_fold(tree, |node, key| {
        let ValueKind::Table(table) = &mut node.kind else { return None };
        table.get_mut(*key)
    }) else {
        return;
    };
    let origin = "flag --new-relic-account-name".to_owned();
    let flags = settings
        .new_relic_account_name
        .iter()
        .zip(&settings.new_relic_api_key)
        .zip(&settings.new_relic_account_id);
    for ((name, key), id) in flags {
        let is_same = |account: &Value| {
            let ValueKind::Table(table) = &account.kind else { return false };
            matches!(table.get("accountName"), Some(Value { kind: ValueKind::String(known), .. }) if known == name)
        };
        accounts.retain(|account| !is_same(account));
        let fields =
            [("accountName", name.as_str()), ("insertApiKey", key.expose()), ("accountId", id.as_str())];
        let table: Map<String, Value> =
            fields.into_iter().map(|(key, text)| (key.to_owned(), Value::new(Some(&origin), text))).collect();
        accounts.push(Value::new(Some(&origin), ValueKind::Table(table)));
    }
}

/// Where the value at `path` came from; of the nearest thing above it when it has none of its own.
fn origin(tree: &Value, path: &str) -> String {
    let mut node = tree;
    let mut known = None;
    for segment in path.split(['.', '[']) {
        let next = match (&node.kind, segment.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()))
        {
            (ValueKind::Array(items), Some(index)) => items.get(index),
            (ValueKind::Table(table), None) => table.get(segment),
            _ => None,
        };
        let Some(next) = next else { break };
        node = next;
        known = node.origin().or(known);
    }
    known.unwrap_or(DEFAULT_ORIGIN).to_owned()
}

/// Paths of sections that are switched off: what stands there need not be right.
fn switched_off(config: &Config, keys: &[Key], tree: &Value) -> Vec<String> {
    fn walk(keys: &[Key], value: &Value, path: &str, off: &mut Vec<String>) {
        let ValueKind::Table(table) = &value.kind else { return };
        let is_off =
            |name: &str| matches!(table.get(name), Some(Value { kind: ValueKind::Boolean(false), .. }));
        if is_off("enable") || is_off("enableAppNameExtract") {
            off.push(path.to_owned());
        }
        for key in keys {
            if let (Shape::Section(inner), Some(value)) = (&key.shape, table.get(key.name)) {
                walk(inner, value, &join(path, key.name), off);
            }
        }
    }
    let mut off = Vec::new();
    walk(keys, tree, "", &mut off);

    // Screenshots have a switch of their own and do not hang on that of the other destinations.
    let audit = &config.butler_sos.audit_events;
    let destination = "Butler-SOS.auditEvents.destination";
    if audit.enable && !audit.destination.enable {
        off.retain(|path| path != destination);
        off.push(join(destination, "type"));
    }
    // The section of a destination is named like the destination.
    let unused = DestinationKind::ALL.into_iter().filter(|kind| !audit.destination.has(*kind));
    off.extend(unused.map(|kind| join(destination, kind.name())));
    if audit.destination.screenshots.auth.mode == super::butler::screenshots::AuthMode::None {
        off.push(format!("{destination}.screenshots.auth.qps"));
        off.push(format!("{destination}.screenshots.auth.sessionCache"));
    }
    let servers = [
        ("Butler-SOS.influxdbConfig".to_owned(), config.butler_sos.influxdb.version),
        (format!("{destination}.influxdb.metadata"), audit.destination.influxdb.metadata.version),
    ];
    for (path, version) in servers {
        off.extend((1..=3).filter(|other| *other != version).map(|other| format!("{path}.v{other}Config")));
    }
    if config.qlik_certificates_needed_by().is_none() {
        off.push("Butler-SOS.cert".into());
    }
    if !config.butler_sos.new_relic.enable {
        off.push("Butler-SOS.thirdPartyToolsCredentials".into());
    }
    off
}

/// Sections of `Butler-SOS` that Butler SOS leaves unchecked while they are switched off, and their switch. Files have
/// keys of older versions there. `auditEvents` is not among them.
const UNCHECKED_WHEN_OFF: [(&str, &str); 11] = [
    ("appNames", "enableAppNameExtract"),
    ("configVisualisation", "enable"),
    ("dockerHealthCheck", "enable"),
    ("errorTracking", "enable"),
    ("heartbeat", "enable"),
    ("influxdbConfig", "enable"),
    ("mqttConfig", "enable"),
    ("newRelic", "enable"),
    ("prometheus", "enable"),
    ("uptimeMonitor", "enable"),
    ("userEvents", "enable"),
];

/// Those of them that are switched off by somebody. One that only lacks its switch may lack it for a slip.
fn unchecked(tree: &Value) -> Vec<String> {
    let child = |value: &Value, key: &str| match &value.kind {
        ValueKind::Table(table) => table.get(key).cloned(),
        _ => None,
    };
    let Some(butler) = child(tree, "Butler-SOS") else { return Vec::new() };
    let is_said = |switch: &Value| switch.origin().is_some_and(|origin| origin != DEFAULT_ORIGIN);
    UNCHECKED_WHEN_OFF
        .iter()
        .filter(|(section, switch)| {
            child(&butler, section)
                .and_then(|section| child(&section, switch))
                .is_some_and(|switch| is_said(&switch) && matches!(switch.kind, ValueKind::Boolean(false)))
        })
        .map(|(section, _)| join("Butler-SOS", section))
        .collect()
}

/// Whether the setting lies within one of these sections and is not the section's own switch.
fn is_within(off: &[String], path: &str) -> bool {
    off.iter().any(|section| {
        path.strip_prefix(section.as_str()).is_some_and(|rest| {
            rest.starts_with(['.', '[']) && rest != ".enable" && rest != ".enableAppNameExtract"
        })
    })
}
