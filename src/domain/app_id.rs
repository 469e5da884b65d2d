//! Which app an event is about, and what that app is called.
//!
//! The id is in the event's context (contract: user-events.md, "Enrichment"); the name comes
//! from the directory of apps that is polled from Qlik's repository.

use std::collections::HashMap;
use std::sync::Arc;

use crate::uuid;

/// The name of an app whose id is not in the directory, as Butler SOS spells it.
pub const UNKNOWN_APP_NAME: &str = "<unknown app name>";

/// The app id in a context: `/app/` or `app/`, then a UUID up to `?`, `/` or the end.
pub fn from_context(context: &str) -> Option<&str> {
    let rest = context.strip_prefix('/').unwrap_or(context).strip_prefix("app/")?;
    let (id, after) = rest.split_at_checked(uuid::LENGTH)?;
    let ends = after.is_empty() || after.starts_with(['?', '/']);
    (ends && uuid::is_uuid(id)).then_some(id)
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
        let by_id =
            apps.into_iter().filter_map(|(id, name)| Some((uuid::number(id)?, Box::from(name)))).collect();
        Self { by_id: Arc::new(by_id) }
    }

    /// The name of the app with this id.
    pub fn get(&self, id: &str) -> Option<&str> {
        if self.by_id.is_empty() {
            return None;
        }
        self.by_id.get(&uuid::number(id)?).map(|name| &**name)
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
