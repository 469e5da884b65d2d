//! Resources that are opened before the first actor starts: the journal, the ports, and recent events for the
//! intake.
//!
//! Every error of a missing resource occurs here, so that a failed start has accepted nothing.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use butler_sos_actors::intake::udp::udp_ingestor;
use butler_sos_actors::journal::actor::JournalConfig;
use butler_sos_actors::journal::store::{Store, StoreError};
use butler_sos_actors::kit::clock::Clock;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::kit::metric::Metrics;
use butler_sos_actors::screenshots::redirect_walker::CONSUMER as WALKER;
use butler_sos_domain::audit::conflict::Remembered;
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::recent::{self, Recent};
use super::{StartError, settings};
use crate::config::{Config, Listener};

/// The opened resources.
pub struct Opened {
    pub journal: JournalConfig,
    pub store: Store,
    /// Stamps received events of both intakes.
    pub clock: Clock,
    pub udp: Option<Arc<udp_ingestor::UdpPort>>,
    pub listeners: Vec<Opening>,
    /// Recent audit events, the newest last.
    pub recent_audits: Vec<Remembered>,
    pub has_unfinished_downloads: bool,
}

/// A bound TCP port.
pub struct Opening {
    pub listener: Listener,
    pub socket: TcpListener,
    pub address: SocketAddr,
}

/// Opens everything. `destinations` are the consumers of the journal.
pub fn open(
    config: &Config,
    destinations: impl Iterator<Item = Consumer>,
    metrics: &Metrics,
    log: &Logger,
) -> Result<Opened, StartError> {
    let journal = journal(config, destinations, metrics, log);
    let mut store = journal.open().map_err(|error: StoreError| {
        StartError::unavailable(format!("the journal in {}", config.pipeline.journal.directory), error)
    })?;
    let Recent { clock, audit_events: recent_audits } =
        recent::read(&mut store, config.butler_sos.audit_events.enable);
    let events = &config.butler_sos.user_events;
    let udp = if events.enable {
        let port = udp_ingestor::open(&settings::udp(config), clock.clone(), log);
        Some(port.map_err(|error| StartError::unavailable("the port of user events", error))?)
    } else {
        None
    };
    let listeners = config.listeners().into_iter().map(bind).collect::<Result<_, _>>()?;
    let has_unfinished_downloads = recent::waits_for(&mut store, WALKER);
    Ok(Opened { journal, store, clock, udp, listeners, recent_audits, has_unfinished_downloads })
}

fn journal(
    config: &Config,
    destinations: impl Iterator<Item = Consumer>,
    metrics: &Metrics,
    log: &Logger,
) -> JournalConfig {
    JournalConfig {
        store: settings::store(config),
        consumers: destinations.chain([WALKER]).collect(),
        // Its deferred records are found again at the next start.
        not_awaited: vec![WALKER],
        commit_interval: Duration::from_millis(config.pipeline.journal.commit_interval_ms),
        meter: metrics.journal(),
        actor: metrics.actor("journal"),
        intakes: Stream::ALL.into_iter().map(|stream| (stream, metrics.intake(stream.intake()))).collect(),
        log: log.clone(),
    }
}

fn bind(listener: Listener) -> Result<Opening, StartError> {
    let unavailable = |error: std::io::Error| {
        StartError::unavailable(format!("{} ({}:{})", listener.path, listener.host, listener.port), error)
    };
    let host = listener.host.trim_matches(['[', ']']);
    let socket = TcpListener::bind((host, listener.port)).map_err(unavailable)?;
    let address = socket.local_addr().map_err(unavailable)?;
    Ok(Opening { listener, socket, address })
}
