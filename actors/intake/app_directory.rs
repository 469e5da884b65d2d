//! Learns the names of apps from Qlik's repository service (QRS).
//!
//! Receives: nothing; it polls QRS at fixed intervals.
//! Sends: `AppNamesLearned` to the parser after each successful poll.
//! Keeps: its HTTPS client, created again when a certificate file changes.
//! When full: waits for the parser to take the last table before the next poll.
//! When it fails: failed polls are logged when they begin and when they end; the parser keeps the last table.
//!
//! Contract: user-events.md, "Enrichment". `GET /qrs/app` answers an array of objects with `id` and `name`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use awc::http::StatusCode;
use butler_sos_domain::app_id::AppNames;
use serde::Deserialize;
use serde_json::value::RawValue;
use slog::{Logger, debug, info, warn};

use crate::intake::message::AppNamesLearned;
use crate::kit::mailbox::Mailbox;
use crate::kit::metric::ActorMeter;
use crate::net::http_client::{class_of_no_response, no_response};
use crate::net::tls::certificate_fault::CertificateWatch;
use crate::net::tls::reread::Reread;
use crate::net::tls::{ClientTls, ReloadingTls, TlsError, http_client};
use butler_sos_settings::section;

/// `Butler-SOS.appNames` and `Butler-SOS.cert`.
#[derive(Debug, Clone)]
pub struct AppDirectoryConfig {
    /// `hostIP`: a name or an address.
    pub host: String,
    /// `extractInterval`: from the end of one poll to the start of the next.
    pub interval: Duration,
    pub limits: AppDirectoryLimits,
    pub tls: ClientTls,
    pub reread: Reread,
}

section! {
    /// Requests to QRS for app names.
    pub struct AppDirectoryLimits {
        /// The port of QRS.
        "port" => port: u16 = remote_port(4242);
        /// Time limit of one request in milliseconds.
        "timeoutMs" => timeout_ms: u64 = int(30_000, 100..=600_000);
        /// Maximum number of names. Of more apps, the server keeps those published last: QRS gives no other time in
        /// its short form of an app.
        "entriesMax" => entries_max: usize = int(100_000, 1..=10_000_000);
        /// Maximum response size.
        "bodyBytesMax" => body_bytes_max: u64 = bytes("128 MiB", 1_024..=4_294_967_296);
    }
}

impl AppDirectoryConfig {
    /// The time limit of one whole poll.
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.limits.timeout_ms)
    }

    fn body_bytes_max(&self) -> usize {
        usize::try_from(self.limits.body_bytes_max).unwrap_or(usize::MAX)
    }
}

/// The actor.
pub struct AppDirectory {
    config: AppDirectoryConfig,
    to_parser: Mailbox<AppNamesLearned>,
    actor: ActorMeter,
    log: Logger,
}

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no response from the repository service: {detail}")]
    NoResponse { class: &'static str, detail: String },
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer cannot be read: {0}")]
    Body(String),
    #[error("the answer is not an array in JSON: {0}")]
    NotAnArray(serde_json::Error),
    #[error("no response in time")]
    TimedOut,
    #[error("the blocking task ended unexpectedly")]
    Blocking,
}

impl PollError {
    /// A short stable word for the metric.
    fn class(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::NoResponse { class, .. } => class,
            Self::Status(_) => "status",
            Self::Body(_) => "body",
            Self::NotAnArray(_) => "not_an_array",
            Self::TimedOut => "timeout",
            Self::Blocking => "blocking",
        }
    }
}

impl AppDirectory {
    #[must_use]
    pub fn new(
        config: AppDirectoryConfig,
        to_parser: Mailbox<AppNamesLearned>,
        actor: ActorMeter,
        log: Logger,
    ) -> Self {
        Self { config, to_parser, actor, log }
    }
}

impl Actor for AppDirectory {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let poller = Poller {
            tls: Some(ReloadingTls::new(self.config.tls.clone(), self.config.reread.clone())),
            client: None,
            watch: CertificateWatch::default(),
            config: self.config.clone(),
        };
        let (to_parser, actor, log) = (self.to_parser.clone(), self.actor.clone(), self.log.clone());
        ctx.spawn(poll_for_ever(poller, to_parser, actor, log).into_actor(self));
    }
}

impl Supervised for AppDirectory {}

async fn poll_for_ever(
    mut poller: Poller,
    to_parser: Mailbox<AppNamesLearned>,
    actor: ActorMeter,
    log: Logger,
) {
    let interval = poller.config.interval;
    let mut failures = 0_u64;
    let mut logged = String::new();
    let mut is_over = false;
    loop {
        let polled = tokio::time::timeout(poller.config.timeout(), poller.poll()).await;
        match polled.unwrap_or(Err(PollError::TimedOut)) {
            Ok(Apps { names, left_out }) => {
                if failures > 0 {
                    info!(log, "app names are updated again"; "failures" => failures);
                    failures = 0;
                    logged.clear();
                }
                debug!(log, "app names updated"; "apps" => names.len());
                if left_out > 0 {
                    actor.rejected("over_limit", left_out);
                    if !is_over {
                        warn!(log, "too many apps, some app names are not kept";
                            "kept" => names.len(), "left_out" => left_out,
                            "setting" => "Pipeline.appDirectory.entriesMax");
                    }
                }
                is_over = left_out > 0;
                if to_parser.deliver(AppNamesLearned(Arc::new(names)), 1).await.is_ok() {
                    actor.sent.inc();
                }
            }
            Err(error) => {
                actor.rejected(error.class(), 1);
                actor.failed(error.class());
                let error = error.to_string();
                if error != logged {
                    warn!(log, "cannot update the app names, will retry";
                        "host" => &poller.config.host, "error" => &error);
                    logged = error;
                }
                failures += 1;
            }
        }
        tokio::time::sleep(interval).await;
    }
}

struct Poller {
    config: AppDirectoryConfig,
    /// Absent while a blocking task checks the files.
    tls: Option<ReloadingTls>,
    client: Option<awc::Client>,
    /// Observes the certificates of that client's connector.
    watch: CertificateWatch,
}

impl Poller {
    async fn poll(&mut self) -> Result<Apps, PollError> {
        let client = self.client().await?;
        let key = xrfkey();
        let mut answer = client
            .get(self.url(&key))
            .insert_header(("X-Qlik-Xrfkey", key.as_str()))
            .insert_header(("X-Qlik-User", "UserDirectory=Internal; UserId=sa_repository"))
            .insert_header(("Accept", "application/json"))
            .send()
            .await
            .map_err(|error| PollError::NoResponse {
                class: class_of_no_response(&error),
                detail: no_response(&error, &self.watch),
            })?;
        if !answer.status().is_success() {
            return Err(PollError::Status(answer.status()));
        }
        let body = answer.body().limit(self.config.body_bytes_max()).await;
        let body = body.map_err(|error| PollError::Body(error.to_string()))?;
        let entries_max = self.config.limits.entries_max;
        actix_rt::task::spawn_blocking(move || names_in(&body, entries_max).map_err(PollError::NotAnArray))
            .await
            .unwrap_or(Err(PollError::Blocking))
    }

    /// The client, created again when a certificate file has changed. While the files are invalid there is
    /// none, because a withdrawn certificate must no longer be used.
    async fn client(&mut self) -> Result<awc::Client, PollError> {
        let mut tls = self
            .tls
            .take()
            .unwrap_or_else(|| ReloadingTls::new(self.config.tls.clone(), self.config.reread.clone()));
        let watch = tls.watch();
        let looked = actix_rt::task::spawn_blocking(move || {
            let changed = tls.changed();
            (tls, changed)
        });
        let (tls, changed) = looked.await.map_err(|_| PollError::Blocking)?;
        self.tls = Some(tls);
        if let Some(connector) = changed? {
            self.watch = watch;
            self.client = Some(http_client(connector, self.config.timeout()));
        }
        match &self.client {
            Some(client) => Ok(client.clone()),
            None => {
                // A cancelled poll lost the connector: create it again for the next poll.
                self.tls = None;
                Err(PollError::Blocking)
            }
        }
    }

    fn url(&self, key: &str) -> String {
        let AppDirectoryConfig { host, limits: AppDirectoryLimits { port, .. }, .. } = &self.config;
        let bare = host.trim().trim_start_matches('[').trim_end_matches(']');
        match bare.contains(':') {
            true => format!("https://[{bare}]:{port}/qrs/app?xrfkey={key}"),
            false => format!("https://{bare}:{port}/qrs/app?xrfkey={key}"),
        }
    }
}

/// Sixteen random characters. QRS requires the same value in a header and in the query, against forged
/// requests.
fn xrfkey() -> String {
    const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..16).map(|_| char::from(CHARACTERS[rand::random_range(0..CHARACTERS.len())])).collect()
}

#[derive(Deserialize)]
struct App<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// A quoted time in ISO 8601; `"1753-01-01T00:00:00.000Z"` for an app that is not published.
    #[serde(borrow, default, rename = "publishTime")]
    publish_time: Option<&'a RawValue>,
}

/// The result of one poll.
struct Apps {
    names: AppNames,
    /// Apps beyond the limit.
    left_out: u64,
}

/// The names in QRS's answer. Elements of the array that are not apps are ignored.
fn names_in(body: &[u8], entries_max: usize) -> Result<Apps, serde_json::Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let items: Vec<&RawValue> = serde_json::from_slice(body)?;
    let mut apps: Vec<App<'_>> =
        items.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect();
    let left_out = apps.len().saturating_sub(entries_max) as u64;
    if left_out > 0 {
        // Times of one format sort as text. The sort is stable, so each poll leaves out the same apps.
        apps.sort_by_key(|app| std::cmp::Reverse(app.publish_time.map(RawValue::get)));
        apps.truncate(entries_max);
    }
    Ok(Apps { names: AppNames::new(apps.iter().map(|app| (&*app.id, &*app.name))), left_out })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix_web::{App as WebApp, HttpRequest, HttpResponse, HttpServer, web};

    use super::*;
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{Probe, discard_log, until};
    use crate::net::tls::tests::Pki;

    const ID: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

    #[test]
    fn invalid_apps_in_an_answer_are_ignored() {
        let check = |body: &str, expect: Option<Option<&str>>| {
            let got = names_in(body.as_bytes(), 100).ok();
            assert_eq!(got.as_ref().map(|apps| apps.names.get(ID)), expect, "{body}");
        };
        check(&format!(r#"[{{"id":"{ID}","name":"Sales","published":true}}]"#), Some(Some("Sales")));
        check(&format!("\u{feff}[{{\"id\":\"{ID}\",\"name\":\"S\\u00e5\"}}]"), Some(Some("Så")));
        check(&format!(r#"[1, null, {{"id":7,"name":"x"}}, {{"id":"{ID}"}}]"#), Some(None));
        check(
            &format!(r#"[{{"id":"no uuid","name":"x"}}, {{"name":"Sales","id":"{ID}"}}]"#),
            Some(Some("Sales")),
        );
        check("[]", Some(None));
        check("{}", None);
        check("<html>", None);
        check("", None);
        check("[{", None);
    }

    #[test]
    fn of_too_many_apps_the_last_published_are_kept() {
        let id = |n: u32| format!("a421f4a2-c311-4ef4-ba41-{n:012}");
        let app = |n: u32, time: &str| format!(r#"{{"id":"{}","name":"{n}"{time}}}"#, id(n));
        let times = [
            r#","publishTime":"2024-05-01T00:00:00.000Z""#,
            r#","publishTime":"1753-01-01T00:00:00.000Z""#,
            "",
            r#","publishTime":"2026-01-01T00:00:00.000Z""#,
            r#","publishTime":7"#,
            r#","publishTime":"1753-01-01T00:00:00.000Z""#,
        ];
        let apps: Vec<String> = (0..).zip(times).map(|(n, time)| app(n, time)).collect();
        let body = format!("[{}]", apps.join(","));
        let check = |entries_max: usize, expect: &[u32], left_out: u64| {
            let apps = names_in(body.as_bytes(), entries_max).unwrap();
            let known: Vec<u32> = (0..6).filter(|n| apps.names.get(&id(*n)).is_some()).collect();
            assert_eq!((known.as_slice(), apps.left_out), (expect, left_out), "{entries_max}");
        };
        check(7, &[0, 1, 2, 3, 4, 5], 0);
        check(6, &[0, 1, 2, 3, 4, 5], 0);
        check(4, &[0, 1, 3, 4], 2);
        check(2, &[3, 4], 4);
        check(0, &[], 6);
    }

    #[test]
    fn keys_are_sixteen_letters_and_digits() {
        let (a, b) = (xrfkey(), xrfkey());
        assert!(a.len() == 16 && a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }

    /// A repository with scripted answers.
    struct Qrs {
        answer: Mutex<(u16, String)>,
        polls: Mutex<u32>,
    }

    async fn qrs(request: HttpRequest, state: web::Data<Qrs>) -> HttpResponse {
        *state.polls.lock().unwrap() += 1;
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let key = header("X-Qlik-Xrfkey");
        let right = request.query_string() == format!("xrfkey={key}")
            && key.len() == 16
            && header("X-Qlik-User") == "UserDirectory=Internal; UserId=sa_repository";
        let (status, body) = state.answer.lock().unwrap().clone();
        let status = if right { status } else { 400 };
        HttpResponse::build(StatusCode::from_u16(status).unwrap()).body(body)
    }

    #[actix_rt::test]
    async fn names_are_polled_over_mutual_tls() {
        let pki = Pki::new();
        let body = |name: &str| format!(r#"[{{"id":"{ID}","name":"{name}"}}]"#);
        let state = web::Data::new(Qrs { answer: Mutex::new((200, body("one"))), polls: Mutex::default() });
        let shared = state.clone();
        let server = HttpServer::new(move || {
            WebApp::new().app_data(shared.clone()).route("/qrs/app", web::get().to(qrs))
        })
        .workers(1)
        .bind_openssl("127.0.0.1:0", pki.acceptor())
        .unwrap();
        let port = server.addrs()[0].port();
        actix_rt::spawn(server.run());

        let (to_parser, learned) = Probe::mailbox(1, |_: &AppNamesLearned| ());
        let config = AppDirectoryConfig {
            host: "localhost".into(),
            interval: Duration::from_millis(20),
            limits: AppDirectoryLimits { port, timeout_ms: 5_000, body_bytes_max: 1_000, entries_max: 2 },
            tls: pki.tls(),
            reread: Reread::default(),
        };
        let metrics = Metrics::new();
        let meter = metrics.actor("app_directory");
        let _addr = AppDirectory::new(config, to_parser, meter, discard_log()).start();

        let last = || {
            let learned = learned.lock().unwrap();
            learned.last().and_then(|learned| learned.0.get(ID).map(str::to_owned))
        };
        let polls = || *state.polls.lock().unwrap();
        let answers = |status: u16, body: String| *state.answer.lock().unwrap() = (status, body);
        until(|| last().as_deref() == Some("one")).await;

        // A failed poll changes nothing for the parser.
        for (status, body) in
            [(500, String::new()), (200, "no json".into()), (200, "x".repeat(2_000)), (302, body("x"))]
        {
            answers(status, body);
            let before = polls();
            until(|| polls() > before + 1).await;
            assert_eq!(last().as_deref(), Some("one"));
        }
        answers(200, body("two"));
        until(|| last().as_deref() == Some("two")).await;

        // Apps beyond the limit are counted.
        let other = |n: u32| format!(r#"{{"id":"a421f4a2-c311-4ef4-ba41-{n:012}","name":"x"}}"#);
        answers(200, format!("[{},{},{}]", other(1), other(2), other(3)));
        until(|| metrics.expose().contains("actor=\"app_directory\",reason=\"over_limit\"")).await;
        until(|| learned.lock().unwrap().last().is_some_and(|learned| learned.0.len() == 2)).await;

        // While a certificate is invalid, no poll is sent. When it is valid again, it is read again.
        let ca = pki.dir.path().join("ca.pem");
        let good = std::fs::read(&ca).unwrap();
        std::fs::write(&ca, "broken").unwrap();
        answers(200, body("three"));
        until(|| metrics.expose().contains("actor=\"app_directory\",reason=\"tls\"")).await;
        std::fs::write(&ca, good).unwrap();
        until(|| last().as_deref() == Some("three")).await;
    }
}
