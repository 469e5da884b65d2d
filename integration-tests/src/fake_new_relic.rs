//! A stand-in for New Relic's event API: what it says on the wire, and what each account would have.
//!
//! As the real one, it looks at address, key, headers and size first:
//!
//! | what | answer |
//! |---|---|
//! | another address, or an account that is not there | 404 |
//! | no `Api-Key`, or not this account's | 403 |
//! | not `application/json`, or an encoding that is neither gzip nor deflate nor none | 415 |
//! | more than 10^6 bytes as they came | 413 |
//! | the rest | 200 `{"success":true,"uuid":"…"}` |
//!
//! and at the events only afterwards: more than 2000 of them, what is no JSON, an event without `eventType`, nested
//! values, names longer than 255 or values longer than 4096 characters, or a time more than a day away are no
//! refusal but an integration error. Events that hold [`FakeNewRelic::refuse`]d text make a request a 400, as a
//! proxy that checks contents might.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::MutexGuard;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::fake_influx::Fault;
use crate::sandbox::wait_for;
use crate::stand_in::{Asked, Reaction, Service, StandIn};

/// Bytes of one request's body, as it came.
pub const POST_BYTES_MAX: usize = 1_000_000;
/// Events of one request.
pub const POST_EVENTS_MAX: usize = 2_000;
const NAME_CHARS_MAX: usize = 255;
const VALUE_CHARS_MAX: usize = 4_096;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct FakePost {
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Of the body, as it came.
    pub bytes: usize,
    /// In the body, when it could be read.
    pub events: usize,
    /// Of the answer; `None` when there was none.
    pub status: Option<u16>,
}

/// The running stand-in.
pub struct FakeNewRelic(StandIn<State>);

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    refused_text: Option<String>,
    posts: Vec<FakePost>,
}

#[derive(Default)]
struct Account {
    api_key: String,
    events: Vec<Value>,
    integration_errors: Vec<String>,
    faults: VecDeque<Fault>,
    outage: Option<Fault>,
}

impl FakeNewRelic {
    /// With these accounts: id and key.
    pub fn start(accounts: &[(&str, &str)]) -> Self {
        let account = |(id, api_key): &(&str, &str)| {
            ((*id).to_owned(), Account { api_key: (*api_key).to_owned(), ..Account::default() })
        };
        let accounts = accounts.iter().map(account).collect();
        Self(StandIn::start(State { accounts, ..State::default() }))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// What `newRelic.event.url` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// What an account has, in the order in which it came.
    pub fn events(&self, account: &str) -> Vec<Value> {
        self.state().accounts.get(account).map(|account| account.events.clone()).unwrap_or_default()
    }

    /// What an account would have as `NrIntegrationError`: taken and not understood.
    pub fn integration_errors(&self, account: &str) -> Vec<String> {
        let state = self.state();
        state.accounts.get(account).map(|account| account.integration_errors.clone()).unwrap_or_default()
    }

    /// Every request that arrived, in order.
    pub fn posts(&self) -> Vec<FakePost> {
        self.state().posts.clone()
    }

    /// The next requests for this account meet these, one each.
    pub fn next_posts(&self, account: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state().accounts.entry(account.to_owned()).or_default().faults.extend(faults);
    }

    /// Every request for this account meets this until it is `None` again.
    pub fn outage(&self, account: &str, fault: Option<Fault>) {
        self.state().accounts.entry(account.to_owned()).or_default().outage = fault;
    }

    /// Requests with an event that holds this text are a 400.
    pub fn refuse(&self, text: &str) {
        self.state().refused_text = Some(text.to_owned());
    }

    /// Another key for an account, as an administrator may give it.
    pub fn set_key(&self, account: &str, api_key: &str) {
        self.state().accounts.entry(account.to_owned()).or_default().api_key = api_key.to_owned();
    }

    /// Waits until an account has so many events.
    pub fn wait_for_events(&self, account: &str, count: usize) {
        wait_for(&format!("{count} events of {account}"), || {
            (self.events(account).len() >= count).then_some(())
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.service()
    }
}

// === impl State ===

impl Service for State {
    fn react(&mut self, asked: Asked) -> Reaction {
        let events = events_of(&asked);
        let mut post = FakePost {
            path: asked.full.clone(),
            headers: asked.headers.clone(),
            bytes: asked.body.len(),
            events: events.as_ref().map_or(0, Vec::len),
            status: None,
        };
        let reaction = self.take(&asked, events);
        post.status = reaction.status();
        self.posts.push(post);
        reaction
    }
}

impl State {
    fn take(&mut self, asked: &Asked, events: Result<Vec<Value>, String>) -> Reaction {
        let id = asked.full.strip_prefix("/v1/accounts/").and_then(|rest| rest.strip_suffix("/events"));
        let Some(account) = id.and_then(|id| self.accounts.get_mut(id)).filter(|_| asked.method == "POST")
        else {
            return Reaction::answer(404, json!({ "error": "no such account or address" }));
        };
        if asked.header("api-key") != account.api_key || account.api_key.is_empty() {
            return Reaction::answer(403, json!({ "error": "invalid Api-Key" }));
        }
        let fault = account.faults.pop_front().or(account.outage);
        match fault {
            Some(Fault::Status(status)) => return Reaction::answer(status, json!({ "error": "a fault" })),
            Some(Fault::Busy(status, seconds)) => {
                return Reaction::Answer(status, Some(seconds), json!({ "error": "busy" }));
            }
            Some(Fault::Page(status)) => return Reaction::page(status),
            Some(Fault::Hang) => return Reaction::Hang,
            Some(Fault::Cut) => return Reaction::Cut,
            Some(Fault::CutAfterStoring) | None => {}
        }
        let is_json = asked.header("content-type").starts_with("application/json");
        if !is_json || !matches!(asked.header("content-encoding"), "" | "gzip" | "deflate") {
            return Reaction::answer(415, json!({ "error": "content type or encoding" }));
        }
        if asked.body.len() > POST_BYTES_MAX {
            return Reaction::answer(413, json!({ "error": "payload too large" }));
        }
        let holds =
            |events: &[Value], text: &str| events.iter().any(|event| event.to_string().contains(text));
        if let (Ok(events), Some(text)) = (&events, &self.refused_text)
            && holds(events, text)
        {
            return Reaction::answer(400, json!({ "error": format!("refused: {text}") }));
        }
        match events.and_then(|events| check_all(&events).map(|()| events)) {
            Ok(events) => account.events.extend(events),
            Err(error) => account.integration_errors.push(error),
        }
        match fault {
            Some(Fault::CutAfterStoring) => Reaction::Cut,
            _ => Reaction::answer(
                200,
                json!({ "success": true, "uuid": format!("{:08x}", account.events.len()) }),
            ),
        }
    }
}

/// One object, or an array of them.
fn events_of(asked: &Asked) -> Result<Vec<Value>, String> {
    let mut text = Vec::new();
    if asked.header("content-encoding") == "gzip" {
        let read = GzDecoder::new(&asked.body[..]).read_to_end(&mut text);
        read.map_err(|error| error.to_string())?;
    } else {
        text.clone_from(&asked.body);
    }
    let json: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    Ok(match json {
        Value::Array(events) => events,
        one => vec![one],
    })
}

fn check_all(events: &[Value]) -> Result<(), String> {
    if events.len() > POST_EVENTS_MAX {
        return Err(format!("{} events", events.len()));
    }
    events.iter().try_for_each(check)
}

fn check(event: &Value) -> Result<(), String> {
    let object = event.as_object().ok_or("no object")?;
    let kind = object.get("eventType").and_then(Value::as_str).ok_or("no eventType")?;
    if kind.is_empty() || !kind.chars().all(|c| c.is_ascii_alphanumeric() || "_: ".contains(c)) {
        return Err(format!("eventType {kind:?}"));
    }
    for (name, value) in object {
        let is_short = match value {
            Value::String(text) => text.chars().count() <= VALUE_CHARS_MAX,
            Value::Number(_) => true,
            _ => return Err(format!("{name} is neither text nor number")),
        };
        if !is_short || name.chars().count() > NAME_CHARS_MAX {
            return Err(format!("{name} is too long"));
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    match object.get("timestamp").map(|time| time.as_u64().ok_or(time)) {
        Some(Err(time)) => Err(format!("timestamp {time}")),
        Some(Ok(time)) if time.abs_diff(now) > DAY_MS => Err(format!("timestamp {time} is a day away")),
        _ => Ok(()),
    }
}
