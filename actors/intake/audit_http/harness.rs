//! Test harness of the audit API: a server with a recording journal, and a client that sends raw bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::audit::conflict::Remembered;

use crate::intake::audit_http_ingestor::{AuditHttpConfig, AuditHttpIngestor, AuditHttpLimits};
use crate::journal::message::{Append, AppendRefused};
use crate::kit::clock::unix_ns;
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{ActorMeter, Metrics};
use crate::kit::supervisor::{RestartPolicy, Supervision};
use crate::kit::testing::{Probe, discard_log};
use butler_sos_domain::streams::Stream;

/// A valid event; each `n` makes a different one.
pub fn event(n: u32) -> String {
    event_of_type("event.test", n)
}

pub fn event_of_type(event_type: &str, n: u32) -> String {
    format!(
        r#"{{"schemaVersion":1,"eventId":"00000000-0000-4000-8000-{n:012}","timestamp":"2026-11-20T10:11:12.345Z","type":"{event_type}","source":{{"kind":"qlik-sense-extension","name":"audit-qs","version":"0.4.0"}},"payload":{{"context":{{"user":"LAB\\goran"}},"event":{{"selectionTxnId":"11111111-2222-4333-8444-555555555555","screenshotUrl":"https://qlik.test/a.png"}}}}}}"#
    )
}

pub type Answered = Result<std::ops::Range<u64>, AppendRefused>;

pub struct Harness {
    pub address: SocketAddr,
    pub addr: Addr<AuditHttpIngestor>,
    pub close: Mailbox<Close>,
    pub appended: Arc<Mutex<Vec<Append>>>,
    pub metrics: Metrics,
    pub actor: ActorMeter,
}

impl Harness {
    pub fn start(config: AuditHttpConfig) -> Self {
        Self::start_with(config, &[], |_| Ok(0..1))
    }

    /// The probe counts accepted events as the journal would.
    pub fn start_with(
        config: AuditHttpConfig,
        recent: &[String],
        mut answer: impl FnMut(&Append) -> Answered + 'static,
    ) -> Self {
        let metrics = Metrics::new();
        let intake = metrics.intake("audit_events");
        let counts = intake.clone();
        let (to_journal, appended) = Probe::mailbox(100_000, move |append: &Append| {
            let answer = answer(append);
            let counter = match &answer {
                Ok(_) => counts.stored.clone(),
                Err(AppendRefused::Full) => counts.shed("journal_full"),
                Err(AppendRefused::Disk(_)) => counts.shed("journal_disk"),
            };
            counter.inc_by(append.records.len() as u64);
            answer
        });
        Self::start_on(config, recent, to_journal, appended, metrics)
    }

    pub fn start_on(
        config: AuditHttpConfig,
        recent: &[String],
        to_journal: Mailbox<Append>,
        appended: Arc<Mutex<Vec<Append>>>,
        metrics: Metrics,
    ) -> Self {
        Self::start_logged(config, recent, to_journal, appended, metrics, discard_log())
    }

    pub fn start_logged(
        config: AuditHttpConfig,
        recent: &[String],
        to_journal: Mailbox<Append>,
        appended: Arc<Mutex<Vec<Append>>>,
        metrics: Metrics,
        log: slog::Logger,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (intake, actor) = (metrics.intake("audit_events"), metrics.actor("audit_http_ingestor"));
        let known = recent
            .iter()
            .filter_map(|body| Remembered::of(&AuditRecord::received(unix_ns(), body.as_bytes())));
        let known: Vec<_> = known.collect();
        let ingestor =
            AuditHttpIngestor::new(config, listener, to_journal, intake.clone(), actor.clone(), log, known)
                .unwrap();
        let supervision = Supervision {
            policy: RestartPolicy { backoff: Duration::from_millis(1), ..RestartPolicy::default() },
            log: discard_log(),
            give_up: Arc::new(|_| {}),
            #[cfg(feature = "test-panics")]
            switches: crate::kit::supervisor::PanicSwitches::default(),
        };
        let addr = supervision.start(&actix_rt::Arbiter::current(), actor.clone(), move || ingestor);
        let close = Mailbox::new(addr.clone().recipient::<Envelope<Close>>(), 1);
        Self { address, addr, close, appended, metrics, actor }
    }

    /// Sends a raw request and reads the answer, on a separate thread.
    pub async fn send(&self, request: impl Into<Vec<u8>>) -> Got {
        let (address, request) = (self.address, request.into());
        actix_rt::task::spawn_blocking(move || Client::connect(address).ask(&request)).await.unwrap()
    }

    pub async fn post(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Got {
        self.send(request("POST", "/api/v1/audit-event", headers, body.as_ref())).await
    }

    /// Posts an event as Audit.qs sends it.
    pub async fn post_event(&self, body: &str) -> Got {
        self.post(&PLAIN, body).await
    }

    /// Streams and bodies of the stored events.
    pub fn stored(&self) -> Vec<(Stream, String)> {
        let appended = self.appended.lock().unwrap();
        let bodies = |append: &Append| {
            let stream = append.stream;
            bodies_of(append).into_iter().map(move |body| (stream, body)).collect::<Vec<_>>()
        };
        appended.iter().flat_map(bodies).collect()
    }

    /// received = stored + rejected + shed, each with its reasons.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in self.metrics.expose().lines() {
            let Some((name, labels, value)) = line.strip_prefix("butler_sos_events_").and_then(|line| {
                let (name, rest) = line.split_once("_total{")?;
                let (labels, value) = rest.split_once("} ")?;
                Some((name, labels, value))
            }) else {
                continue;
            };
            let reason = labels.split("reason=\"").nth(1).map(|rest| rest.trim_end_matches('"'));
            let value: u64 = value.parse().unwrap();
            if value > 0 {
                counts.insert(reason.map_or(name.to_owned(), |reason| format!("{name} {reason}")), value);
            }
        }
        counts
    }

    pub fn assert_conserved(&self) {
        let counts = self.counts();
        let accounted: u64 = counts
            .iter()
            .filter(|(name, _)| {
                *name == "stored" || name.starts_with("rejected ") || name.starts_with("shed ")
            })
            .map(|(_, count)| count)
            .sum();
        assert_eq!(counts.get("received").copied().unwrap_or_default(), accounted, "{counts:?}");
    }
}

pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const PLAIN: [(&str, &str); 2] = [JSON, ("X-Audit-QS-Version", "0.4.0")];

/// A config without a limit per address.
pub fn limited(limits: AuditHttpLimits) -> AuditHttpConfig {
    AuditHttpConfig { limits, ..unlimited() }
}

pub fn unlimited() -> AuditHttpConfig {
    AuditHttpConfig { client_per_minute: None, ..AuditHttpConfig::default() }
}

/// The bodies in an append.
pub fn bodies_of(append: &Append) -> Vec<String> {
    let body = |bytes: &[u8]| {
        let record = AuditRecord::decode(bytes).unwrap();
        assert!(record.received_ns > 0 && record.screenshot.is_empty());
        String::from_utf8(record.body.to_vec()).unwrap()
    };
    append.records.records().map(body).collect()
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: audit.test\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || method == "POST" {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A connection that blocks its thread.
pub struct Client(TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, request: &[u8]) -> Got {
        self.write(request);
        read_answer(&mut self.0, request.starts_with(b"HEAD"))
    }
}

/// Reads one answer. Its body has a length, as in all our answers.
pub fn read_answer(stream: &mut impl Read, is_head: bool) -> Got {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the connection ended in: {head:?}");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { length }];
    stream.read_exact(&mut body).unwrap();
    Got { status, headers, body: String::from_utf8(body).unwrap() }
}
