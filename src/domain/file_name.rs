//! What the file of one event is called: `{timestamp}_{eventId}_{correlationId}.{ext}`.
//!
//! Screenshots and object data use the same names, so that the two of one event stand beside each other.
//! The name is a function of the event alone: writing the event again writes the same file.
//! Contract: `screenshots.md`, "The file".

use crate::audit::time::compact_moment;

/// Characters that are kept of an id.
const ID_CHARACTERS_MAX: usize = 128;

/// Characters that are kept of an extension.
const EXTENSION_CHARACTERS_MAX: usize = 16;

/// The name, without a directory: `20261120T101112.345Z_<eventId>_<correlationId>.png`. It holds nothing but
/// `A-Z a-z 0-9 . _ -`, so it cannot leave its directory whatever the ids are.
pub fn file_name(timestamp_ms: i64, event_id: &str, correlation_id: Option<&str>, extension: &str) -> String {
    let mut name = compact_moment(timestamp_ms);
    for id in [event_id, correlation_id.unwrap_or_default()] {
        name.push('_');
        match id {
            "" => name.push_str("none"),
            id => name.extend(id.chars().take(ID_CHARACTERS_MAX).map(safe)),
        }
    }
    name.push('.');
    name.extend(extension.chars().take(EXTENSION_CHARACTERS_MAX).map(safe));
    name
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
    fn names() {
        let check = |event_id: &str, correlation_id: Option<&str>, extension: &str, expect: &str| {
            assert_eq!(file_name(1_795_169_472_345, event_id, correlation_id, extension), expect);
        };
        let stem = "20261120T101112.345Z_00000000-0000-4000-8000-000000000048";
        check(ID, Some("1777868693436"), "json", &format!("{stem}_1777868693436.json"));
        check(ID, Some("a/b:c*.."), "json", &format!("{stem}_a_b_c_...json"));
        check(ID, None, "png", &format!("{stem}_none.png"));
        check(ID, Some(""), "png", &format!("{stem}_none.png"));
        check(ID, Some(&"å".repeat(200)), "png", &format!("{stem}_{}.png", "_".repeat(128)));
        check("../../etc\0", Some("😀"), "p/../x", "20261120T101112.345Z_.._.._etc___.p_.._x");
    }

    proptest! {
        #[test]
        fn a_name_is_always_safe(ms: i64, event_id: String, correlation_id: Option<String>, extension: String) {
            let name = file_name(ms, &event_id, correlation_id.as_deref(), &extension);
            prop_assert!(name.chars().all(|c| c == safe(c)));
            prop_assert!(name.len() < 300 && name.starts_with(|c: char| c.is_ascii_digit()));
        }
    }
}
