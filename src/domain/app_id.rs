//! Which app an event is about, and what that app is called.
//!
//! The id is in the event's context (contract: user-events.md, "Enrichment"); the name comes
//! from the directory of apps that is polled from Qlik's repository.

use std::collections::HashMap;
use std::sync::Arc;

/// The name of an app whose id is not in the directory, as Butler SOS spells it.
pub const UNKNOWN_APP_NAME: &str = "<unknown app name>";

/// Characters of a UUID: 8-4-4-4-12.
const UUID_LENGTH: usize = 36;

/// The app id in a context: `/app/` or `app/`, then a UUID up to `?`, `/` or the end.
pub fn from_context(context: &str) -> Option<&str> {
    let rest = context.strip_prefix('/').unwrap_or(context).strip_prefix("app/")?;
    let (id, after) = rest.split_at_checked(UUID_LENGTH)?;
    let ends = after.is_empty() || after.starts_with(['?', '/']);
    (ends && is_uuid(id)).then_some(id)
}

/// Whether `text` is 8-4-4-4-12 hex digits; any version, any case. All characters are looked at at once.
fn is_uuid(text: &str) -> bool {
    let Ok(text) = <&[u8; UUID_LENGTH]>::try_from(text.as_bytes()) else { return false };
    let fits: [bool; UUID_LENGTH] = std::array::from_fn(|at| {
        let digit = text[at].is_ascii_digit() | matches!(text[at] | 0x20, b'a'..=b'f');
        if is_dash(at) { text[at] == b'-' } else { digit }
    });
    fits == [true; UUID_LENGTH]
}

/// Whether a UUID has a dash there.
fn is_dash(at: usize) -> bool {
    matches!(at, 8 | 13 | 18 | 23)
}

/// The number that a UUID of 8-4-4-4-12 hex digits stands for; any version, any case.
pub fn uuid(text: &str) -> Option<u128> {
    if text.len() != UUID_LENGTH {
        return None;
    }
    let mut number = 0u128;
    for (at, byte) in text.bytes().enumerate() {
        if is_dash(at) {
            if byte != b'-' {
                return None;
            }
        } else {
            number = number << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
    }
    Some(number)
}

/// Names of apps by id. Ids are compared as numbers, so their case does not matter.
///
/// A clone shares the names, so a new table can be handed around whole.
#[derive(Clone, Debug, Default)]
pub struct AppNames {
    by_id: Arc<HashMap<u128, Box<str>>>,
}

// === impl AppNames ===

impl AppNames {
    /// Takes the pairs of id and name whose id is a UUID; of two with one id, the later.
    pub fn new<'a>(apps: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let by_id = apps.into_iter().filter_map(|(id, name)| Some((uuid(id)?, Box::from(name)))).collect();
        Self { by_id: Arc::new(by_id) }
    }

    /// The name of the app with this id.
    pub fn get(&self, id: &str) -> Option<&str> {
        if self.by_id.is_empty() {
            return None;
        }
        self.by_id.get(&uuid(id)?).map(|name| &**name)
    }

    /// How many apps have a name.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no app has one.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

    #[test]
    fn ids_are_found_in_contexts() {
        let check =
            |context: &str, expect: Option<&str>| assert_eq!(from_context(context), expect, "{context}");
        check(&format!("/app/{ID}"), Some(ID));
        check(&format!("app/{ID}"), Some(ID));
        check(&format!("/app/{ID}?reloadUri=x"), Some(ID));
        check(&format!("/app/{ID}/sheet/1"), Some(ID));
        check("/app/A421F4A2-C311-4EF4-BA41-FE2E6A2B0D69", Some("A421F4A2-C311-4EF4-BA41-FE2E6A2B0D69"));
        check(&format!("/app/{ID}x"), None);
        check(&format!("//app/{ID}"), None);
        check(&format!("/hub/app/{ID}"), None);
        check(&format!("/application/{ID}"), None);
        check(&format!("/app/{}", &ID[1..]), None);
        check(&format!("/app/{}", ID.replace('-', "_")), None);
        check("/app/%3Ftransient%3D", None);
        check("/app/ååååååååååååååååååååååå", None);
        check("/app/", None);
        check("/hub", None);
        check("", None);
    }

    #[test]
    fn names_are_found_whatever_the_case_of_the_id() {
        let names = AppNames::new([(ID, "Sales"), ("no uuid", "Lost"), (ID, "Sales 2")]);
        assert_eq!(names.len(), 1);
        assert_eq!(names.get(&ID.to_uppercase()), Some("Sales 2"));
        assert_eq!(names.get("00000000-0000-4000-8000-000000000000"), None);
        assert_eq!(names.get("x"), None);
        assert!(AppNames::default().is_empty());
    }
}
