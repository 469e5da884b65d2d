//! What is wrong with a configuration: where, what, and what would be right. Values are named only when they are no
//! secrets.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, such as `Butler-SOS.userEvents.enable`; empty when a whole file is meant.
    pub path: String,
    /// Where it was said: `file.yaml:12:5`, `environment NAME`, `flag --set …`, or `default`.
    pub origin: String,
    pub kind: MistakeKind,
    /// What is wrong and what would be right.
    pub words: String,
}

/// How a mistake is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MistakeKind {
    /// The file cannot be read or is no YAML.
    Unreadable,
    /// A key that nobody knows, or that stands there twice.
    Unknown,
    /// A value that cannot be taken. Of no account within something that is switched off.
    Value,
    /// Settings that do not fit together, or that something switched on needs.
    Sense,
}

impl Mistake {
    pub fn new(
        path: impl Into<String>,
        origin: impl Into<String>,
        kind: MistakeKind,
        words: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), origin: origin.into(), kind, words: words.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.words),
            path => write!(f, "{}: {path}: {}", self.origin, self.words),
        }
    }
}

/// All mistakes of a configuration. Prints one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "{count} mistake{} in the configuration", if count == 1 { "" } else { "s" })?;
        for mistake in &self.0 {
            writeln!(f, "  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Text from outside, fit for a message: control characters escaped, cut after 60 characters.
pub fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_default).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}
