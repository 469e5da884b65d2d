//! What the fake remembers: tickets, sessions, what it was asked, how it is told to behave.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openssl::rand::rand_bytes;

use super::record::Recorded;

/// Records kept; the oldest go first. For a fake that runs by hand for days.
const RECORDS_MAX: usize = 200_000;

/// A user as QPS knows one. Compared as written; for the number of sessions case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    pub directory: String,
    pub id: String,
}

impl User {
    fn folded(&self) -> Self {
        Self { directory: self.directory.to_lowercase(), id: self.id.to_lowercase() }
    }
}

/// How a request without a valid session or ticket is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unauthorized {
    #[default]
    Status401,
    Status403,
    /// 302 to the forms login.
    LoginRedirect,
    /// The login page itself, status 200.
    LoginPage,
    /// The same without a Content-Type.
    UntypedLoginPage,
    /// 302 to this address, as to an identity provider.
    Redirect(&'static str),
}

/// What can be set about a fake before it starts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a ticket can be redeemed.
    pub ticket_life: Duration,
    /// Sessions that a user may have at once; one more and the user is locked out.
    pub sessions_per_user_max: usize,
    /// How long a user stays locked out.
    pub lockout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ticket_life: Duration::from_secs(60),
            sessions_per_user_max: 5,
            lockout: Duration::from_secs(300),
        }
    }
}

/// What became of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// Taken; no session was asked for.
    Taken(User),
    /// Taken, and this session opened.
    Opened { user: User, session_id: String },
    /// Unknown, used, over, or of another virtual proxy.
    Refused,
    /// The user has too many sessions, or had a moment ago.
    LockedOut,
}

/// Counters for tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub tickets_issued: usize,
    /// Redeemed successfully.
    pub tickets_redeemed: usize,
    /// Shown again after they were used.
    pub tickets_reused: usize,
    pub sessions_opened: usize,
    /// Ended by a DELETE at QPS.
    pub sessions_deleted: usize,
    /// DELETEs of sessions that were not open at that virtual proxy.
    pub deletions_missed: usize,
    pub lockouts: usize,
    /// Most sessions that one user had, or asked for, at once.
    pub sessions_of_one_user_max: usize,
    pub images_sent: usize,
    /// Requests whose query's `u` names another user than the session or ticket they came with.
    pub users_mixed: usize,
}

pub struct State {
    limits: Limits,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    records: VecDeque<Recorded>,
    tickets: HashMap<String, Ticket>,
    used_tickets: HashSet<String>,
    sessions: HashMap<String, Session>,
    locked_out: HashMap<User, Instant>,
    secrets: Vec<String>,
    unauthorized: Unauthorized,
    tries: HashMap<String, u32>,
    apps: Vec<(String, String)>,
    counts: Counts,
}

struct Ticket {
    user: User,
    virtual_proxy: String,
    issued: Instant,
}

struct Session {
    user: User,
    virtual_proxy: String,
}

impl State {
    pub fn new(limits: Limits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- records

    pub fn record(&self, record: Recorded) {
        let mut inner = self.inner();
        if inner.records.len() == RECORDS_MAX {
            inner.records.pop_front();
        }
        inner.records.push_back(record);
    }

    pub fn records(&self) -> Vec<Recorded> {
        self.inner().records.iter().cloned().collect()
    }

    pub fn take_records(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.inner().records).into()
    }

    pub fn secrets(&self) -> Vec<String> {
        self.inner().secrets.clone()
    }

    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    pub fn count_image(&self) {
        self.inner().counts.images_sent += 1;
    }

    pub fn count_mixed_users(&self) {
        self.inner().counts.users_mixed += 1;
    }

    // --- tickets and sessions

    pub fn issue_ticket(&self, user: User, virtual_proxy: &str) -> String {
        let ticket = random_text(16);
        let mut inner = self.inner();
        let issued = Instant::now();
        // Nobody redeems these any more.
        inner.tickets.retain(|_, ticket| ticket.issued.elapsed() < self.limits.ticket_life);
        inner
            .tickets
            .insert(ticket.clone(), Ticket { user, virtual_proxy: virtual_proxy.to_owned(), issued });
        inner.secrets.push(ticket.clone());
        inner.counts.tickets_issued += 1;
        ticket
    }

    /// Takes a ticket at a virtual proxy, and opens a session if `opens`.
    pub fn redeem(&self, ticket: &str, virtual_proxy: &str, opens: bool) -> Redeemed {
        let mut inner = self.inner();
        if inner.used_tickets.contains(ticket) {
            inner.counts.tickets_reused += 1;
            return Redeemed::Refused;
        }
        let Some(found) = inner.tickets.remove(ticket) else { return Redeemed::Refused };
        inner.used_tickets.insert(ticket.to_owned());
        if found.virtual_proxy != virtual_proxy || found.issued.elapsed() >= self.limits.ticket_life {
            return Redeemed::Refused;
        }
        let user = found.user;
        if !opens {
            inner.counts.tickets_redeemed += 1;
            return Redeemed::Taken(user);
        }
        let person = user.folded();
        if inner.locked_out.get(&person).is_some_and(|since| since.elapsed() < self.limits.lockout) {
            return Redeemed::LockedOut;
        }
        let open = inner.sessions.values().filter(|session| session.user.folded() == person).count();
        inner.counts.sessions_of_one_user_max = inner.counts.sessions_of_one_user_max.max(open + 1);
        if open >= self.limits.sessions_per_user_max {
            inner.locked_out.insert(person, Instant::now());
            inner.counts.lockouts += 1;
            return Redeemed::LockedOut;
        }
        let session_id = random_guid();
        let session = Session { user: user.clone(), virtual_proxy: virtual_proxy.to_owned() };
        inner.sessions.insert(session_id.clone(), session);
        inner.secrets.push(session_id.clone());
        inner.counts.tickets_redeemed += 1;
        inner.counts.sessions_opened += 1;
        Redeemed::Opened { user, session_id }
    }

    pub fn user_of_session(&self, session_id: &str, virtual_proxy: &str) -> Option<User> {
        let inner = self.inner();
        let session = inner.sessions.get(session_id)?;
        (session.virtual_proxy == virtual_proxy).then(|| session.user.clone())
    }

    /// Ends a session; `None` when there is none of this id at this virtual proxy.
    pub fn delete_session(&self, session_id: &str, virtual_proxy: &str) -> Option<User> {
        let mut inner = self.inner();
        if inner.sessions.get(session_id).is_none_or(|session| session.virtual_proxy != virtual_proxy) {
            inner.counts.deletions_missed += 1;
            return None;
        }
        inner.counts.sessions_deleted += 1;
        inner.sessions.remove(session_id).map(|session| session.user)
    }

    pub fn forget_sessions(&self) {
        let mut inner = self.inner();
        inner.sessions.clear();
        inner.locked_out.clear();
    }

    /// Users of the open sessions.
    pub fn open_sessions(&self) -> Vec<User> {
        self.inner().sessions.values().map(|session| session.user.clone()).collect()
    }

    // --- behaviour

    pub fn set_unauthorized(&self, answer: Unauthorized) {
        self.inner().unauthorized = answer;
    }

    pub fn unauthorized(&self) -> Unauthorized {
        self.inner().unauthorized
    }

    /// How often `what` was tried, this time included.
    pub fn count_try(&self, what: &str) -> u32 {
        let mut inner = self.inner();
        let tries = inner.tries.entry(what.to_owned()).or_default();
        *tries += 1;
        *tries
    }

    pub fn set_apps(&self, apps: Vec<(String, String)>) {
        self.inner().apps = apps;
    }

    pub fn apps(&self) -> Vec<(String, String)> {
        self.inner().apps.clone()
    }
}

/// Random characters that a ticket of Qlik's may hold.
fn random_text(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    random(length).iter().map(|byte| ALPHABET[usize::from(byte % 64)] as char).collect()
}

fn random_guid() -> String {
    let hex = hex::encode(random(16));
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand_bytes(&mut bytes).expect("a source of randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> User {
        User { directory: "LAB".into(), id: id.into() }
    }

    #[test]
    fn a_ticket_is_good_once_at_its_virtual_proxy() {
        let state = State::new(Limits::default());
        let ticket = state.issue_ticket(user("a"), "sales");
        let Redeemed::Opened { session_id, .. } = state.redeem(&ticket, "sales", true) else { panic!() };
        assert_eq!(state.redeem(&ticket, "sales", true), Redeemed::Refused);
        assert_eq!(state.counts().tickets_reused, 1);
        assert_eq!(state.user_of_session(&session_id, "sales"), Some(user("a")));
        assert_eq!(state.user_of_session(&session_id, ""), None);
        assert_eq!(state.delete_session(&session_id, ""), None);
        assert_eq!(state.delete_session(&session_id, "sales"), Some(user("a")));
        let ticket = state.issue_ticket(user("a"), "sales");
        assert_eq!(state.redeem(&ticket, "", true), Redeemed::Refused);
        assert_eq!(state.redeem("unknown", "", true), Redeemed::Refused);
        let brief = State::new(Limits { ticket_life: Duration::ZERO, ..Limits::default() });
        let ticket = brief.issue_ticket(user("a"), "");
        assert_eq!(brief.redeem(&ticket, "", true), Redeemed::Refused);
    }

    #[test]
    fn the_sixth_session_locks_the_user_out() {
        let state = State::new(Limits::default());
        let open = |id: &str| state.redeem(&state.issue_ticket(user(id), ""), "", true);
        let first: Vec<_> = (0..5).map(|_| open("a")).collect();
        assert!(first.iter().all(|r| matches!(r, Redeemed::Opened { .. })));
        assert_eq!(open("a"), Redeemed::LockedOut);
        assert!(matches!(open("b"), Redeemed::Opened { .. }));
        let Redeemed::Opened { session_id, .. } = &first[0] else { panic!() };
        state.delete_session(session_id, "").unwrap();
        assert_eq!(open("a"), Redeemed::LockedOut, "still, for some minutes");
        state.forget_sessions();
        assert!(matches!(open("a"), Redeemed::Opened { .. }));
        assert_eq!(state.counts().lockouts, 1);
    }
}
