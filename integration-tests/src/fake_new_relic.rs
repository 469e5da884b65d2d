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
//!
//! Runs on a thread of its own, so that tests may block.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::fake_influx::Fault;
use crate::sandbox::wait_for;

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
pub struct FakeNewRelic {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

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
        let state = Arc::new(Mutex::new(State { accounts, ..State::default() }));
        let (started, starts) = mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let shared = web::Data::from(shared);
                let server = HttpServer::new(move || {
                    App::new().app_data(shared.clone()).default_service(web::to(serve))
                });
                let server = server.workers(1).disable_signals().shutdown_timeout(0);
                let server = server.bind(("127.0.0.1", 0)).expect("a free port");
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).expect("the starter waits");
                let _ = server.await;
            });
        });
        let (address, server) = starts.recv().expect("the stand-in starts");
        Self { address, state, server, thread: Some(thread) }
    }

    /// What `newRelic.event.url` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeNewRelic {
    fn drop(&mut self) {
        let stopping = self.server.stop(false);
        let runtime = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(stopping);
        };
        thread::scope(|scope| _ = scope.spawn(runtime).join());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request, taken apart.
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

enum Reaction {
    Answer(u16, Option<u64>, Value),
    Hang,
    Cut,
}

fn answer(status: u16, body: Value) -> Reaction {
    Reaction::Answer(status, None, body)
}

async fn serve(
    state: web::Data<Mutex<State>>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> HttpResponse {
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = payload.next().await {
        body.extend_from_slice(&chunk);
    }
    let header =
        |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().iter().map(header).collect(),
        body,
    };
    let reaction = state.lock().unwrap_or_else(PoisonError::into_inner).react(asked);
    match reaction {
        Reaction::Answer(status, retry_after, body) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
            if let Some(seconds) = retry_after {
                answer.insert_header(("Retry-After", seconds.to_string()));
            }
            answer.json(body)
        }
        Reaction::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            HttpResponse::NoContent().finish()
        }
        // Ends the connection's task, and no hook prints it.
        Reaction::Cut => std::panic::resume_unwind(Box::new("cut")),
    }
}

// === impl State ===

impl State {
    fn react(&mut self, asked: Asked) -> Reaction {
        let events = asked.events();
        let mut post = FakePost {
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            bytes: asked.body.len(),
            events: events.as_ref().map_or(0, Vec::len),
            status: None,
        };
        let reaction = self.take(&asked, events);
        if let Reaction::Answer(status, ..) = &reaction {
            post.status = Some(*status);
        }
        self.posts.push(post);
        reaction
    }

    fn take(&mut self, asked: &Asked, events: Result<Vec<Value>, String>) -> Reaction {
        let id = asked.path.strip_prefix("/v1/accounts/").and_then(|rest| rest.strip_suffix("/events"));
        let Some(account) = id.and_then(|id| self.accounts.get_mut(id)).filter(|_| asked.method == "POST")
        else {
            return answer(404, json!({ "error": "no such account or address" }));
        };
        if asked.header("api-key") != account.api_key || account.api_key.is_empty() {
            return answer(403, json!({ "error": "invalid Api-Key" }));
        }
        let fault = account.faults.pop_front().or(account.outage);
        match fault {
            Some(Fault::Status(status)) => return answer(status, json!({ "error": "a fault" })),
            Some(Fault::Busy(status, seconds)) => {
                return Reaction::Answer(status, Some(seconds), json!({ "error": "busy" }));
            }
            Some(Fault::Hang) => return Reaction::Hang,
            Some(Fault::Cut) => return Reaction::Cut,
            Some(Fault::CutAfterStoring) | None => {}
        }
        let is_json = asked.header("content-type").starts_with("application/json");
        if !is_json || !matches!(asked.header("content-encoding"), "" | "gzip" | "deflate") {
            return answer(415, json!({ "error": "content type or encoding" }));
        }
        if asked.body.len() > POST_BYTES_MAX {
            return answer(413, json!({ "error": "payload too large" }));
        }
        let holds =
            |events: &[Value], text: &str| events.iter().any(|event| event.to_string().contains(text));
        if let (Ok(events), Some(text)) = (&events, &self.refused_text)
            && holds(events, text)
        {
            return answer(400, json!({ "error": format!("refused: {text}") }));
        }
        match events.and_then(|events| check_all(&events).map(|()| events)) {
            Ok(events) => account.events.extend(events),
            Err(error) => account.integration_errors.push(error),
        }
        match fault {
            Some(Fault::CutAfterStoring) => Reaction::Cut,
            _ => answer(200, json!({ "success": true, "uuid": format!("{:08x}", account.events.len()) })),
        }
    }
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// One object, or an array of them.
    fn events(&self) -> Result<Vec<Value>, String> {
        let mut text = Vec::new();
        match self.header("content-encoding") {
            "gzip" => {
                let read = GzDecoder::new(&self.body[..]).read_to_end(&mut text);
                read.map_err(|error| error.to_string())?;
            }
            _ => text.clone_from(&self.body),
        }
        let json: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        Ok(match json {
            Value::Array(events) => events,
            one => vec![one],
        })
    }
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
