//! The actors of screenshot downloads with a real journal on one side and the fake Qlik Sense on the other.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Actor;
use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::message::{Append, FetchLimits, NextBatch};
use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::kit::metric::Metrics;
use butler_sos_actors::net::static_hosts::StaticHosts;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::net::tls::{ClientTls, Trust};
use butler_sos_actors::screenshots::image_fetch::{FetchConfig, Login, QpsAddress};
use butler_sos_actors::screenshots::image_writer::{ImageWriter, ImageWriterConfig};
use butler_sos_actors::screenshots::message::{EndAllSessions, FinishDownloads};
use butler_sos_actors::screenshots::redirect_walker::{
    CONSUMER, RedirectWalker, WalkerConfig, WalkerMailboxes,
};
use butler_sos_actors::screenshots::session_cache_actor::{
    CacheLimits, SessionCacheActor, SessionCacheConfig,
};
use butler_sos_actors::screenshots::ticket_actor::{TicketActor, TicketConfig};
use butler_sos_domain::allowed_hosts::AllowedHosts;
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::redirect::WalkRules;
use butler_sos_domain::retry::LaterPolicy;
use butler_sos_domain::streams::Stream;
use butler_sos_domain::ticket_users::TicketUsers;
use butler_sos_domain::transport::{AllowedPorts, PlainHttp};
use butler_sos_domain::turns::TurnLimits;
use butler_sos_domain::virtual_proxy::VirtualProxy;
use butler_sos_integration_tests::fake_qlik::{FakeQlik, NAMES};
use slog::{Drain, Logger, o};

use super::server_harness::names_in;
use crate::sink_harness::{LineLog, start_journal, until};

/// What a test may want otherwise.
#[derive(Clone)]
pub struct Settings {
    pub mode: &'static str,
    pub cache: Option<Duration>,
    pub cache_entries: usize,
    pub concurrency: usize,
    pub attempt_timeout: Duration,
    pub later: LaterPolicy,
    pub passphrase: &'static str,
    pub key_file: &'static str,
    pub qps_ca: &'static str,
    pub per_host: usize,
    /// 0: no bound.
    pub sessions_per_user: usize,
    pub plain_http: PlainHttp,
    /// Empty: every port of https, port 80 of http.
    pub ports: Vec<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: "userTicket",
            cache: Some(Duration::from_secs(120)),
            cache_entries: 100,
            concurrency: 16,
            attempt_timeout: Duration::from_secs(3),
            later: LaterPolicy::default(),
            passphrase: "",
            key_file: "client_key.pem",
            qps_ca: "root.pem",
            per_host: 8,
            sessions_per_user: 3,
            plain_http: PlainHttp::Refused,
            ports: Vec::new(),
        }
    }
}

/// A finished event, as the stream of audit events holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub event_id: String,
    pub source_offset: Option<u64>,
    pub files: Vec<PathBuf>,
    pub sha256: Option<String>,
    pub error: Option<String>,
}

pub struct Harness {
    pub images: PathBuf,
    pub metrics: Metrics,
    pub log: Arc<Mutex<Vec<u8>>>,
    to_append: Mailbox<Append>,
    to_next: Mailbox<NextBatch>,
    to_finish: Mailbox<FinishDownloads>,
    to_end: Mailbox<EndAllSessions>,
    read: u64,
}

const READER: Consumer = Consumer { stream: Stream::AuditEvents, name: "reader" };

impl Harness {
    /// Starts all actors in this arbiter; journal and images live in `dir`.
    pub fn start(dir: &Path, fake: &FakeQlik, settings: &Settings) -> Self {
        let images = dir.join("images");
        let metrics = Metrics::new();
        let log_bytes = Arc::<Mutex<Vec<u8>>>::default();
        let log = logger(&log_bytes);

        let consumers = vec![CONSUMER, READER];
        let journal = start_journal(&dir.join("journal"), consumers, vec![CONSUMER], &metrics, &log);
        let hosts = NAMES.iter().map(|name| ((*name).to_owned(), IpAddr::from([127, 0, 0, 1])));
        let hosts = StaticHosts::new(hosts);
        let certificate = |name: &str| Some(fake.certificates.path(name));
        let tickets = TicketActor::new(TicketConfig {
            host: "qlik.test".to_owned(),
            port: fake.ports.qps,
            tls: ClientTls {
                trust: Trust::only(certificate(settings.qps_ca)),
                cert: certificate("client.pem"),
                key: certificate(settings.key_file),
                passphrase: settings.passphrase.to_owned().into(),
                verify: true,
            },
            reread: Reread::default(),
            hosts: hosts.clone(),
            ticket_timeout: Duration::from_secs(6),
            concurrency: 16,
            pseudonymizer: None,
            actor: metrics.actor("ticket_actor"),
            log: log.clone(),
        })
        .start();
        let cache = SessionCacheActor::new(SessionCacheConfig {
            cache: settings.cache.map(|ttl| CacheLimits {
                ttl,
                entries_max: NonZeroUsize::new(settings.cache_entries).unwrap(),
            }),
            per_user_max: NonZeroUsize::new(settings.sessions_per_user),
            lead_max: Duration::from_secs(60),
            to_tickets: Mailbox::new(tickets.clone(), 64),
            to_endings: Mailbox::new(tickets, 64),
            actor: metrics.actor("session_cache_actor"),
            log: log.clone(),
        })
        .start();
        let writer = ImageWriter::new(ImageWriterConfig {
            directories: vec![images.clone()],
            bytes_max: 50 << 20,
            actor: metrics.actor("image_writer"),
            log: log.clone(),
        });
        let allowed = ["qlik.test", "proxy.test", "node1.test", "node2.test"];
        let qps = QpsAddress { host: "qlik.test".to_owned(), port: fake.ports.qps };
        let fetch = FetchConfig {
            rules: Arc::new(WalkRules {
                plain_http: settings.plain_http,
                ports: AllowedPorts::new(settings.ports.iter().copied()),
                ..WalkRules::for_hosts(AllowedHosts::new(allowed).unwrap())
            }),
            login: match settings.mode {
                "userTicket" => Login::UserTicket { qps, users: TicketUsers::new([], ["INTERNAL"]) },
                "qpsTicket" => Login::QpsTicket {
                    qps,
                    virtual_proxy: VirtualProxy::default(),
                    user_directory: "LAB".to_owned(),
                    user_id: "svc".to_owned(),
                },
                _ => Login::None,
            },
            are_sessions_kept: settings.cache.is_some(),
            attempt_timeout: settings.attempt_timeout,
            hosts,
            tls: ClientTls { trust: Trust::system_and(certificate("root.pem")), ..ClientTls::default() },
            reread: Reread::default(),
            to_sessions: Mailbox::new(cache.clone(), 1000),
            to_session_news: Mailbox::new(cache.clone(), 1000),
            to_images: Mailbox::new(writer.unwrap().start(), 64),
            actor: metrics.actor("redirect_walker"),
            log: log.clone(),
        };
        let image_tls = fetch.tls.connector().unwrap();
        let walker = RedirectWalker::new(WalkerConfig {
            fetch,
            image_tls,
            turns: TurnLimits { places: settings.concurrency, per_host: settings.per_host },
            waiting_max: 2048,
            later: settings.later.clone(),
            retries_max: 1000,
            pseudonymizer: None,
            mailboxes: WalkerMailboxes {
                to_position: Mailbox::new(journal.clone(), 100),
                to_next: Mailbox::new(journal.clone(), 100),
                to_commit: Mailbox::new(journal.clone(), 100),
                to_append: Mailbox::new(journal.clone(), 1000),
                to_offset_at: Mailbox::new(journal.clone(), 100),
                to_dead_letters: Mailbox::new(LineLog::default().start(), 10),
            },
            actor: metrics.actor("redirect_walker"),
            meter: metrics.destination("redirect_walker"),
            log,
        })
        .start();
        Self {
            images,
            metrics,
            log: log_bytes,
            to_append: Mailbox::new(journal.clone(), 1000),
            to_next: Mailbox::new(journal, 100),
            to_finish: Mailbox::new(walker, 10),
            to_end: Mailbox::new(cache, 10),
            read: 0,
        }
    }

    /// Puts screenshot events into the journal, as the audit API does.
    pub async fn post(&self, bodies: &[String]) {
        let mut records = RecordBatch::new();
        let now = unix_ns();
        for body in bodies {
            let record = AuditRecord::received(now, body.as_bytes());
            records.push_with(|buffer| record.encode_into(buffer)).unwrap();
        }
        self.to_append.ask(Append { stream: Stream::Screenshots, records }).await.unwrap().unwrap();
    }

    /// The next `count` finished events.
    pub async fn finished(&mut self, count: usize) -> Vec<Finished> {
        let mut finished = Vec::new();
        while finished.len() < count {
            let fetch_limits = FetchLimits { records_max: 1000, bytes_max: 1 << 24, linger: Duration::ZERO };
            let question = NextBatch { consumer: READER, from: self.read, fetch_limits };
            let next = tokio::time::timeout(Duration::from_secs(60), self.to_next.ask(question)).await;
            let batch = next.expect("a finished event within a minute").unwrap().unwrap();
            self.read = batch.next_offset();
            finished.extend(batch.iter().map(|record| finished_of(record.data)));
        }
        finished
    }

    pub async fn fetch(&mut self, body: String) -> Finished {
        self.post(&[body]).await;
        self.finished(1).await.remove(0)
    }

    pub async fn end_sessions(&self) {
        self.to_finish.ask(FinishDownloads).await.unwrap();
        self.to_end.ask(EndAllSessions).await.unwrap();
    }

    /// Names of the files in the images' directory.
    pub fn files(&self) -> Vec<String> {
        names_in(&self.images)
    }

    /// Waits until these words are in the log.
    pub async fn until_shown(&self, detail: &str) {
        until(detail, || self.shown().contains(detail), || self.shown()).await;
    }

    /// Everything that was logged, at every level, and every metric.
    pub fn shown(&self) -> String {
        let log = self.log.lock().unwrap();
        format!("{}{}", String::from_utf8_lossy(&log), self.metrics.expose())
    }
}

fn finished_of(data: &[u8]) -> Finished {
    let record = AuditRecord::decode(data).unwrap();
    let body: serde_json::Value = serde_json::from_slice(record.body).unwrap();
    Finished {
        event_id: body["eventId"].as_str().unwrap().to_owned(),
        source_offset: record.source_offset,
        files: record.screenshot.saved_paths.iter().map(|path| PathBuf::from(path.as_ref())).collect(),
        sha256: record.screenshot.sha256.map(|hash| hash.into_owned()),
        error: record.screenshot.error.map(|error| error.into_owned()),
    }
}

fn logger(bytes: &Arc<Mutex<Vec<u8>>>) -> Logger {
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(part);
            Ok(part.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let drain = slog_json::Json::default(Shared(Arc::clone(bytes)));
    Logger::root(Mutex::new(drain).map(slog::Fuse), o!())
}
