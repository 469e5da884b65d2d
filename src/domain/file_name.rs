//! What the file of one event is called: `{timestamp}_{eventId}_{correlationId}.{ext}`, and
//! `{timestamp}_{eventId}_{correlationId}_conflict-{hash}.{ext}` when another event had these ids before.
//!
//! Screenshots and object data use the same names, so that the two of one event stand beside each other.
//! The name is a function of the event alone: writing the event again writes the same file. No ids make a name that
//! ends as that of a conflict does. Contract: `screenshots.md`, "The file".

use crate::audit::time::compact_moment;

/// Characters that are kept of an id.
const ID_CHARACTERS_MAX: usize = 128;

/// Characters that are kept of an extension.
const EXTENSION_CHARACTERS_MAX: usize = 16;

/// What stands between the ids and the hash of an event that came with the ids of an earlier one.
pub const CONFLICT: &str = "_conflict-";

/// Hex digits of that hash.
const CONFLICT_DIGITS: usize = 16;

/// Bytes of a name before the ids.
pub const MOMENT_BYTES: usize = "20261120T101112.345Z_".len();

/// The name without a directory and without an extension: `20261120T101112.345Z_<eventId>_<correlationId>`. It holds
/// nothing but `A-Z a-z 0-9 . _ -`, so it cannot leave its directory whatever the ids are.
pub fn stem(timestamp_ms: i64, event_id: &str, correlation_id: Option<&str>) -> String {
    let mut name = compact_moment(timestamp_ms);
    for id in [event_id, correlation_id.unwrap_or_default()] {
        name.push('_');
        match id {
            "" => name.push_str("none"),
            id => name.extend(id.chars().take(ID_CHARACTERS_MAX).map(safe)),
        }
    }
    if let Some(dash) = dash_of_conflict(&name) {
        name.replace_range(dash..=dash, "_");
    }
    name
}

/// All of a file's name but its extension: what remains of an event for those who need no more of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStem(String);

impl FileStem {
    /// `suffix` is empty, or a conflict's.
    pub fn new(stem: String, suffix: &str) -> Self {
        Self(stem + suffix)
    }

    /// The name without a directory: `20261120T101112.345Z_<eventId>_<correlationId>.png`.
    pub fn with_extension(&self, extension: &str) -> String {
        let mut name = self.0.clone();
        name.push('.');
        name.extend(extension.chars().take(EXTENSION_CHARACTERS_MAX).map(safe));
        name
    }
}

/// Where the `-` stands of a name that ends in `_conflict-` and a hash.
fn dash_of_conflict(name: &str) -> Option<usize> {
    let (before, digits) = name.split_at_checked(name.len().checked_sub(CONFLICT_DIGITS)?)?;
    let is_hash = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tail = before.get(before.len().checked_sub(CONFLICT.len())?..)?;
    (is_hash && tail.eq_ignore_ascii_case(CONFLICT)).then_some(before.len() - 1)
}

fn safe(character: char) -> char {
    match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => character,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "00000000-0000-4000-8000-000000000048";

    #[test]
    fn stems_and_extensions_make_names() {
        let check = |event_id: &str, correlation_id: Option<&str>, extension: &str, expect: &str| {
            let stem = stem(1_795_169_472_345, event_id, correlation_id);
            assert_eq!(FileStem::new(stem, "").with_extension(extension), expect);
        };
        let stem = "20261120T101112.345Z_00000000-0000-4000-8000-000000000048";
        check(ID, Some("1777868693436"), "json", &format!("{stem}_1777868693436.json"));
        check(ID, Some("a/b:c*.."), "json", &format!("{stem}_a_b_c_...json"));
        check(ID, None, "png", &format!("{stem}_none.png"));
        check(ID, Some(""), "png", &format!("{stem}_none.png"));
        check(ID, Some(&"å".repeat(200)), "png", &format!("{stem}_{}.png", "_".repeat(128)));
        check("../../etc\0", Some("😀"), "p/../x", "20261120T101112.345Z_.._.._etc___.p_.._x");
    }

    #[test]
    fn no_ids_make_the_name_of_a_conflict() {
        let check = |correlation_id: &str, expect: &str| {
            let name = stem(1_795_169_472_345, ID, Some(correlation_id));
            assert_eq!(name, format!("20261120T101112.345Z_{ID}_{expect}"));
        };
        check("a_conflict-0123456789abcdef", "a_conflict_0123456789abcdef");
        check("a CONFLICT-0123456789ABCDEF", "a_CONFLICT_0123456789ABCDEF");
        check("conflict-0123456789abcdef", "conflict_0123456789abcdef");
        check("a_conflict-0123456789abcde", "a_conflict-0123456789abcde");
        check("a_conflict-0123456789abcdef0", "a_conflict-0123456789abcdef0");
        check("a_conflict-0123456789abcdeg", "a_conflict-0123456789abcdeg");
        let beside = FileStem::new(stem(0, "", None), "_conflict-0123456789abcdef").with_extension("png");
        assert_eq!(beside, "19700101T000000.000Z_none_none_conflict-0123456789abcdef.png");
        assert_eq!(&stem(0, "e", None)[MOMENT_BYTES..], "e_none");
    }

    proptest! {
        #[test]
        fn a_name_is_always_safe(ms: i64, event_id: String, correlation_id: Option<String>, extension: String) {
            let stem = stem(ms, &event_id, correlation_id.as_deref());
            let name = FileStem::new(stem, "").with_extension(&extension);
            prop_assert!(name.chars().all(|c| c == safe(c)));
            prop_assert!(name.len() < 300 && name.starts_with(|c: char| c.is_ascii_digit()));
        }
    }
}
