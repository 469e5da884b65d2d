//! Takes screenshot events from the journal and processes each one to a file or a recorded reason.
//!
//! Receives: `FinishDownloads`; it pulls everything else.
//! Sends: requests to the journal, finished events to its stream of audit events, and the requests of
//! downloads.
//! Keeps: the records in progress or waiting for their turn, and the due times of failed ones; all are
//! rebuilt from the journal.
//! When full: it reads no more than `waitingEntriesMax`; the journal keeps the rest.
//! When it fails: a panic in one download fails that download; a restart continues from the last commit.
//!
//! # Once
//!
//! A finished download is recorded in the stream of audit events, with the offset of its event
//! (`source_offset`). Downloads end out of order, so a commit contains the offset of the first unfinished one
//! and the offset from which on the records of later finished ones are found. A restart reads those records
//! and repeats none of them.
//!
//! # Later
//!
//! A download without attempts left, with a reason that may pass, goes to the audit events with that reason,
//! and as a *later record* to the end of its own stream: the same event with the offset of its first record
//! and the reason. Its pause follows from its age, so a restart knows it too. When it is due it is retried.
//! After another failure it goes to the end again, so no record stays for longer than the longest pause. Its
//! audit event has been delivered by then and is not repeated: an image that arrives later is only stored as
//! a file, under the event's name.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised, WrapFuture};
use butler_sos_domain::audit::pseudonymous::{Clear, pseudonymous};
use butler_sos_domain::audit::{AuditEvent, AuditRecord, ScreenshotOutcome};
use butler_sos_domain::identity;
use butler_sos_domain::pseudonym::Pseudonymizer;
use butler_sos_domain::redirect::URL_BYTES_MAX;
use butler_sos_domain::refusal::Reason;
use butler_sos_domain::retry::LaterPolicy;
use butler_sos_domain::turns::TurnLimits;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use openssl::ssl::SslConnector;
use slog::{Logger, error, info, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use crate::journal::batch::{Batch, RecordBatch};
use crate::journal::client;
use crate::journal::message::{
    Append, AppendRefused, Commit, FetchLimits, NextBatch, OffsetAt, Position, PositionOf,
};
use crate::kit::clock::unix_ms;
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Consumer;
use crate::kit::metric::{ActorMeter, DestinationMeter};
use crate::kit::supervisor::panic_text;
use crate::line_log::message::AppendLines;
use crate::screenshots::download_places::{Place, Places, Turn};
use crate::screenshots::image_fetch::{FetchConfig, Fetcher, Screenshot};
use crate::screenshots::message::{FinishDownloads, ImageStored};
use crate::screenshots::offset_window::OffsetWindow;
use crate::sinks::sink::{DeadLetter, Refused};
use butler_sos_domain::streams::Stream;

/// The walker's consumer.
pub const CONSUMER: Consumer = Consumer { stream: Stream::Screenshots, name: "redirect_walker" };

/// The consumer with which it reads its own records. It has no position.
const TRACES: Consumer = Consumer { stream: Stream::AuditEvents, name: CONSUMER.name };

/// The settings of the actor.
#[derive(Clone)]
pub struct WalkerConfig {
    pub fetch: FetchConfig,
    /// Created from [`FetchConfig::tls`].
    pub image_tls: SslConnector,
    /// The number of concurrent downloads, in total and per host.
    pub turns: TurnLimits,
    /// The number of downloads read from the journal: those in progress, those that wait for a slot, and
    /// those that pause.
    pub waiting_max: usize,
    pub later: LaterPolicy,
    /// The number of downloads that wait for a later retry. Further ones are given up at once.
    pub retries_max: usize,
    /// `Pipeline.privacy.pseudonymise`: opens sealed names, and replaces names in older records.
    pub pseudonymizer: Option<Arc<Pseudonymizer>>,
    pub mailboxes: WalkerMailboxes,
    pub actor: ActorMeter,
    pub meter: DestinationMeter,
    pub log: Logger,
}

/// The mailboxes that the walker sends to.
#[derive(Clone)]
pub struct WalkerMailboxes {
    pub to_position: Mailbox<PositionOf>,
    pub to_next: Mailbox<NextBatch>,
    pub to_commit: Mailbox<Commit>,
    pub to_append: Mailbox<Append>,
    pub to_offset_at: Mailbox<OffsetAt>,
    pub to_dead_letters: Mailbox<AppendLines>,
}

const BATCH_BYTES_MAX: usize = 4 << 20;
const TRACE_RECORDS_MAX: usize = 1000;
/// The number of records in one read.
const BATCH_RECORDS_MAX: usize = 256;
/// The logged length of an event's id.
const EVENT_ID_CHARS_LOGGED: usize = 64;
/// No user name is longer.
const USER_BYTES_MAX: usize = 4096;

/// The actor. Its loop runs in its own context so that the supervisor sees its panics.
pub struct RedirectWalker {
    config: WalkerConfig,
    is_closing: watch::Sender<bool>,
    under_way: watch::Sender<usize>,
}

impl RedirectWalker {
    #[must_use]
    pub fn new(config: WalkerConfig) -> Self {
        Self { config, is_closing: watch::Sender::new(false), under_way: watch::Sender::new(0) }
    }
}

impl Actor for RedirectWalker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let fetcher = Fetcher::new(self.config.fetch.clone(), self.config.image_tls.clone());
        let run = Run {
            config: self.config.clone(),
            fetcher: Rc::new(fetcher),
            places: Places::new(self.config.turns),
            is_closing: self.is_closing.subscribe(),
            under_way: self.under_way.clone(),
        };
        ctx.spawn(run.forever().into_actor(self));
    }
}

impl Supervised for RedirectWalker {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The downloads were dropped with the context.
        self.under_way.send_replace(0);
    }
}

impl Handler<Envelope<FinishDownloads>> for RedirectWalker {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, envelope: Envelope<FinishDownloads>, _: &mut Self::Context) -> Self::Result {
        self.is_closing.send_replace(true);
        let mut under_way = self.under_way.subscribe();
        Box::pin(async move {
            let _in_flight = envelope.in_flight;
            // Fails only when the actor is gone, and its downloads with it.
            let _ = under_way.wait_for(|count| *count == 0).await;
        })
    }
}

#[derive(Clone)]
struct Run {
    config: WalkerConfig,
    fetcher: Rc<Fetcher>,
    places: Rc<Places<Download>>,
    is_closing: watch::Receiver<bool>,
    under_way: watch::Sender<usize>,
}

/// A finished record, and the offset of its trace if it left one.
struct Done {
    offset: u64,
    trace: Option<u64>,
    is_later_try: bool,
}

impl Done {
    fn without_trace(offset: u64) -> Self {
        Self { offset, trace: None, is_later_try: false }
    }
}

/// The data that a download needs from its record. The record may be large, and is read again when the
/// download has ended.
struct Download {
    offset: u64,
    screenshot: Screenshot,
    /// Why there is nothing to download.
    refused: Option<Reason>,
}

type Job = Pin<Box<dyn Future<Output = Done>>>;

/// Records by the time when they are due.
type Due = BinaryHeap<Reverse<(Instant, u64)>>;

impl Run {
    async fn forever(mut self) {
        let (mut window, finished) = self.resume().await;
        let mut jobs: FuturesUnordered<Job> = FuturesUnordered::new();
        let mut due = Due::new();
        let mut reading: Option<Pin<Box<dyn Future<Output = Batch>>>> = None;
        let mut committing: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
        let mut committed = window.done_below();
        // Retries in progress. They are limited so that new downloads are not delayed.
        let mut later_tries = 0;
        loop {
            let is_open = !*self.is_closing.borrow_and_update();
            if !is_open {
                // Downloads that have not begun stay in the journal.
                self.places.close();
            }
            while is_open
                && later_tries < self.config.turns.places
                && let Some(Reverse((at, offset))) = due.peek().copied()
                && at <= Instant::now()
            {
                due.pop();
                later_tries += 1;
                jobs.push(Box::pin(self.clone().again(offset)));
            }
            while let Some(turn) = self.places.next() {
                if let Turn::Begin(download, place) = turn {
                    jobs.push(Box::pin(self.clone().first(download, place)));
                }
            }
            self.under_way.send_replace(jobs.len());
            let taken_up = jobs.len() + self.places.waiting();
            self.measure(&window, taken_up, due.len());
            let room = self.config.waiting_max.saturating_sub(taken_up).min(BATCH_RECORDS_MAX);
            if reading.is_none() && room > 0 && is_open {
                reading = Some(Box::pin(self.clone().read(window.next(), room)));
            }
            if committing.is_none() && window.done_below() > committed {
                committed = window.done_below();
                committing = Some(Box::pin(self.clone().commit(committed, window.trace_from())));
            }
            let may_try_later = is_open && later_tries < self.config.turns.places;
            let next_due = due.peek().filter(|_| may_try_later).map(|Reverse((at, _))| *at);
            tokio::select! {
                Some(done) = jobs.next(), if !jobs.is_empty() => {
                    later_tries -= usize::from(done.is_later_try);
                    window.done(done.offset, done.trace);
                }
                () = self.places.changed() => {}
                batch = ready(&mut reading), if reading.is_some() && is_open => {
                    reading = None;
                    self.take_up(&batch, &finished, &mut window, &mut due, &jobs);
                }
                () = ready(&mut committing), if committing.is_some() => committing = None,
                () = until(next_due), if next_due.is_some() => {}
                changed = self.is_closing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    // --- after a start

    /// The offset to continue from, and the records after it that are already finished, with their traces.
    async fn resume(&self) -> (OffsetWindow, BTreeMap<u64, u64>) {
        let mailboxes = &self.config.mailboxes;
        let position = self.ask(&mailboxes.to_position, PositionOf(CONSUMER)).await;
        let end = OffsetAt { stream: Stream::AuditEvents, unix_ns: u64::MAX };
        let end = self.ask(&mailboxes.to_offset_at, end).await;
        let mut from = trace_from(&position).min(end);
        let mut finished = BTreeMap::new();
        while from < end {
            let fetch_limits = FetchLimits {
                records_max: TRACE_RECORDS_MAX,
                bytes_max: BATCH_BYTES_MAX,
                linger: Duration::ZERO,
            };
            let question = NextBatch { consumer: TRACES, from, fetch_limits };
            let batch = self.ask(&mailboxes.to_next, question).await;
            for record in batch.iter() {
                if let Ok(AuditRecord { source_offset: Some(of), .. }) = AuditRecord::decode(record.data)
                    && of >= position.offset
                {
                    finished.insert(of, record.offset);
                }
            }
            // A read without records must not be repeated for ever.
            from = batch.next_offset().max(from.saturating_add(1));
        }
        if !finished.is_empty() {
            info!(self.config.log, "recovered finished screenshots from the journal"; "events" => finished.len());
        }
        (OffsetWindow::new(position.offset, end), finished)
    }

    // --- taking up

    fn take_up(
        &self,
        batch: &Batch,
        finished: &BTreeMap<u64, u64>,
        window: &mut OffsetWindow,
        due: &mut Due,
        jobs: &FuturesUnordered<Job>,
    ) {
        for skipped in batch.skipped() {
            let events = skipped.offsets.end - skipped.offsets.start;
            self.config.meter.missed.inc_by(events);
            error!(self.config.log, "screenshot events were removed from the journal before their download";
                "records" => events, "from" => skipped.offsets.start, "why" => ?skipped.why);
        }
        for record in batch.iter() {
            let offset = record.offset;
            window.open(offset);
            if let Some(trace) = finished.get(&offset) {
                window.done(offset, Some(*trace));
                continue;
            }
            self.config.actor.received.inc();
            match AuditRecord::decode(record.data) {
                Ok(later) if later.source_offset.is_some() => {
                    match self.due_at(&later, record.appended_at_ns) {
                        Some(at) if due.len() < self.config.retries_max => due.push(Reverse((at, offset))),
                        _ => {
                            self.give_up(&later);
                            window.done(offset, None);
                        }
                    }
                }
                Ok(first) => {
                    let download = self.download(offset, &first);
                    let (host, user) = download.whose_turn();
                    self.places.push(&host, &user, download);
                }
                Err(error) => {
                    self.config.actor.rejected("damaged", 1);
                    error!(self.config.log, "journal record is not an event, stored as a dead letter";
                        "offset" => offset, "error" => %error);
                    let (reason, record) = (error.to_string(), record.data.to_vec());
                    jobs.push(Box::pin(self.clone().dead_letter(Refused { offset, reason, record })));
                }
            }
        }
        window.advance(batch.next_offset());
    }

    /// The time of the next retry. The pause of a later record began when it was appended.
    fn due_at(&self, later: &AuditRecord<'_>, appended_at_ns: u64) -> Option<Instant> {
        let age = Duration::from_nanos(appended_at_ns.saturating_sub(later.received_ns));
        let pause = self.config.later.pause(age)?;
        let waited = Duration::from_nanos((unix_ms() * 1_000_000).saturating_sub(appended_at_ns));
        Some(Instant::now() + pause.saturating_sub(waited))
    }

    fn give_up(&self, later: &AuditRecord<'_>) {
        self.config.actor.rejected("given-up", 1);
        let reason = later.screenshot.error.as_deref().unwrap_or_default();
        let event = AuditEvent::from_record(later.clone()).map(|event| event.event_id.into_owned());
        warn!(self.config.log, "screenshot abandoned"; "reason" => reason, "event_id" => event.unwrap_or_default());
    }

    // --- jobs

    /// The first download of an event.
    async fn first(self, download: Download, place: Place) -> Done {
        let offset = download.offset;
        let fetched = self.fetch(download, place).await;
        let batch = self.clone().read(offset, 1).await;
        let found = batch.iter().find(|record| record.offset == offset);
        let Some(Ok(record)) = found.map(|found| AuditRecord::decode(found.data)) else {
            self.config.meter.missed.inc();
            error!(self.config.log, "screenshot events were removed from the journal before their download";
                "records" => 1, "from" => offset);
            return Done::without_trace(offset);
        };
        if let Err(reason) = &fetched {
            // Append the later record first: a crash in between repeats the download, but never loses it.
            self.append_later(offset, &record, reason).await;
        }
        let body = match &self.config.pseudonymizer {
            // The record is from before names were replaced.
            Some(pseudonymizer) if record.sealed.is_none() => {
                pseudonymous(pseudonymizer, record.body).map(|of| of.body)
            }
            _ => Ok(Cow::Borrowed(record.body)),
        };
        // Accepted events are JSON.
        let Ok(body) = body else { return Done::without_trace(offset) };
        let finished = AuditRecord {
            source_offset: Some(offset),
            screenshot: outcome(&fetched),
            sealed: None,
            body: &body,
            ..record
        };
        let trace = self.append_surely(Stream::AuditEvents, &finished).await;
        self.config.actor.sent.inc();
        self.count(&fetched);
        Done { offset, trace: Some(trace), is_later_try: false }
    }

    /// Stores a record that is not an event as a dead letter, before the commit drops it.
    async fn dead_letter(self, refused: Refused) -> Done {
        let letter = DeadLetter::new(unix_ms(), CONSUMER.name, CONSUMER.stream.name(), &refused).to_line();
        self.ask(&self.config.mailboxes.to_dead_letters, AppendLines { lines: vec![letter] }).await;
        self.config.meter.dead_lettered.inc();
        Done::without_trace(refused.offset)
    }

    /// A later retry.
    async fn again(self, offset: u64) -> Done {
        let done = Done { offset, trace: None, is_later_try: true };
        let download = {
            let batch = self.clone().read(offset, 1).await;
            // The record was damaged or removed meanwhile: there is nothing to retry.
            let Some(found) = batch.iter().find(|record| record.offset == offset) else { return done };
            let Ok(record) = AuditRecord::decode(found.data) else { return done };
            self.download(offset, &record)
        };
        let (host, user) = download.whose_turn();
        let place = Rc::clone(&self.places).again(&host, &user).await;
        let fetched = self.fetch(download, place).await;
        let batch = self.clone().read(offset, 1).await;
        let Some(found) = batch.iter().find(|record| record.offset == offset) else { return done };
        let Ok(record) = AuditRecord::decode(found.data) else { return done };
        match (&fetched, record.source_offset) {
            (Err(reason), Some(first)) => self.append_later(first, &record, reason).await,
            _ => info!(self.config.log, "screenshot stored after a retry"),
        }
        self.count(&fetched);
        done
    }

    /// The download that a record requests.
    fn download(&self, offset: u64, record: &AuditRecord<'_>) -> Download {
        let mut download = Download { offset, screenshot: Screenshot::default(), refused: None };
        let event = match AuditEvent::from_record(record.clone()) {
            Ok(event) => event,
            Err(error) => {
                error!(self.config.log, "journal record is not an event"; "error" => %error);
                download.refused = Some(Reason::InvalidUrl);
                return download;
            }
        };
        download.screenshot = Screenshot {
            event_id: event.event_id.chars().take(EVENT_ID_CHARS_LOGGED).collect(),
            file_stem: event.file_stem(),
            user: event.user.filter(|user| user.len() <= USER_BYTES_MAX).map(Cow::into_owned),
            // A longer one is refused, whatever its end is.
            url: event.screenshot_url.map(|url| cut(&url, URL_BYTES_MAX + 1).to_owned()),
            hidden_url: None,
        };
        if let Some(sealed) = record.sealed.as_deref().filter(|sealed| !sealed.is_empty()) {
            let Some(clear) = self
                .config
                .pseudonymizer
                .as_deref()
                .and_then(|pseudonymizer| Clear::open(pseudonymizer, sealed))
            else {
                warn!(self.config.log, "cannot decrypt the user of a screenshot, the key has changed";
                    "event_id" => &download.screenshot.event_id);
                download.refused = Some(Reason::UserNotParseable);
                return download;
            };
            if let Some(user) = clear.user {
                download.screenshot.user = Some(user);
            }
            if let Some(url) = clear.screenshot_url {
                download.screenshot.hidden_url = download.screenshot.url.replace(url);
            }
        }
        download
    }

    /// Runs the download. A panic in it fails only this download.
    async fn fetch(&self, download: Download, place: Place) -> Result<ImageStored, Reason> {
        if let Some(reason) = download.refused {
            return Err(reason);
        }
        let fetch = Rc::clone(&self.fetcher).fetch(&download.screenshot, place);
        let fetched = AssertUnwindSafe(fetch).catch_unwind().await;
        fetched.unwrap_or_else(|panic| {
            error!(self.config.log, "a screenshot download panicked"; "panic" => panic_text(&*panic));
            Err(Reason::Transport)
        })
    }

    /// Reports how many of the records from the first unfinished one on wait only for their time.
    fn measure(&self, window: &OffsetWindow, under_way: usize, due: usize) {
        let taken_up = window.next().saturating_sub(window.done_below());
        self.config.meter.set_held(taken_up.saturating_sub(under_way as u64));
        self.config.meter.deferred.set(i64::try_from(due).unwrap_or(i64::MAX));
    }

    fn count(&self, fetched: &Result<ImageStored, Reason>) {
        match fetched {
            Ok(stored) => {
                self.config.meter.delivered.inc();
                self.config.meter.batches.inc();
                self.config.meter.bytes.inc_by(stored.bytes);
            }
            Err(reason) => {
                self.config.actor.rejected(reason.class(), 1);
                self.config.actor.failed(reason.class());
            }
        }
        self.config.meter.set_up();
    }

    // --- the journal

    /// Appends a failed download for a later retry, if its reason may pass and it is not too old.
    async fn append_later(&self, first: u64, record: &AuditRecord<'_>, reason: &Reason) {
        if !reason.is_retried_later() {
            return;
        }
        let later = AuditRecord {
            source_offset: Some(first),
            screenshot: ScreenshotOutcome { error: Some(reason.name()), ..ScreenshotOutcome::default() },
            ..record.clone()
        };
        let age = Duration::from_millis(unix_ms().saturating_sub(record.received_ns / 1_000_000));
        if self.config.later.pause(age).is_none() {
            return self.give_up(&later);
        }
        // Only this actor removes records from the stream, so waiting for room here would be a deadlock.
        if let Err(refused) = self.append(Stream::Screenshots, &later).await {
            warn!(self.config.log, "the journal rejected the retry of a screenshot"; "error" => refused);
            self.give_up(&later);
        }
    }

    async fn append_surely(&self, stream: Stream, record: &AuditRecord<'_>) -> u64 {
        loop {
            match self.append(stream, record).await {
                Ok(offset) => return offset,
                Err(refused) => {
                    warn!(self.config.log, "the journal rejected a finished screenshot event";
                    "error" => refused)
                }
            }
            sleep(client::PAUSE).await;
        }
    }

    async fn append(&self, stream: Stream, record: &AuditRecord<'_>) -> Result<u64, String> {
        let mut records = RecordBatch::with_capacity(record.body.len() + 256);
        records.push_with(|buffer| record.encode_into(buffer)).map_err(|error| error.to_string())?;
        let appended: Result<Result<_, AppendRefused>, _> =
            self.config.mailboxes.to_append.ask(Append { stream, records }).await;
        match appended {
            Ok(Ok(offsets)) => Ok(offsets.start),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(gone) => Err(gone.to_string()),
        }
    }

    async fn read(self, from: u64, records_max: usize) -> Batch {
        let fetch_limits = FetchLimits { records_max, bytes_max: BATCH_BYTES_MAX, linger: Duration::ZERO };
        let question = NextBatch { consumer: CONSUMER, from, fetch_limits };
        self.ask(&self.config.mailboxes.to_next, question).await
    }

    async fn commit(self, offset: u64, trace_from: u64) {
        let note = Some(trace_from.to_le_bytes().to_vec());
        let commit = Commit { consumer: CONSUMER, offset, note };
        self.ask(&self.config.mailboxes.to_commit, commit).await;
    }

    /// Calls [`client::ask`]. Its log line does not name the walker.
    async fn ask<M, T, E>(&self, mailbox: &Mailbox<M>, question: M) -> T
    where
        M: Message<Result = Result<T, E>> + Clone + Send + 'static,
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        client::ask(mailbox, question, &self.config.log, None).await
    }
}

impl Download {
    /// The host and the user of the download's turn, in normalised spelling.
    fn whose_turn(&self) -> (String, String) {
        let url = self.screenshot.url.as_deref().unwrap_or_default();
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let user = self.screenshot.user.as_deref().unwrap_or_default();
        let user = match identity::parse(user) {
            Some(user) => format!("{}\\{}", identity::folded(user.directory), identity::folded(user.id)),
            None => identity::folded(user),
        };
        (host, user)
    }
}

/// At most this many bytes of a text.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The result of a download, as destinations show it.
fn outcome(fetched: &Result<ImageStored, Reason>) -> ScreenshotOutcome<'static> {
    match fetched {
        Ok(stored) => ScreenshotOutcome {
            saved_paths: stored.paths.iter().cloned().map(Cow::Owned).collect(),
            sha256: Some(stored.sha256.clone().into()),
            error: None,
        },
        Err(reason) => ScreenshotOutcome { error: Some(reason.name()), ..ScreenshotOutcome::default() },
    }
}

/// The offset from which on to look for traces, from the last note: eight bytes, little endian. Without a
/// note, 0.
fn trace_from(position: &Position) -> u64 {
    position.note.as_slice().try_into().map_or(0, u64::from_le_bytes)
}

async fn ready<T>(future: &mut Option<Pin<Box<dyn Future<Output = T>>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
