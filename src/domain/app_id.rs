//! The id and the name of the app of an event.
//!
//! The id is part of the event's context (contract: user-events.md, "Enrichment"); the name comes from the
//! table of apps that is polled from Qlik's repository.

use std::collections::HashMap;
use std::sync::Arc;

use crate::uuid;

/// The name of an app with an unknown id, as Butler SOS spells it.
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
/// Clones share the names, so a new table is cheap to pass around.
#[derive(Clone, Debug, Default)]
pub struct AppNames {
    by_id: Arc<HashMap<u128, Box<str>>>,
}

// === impl AppNames ===

impl AppNames {
    /// Takes the pairs whose id is a UUID. Of two with the same id, the later one wins.
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

    /// The number of apps with a name.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no app with a name.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

    #[test]
    fn finds_ids_in_contexts() {
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
    fn finds_names_by_ids_in_any_case() {
        let names = AppNames::new([(ID, "Sales"), ("no uuid", "Lost"), (ID, "Sales 2")]);
        assert_eq!(names.len(), 1);
        assert_eq!(names.get(&ID.to_uppercase()), Some("Sales 2"));
        assert_eq!(names.get("00000000-0000-4000-8000-000000000000"), None);
        assert_eq!(names.get("x"), None);
        assert!(AppNames::default().is_empty());
    }
}
