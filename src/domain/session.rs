//! The sessions that screenshot downloads share: who has one, how old it is, and what has to be ended.
//!
//! A table with age and bound. A session is one user's, at one virtual proxy of one QPS, in one mode: nothing but
//! an equal key ever finds it. Its age counts from its creation, not from its use. Whatever leaves the table, for
//! whichever reason, comes back as [`Evicted`], so that nobody forgets to end it at QPS. The time is an argument.
//! Rules: contract, screenshots.md, "The walk" 3 and "Session cookie".

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use url::Url;

use crate::identity::folded;
use crate::session_cookie::SessionCookies;
use crate::virtual_proxy::VirtualProxy;

/// How a session's user was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMode {
    /// The user that the event names.
    UserTicket,
    /// The user that the configuration names.
    QpsTicket,
}

/// A person at Qlik Sense, however the events spell the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionUser {
    qps_host: String,
    qps_port: u16,
    /// Both [`folded`].
    directory: String,
    id: String,
}

/// Whose session, where. Keys that differ in the case of a name alone are equal: to Qlik Sense they are one user.
#[derive(Debug, Clone)]
pub struct SessionKey {
    mode: AuthMode,
    user: SessionUser,
    virtual_proxy: VirtualProxy,
    /// Scheme and host of the images: a session's cookie belongs to the host that set it.
    image_origin: String,
    /// As the event spells them.
    user_directory: String,
    user_id: String,
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for SessionKey {}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compared().hash(state);
    }
}

impl SessionKey {
    /// `qps_host`, directory and id are compared without case.
    pub fn new(
        mode: AuthMode,
        qps_host: &str,
        qps_port: u16,
        virtual_proxy: VirtualProxy,
        user_directory: &str,
        user_id: &str,
    ) -> Self {
        Self {
            mode,
            user: SessionUser {
                qps_host: qps_host.to_ascii_lowercase(),
                qps_port,
                directory: folded(user_directory),
                id: folded(user_id),
            },
            virtual_proxy,
            image_origin: String::new(),
            user_directory: user_directory.to_owned(),
            user_id: user_id.to_owned(),
        }
    }

    /// The same for images of this URL's host.
    pub fn for_images_of(mut self, url: &Url) -> Self {
        // Cookies know no ports.
        self.image_origin = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        self
    }

    fn compared(&self) -> (AuthMode, &SessionUser, &VirtualProxy, &str) {
        (self.mode, &self.user, &self.virtual_proxy, &self.image_origin)
    }

    /// The user, over all virtual proxies.
    pub fn user(&self) -> &SessionUser {
        &self.user
    }

    /// The virtual proxy that the ticket is asked from, and the session is ended at.
    pub fn virtual_proxy(&self) -> &VirtualProxy {
        &self.virtual_proxy
    }

    /// As the event spells it, for tickets.
    pub fn user_directory(&self) -> &str {
        &self.user_directory
    }

    pub fn user_id(&self) -> &str {
        &self.user_id
    }
}

/// Why a session left the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// Older than the table keeps sessions.
    Expired,
    /// The least recently used of a full table.
    Full,
    /// A newer session of the same key took its place.
    Replaced,
    /// Qlik Sense did not accept it any more.
    Rejected,
    /// Another virtual proxy's session of the same user takes its place.
    TakenOver,
    /// The table was emptied.
    Drained,
}

/// A session to end at QPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    pub key: SessionKey,
    pub session: SessionCookies,
    pub why: Eviction,
}

/// What the table knows for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Hit(SessionCookies),
    Miss,
    /// There was one, but its time was over.
    Expired(Evicted),
}

/// The table.
pub struct SessionTable {
    entries: LruCache<SessionKey, Entry>,
    ttl: Duration,
}

struct Entry {
    session: SessionCookies,
    created: Instant,
}

impl SessionTable {
    /// `ttl`: how long after its creation a session is given out. `entries_max`: the bound.
    pub fn new(ttl: Duration, entries_max: NonZeroUsize) -> Self {
        // `sparse`: memory follows what is held, not the bound.
        Self { entries: LruCache::sparse(entries_max), ttl }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The session of this key, made the most recently used.
    pub fn get(&mut self, key: &SessionKey, now: Instant) -> Lookup {
        if self.entries.peek(key).is_some_and(|entry| self.is_over(entry, now)) {
            return self.take(key, Eviction::Expired).map_or(Lookup::Miss, Lookup::Expired);
        }
        self.entries.get(key).map_or(Lookup::Miss, |entry| Lookup::Hit(entry.session.clone()))
    }

    /// Keeps a session from `now` on. One that is held already under this key keeps its age. Gives back what had
    /// to go for it: the key's former session, or the least recently used one.
    pub fn put(&mut self, key: SessionKey, session: SessionCookies, now: Instant) -> Option<Evicted> {
        if self.entries.peek(&key).is_some_and(|held| held.session == session) {
            return None;
        }
        let is_replaced = self.entries.contains(&key);
        let (key, mut entry) = self.entries.push(key, Entry { session: session.clone(), created: now })?;
        if is_replaced {
            // What lives on in the new one is not to be ended.
            entry.session = entry.session.without(&session);
        }
        let why = if is_replaced { Eviction::Replaced } else { Eviction::Full };
        (!entry.session.is_empty()).then_some(Evicted { key, session: entry.session, why })
    }

    /// Removes the key's session if it is still this one: another download may have replaced it meanwhile.
    pub fn reject(&mut self, key: &SessionKey, session: &SessionCookies) -> Option<Evicted> {
        if self.entries.peek(key).is_some_and(|held| held.session == *session) {
            self.take(key, Eviction::Rejected)
        } else {
            None
        }
    }

    /// Whether this very session is held under the key; `None` when the key has none.
    pub fn holds(&self, key: &SessionKey, session: &SessionCookies) -> Option<bool> {
        self.entries.peek(key).map(|held| held.session == *session)
    }

    /// Removes the user's least recently used session that nobody uses, so that another one can be opened.
    pub fn take_over(
        &mut self,
        user: &SessionUser,
        is_idle: impl Fn(&SessionKey) -> bool,
    ) -> Option<Evicted> {
        let mut least_first = self.entries.iter().rev().map(|(key, _)| key);
        let key = least_first.find(|key| key.user() == user && is_idle(key))?.clone();
        self.take(&key, Eviction::TakenOver)
    }

    /// Removes all sessions whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<Evicted> {
        let over: Vec<SessionKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| self.is_over(entry, now))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().filter_map(|key| self.take(key, Eviction::Expired)).collect()
    }

    /// When the next session's time is over; `None` when the table is empty or that lies beyond reckoning.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|(_, entry)| entry.created.checked_add(self.ttl)).min()
    }

    /// Empties the table.
    pub fn drain(&mut self) -> Vec<Evicted> {
        std::iter::from_fn(|| self.entries.pop_lru())
            .map(|(key, entry)| Evicted { key, session: entry.session, why: Eviction::Drained })
            .collect()
    }

    fn is_over(&self, entry: &Entry, now: Instant) -> bool {
        now.saturating_duration_since(entry.created) >= self.ttl
    }

    fn take(&mut self, key: &SessionKey, why: Eviction) -> Option<Evicted> {
        let (key, entry) = self.entries.pop_entry(key)?;
        Some(Evicted { key, session: entry.session, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_cookie::{SessionCookieNames, SetSession};
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn session(id: &str) -> SessionCookies {
        let from = url::Url::parse("https://qlik.test/").unwrap();
        match SessionCookieNames::default().read(format!("X-Qlik-Session={id}").as_bytes(), &from) {
            Some(SetSession::Begin(cookie)) => [cookie].into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    fn id(session: &SessionCookies) -> String {
        session.iter().map(|cookie| cookie.expose_id()).collect()
    }

    fn key(user: &str) -> SessionKey {
        SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, VirtualProxy::default(), "LAB", user)
    }

    fn table(ttl_seconds: f64, entries_max: usize) -> SessionTable {
        SessionTable::new(Duration::from_secs_f64(ttl_seconds), NonZeroUsize::new(entries_max).unwrap())
    }

    fn why(evicted: Option<Evicted>) -> Option<(String, Eviction)> {
        evicted.map(|e| (id(&e.session), e.why))
    }

    #[test]
    fn keys_separate() {
        let vp = |vp| VirtualProxy::of_setting(vp).unwrap();
        let base = ("LAB", "goran");
        let keys = [
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), base.0, base.1),
            SessionKey::new(AuthMode::QpsTicket, "qlik.test", 4243, vp(""), base.0, base.1),
            SessionKey::new(AuthMode::UserTicket, "other.test", 4243, vp(""), base.0, base.1),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4244, vp(""), base.0, base.1),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp("analytics"), base.0, base.1),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), "LAB2", base.1),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), base.0, "goran2"),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), "LABg", "oran"),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), base.0, base.1)
                .for_images_of(&Url::parse("https://qlik.test:8443/a.png").unwrap()),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), base.0, base.1)
                .for_images_of(&Url::parse("http://qlik.test/a.png").unwrap()),
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), base.0, base.1)
                .for_images_of(&Url::parse("https://proxy.test/a.png").unwrap()),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        let upper = SessionKey::new(AuthMode::UserTicket, "QLIK.Test", 4243, vp("/"), base.0, base.1);
        assert_eq!(upper, keys[0]);
        // One user, however it is spelled; a ticket is asked for as the event spells it.
        for (directory, id) in [("lab", "goran"), ("LAB", "GORAN"), ("Lab", "Goran"), (" LAB ", "goran ")] {
            let spelled = SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp(""), directory, id);
            assert_eq!(spelled, keys[0]);
            assert_eq!((spelled.user_directory(), spelled.user_id()), (directory, id));
        }
        assert!(keys.iter().filter(|key| key.user() == keys[0].user()).count() == 6);
    }

    #[test]
    fn age_counts_from_creation() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut table = table(1.5, 10);
        assert_eq!(table.get(&key("a"), at(0.0)), Lookup::Miss);
        assert_eq!(table.put(key("a"), session("1"), at(0.0)), None);
        assert_eq!(table.next_expiry(), Some(at(1.5)));
        assert_eq!(table.get(&key("a"), at(1.0)), Lookup::Hit(session("1")));
        // Seen again on a later answer: the same session, as old as before.
        assert_eq!(table.put(key("a"), session("1"), at(1.4)), None);
        assert!(matches!(table.get(&key("a"), at(1.5)), Lookup::Expired(e) if e.why == Eviction::Expired));
        assert_eq!(table.get(&key("a"), at(1.5)), Lookup::Miss);
        assert_eq!(table.next_expiry(), None);
        // A clock that stands or goes back is no reason to end anything.
        table.put(key("a"), session("2"), at(5.0));
        assert_eq!(table.get(&key("a"), at(4.0)), Lookup::Hit(session("2")));
    }

    #[test]
    fn whatever_leaves_comes_back() {
        let start = Instant::now();
        let mut table = table(60.0, 2);
        assert_eq!(why(table.put(key("a"), session("1"), start)), None);
        assert_eq!(why(table.put(key("b"), session("2"), start)), None);
        assert_eq!(why(table.put(key("a"), session("3"), start)), Some(("1".into(), Eviction::Replaced)));
        // `b` is the least recently used now.
        assert_eq!(why(table.put(key("c"), session("4"), start)), Some(("2".into(), Eviction::Full)));
        // Rejected by one download after another has put a fresh one in its place: the fresh one stays.
        assert_eq!(why(table.reject(&key("a"), &session("1"))), None);
        assert_eq!(why(table.reject(&key("x"), &session("1"))), None);
        assert_eq!(why(table.reject(&key("a"), &session("3"))), Some(("3".into(), Eviction::Rejected)));
        table.put(key("d"), session("5"), start + Duration::from_secs(30));
        let expired = table.expire(start + Duration::from_secs(60));
        assert_eq!(expired.iter().map(|e| id(&e.session)).collect::<Vec<_>>(), ["4"]);
        let drained = table.drain();
        assert_eq!(
            drained.iter().map(|e| (id(&e.session), e.why)).collect::<Vec<_>>(),
            [("5".to_owned(), Eviction::Drained)]
        );
        assert!(table.is_empty() && table.drain().is_empty());
    }

    #[test]
    fn the_least_recently_used_idle_session_of_the_user_is_taken_over() {
        let start = Instant::now();
        let mut table = table(60.0, 10);
        let at = |vp: &str, user: &str| {
            let vp = VirtualProxy::of_setting(vp).unwrap();
            SessionKey::new(AuthMode::UserTicket, "qlik.test", 4243, vp, "LAB", user)
        };
        table.put(at("x", "anna"), session("0"), start);
        for (vp, id) in [("a", "1"), ("b", "2"), ("c", "3")] {
            table.put(at(vp, "goran"), session(id), start);
        }
        table.get(&at("a", "GORAN"), start);
        let in_use = at("b", "goran");
        let idle = |key: &SessionKey| *key != in_use;
        let user = at("new", "Goran");
        assert_eq!(why(table.take_over(user.user(), idle)), Some(("3".into(), Eviction::TakenOver)));
        assert_eq!(why(table.take_over(user.user(), idle)), Some(("1".into(), Eviction::TakenOver)));
        assert_eq!(why(table.take_over(user.user(), idle)), None);
        assert_eq!(table.holds(&at("b", "goran"), &session("2")), Some(true));
        assert_eq!(table.holds(&at("b", "goran"), &session("9")), Some(false));
        assert_eq!((table.holds(&at("a", "goran"), &session("1")), table.len()), (None, 2));
    }

    #[test]
    fn the_longest_ttl() {
        let start = Instant::now();
        let mut table = table(2_147_483.0, 1);
        table.put(key("a"), session("1"), start);
        assert!(table.next_expiry().is_some());
        let mut forever = SessionTable::new(Duration::MAX, NonZeroUsize::MIN);
        forever.put(key("a"), session("1"), start);
        assert_eq!(forever.next_expiry(), None);
        assert!(forever.expire(start + Duration::from_secs(1_000_000)).is_empty());
    }

    #[derive(Debug, Clone)]
    enum Op {
        Put(u8),
        Get(u8),
        Reject(u8),
        Expire,
        Wait(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..8).prop_map(Op::Put),
            6 => (0u8..8).prop_map(Op::Get),
            2 => (0u8..8).prop_map(Op::Reject),
            1 => Just(Op::Expire),
            2 => (0u8..40).prop_map(Op::Wait),
        ]
    }

    proptest! {
        /// Every session is made for one user and numbered; over any interleaving a user gets only sessions made
        /// for that user, none older than the age, never more than the bound, and every session that was put in
        /// comes out exactly once.
        #[test]
        fn two_users_never_share_a_session(ops in proptest::collection::vec(op(), 0..200), max in 1usize..6) {
            let mut table = table(100.0, max);
            let mut now = Instant::now();
            let mut made: HashMap<String, (u8, Instant)> = HashMap::new();
            let mut held: HashMap<u8, SessionCookies> = HashMap::new();
            let mut out = Vec::new();
            for op in ops {
                match op {
                    Op::Put(user) => {
                        let fresh = session(&format!("s{}", made.len()));
                        made.insert(id(&fresh), (user, now));
                        out.extend(table.put(key(&user.to_string()), fresh, now));
                    }
                    Op::Get(user) => match table.get(&key(&user.to_string()), now) {
                        Lookup::Hit(found) => {
                            let (owner, born) = made[&id(&found)];
                            prop_assert_eq!(owner, user);
                            prop_assert!(now - born < Duration::from_secs(100));
                            held.insert(user, found);
                        }
                        Lookup::Miss => {}
                        Lookup::Expired(evicted) => out.push(evicted),
                    },
                    Op::Reject(user) => {
                        if let Some(session) = held.remove(&user) {
                            out.extend(table.reject(&key(&user.to_string()), &session));
                        }
                    }
                    Op::Expire => out.extend(table.expire(now)),
                    Op::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                }
                prop_assert!(table.len() <= max);
            }
            out.extend(table.drain());
            for evicted in &out {
                prop_assert_eq!(made[&id(&evicted.session)].0.to_string(), evicted.key.user_id());
            }
            let ended: Vec<String> = out.iter().map(|e| id(&e.session)).collect();
            prop_assert_eq!(ended.iter().collect::<HashSet<_>>().len(), ended.len());
            prop_assert_eq!(ended.len(), made.len());
        }
    }
}
