//! Converts datagrams to events.
//!
//! Receives: `DatagramsReceived`, `AppNamesLearned`, and `Close`, which it answers after all earlier messages
//! are processed.
//! Sends: `Append` to the journal, with the in-flight guard that the datagrams came with; `AppendLines` to the quarantine.
//! Keeps: the names of apps, and a bounded cache of user agents, which a restart empties.
//! When full: never, because its mailbox is bounded; datagrams for which the quarantine has no room are
//! counted and not kept.
//! When it fails: a datagram that makes the parser panic is rejected like any other unreadable datagram.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Supervised};
use butler_sos_domain::app_id::{AppNames, UNKNOWN_APP_NAME};
use butler_sos_domain::enrichment::{Enriched, Enrichment, ExcludedUsers};
use butler_sos_domain::fallback_encoding::{Decoded, FallbackEncoding};
use butler_sos_domain::pseudonym::Pseudonymizer;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use slog::Logger;

use crate::intake::event_counts::{CountTable, EventCounts};
use crate::intake::message::{AppNamesLearned, Datagram, DatagramsReceived};
use crate::intake::rejection_log::RejectionLog;
use crate::journal::batch::RecordBatch;
use crate::journal::message::Append;
use crate::kit::guard::guard;
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{ActorMeter, IntakeMeter};
use crate::line_log::message::AppendLines;
use butler_sos_domain::streams::Stream;
use butler_sos_settings::section;

section! {
    /// Parsing of user events.
    pub struct UserParsing {
        /// Size of the user agent cache.
        "userAgentCacheEntriesMax" => user_agent_cache_entries_max: usize = int(4_096, 1..=1_000_000);
    }
}

/// The settings of a parser.
#[derive(Clone, Default)]
pub struct UserParserConfig {
    /// `userEvents.excludeUser`: directory and id.
    pub excluded_users: Vec<(String, String)>,
    pub limits: UserParsing,
    /// Whether app names are fetched. If not, an unknown one causes no remark.
    pub app_names_expected: bool,
    /// `Pipeline.udp.fallbackEncoding`.
    pub fallback: FallbackEncoding,
    /// `Pipeline.privacy.pseudonymise`: replaces users' names before anything is stored.
    pub pseudonymizer: Option<Arc<Pseudonymizer>>,
}

/// The mailboxes that a parser sends to.
#[derive(Clone)]
pub struct UserParserMailboxes {
    pub to_journal: Mailbox<Append>,
    /// Weighed in lines.
    pub to_quarantine: Mailbox<AppendLines>,
}

/// The actor.
pub struct UserParser {
    config: UserParserConfig,
    mailboxes: UserParserMailboxes,
    counters: Counters,
    intake: IntakeMeter,
    actor: ActorMeter,
    log: Logger,
    app_names: AppNames,
    enrichment: Enrichment,
    rejections: RejectionLog,
    /// Present when events are counted by origin.
    event_counts: Option<EventCounts>,
    /// An estimate of the size of the next batch.
    last_body_bytes: usize,
}

/// The counters, looked up once.
struct Counters {
    excluded: Counter,
    fallback_encoding: Counter,
    invalid_utf8: Counter,
    user_not_found: Counter,
    unknown_app_name: Counter,
}

/// A rejected datagram as the quarantine stores it: one JSON object per line.
#[derive(Debug, Serialize)]
struct Quarantined<'a> {
    /// The time of receipt in Unix milliseconds.
    time: u64,
    reason: &'a str,
    /// The address and port.
    source: String,
    /// The size of the whole datagram.
    bytes: usize,
    /// The first 512 bytes, with U+FFFD where they are not UTF-8. Empty when users' names are replaced,
    /// because the position of a name is unknown.
    text: String,
    /// The same bytes in hex.
    hex: String,
}

/// The number of bytes of a rejected datagram that are stored.
const KEPT_BYTES: usize = 512;

/// A datagram made the parser panic.
const PANICKED: &str = "parser-panic";

/// The event does not fit into the journal's batch. The parser's limits prevent this.
const UNSTORABLE: &str = "too-large-to-store";

impl UserParser {
    #[must_use]
    pub fn new(
        config: UserParserConfig,
        mailboxes: UserParserMailboxes,
        intake: IntakeMeter,
        actor: ActorMeter,
        log: Logger,
    ) -> Self {
        let counters = Counters {
            excluded: intake.rejected("excluded_user"),
            fallback_encoding: intake.remark("fallback_encoding"),
            invalid_utf8: intake.remark("invalid_utf8"),
            user_not_found: intake.remark("user_not_found"),
            unknown_app_name: intake.remark("unknown_app_name"),
        };
        Self {
            enrichment: enrichment(&config),
            config,
            mailboxes,
            counters,
            intake,
            actor,
            log,
            app_names: AppNames::default(),
            rejections: RejectionLog::new(),
            event_counts: None,
            last_body_bytes: 0,
        }
    }

    /// Also counts events by origin.
    #[must_use]
    pub fn counting(mut self, event_counts: Option<EventCounts>) -> Self {
        self.event_counts = event_counts;
        self
    }

    /// Parses one datagram into `records`.
    fn parse(
        &mut self,
        bytes: &[u8],
        received_ns: u64,
        records: &mut RecordBatch,
        counts: Option<&mut CountTable>,
    ) -> Outcome {
        let (enrichment, app_names) = (&mut self.enrichment, &self.app_names);
        let counters = &self.counters;
        let expected = self.config.app_names_expected;
        let pseudonymizer = self.config.pseudonymizer.as_deref();
        let parsed = guard(|| {
            #[cfg(test)]
            assert!(!bytes.starts_with(b"poison"), "a test wants it");
            match enrichment.event(bytes, received_ns, app_names) {
                Err(rejection) => Outcome::Rejected(rejection.reason()),
                Ok(Enriched { mut event, excluded, user_not_found }) => {
                    if let Some(pseudonymizer) = pseudonymizer {
                        pseudonymizer.replace_in_event(&mut event, user_not_found);
                    }
                    if let Some(counts) = counts {
                        let origin = event.origin.as_deref().unwrap_or_default();
                        counts.event(&event.message_type, &event.host, origin, excluded);
                    }
                    if excluded {
                        return Outcome::Excluded;
                    }
                    if records.push_with(|out| event.encode_into(out)).is_err() {
                        return Outcome::Rejected(UNSTORABLE);
                    }
                    let unknown = expected && event.app_name.as_deref() == Some(UNKNOWN_APP_NAME);
                    match event.decoded {
                        Decoded::Utf8 => {}
                        Decoded::Fallback => _ = counters.fallback_encoding.inc(),
                        Decoded::Replaced => _ = counters.invalid_utf8.inc(),
                    }
                    counters.user_not_found.inc_by(u64::from(user_not_found));
                    counters.unknown_app_name.inc_by(u64::from(unknown));
                    Outcome::Event
                }
            }
        });
        parsed.unwrap_or_else(|panic| {
            // The message of a panic often quotes its input.
            let panic = if self.config.pseudonymizer.is_some() {
                "not shown, it may hold a name".to_owned()
            } else {
                panic
            };
            slog::error!(self.log, "the parser panicked on a datagram"; "panic" => panic);
            self.actor.failed(PANICKED);
            // The cache may be inconsistent.
            self.enrichment = self::enrichment(&self.config);
            Outcome::Rejected(PANICKED)
        })
    }

    /// Counts a rejected datagram, logs it, and stores it if there is room.
    fn reject(&mut self, datagram: &Datagram, bytes: &[u8], reason: &'static str, kept: &mut Vec<Vec<u8>>) {
        self.intake.rejected(reason).inc();
        self.rejections.add(datagram.source.ip(), reason, datagram.received_ns, &self.log);
        let room = self.mailboxes.to_quarantine.bound() - self.mailboxes.to_quarantine.depth();
        if kept.len() < room as usize {
            let head: &[u8] =
                if self.config.pseudonymizer.is_some() { &[] } else { &bytes[..bytes.len().min(KEPT_BYTES)] };
            kept.push(quarantine_line(datagram, bytes.len(), head, reason));
        } else {
            self.actor.rejected("quarantine_full", 1);
        }
    }

    fn quarantine(&self, lines: Vec<Vec<u8>>) {
        let weight = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        if weight > 0
            && let Err(refused) = self.mailboxes.to_quarantine.offer(AppendLines { lines }, weight)
        {
            self.actor.rejected("quarantine_full", refused.lines.len() as u64);
        }
    }
}

/// The outcome of one datagram.
enum Outcome {
    Event,
    Excluded,
    Rejected(&'static str),
}

fn enrichment(config: &UserParserConfig) -> Enrichment {
    Enrichment::new(
        config.limits.user_agent_cache_entries_max.max(1),
        ExcludedUsers::new(config.excluded_users.iter().cloned()),
    )
    .decoding(config.fallback)
}

fn quarantine_line(datagram: &Datagram, bytes: usize, head: &[u8], reason: &str) -> Vec<u8> {
    let line = Quarantined {
        time: datagram.received_ns / 1_000_000,
        reason,
        source: datagram.source.to_string(),
        bytes,
        text: String::from_utf8_lossy(head).into_owned(),
        hex: hex::encode(head),
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&line).unwrap_or_default()
}

impl Actor for UserParser {
    type Context = Context<Self>;
}

impl Supervised for UserParser {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.enrichment = enrichment(&self.config);
        self.rejections = RejectionLog::new();
    }
}

impl Handler<Envelope<DatagramsReceived>> for UserParser {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<DatagramsReceived>, _: &mut Self::Context) {
        let Envelope { body: received, mut in_flight } = envelope;
        self.actor.received.inc();
        let _working = self.intake.times.begin(received.datagrams.len() as u64);
        let counts = self.event_counts.clone();
        let mut counts = counts.as_ref().map(EventCounts::lock);
        let mut records = RecordBatch::with_capacity(self.last_body_bytes);
        let mut kept = Vec::new();
        for datagram in &received.datagrams {
            let bytes = received.bytes_of(datagram);
            match self.parse(bytes, datagram.received_ns, &mut records, counts.as_deref_mut()) {
                Outcome::Event => {}
                Outcome::Excluded => {
                    self.counters.excluded.inc();
                    in_flight.settle(1);
                }
                Outcome::Rejected(reason) => {
                    if let Some(counts) = counts.as_deref_mut() {
                        counts.no_event();
                    }
                    self.reject(datagram, bytes, reason, &mut kept);
                    in_flight.settle(1);
                }
            }
        }
        drop(counts);
        self.quarantine(kept);
        self.last_body_bytes = records.body_bytes();
        if !records.is_empty() {
            self.mailboxes.to_journal.pass(Append { stream: Stream::UserEvents, records }, in_flight);
            self.actor.sent.inc();
        }
    }
}

impl Handler<Envelope<AppNamesLearned>> for UserParser {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<AppNamesLearned>, _: &mut Self::Context) {
        self.actor.received.inc();
        self.app_names = AppNames::clone(&envelope.body.0);
    }
}

impl Handler<Envelope<Close>> for UserParser {
    type Result = ();

    /// All earlier messages have been passed on to the journal by now.
    fn handle(&mut self, _: Envelope<Close>, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests;
