//! From a datagram's bytes to a whole user event: parsed, with app and user agent.
//!
//! Pure but for a cache: what it answers depends on its arguments alone. Contract:
//! user-events.md, "Enrichment".

use std::borrow::Cow;

use crate::app_id::{self, AppNames, UNKNOWN_APP_NAME};
use crate::datagram::{self, Parsed, Rejection};
use crate::event::{APP_NAME_BYTES_MAX, UserEvent, cut_bytes};
use crate::fallback_encoding::FallbackEncoding;
use crate::user_agent::{self, UserAgentCache};

/// Makes events out of datagrams, one after the other.
pub struct Enrichment {
    user_agents: UserAgentCache,
    excluded: ExcludedUsers,
    fallback: FallbackEncoding,
}

/// An event ready for the journal, and what the caller counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enriched<'a> {
    pub event: UserEvent<'a>,
    /// The configuration excludes this user: count the event and drop it.
    pub excluded: bool,
    /// The five-field layout named no user.
    pub user_not_found: bool,
}

/// Users whose events no destination gets; directory and id are compared exactly.
#[derive(Clone, Debug, Default)]
pub struct ExcludedUsers {
    users: Vec<(String, String)>,
}

// === impl Enrichment ===

impl Enrichment {
    /// `user_agents_max` bounds the cache of parsed user agents, in entries of about 1 KiB.
    pub fn new(user_agents_max: usize, excluded: ExcludedUsers) -> Self {
        Self { user_agents: UserAgentCache::new(user_agents_max), excluded, fallback: FallbackEncoding::NONE }
    }

    /// The same, with an encoding for datagrams that are not UTF-8.
    #[must_use]
    pub fn decoding(mut self, fallback: FallbackEncoding) -> Self {
        self.fallback = fallback;
        self
    }

    /// Reads one datagram and looks up its app and user agent.
    ///
    /// The event borrows from the datagram, the names and the cache: encode it before the next call.
    pub fn event<'a>(
        &'a mut self,
        datagram: &'a [u8],
        received_ns: u64,
        app_names: &'a AppNames,
    ) -> Result<Enriched<'a>, Rejection> {
        let Parsed { mut event, user_not_found } = datagram::parse(datagram, received_ns, self.fallback)?;
        let excluded = self.excluded.contains(&event);

        if let Some(id) = event.context.as_ref().and_then(app_id_of) {
            let name = app_names.get(&id).unwrap_or(UNKNOWN_APP_NAME);
            event.app_name = Some(Cow::Borrowed(cut_bytes(name, APP_NAME_BYTES_MAX)));
            event.app_id = Some(id);
        }
        if let Some(text) = event.message.as_deref().and_then(user_agent::from_message)
            && !text.is_empty()
        {
            let agent = self.user_agents.get(&text);
            event.browser_name = agent.browser_name.as_deref().map(Cow::Borrowed);
            event.browser_major = agent.browser_major.as_deref().map(Cow::Borrowed);
            event.os_name = agent.os_name.as_deref().map(Cow::Borrowed);
            event.os_version = agent.os_version.as_deref().map(Cow::Borrowed);
        }
        Ok(Enriched { event, excluded, user_not_found })
    }
}

// === impl ExcludedUsers ===

impl ExcludedUsers {
    /// Takes pairs of user directory and user id.
    pub fn new(users: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { users: users.into_iter().collect() }
    }

    /// Whether the event's user is one of them.
    pub fn contains(&self, event: &UserEvent<'_>) -> bool {
        let (Some(directory), Some(id)) = (&event.user_directory, &event.user_id) else { return false };
        self.users.iter().any(|(known, known_id)| known == directory && known_id == id)
    }
}

// === helpers ===

/// The app id in a context, borrowed for as long as the context's text is.
fn app_id_of<'a>(context: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    match context {
        Cow::Borrowed(text) => app_id::from_context(text).map(Cow::Borrowed),
        Cow::Owned(text) => app_id::from_context(text).map(|id| Cow::Owned(id.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

    fn excluded() -> ExcludedUsers {
        ExcludedUsers::new([("LAB".to_owned(), "excluded".to_owned())])
    }

    #[test]
    fn app_and_user_agent_are_looked_up() {
        let mut enrichment = Enrichment::new(16, excluded());
        let names = AppNames::new([(APP, "Sales")]);
        let datagram = format!(
            "/qseow-proxy-connection/;h;Open connection;LAB;goran;AppAccess;/app/{APP}?x;UserAgent: \
             'Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0'\n"
        );
        let got = enrichment.event(datagram.as_bytes(), 7, &names).expect("an event");
        assert!(!got.excluded);
        assert_eq!(got.event.app_id.as_deref(), Some(APP));
        assert_eq!(got.event.app_name.as_deref(), Some("Sales"));
        assert_eq!(got.event.browser_name.as_deref(), Some("Firefox"));
        assert_eq!(got.event.browser_major.as_deref(), Some("115"));
        assert_eq!(got.event.os_name.as_deref(), Some("Linux"));
        assert_eq!(got.event.os_version, None);
        assert!(matches!(got.event.app_id, Some(Cow::Borrowed(_))));

        let names = AppNames::default();
        let got = enrichment.event(datagram.as_bytes(), 8, &names).expect("an event");
        assert_eq!(got.event.app_name.as_deref(), Some(UNKNOWN_APP_NAME));
    }

    #[test]
    fn events_without_an_app_or_user_agent() {
        let mut enrichment = Enrichment::new(16, excluded());
        let names = AppNames::default();
        for datagram in [
            "/qseow-proxy-session/;h;Start session;LAB;goran;AppAccess;/hub;UserAgent: ''",
            "/qseow-proxy-session/;h;Start session;LAB;goran",
        ] {
            let got = enrichment.event(datagram.as_bytes(), 7, &names).expect("an event").event;
            assert_eq!((got.app_id, got.app_name, got.browser_name, got.os_name), (None, None, None, None));
        }
    }

    #[test]
    fn excluded_users_are_named_exactly() {
        let mut enrichment = Enrichment::new(16, excluded());
        let names = AppNames::default();
        let mut check = |directory: &str, id: &str, expect: bool| {
            let datagram = format!("/qseow-proxy-session/;h;Start session;{directory};{id};o;c;m");
            let got = enrichment.event(datagram.as_bytes(), 7, &names).expect("an event").excluded;
            assert_eq!(got, expect, "{directory} {id}");
        };
        check("LAB", "excluded", true);
        check("lab", "excluded", false);
        check("LAB", "excluded ", false);
        check("LAB", "goran", false);
    }
}
