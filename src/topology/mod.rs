//! The map: who is connected to whom, in which order they start and stop.
//!
//! ```text
//! UdpIngestor ─DatagramsReceived─► UserParser ─Append─► Journal ◄─NextBatch, Commit─ every sink
//! AuditHttpIngestor ──────────────────────────Append─►    ▲                            │ Keep
//! AppDirectory ─AppNamesLearned─► UserParser ─Keep─► Keeper (quarantine)   Keeper (dead letters)
//!                                                          └─NextBatch, Append─ RedirectWalker (see `screenshots`)
//! OwnMeasurements, Heartbeat ─► InfluxDB, log, a monitoring tool (see `own`)
//! ```
//!
//! Start: everything outside that can be missing first (journal, ports, certificates), then the destinations, the
//! intake last. Stop: the intake, the parser, the downloads, the sessions at Qlik Sense; then the destinations may
//! catch up for a while, and what they have not got waits in the journal.

mod destinations;
mod own;
mod recent;
mod screenshots;
pub(crate) mod settings;

pub use self::settings::restart_policy;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::Addr;
use actix_rt::{Arbiter, ArbiterHandle};
use butler_sos_actors::app_directory::AppDirectory;
use butler_sos_actors::audit_http_ingestor::AuditHttpIngestor;
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::store::{Store, StoreError};
use butler_sos_actors::keeper::{Keeper, KeeperConfig};
use butler_sos_actors::message::{CatchUp, Close, Consumer, Keep, Stream};
use butler_sos_actors::metric::Metrics;
use butler_sos_actors::outlet::Outlet;
use butler_sos_actors::redirect_walker::{CONSUMER as WALKER, WalkerOutlets};
use butler_sos_actors::screenshot_message::{EndAllSessions, FinishDownloads};
use butler_sos_actors::sink::{SinkConfig, SinkOutlets};
use butler_sos_actors::supervisor::Supervision;
use butler_sos_actors::udp_ingestor::{self, UdpIngestor};
use butler_sos_actors::user_parser::{UserParser, UserParserOutlets};
use slog::{Logger, info, warn};

use self::destinations::Planned;
use self::own::Own;
use self::screenshots::Downloads;
use self::settings::bound;
use crate::config::{Config, Listener, Loaded, Service};
use crate::exit;
use crate::operations::access::Access;
use crate::operations::jobs::RedeliveryPort;
use crate::operations::journal_reader::JournalReader;
use crate::operations::live::Live;
use crate::operations::process::ProcessView;
use crate::operations::server::serve;
use crate::operations::state::Listening;
use crate::operations::view::{MailboxGauge, View};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct StartError {
    pub what: String,
    pub why: String,
    pub exit: u8,
}

impl StartError {
    /// Something outside is not there.
    fn unavailable(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string(), exit: exit::UNAVAILABLE }
    }

    /// What a setting names cannot be used.
    fn config(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string(), exit: exit::CONFIG }
    }
}

/// The running pipeline.
pub struct Topology {
    intakes: Vec<Outlet<Close>>,
    /// Answers when everything that was sent to it before has gone on to the journal.
    to_parser: Option<Outlet<Close>>,
    downloads: Option<Downloads>,
    to_catch_up: Outlet<CatchUp>,
    draining: Arc<AtomicBool>,
    view: View,
    log: Logger,
    /// They live as long as this.
    _arbiters: Vec<Arbiter>,
}

/// What the whole server shares.
pub struct Surroundings {
    pub supervision: Supervision,
    pub metrics: Metrics,
    pub log: Logger,
}

/// Everything that is opened before the first actor starts.
struct Opened {
    store: Store,
    udp: Option<Arc<udp_ingestor::UdpPort>>,
    listeners: Vec<(Listener, TcpListener, SocketAddr)>,
    recent_audits: Vec<Vec<u8>>,
    has_unfinished_downloads: bool,
}

/// What stops one actor's thread from being another's.
#[derive(Default)]
struct Threads(Vec<Arbiter>);

impl Threads {
    fn add(&mut self) -> ArbiterHandle {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        self.0.push(arbiter);
        handle
    }
}

impl Topology {
    /// Opens and starts everything; must be called in the actor system's own arbiter, which serves the operations
    /// endpoints.
    ///
    /// # Errors
    /// When something that is needed is not there: nothing keeps running then.
    pub fn start(loaded: &Loaded, surroundings: Surroundings) -> Result<Self, StartError> {
        let config = &loaded.config;
        let Surroundings { supervision, metrics, log } = surroundings;
        let planned = destinations::planned(config, &log);
        let (journal_config, opened) = open(config, &planned, &metrics, &log)?;
        let Opened { store, udp, listeners, recent_audits, has_unfinished_downloads } = opened;

        let mut threads = Threads::default();
        let mut mailboxes = Vec::new();
        let mut meters = BTreeMap::new();
        let mut own = Own::new(config, &metrics);
        let actors = &config.pipeline.actors;

        // The journal, and what is kept aside.
        let journal_meter = journal_config.actor.clone();
        let journal = supervision
            .start(&threads.add(), journal_meter.clone(), move || Journal::new(journal_config, store));
        let room = bound(actors.journal.mailbox);
        let keepers = threads.add();
        let start_keeper = |name: &'static str, config: KeeperConfig| -> Outlet<Keep> {
            let meter = metrics.actor(name);
            let keeper = Keeper::new(config, meter.clone(), log.clone());
            Outlet::new(supervision.start(&keepers, meter, move || keeper), room)
        };
        let to_dead_letters = start_keeper("dead_letter_keeper", settings::dead_letters(config));

        // The destinations.
        let outlets = SinkOutlets {
            to_position: Outlet::new(journal.clone(), room),
            to_next: Outlet::new(journal.clone(), room),
            to_commit: Outlet::new(journal.clone(), room),
            to_dead_letters,
        };
        let mut redelivery = BTreeMap::new();
        for planned in planned {
            let consumer = planned.consumer;
            let replay_refused = planned.replay_refused;
            let meter = metrics.destination(consumer.name);
            meters.insert(consumer.name, meter.clone());
            let sink = SinkConfig {
                consumer,
                appetite: planned.appetite,
                pauses: settings::pauses(config),
                outlets: outlets.clone(),
                actor: metrics.actor(consumer.name),
                meter,
                log: log.clone(),
            };
            let to_sink = planned.start(&supervision, &threads.add(), sink);
            redelivery
                .insert(consumer.name, RedeliveryPort { stream: consumer.stream, to_sink, replay_refused });
            info!(log, "destination"; "name" => consumer.name, "stream" => consumer.stream.name());
        }

        // Downloads of screenshots.
        let mut downloads = None;
        if wants_downloads(config) || has_unfinished_downloads {
            let outlets = WalkerOutlets {
                to_position: outlets.to_position.clone(),
                to_next: outlets.to_next.clone(),
                to_commit: outlets.to_commit.clone(),
                to_append: Outlet::new(journal.clone(), room.max(bound(4 * config.screenshot_concurrency()))),
                to_offset_at: Outlet::new(journal.clone(), room),
            };
            let mut started =
                screenshots::start(config, &supervision, &threads.add(), &metrics, outlets, &log)?;
            meters.insert(WALKER.name, started.meter.clone());
            mailboxes.append(&mut started.mailboxes);
            downloads = Some(started);
        }

        // What people and their monitoring see; before the intake, so that its first event is seen too.
        let to_journal = Outlet::new(journal.clone(), room);
        mailboxes.push(MailboxGauge::new(journal_meter, to_journal.clone()));
        let draining = Arc::new(AtomicBool::new(false));

        // The intake.
        let mut intakes = Vec::new();
        let mut to_parser = None;
        let mut addresses = Vec::new();
        if let Some(port) = udp {
            let parser_meter = metrics.actor("user_parser");
            let intake = metrics.intake("user_events");
            let parser = UserParser::new(
                settings::user_parser(config),
                UserParserOutlets {
                    to_journal,
                    to_quarantine: start_keeper("quarantine_keeper", settings::quarantine(config)),
                },
                intake.clone(),
                parser_meter.clone(),
                log.clone(),
            )
            .counting(own.event_counts());
            let parser = supervision.start(&threads.add(), parser_meter.clone(), move || parser);
            to_parser = Some(Outlet::new(parser.clone(), bound(actors.user_parser.mailbox)));
            let intake_thread = threads.add();
            if let Some(directory) = settings::app_directory(config) {
                let meter = metrics.actor("app_directory");
                let names = Outlet::new(parser.clone(), bound(actors.app_directory.mailbox));
                let directory = AppDirectory::new(directory, names, meter.clone(), log.clone());
                supervision.start(&intake_thread, meter, move || directory);
            }
            let queue_max = bound(config.butler_sos.user_events.udp_server.message_queue.max_size);
            let datagrams = Outlet::new(parser, queue_max);
            mailboxes.push(MailboxGauge::new(parser_meter, datagrams.clone()));
            own.watch_user_events(&datagrams);
            let address = port.address();
            let meter = metrics.actor("udp_ingestor");
            let ingestor = UdpIngestor::new(port, datagrams, &intake, meter.clone(), log.clone());
            let ingestor = supervision.start(&intake_thread, meter, move || ingestor);
            intakes.push(Outlet::new(ingestor, bound(actors.udp_ingestor.mailbox)));
            listening(&log, "user-events", address);
            addresses.push(("user-events", address));
        }
        let mut to_show = Vec::new();
        for (listener, socket, address) in listeners {
            if listener.serves.contains(&Service::AuditApi) {
                let api = AuditApi { config, metrics: &metrics, journal: &journal, log: &log };
                let to_audit = api.start(
                    &supervision,
                    &threads.add(),
                    socket,
                    &recent_audits,
                    &mut mailboxes,
                    &mut own,
                )?;
                intakes.push(to_audit);
                listening(&log, "audit-events", address);
                addresses.push(("audit-events", address));
            } else {
                let (name, access) = access(config, &listener, address);
                addresses.push((name, address));
                to_show.push((listener.path, socket, address, name, access));
            }
        }

        own.start(&supervision, || threads.add(), &log);

        let operations = &config.pipeline.operations;
        let view = View {
            metrics: metrics.clone(),
            to_journal_state: Outlet::new(journal.clone(), room),
            to_offset_at: Outlet::new(journal.clone(), room),
            to_dead_letters: outlets.to_dead_letters.clone(),
            reader: JournalReader {
                to_next: Outlet::new(journal.clone(), room),
                scan_records_max: operations.scan_records_max,
            },
            redelivery: Arc::new(redelivery),
            jobs: Arc::default(),
            live: Arc::new(Live::new(operations.live_listeners_max)),
            history: Arc::default(),
            listening: Arc::new(addresses.iter().map(Listening::from).collect()),
            dead_letters: settings::dead_letters(config).directory,
            quarantine: settings::quarantine(config).directory,
            storage: screenshots::storage(config),
            settings: Arc::new(loaded.shown()),
            log: log.clone(),
            mailboxes: Arc::new(mailboxes),
            destinations: Arc::new(meters),
            draining: Arc::clone(&draining),
            process: ProcessView::default(),
            configuration: loaded.print().into(),
            #[cfg(feature = "test-panics")]
            switches: supervision.switches.clone(),
        };
        actix_rt::spawn(view.clone().keep_history());
        for (path, socket, address, name, access) in to_show {
            let server = serve(socket, view.clone(), access, operations.connections_max)
                .map_err(|error| StartError::unavailable(path, error))?;
            actix_rt::spawn(server);
            listening(&log, name, address);
        }
        let to_catch_up = Outlet::new(journal, 1);
        Ok(Self { intakes, to_parser, downloads, to_catch_up, draining, view, log, _arbiters: threads.0 })
    }

    /// What can be seen of the running server.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The longest that [`Topology::stop`] takes when destinations get `drain`.
    #[must_use]
    pub fn stop_limit(drain: Duration) -> Duration {
        2 * INTAKE_LIMIT + SESSIONS_LIMIT + drain + CATCH_UP_MIN
    }

    /// Takes no more in, and sees what was taken in through to the journal. Short, whatever the destinations do.
    pub async fn close_intake(&self) {
        let log = &self.log;
        self.draining.store(true, Ordering::Relaxed);
        for intake in &self.intakes {
            within(log, "the intake has not come to rest", INTAKE_LIMIT, intake.ask(Close)).await;
        }
        if let Some(parser) = &self.to_parser {
            within(log, "the parser has not come to rest", INTAKE_LIMIT, parser.ask(Close)).await;
        }
    }

    /// Lets downloads end and destinations catch up for `drain` at most; what they have not got waits in the journal.
    pub async fn drain(&self, drain: Duration) {
        let deadline = tokio::time::Instant::now() + drain;
        let log = &self.log;
        if let Some(downloads) = &self.downloads {
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let finished = downloads.to_finish.ask(FinishDownloads);
            within(log, "downloads are still under way, they begin again at the next start", rest, finished)
                .await;
            let ended = downloads.to_end_sessions.ask(EndAllSessions);
            // Hundreds of sessions take a moment; the time for destinations is time for them, too.
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let limit = rest.max(SESSIONS_LIMIT);
            within(log, "not all sessions at Qlik Sense could be ended", limit, ended).await;
        }
        let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
        let caught_up = self.to_catch_up.ask(CatchUp);
        let behind = "a destination has not caught up, its events wait in the journal for the next start";
        within(log, behind, rest.max(CATCH_UP_MIN), caught_up).await;
    }
}

const INTAKE_LIMIT: Duration = Duration::from_secs(5);
const SESSIONS_LIMIT: Duration = Duration::from_secs(5);
/// What is in flight must reach the disk even when destinations get no time.
const CATCH_UP_MIN: Duration = Duration::from_millis(200);

async fn within(log: &Logger, otherwise: &str, limit: Duration, done: impl Future) {
    if tokio::time::timeout(limit, done).await.is_err() {
        warn!(log, "{}", otherwise; "after_ms" => u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    }
}

fn wants_downloads(config: &Config) -> bool {
    let audit = &config.butler_sos.audit_events;
    audit.enable && audit.destination.screenshots.enable
}

/// Opens the journal, all ports, and reads what the intake must remember.
fn open(
    config: &Config,
    planned: &[Planned],
    metrics: &Metrics,
    log: &Logger,
) -> Result<(JournalConfig, Opened), StartError> {
    let mut consumers: Vec<Consumer> = planned.iter().map(|planned| planned.consumer).collect();
    consumers.push(WALKER);
    let audit_intake = metrics.intake("audit_events");
    let journal = JournalConfig {
        store: settings::store(config),
        consumers,
        // What it keeps for a later try it finds again after the next start.
        not_awaited: vec![WALKER],
        commit_interval: Duration::from_millis(config.pipeline.journal.commit_interval_ms),
        meter: metrics.journal(),
        actor: metrics.actor("journal"),
        intakes: BTreeMap::from([
            (Stream::UserEvents, metrics.intake("user_events")),
            (Stream::AuditEvents, audit_intake.clone()),
            (Stream::Screenshots, audit_intake),
        ]),
        log: log.clone(),
    };
    let mut store = journal.open().map_err(|error: StoreError| {
        StartError::unavailable(format!("the journal in {}", config.pipeline.journal.directory), error)
    })?;
    let events = &config.butler_sos.user_events;
    let udp = if events.enable {
        let floor = recent::last_user_event_ns(&mut store);
        let port = udp_ingestor::open(&settings::udp(config), floor, log);
        Some(port.map_err(|error| StartError::unavailable("the port of user events", error))?)
    } else {
        None
    };
    let mut listeners = Vec::new();
    for listener in config.listeners() {
        let unavailable = |error: std::io::Error| {
            StartError::unavailable(format!("{} ({}:{})", listener.path, listener.host, listener.port), error)
        };
        let host = listener.host.trim_matches(['[', ']']);
        let socket = TcpListener::bind((host, listener.port)).map_err(unavailable)?;
        let address = socket.local_addr().map_err(unavailable)?;
        listeners.push((listener, socket, address));
    }
    let recent_audits =
        if config.butler_sos.audit_events.enable { recent::audit_bodies(&mut store) } else { Vec::new() };
    let has_unfinished_downloads = recent::waits_for(&mut store, WALKER);
    Ok((journal, Opened { store, udp, listeners, recent_audits, has_unfinished_downloads }))
}

/// The audit API's part of the map.
struct AuditApi<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    journal: &'a Addr<Journal>,
    log: &'a Logger,
}

impl AuditApi<'_> {
    fn start(
        &self,
        supervision: &Supervision,
        thread: &ArbiterHandle,
        socket: TcpListener,
        recent: &[Vec<u8>],
        mailboxes: &mut Vec<MailboxGauge>,
        own: &mut Own<'_>,
    ) -> Result<Outlet<Close>, StartError> {
        let meter = self.metrics.actor("audit_http_ingestor");
        let actors = &self.config.pipeline.actors;
        let http = settings::audit_http(self.config);
        let to_journal = Outlet::new(self.journal.clone(), http.queue_max.max(bound(actors.journal.mailbox)));
        mailboxes.push(MailboxGauge::new(meter.clone(), to_journal.clone()));
        own.watch_audit_events(&to_journal);
        let intake = self.metrics.intake("audit_events");
        let log = self.log.clone();
        let api = AuditHttpIngestor::new(http, socket, to_journal, intake, meter.clone(), log, recent)
            .map_err(|error| StartError::config("Butler-SOS.auditEvents.tls", error))?;
        let address = supervision.start(thread, meter, move || api);
        Ok(Outlet::new(address, bound(actors.audit_http_ingestor.mailbox)))
    }
}

/// What a listener of the operator's side is called in the log, and what it serves.
fn access(config: &Config, listener: &Listener, address: SocketAddr) -> (&'static str, Access) {
    let token = &config.pipeline.operations.token;
    let token = (!token.is_empty()).then(|| token.to_secret_string());
    match listener.serves.as_slice() {
        [Service::Metrics] => ("metrics", Access::only("/metrics")),
        [Service::Health] => ("health", Access::only("/health")),
        [Service::Configuration] => ("configuration", Access::configuration(address, &listener.host, token)),
        _ => ("operations", Access::operations(address, &listener.host, token)),
    }
}

fn listening(log: &Logger, service: &'static str, address: SocketAddr) {
    info!(log, "listening"; "service" => service, "address" => %address);
}
