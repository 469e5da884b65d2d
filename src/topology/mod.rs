//! The topology: the connections between actors, and the order of their start and stop.
//!
//! ```text
//! UdpIngestor ─DatagramsReceived─► UserParser ─Append─► Journal ◄─NextBatch, Commit─ every sink
//! AuditHttpIngestor ──────────────────────────Append─►    ▲                            │ AppendLines
//! AppDirectory ─AppNamesLearned─► UserParser ─AppendLines─► LineLog (quarantine)   LineLog (dead letters)
//!                                                          └─NextBatch, Append─ RedirectWalker (see `screenshots`)
//! OwnMeasurements, Heartbeat ─► InfluxDB, log, a monitoring tool (see `self_metrics`)
//! ```
//!
//! Start: first everything outside that can be missing (journal, ports, certificates), then the destinations,
//! the intake last. Stop: the intake, the parser, the downloads, the sessions at Qlik Sense; then the
//! destinations may catch up for a limited time, and the remaining events wait in the journal.

mod assembly;
pub mod destinations;
mod opened;
mod recent;
mod screenshots;
mod self_metrics;
pub(crate) mod settings;
mod threads;

pub use self::settings::restart_policy;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_rt::Arbiter;
use butler_sos_actors::journal::message::CatchUp;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::Close;
use butler_sos_actors::kit::metric::Metrics;
use butler_sos_actors::kit::supervisor::Supervision;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::screenshots::message::{EndAllSessions, FinishDownloads};
use slog::{Logger, warn};

use self::assembly::{Assembled, Assembly};
use self::opened::{Opened, Opening};
use self::screenshots::Downloads;
use crate::config::{Config, Listener, Loaded, Service};
use crate::exit;
use crate::operations::access::Access;
use crate::operations::server::serve;
use crate::operations::view::View;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct StartError {
    pub what: String,
    pub why: String,
    pub exit: u8,
}

impl StartError {
    /// An external resource is not available.
    fn unavailable(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string(), exit: exit::UNAVAILABLE }
    }

    /// The value of a setting is unusable.
    fn config(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string(), exit: exit::CONFIG }
    }
}

/// The running pipeline.
pub struct Topology {
    intakes: Vec<Mailbox<Close>>,
    /// Answers when everything that was sent to it before has gone to the journal.
    to_parser: Option<Mailbox<Close>>,
    downloads: Option<Downloads>,
    to_catch_up: Mailbox<CatchUp>,
    view: View,
    log: Logger,
    /// Dropping them stops their threads.
    _arbiters: Vec<Arbiter>,
}

/// State that the whole server shares.
pub struct Runtime {
    pub supervision: Supervision,
    pub metrics: Metrics,
    /// SIGHUP asks for it.
    pub reread: Reread,
    pub log: Logger,
}

impl Topology {
    /// Opens and starts everything. It must be called in the actor system's own arbiter, which serves the
    /// operations endpoints.
    ///
    /// # Errors
    /// When a required resource is missing. Nothing keeps running then.
    pub fn start(loaded: &Loaded, runtime: &Runtime) -> Result<Self, StartError> {
        let config = &loaded.config;
        let Runtime { metrics, log, .. } = runtime;
        let planned = destinations::planned(config, &runtime.reread, log);
        let consumers = planned.iter().map(|planned| planned.consumer);
        let Opened { journal, store, clock, udp, listeners, mut recent_audits, has_unfinished_downloads } =
            opened::open(config, consumers, metrics, log)?;

        let mut assembly = Assembly::new(config, runtime, journal, store)?;
        assembly.destinations(planned)?;
        let wants_downloads = wants_downloads(config) || has_unfinished_downloads;
        let downloads = wants_downloads.then(|| assembly.downloads()).transpose()?;
        let to_parser = udp.map(|port| assembly.user_intake(port)).transpose()?;
        let mut to_show = Vec::new();
        for Opening { listener, socket, address } in listeners {
            if listener.serves.contains(&Service::AuditApi) {
                assembly.audit_intake(socket, address, std::mem::take(&mut recent_audits), clock.clone())?;
            } else {
                let (name, access) = access(config, &listener, address);
                assembly.listening(name, address);
                to_show.push((listener.path, socket, access));
            }
        }
        let Assembled { view, intakes, to_catch_up, arbiters } = assembly.finish(loaded)?;

        actix_rt::spawn(view.clone().keep_history());
        for (path, socket, access) in to_show {
            let connections_max = config.pipeline.operations.connections_max;
            let counted = runtime.metrics.connections("operations");
            let server = serve(socket, view.clone(), access, connections_max, counted)
                .map_err(|error| StartError::unavailable(path, error))?;
            actix_rt::spawn(server);
        }
        Ok(Self { intakes, to_parser, downloads, to_catch_up, view, log: log.clone(), _arbiters: arbiters })
    }

    /// The view of the running server for operations.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The maximum duration of [`Topology::stop`] with this `drain`.
    #[must_use]
    pub fn stop_limit(drain: Duration) -> Duration {
        2 * INTAKE_LIMIT + SESSIONS_LIMIT + drain + CATCH_UP_MIN
    }

    /// Closes the intake and passes accepted events on to the journal. Takes little time, whatever the
    /// destinations do.
    pub async fn close_intake(&self) {
        let log = &self.log;
        self.view.draining.store(true, Ordering::Relaxed);
        for intake in &self.intakes {
            within(log, "the intake has not come to rest", INTAKE_LIMIT, intake.ask(Close)).await;
        }
        if let Some(parser) = &self.to_parser {
            within(log, "the parser has not come to rest", INTAKE_LIMIT, parser.ask(Close)).await;
        }
    }

    /// Lets downloads end and destinations catch up for at most `drain`. The remaining events wait in the
    /// journal.
    pub async fn drain(&self, drain: Duration) {
        let deadline = tokio::time::Instant::now() + drain;
        let log = &self.log;
        if let Some(downloads) = &self.downloads {
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let finished = downloads.to_finish.ask(FinishDownloads);
            within(
                log,
                "downloads are still running, they restart at the next start of the server",
                rest,
                finished,
            )
            .await;
            let ended = downloads.to_end_sessions.ask(EndAllSessions);
            // Ending hundreds of sessions takes time, and the destinations' time is available for it too.
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
/// Events in flight must reach the disk even when destinations get no time.
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

/// The log name of an operations listener, and what it serves.
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
