//! For whom tickets may be asked: `Pipeline.screenshots.ticketUsers`.
//!
//! An event names its user, and whoever may post events may name anybody. An entry is a directory (`LAB`) or one user
//! of it (`LAB\goran`); both are compared as Qlik Sense does, without case. A user that is denied gets no ticket,
//! whatever the other list says.

use crate::identity::{self, Identity};

/// The two lists; an empty `allow` allows everybody who is not denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TicketUsers {
    allow: Vec<Entry>,
    deny: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    directory: String,
    /// `None`: everybody of the directory.
    id: Option<String>,
}

impl TicketUsers {
    /// Entries that name nobody are left out; [`is_entry`] tells them.
    pub fn new<'a>(
        allow: impl IntoIterator<Item = &'a str>,
        deny: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let allow = allow.into_iter().filter_map(Entry::of).collect();
        let deny = deny.into_iter().filter_map(Entry::of).collect();
        Self { allow, deny }
    }

    /// Whether a ticket may be asked for this user.
    pub fn allows(&self, user: &Identity<'_>) -> bool {
        let (directory, id) = (identity::folded(user.directory), identity::folded(user.id));
        let names = |entry: &Entry| {
            entry.directory == directory && entry.id.as_ref().is_none_or(|wanted| *wanted == id)
        };
        !self.deny.iter().any(names) && (self.allow.is_empty() || self.allow.iter().any(names))
    }
}

/// Whether this is an entry of one of the lists.
pub fn is_entry(text: &str) -> bool {
    Entry::of(text).is_some()
}

impl Entry {
    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(user) = identity::parse(text) {
            let (directory, id) = (identity::folded(user.directory), identity::folded(user.id));
            return Some(Self { directory, id: Some(id) });
        }
        let is_directory = !text.is_empty() && !text.contains(['\\', ';', '=']);
        is_directory.then(|| Self { directory: identity::folded(text), id: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_a_ticket() {
        let check = |allow: &[&str], deny: &[&str], user: &str, expect| {
            let users = TicketUsers::new(allow.iter().copied(), deny.iter().copied());
            let found = users.allows(&identity::parse(user).unwrap());
            assert_eq!(found, expect, "{allow:?} {deny:?} {user}");
        };
        check(&[], &[], "LAB\\goran", true);
        check(&[], &["INTERNAL"], "LAB\\goran", true);
        check(&[], &["INTERNAL"], "INTERNAL\\sa_api", false);
        check(&[], &["INTERNAL"], "UserDirectory=internal ; UserId=sa_scheduler", false);
        check(&[], &[" internal "], "Internal; UserId=x", false);
        check(&[], &["LAB\\goran"], "lab\\GORAN", false);
        check(&[], &["LAB\\goran"], "LAB\\anna", true);
        check(&[], &["UserDirectory=LAB; UserId=goran"], "LAB\\goran", false);
        check(&["LAB"], &[], "lab\\anna", true);
        check(&["LAB"], &[], "LAB2\\anna", false);
        check(&["LAB", "X\\y"], &["LAB\\goran"], "LAB\\goran", false);
        check(&["LAB", "X\\y"], &["LAB\\goran"], "x\\Y", true);
        check(&["LAB", "X\\y"], &["LAB\\goran"], "X\\z", false);
        check(&["G\u{d6}TEBORG\\\u{c5}SA"], &[], "g\u{f6}teborg\\\u{e5}sa", true);
    }

    #[test]
    fn entries() {
        for text in ["LAB", "LAB\\goran", " LAB ", "UserDirectory=LAB; UserId=x", "my directory"] {
            assert!(is_entry(text), "{text:?}");
        }
        for text in ["", "  ", "LAB\\", "\\x", "a;b", "UserDirectory=LAB"] {
            assert!(!is_entry(text), "{text:?}");
        }
    }
}
