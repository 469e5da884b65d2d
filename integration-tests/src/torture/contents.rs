//! What each destination holds.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::numbered::Census;

/// What each destination holds, of user events and of audit events.
pub struct Contents {
    pub users: Vec<(Place, Census)>,
    pub audits: Vec<(Place, Census)>,
    /// Screenshot events that have neither a picture nor a reason, or whose picture is not there.
    pub without_picture: BTreeSet<u64>,
    /// Pictures that no event names, and files under temporary names.
    pub stray_files: Vec<PathBuf>,
}

/// A destination, as a table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub name: &'static str,
    /// Whether it promises an event once, rather than at least once.
    pub once: bool,
}

pub const fn once(name: &'static str) -> Place {
    Place { name, once: true }
}

pub const fn at_least_once(name: &'static str) -> Place {
    Place { name, once: false }
}
