//! What is wrong with a configuration: where, what, and what would be right. Values are named only when they are no
//! secrets.

use std::fmt;

use super::masked;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, such as `Butler-SOS.userEvents.enable`; empty when a whole file is meant.
    pub path: String,
    /// Where it was said: `file.yaml:12:5`, `environment NAME`, `flag --set …`, or `default`.
    pub origin: String,
    pub kind: MistakeKind,
    /// What is wrong and what would be right.
    pub detail: String,
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
    /// Nothing stands where a list's item needs something. Of no account within a section that a file switches off.
    Missing,
    /// Settings that do not fit together, or that something switched on needs.
    Sense,
}

impl Mistake {
    pub fn new(
        path: impl Into<String>,
        origin: impl Into<String>,
        kind: MistakeKind,
        detail: impl Into<String>,
    ) -> Self {
        // Names that an administrator chooses are part of some paths.
        Self { path: masked::name(&path.into()), origin: origin.into(), kind, detail: detail.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.detail),
            path => write!(f, "{}: {path}: {}", self.origin, self.detail),
        }
    }
}

/// All mistakes of a configuration, and what else was noticed. Prints one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
    /// Legal, and probably not meant.
    pub warnings: Vec<String>,
}

impl From<Vec<Mistake>> for Mistakes {
    fn from(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes, warnings: Vec::new() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: usize| if count == 1 { "" } else { "s" };
        let count = self.mistakes.len();
        writeln!(f, "{count} mistake{} in the configuration", many(count))?;
        for mistake in &self.mistakes {
            writeln!(f, "  {mistake}")?;
        }
        let count = self.warnings.len();
        if count > 0 {
            writeln!(f, "{count} warning{}", many(count))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
