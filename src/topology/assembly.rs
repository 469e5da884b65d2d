//! The assembly of the pipeline: each step starts some actors and connects them with those started before.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::Addr;
use actix_rt::{Arbiter, ArbiterHandle};
use butler_sos_actors::intake::app_directory::AppDirectory;
use butler_sos_actors::intake::audit_http_ingestor::{AuditHttpConfig, AuditHttpIngestor};
use butler_sos_actors::intake::udp::udp_ingestor::{UdpIngestor, UdpPort};
use butler_sos_actors::intake::user_parser::{UserParser, UserParserMailboxes};
use butler_sos_actors::journal::actor::{Journal, JournalConfig};
use butler_sos_actors::journal::message::{Append, CatchUp};
use butler_sos_actors::journal::store::Store;
use butler_sos_actors::kit::clock::Clock;
use butler_sos_actors::kit::mailbox::{Envelope, Mailbox};
use butler_sos_actors::kit::message::Close;
use butler_sos_actors::kit::metric::DestinationMeter;
use butler_sos_actors::line_log::actor::{LineLog, LineLogConfig};
use butler_sos_actors::line_log::message::AppendLines;
use butler_sos_actors::screenshots::redirect_walker::{CONSUMER as WALKER, WalkerMailboxes};
use butler_sos_actors::sinks::sink::{SinkConfig, SinkMailboxes};
use butler_sos_domain::audit::conflict::Remembered;
use butler_sos_domain::streams::Stream;
use slog::info;

use super::destinations::Planned;
use super::screenshots::{self, Downloads};
use super::self_metrics::SelfMetrics;
use super::settings::{self, bound};
use super::{Runtime, StartError, threads};
use crate::config::{Config, Hides, Loaded};
use crate::operations::advice::DEAD_LETTER_LOG;
use crate::operations::jobs::RedeliveryPort;
use crate::operations::journal_reader::JournalReader;
use crate::operations::live::Live;
use crate::operations::process::ProcessView;
use crate::operations::state::Listening;
use crate::operations::view::{MailboxGauge, View};

/// The parts that were started so far.
pub struct Assembly<'a> {
    config: &'a Config,
    shared: &'a Runtime,
    own: SelfMetrics<'a>,
    arbiters: Vec<Arbiter>,
    /// The arbiter of both line logs.
    line_logs: ArbiterHandle,
    journal: Addr<Journal>,
    mailboxes: SinkMailboxes,
    gauges: Vec<MailboxGauge>,
    meters: BTreeMap<&'static str, DestinationMeter>,
    redelivery: BTreeMap<&'static str, RedeliveryPort>,
    addresses: Vec<(&'static str, SocketAddr)>,
    /// Names of streams, intakes and destinations, each with its label.
    labels: Vec<(String, String)>,
    /// In the order of closing.
    pub intakes: Vec<Mailbox<Close>>,
}

impl<'a> Assembly<'a> {
    /// Starts the journal and the line log of dead letters.
    pub fn new(
        config: &'a Config,
        shared: &'a Runtime,
        journal: JournalConfig,
        store: Store,
    ) -> Result<Self, StartError> {
        let meter = journal.actor.clone();
        let arbiters = vec![threads::arbiter()?, threads::arbiter()?];
        let line_logs = arbiters[1].handle();
        let journal = shared
            .supervision
            .start(&arbiters[0].handle(), meter.clone(), move || Journal::new(journal, store));
        let room = bound(config.pipeline.actors.journal.mailbox);
        let to_dead_letters =
            line_log(shared, &line_logs, DEAD_LETTER_LOG, settings::dead_letters(config), room);
        let to_append = Mailbox::<Append>::new(journal.clone(), room);
        Ok(Self {
            config,
            shared,
            own: SelfMetrics::new(config, &shared.metrics, &shared.reread),
            arbiters,
            line_logs,
            mailboxes: SinkMailboxes {
                to_position: Mailbox::new(journal.clone(), room),
                to_next: Mailbox::new(journal.clone(), room),
                to_commit: Mailbox::new(journal.clone(), room),
                to_dead_letters,
            },
            gauges: vec![MailboxGauge::new(meter, to_append)],
            journal,
            meters: BTreeMap::new(),
            redelivery: BTreeMap::new(),
            addresses: Vec::new(),
            labels: labels_of_streams(),
            intakes: Vec::new(),
        })
    }

    /// The maximum of concurrent requests to the journal, per kind.
    fn room(&self) -> u32 {
        bound(self.config.pipeline.actors.journal.mailbox)
    }

    fn to_journal<M>(&self, bound: u32) -> Mailbox<M>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        Journal: actix::Handler<Envelope<M>>,
    {
        Mailbox::new(self.journal.clone(), bound)
    }

    /// A separate thread for an actor, so that it cannot block others.
    fn thread(&mut self) -> Result<ArbiterHandle, StartError> {
        self.keep(threads::arbiter())
    }

    fn keep(&mut self, arbiter: Result<Arbiter, StartError>) -> Result<ArbiterHandle, StartError> {
        let arbiter = arbiter?;
        let handle = arbiter.handle();
        self.arbiters.push(arbiter);
        Ok(handle)
    }

    /// Starts every destination.
    pub fn destinations(&mut self, planned: Vec<Planned>) -> Result<(), StartError> {
        for planned in planned {
            let consumer = planned.consumer;
            let replay_refused = planned.replay_refused;
            self.own.name_errors_of(consumer.name, planned.error_type);
            self.labels.push((consumer.name.to_owned(), planned.label.to_string()));
            let meter = self.shared.metrics.destination(consumer.name);
            self.meters.insert(consumer.name, meter.clone());
            let sink = SinkConfig {
                consumer,
                fetch_limits: planned.fetch_limits,
                pauses: settings::pauses(self.config),
                mailboxes: self.mailboxes.clone(),
                actor: self.shared.metrics.actor(consumer.name),
                meter,
                log: self.shared.log.clone(),
            };
            let thread = self.thread()?;
            let to_sink = planned.start(&self.shared.supervision, &thread, sink);
            let port = RedeliveryPort { stream: consumer.stream, to_sink, replay_refused };
            self.redelivery.insert(consumer.name, port);
            info!(self.shared.log, "destination"; "name" => consumer.name, "stream" => consumer.stream.name());
        }
        Ok(())
    }

    /// Starts the screenshot downloads.
    pub fn downloads(&mut self) -> Result<Downloads, StartError> {
        let every_download_twice = bound(4 * self.config.screenshot_concurrency());
        let mailboxes = WalkerMailboxes {
            to_position: self.mailboxes.to_position.clone(),
            to_next: self.mailboxes.to_next.clone(),
            to_commit: self.mailboxes.to_commit.clone(),
            to_append: self.to_journal(self.room().max(every_download_twice)),
            to_offset_at: self.to_journal(self.room()),
            to_dead_letters: self.mailboxes.to_dead_letters.clone(),
        };
        let thread = self.keep(threads::arbiter_for(self.config.screenshot_concurrency()))?;
        let mut started = screenshots::start(self.config, self.shared, &thread, mailboxes)?;
        self.meters.insert(WALKER.name, started.meter.clone());
        self.labels.push((WALKER.name.to_owned(), "Screenshots".to_owned()));
        self.gauges.append(&mut started.gauges);
        Ok(started)
    }

    /// Starts the intake of user events. The returned mailbox answers when everything that the parser
    /// received before has gone to the journal.
    pub fn user_intake(&mut self, port: Arc<UdpPort>) -> Result<Mailbox<Close>, StartError> {
        let (config, shared) = (self.config, self.shared);
        let Runtime { supervision, metrics, log, .. } = shared;
        let actors = &config.pipeline.actors;
        let intake = metrics.intake("user_events");

        let meter = metrics.actor("user_parser");
        let mailboxes = UserParserMailboxes {
            to_journal: self.to_journal(self.room()),
            to_quarantine: line_log(
                shared,
                &self.line_logs,
                "quarantine_keeper",
                settings::quarantine(config),
                self.room(),
            ),
        };
        let parser = UserParser::new(
            settings::user_parser(config),
            mailboxes,
            intake.clone(),
            meter.clone(),
            log.clone(),
        )
        .counting(self.own.event_counts());
        let parser = supervision.start(&self.thread()?, meter.clone(), move || parser);
        let datagrams = Mailbox::new(
            parser.clone(),
            bound(config.butler_sos.user_events.udp_server.message_queue.max_size),
        );
        self.gauges.push(MailboxGauge::new(meter, datagrams.clone()));
        self.own.watch_user_events(&datagrams);

        let thread = self.thread()?;
        if let Some(directory) = settings::app_directory(config, &shared.reread) {
            let meter = metrics.actor("app_directory");
            let names = Mailbox::new(parser.clone(), bound(actors.app_directory.mailbox));
            let directory = AppDirectory::new(directory, names, meter.clone(), log.clone());
            supervision.start(&thread, meter, move || directory);
        }
        let address = port.address();
        let meter = metrics.actor("udp_ingestor");
        let ingestor = UdpIngestor::new(port, datagrams, &intake, meter.clone(), log.clone());
        let ingestor = supervision.start(&thread, meter, move || ingestor);
        self.intakes.push(Mailbox::new(ingestor, bound(actors.udp_ingestor.mailbox)));
        self.listening("user-events", address);
        Ok(Mailbox::new(parser, bound(actors.user_parser.mailbox)))
    }

    /// Starts the audit API.
    pub fn audit_intake(
        &mut self,
        socket: TcpListener,
        address: SocketAddr,
        recent: Vec<Remembered>,
        clock: Clock,
    ) -> Result<(), StartError> {
        let (config, shared) = (self.config, self.shared);
        let Runtime { supervision, metrics, log, .. } = shared;
        let meter = metrics.actor("audit_http_ingestor");
        let http = AuditHttpConfig { clock, ..settings::audit_http(config, &shared.reread) };
        let to_journal = self.to_journal::<Append>(http.queue_max.max(self.room()));
        self.gauges.push(MailboxGauge::new(meter.clone(), to_journal.clone()));
        self.own.watch_audit_events(&to_journal);
        let intake = metrics.intake("audit_events");
        let api =
            AuditHttpIngestor::new(http, socket, to_journal, intake, meter.clone(), log.clone(), recent)
                .map_err(|error| StartError::config("Butler-SOS.auditEvents.tls", error))?;
        let api = supervision.start(&self.thread()?, meter, move || api);
        self.intakes.push(Mailbox::new(api, bound(config.pipeline.actors.audit_http_ingestor.mailbox)));
        self.listening("audit-events", address);
        Ok(())
    }

    /// Logs the address of a service.
    pub fn listening(&mut self, service: &'static str, address: SocketAddr) {
        info!(self.shared.log, "listening"; "service" => service, "address" => %address);
        self.addresses.push((service, address));
    }

    /// Starts the server's own metrics, and ends the assembly.
    pub fn finish(mut self, loaded: &Loaded) -> Result<Assembled, StartError> {
        let config = self.config;
        let Runtime { supervision, metrics, log, .. } = self.shared;
        let thread = self.thread()?;
        let operations = &config.pipeline.operations;
        let view = View {
            metrics: metrics.clone(),
            to_journal_state: self.to_journal(self.room()),
            to_offsets: self.to_journal(self.room()),
            to_dead_letters: self.mailboxes.to_dead_letters.clone(),
            reader: JournalReader {
                to_next: self.to_journal(self.room()),
                scan_records_max: operations.scan_records_max,
            },
            redelivery: Arc::new(self.redelivery),
            jobs: Arc::default(),
            live: Arc::new(Live::new(operations.live_listeners_max)),
            history: Arc::default(),
            listening: Arc::new(self.addresses.iter().map(Listening::from).collect()),
            labels: Arc::new(self.labels),
            dead_letters: settings::dead_letters(config).directory,
            quarantine: settings::quarantine(config).directory,
            storage: screenshots::storage(config),
            log: log.clone(),
            mailboxes: Arc::new(self.gauges),
            destinations: Arc::new(self.meters),
            draining: Arc::default(),
            process: ProcessView::default(),
            configuration: loaded.configuration(Hides::Secrets),
            configuration_page: loaded.configuration(hidden_on_the_page(config)),
            #[cfg(feature = "test-panics")]
            switches: supervision.switches.clone(),
        };
        self.own.start(supervision, || thread, log);
        Ok(Assembled {
            view,
            intakes: self.intakes,
            to_catch_up: Mailbox::new(self.journal, 1),
            arbiters: self.arbiters,
        })
    }
}

fn labels_of_streams() -> Vec<(String, String)> {
    let named = |stream: Stream| {
        let label = stream.label().to_owned();
        // An intake has the label of its events.
        let intake = stream.is_final().then(|| (stream.intake().to_owned(), label.clone()));
        [(stream.name().to_owned(), label)].into_iter().chain(intake)
    };
    Stream::ALL.into_iter().flat_map(named).collect()
}

/// The result of the assembly.
pub struct Assembled {
    pub view: View,
    pub intakes: Vec<Mailbox<Close>>,
    pub to_catch_up: Mailbox<CatchUp>,
    pub arbiters: Vec<Arbiter>,
}

fn line_log(
    shared: &Runtime,
    thread: &ArbiterHandle,
    name: &'static str,
    config: LineLogConfig,
    room: u32,
) -> Mailbox<AppendLines> {
    let meter = shared.metrics.actor(name);
    let line_log = LineLog::new(config, meter.clone(), shared.log.clone());
    Mailbox::new(shared.supervision.start(thread, meter, move || line_log), room)
}

/// What the listener of `configVisualisation` hides.
fn hidden_on_the_page(config: &Config) -> Hides {
    if config.butler_sos.config_visualisation.obfuscate { Hides::SecretsAndNames } else { Hides::Secrets }
}
