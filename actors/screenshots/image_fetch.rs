//! Downloads one screenshot, from its URL to the file: executes the decisions of [`Walk`].
//!
//! The redirect walker uses it for each event. It owns the HTTP client for screenshot hosts, which never
//! sends a certificate. It begins with a slot and leaves it between two attempts. It passes bodies to the
//! image writer in pieces, and never holds a whole one. Contract: screenshots.md.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use butler_sos_domain::file_name::FileStem;
use butler_sos_domain::identity;
use butler_sos_domain::image::{Claim, extension};
use butler_sos_domain::login_page::is_page;
use butler_sos_domain::redirect::{Answer, Auth, Request, Step, Walk, WalkRules};
use butler_sos_domain::refusal::Reason;
use butler_sos_domain::retry::retry_after;
use butler_sos_domain::session::{AuthMode, SessionKey};
use butler_sos_domain::session_cookie::SessionCookies;
use butler_sos_domain::single_flight::Lease;
use butler_sos_domain::ticket_url::text_for_log;
use butler_sos_domain::ticket_users::TicketUsers;
use butler_sos_domain::virtual_proxy::VirtualProxy;
use futures_util::StreamExt;
use openssl::ssl::SslConnector;
use slog::{Logger, debug, info, warn};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::screenshots::download_places::Place;

use crate::kit::mailbox::Mailbox;
use crate::kit::metric::ActorMeter;
use crate::net::static_hosts::StaticHosts;
use crate::net::tls::ClientTls;
use crate::net::tls::reread::Reread;
use crate::screenshots::image_client::{ImageAnswer, ImageClient, ImageClientError, WholeBody};
use crate::screenshots::message::{
    Grant, ImageRefused, ImageStored, Piece, SessionFor, SessionNews, StoreImage,
};
use crate::screenshots::session_use::SessionUse;

/// The settings of a download.
#[derive(Clone)]
pub struct FetchConfig {
    pub rules: Arc<WalkRules>,
    pub login: Login,
    /// Whether sessions are kept after their download (`auth.sessionCache.enable`).
    pub are_sessions_kept: bool,
    /// `downloadTimeoutMs`: the limit of one attempt, redirects and body included.
    pub attempt_timeout: Duration,
    pub hosts: StaticHosts,
    /// The trusted CAs of screenshot hosts: Qlik Sense signs its own certificate, other hosts use the
    /// system's CAs. The client sends no certificate.
    pub tls: ClientTls,
    pub reread: Reread,
    pub to_sessions: Mailbox<SessionFor>,
    pub to_session_news: Mailbox<SessionNews>,
    pub to_images: Mailbox<StoreImage>,
    pub actor: ActorMeter,
    pub log: Logger,
}

/// How downloads log in (`auth.mode`), and at which QPS.
#[derive(Debug, Clone)]
pub enum Login {
    None,
    /// Always as this user, at this virtual proxy.
    QpsTicket {
        qps: QpsAddress,
        virtual_proxy: VirtualProxy,
        user_directory: String,
        user_id: String,
    },
    /// As the user of the event, at the virtual proxy of its URL.
    UserTicket {
        qps: QpsAddress,
        /// The users for whom that is allowed.
        users: TicketUsers,
    },
}

#[derive(Debug, Clone)]
pub struct QpsAddress {
    pub host: String,
    pub port: u16,
}

/// The data of an event that its download needs.
#[derive(Clone, Default)]
pub struct Screenshot {
    /// As logged.
    pub event_id: String,
    pub file_stem: FileStem,
    pub user: Option<String>,
    pub url: Option<String>,
    /// The text that the log shows in place of an address with a name. The single steps, which would show the
    /// name, are then not logged.
    pub hidden_url: Option<String>,
}

/// The length of the beginning of a body that is checked for a web page.
const HEAD_BYTES_MAX: usize = 64;
/// The number of pieces of a body between network and disk.
const PIECES_MAX: usize = 4;

/// Downloads images. There is one per arbiter.
pub struct Fetcher {
    config: FetchConfig,
    client: RefCell<Rc<ImageClient>>,
    /// [`Reread::asked`] when it was made.
    made_at: Cell<u64>,
}

impl Fetcher {
    #[must_use]
    pub fn new(config: FetchConfig, tls: SslConnector) -> Self {
        let client = RefCell::new(Rc::new(ImageClient::new(tls, &config.hosts)));
        let made_at = Cell::new(config.reread.asked());
        Self { config, client, made_at }
    }

    /// The client. After a request to read certificates again, it first reads the CAs, which takes some
    /// milliseconds once.
    fn client(&self) -> Rc<ImageClient> {
        let asked = self.config.reread.asked();
        if self.made_at.replace(asked) != asked {
            match self.config.tls.connector() {
                Ok(tls) => *self.client.borrow_mut() = Rc::new(ImageClient::new(tls, &self.config.hosts)),
                Err(error) => {
                    warn!(self.config.log, "the TLS files of a connection are unusable, the previous ones stay in use";
                    "to" => "screenshot hosts", "error" => %error)
                }
            }
        }
        Rc::clone(&self.client.borrow())
    }

    /// Downloads a screenshot and stores it.
    ///
    /// # Errors
    /// Why there is no file, after all attempts. The reason has been logged.
    pub async fn fetch(self: Rc<Self>, screenshot: &Screenshot, place: Place) -> Result<ImageStored, Reason> {
        let url = screenshot.url.as_deref().unwrap_or_default();
        let hidden_url = screenshot.hidden_url.as_deref();
        let log = self.config.log.new(slog::o!(
            "event_id" => screenshot.event_id.clone(),
            "url" => text_for_log(hidden_url.unwrap_or(url))));
        let silent = Logger::root(slog::Discard, slog::o!());
        let walk_log = if hidden_url.is_some() { &silent } else { &log };
        let fetched = self.fetch_logged(screenshot, url, place, walk_log).await;
        match &fetched {
            Ok(stored) => {
                info!(log, "screenshot stored"; "bytes" => stored.bytes, "files" => stored.paths.len())
            }
            Err(reason) => self.log_refusal(reason, &log),
        }
        fetched
    }

    fn log_refusal(&self, reason: &Reason, log: &Logger) {
        let Some(setting) = reason.setting() else {
            if reason.is_redirect_refusal() {
                warn!(log, "redirect blocked reason={reason}");
            } else {
                warn!(log, "screenshot not downloaded"; "reason" => %reason);
            }
            return;
        };
        // For those who look at the server's state and not at its log.
        self.config.actor.note(reason.class(), reason.hostname().unwrap_or_default());
        if reason.is_redirect_refusal() {
            warn!(log, "redirect blocked reason={reason}"; "setting" => setting);
        } else {
            warn!(log, "screenshot not downloaded"; "reason" => %reason, "setting" => setting);
        }
    }

    async fn fetch_logged(
        &self,
        screenshot: &Screenshot,
        url: &str,
        mut place: Place,
        log: &Logger,
    ) -> Result<ImageStored, Reason> {
        let mut walk = Walk::new(url, Arc::clone(&self.config.rules))?;
        let mut sessions = self.key(screenshot, &walk)?.map(|key| Sessions::new(key, &self.config));
        let fetched = loop {
            let step = match self.log_in(&walk, sessions.as_mut(), log).await {
                Ok(auth) => {
                    let request = walk.begin(auth);
                    self.attempt(&mut walk, request, screenshot, sessions.as_mut(), &mut place, log).await
                }
                Err(reason) => walk.fail_before_begin(reason).into(),
            };
            if let Some(sessions) = &mut sessions {
                sessions.notify(&mut walk).await;
            }
            match step {
                Ended::Stored(stored) => break Ok(stored),
                Ended::Step(Step::RetryLater { after }) => {
                    debug!(log, "download failed, will retry"; "attempt" => walk.attempts(), "pause_ms" => after.as_millis());
                    // Other downloads of this user may wait for it, each with a slot.
                    let is_waited_for = sessions.as_mut().is_some_and(|sessions| !sessions.pause());
                    if is_waited_for {
                        tokio::time::sleep(after).await;
                    } else {
                        place.move_to(walk.original().host_str().unwrap_or_default());
                        let left = place.leave();
                        tokio::time::sleep(after).await;
                        place = left.again().await;
                    }
                }
                Ended::Step(Step::Refuse(reason)) => break Err(reason),
                // An attempt cannot end with these steps.
                Ended::Step(Step::RetryWithTicket | Step::Follow(_) | Step::Image(_)) => {
                    debug!(log, "the proxy rejected the session, will request a ticket"; "attempt" => walk.attempts());
                }
            }
        };
        if let Some(sessions) = sessions {
            sessions.end(&mut walk).await;
        }
        fetched
    }

    /// The session key of the download; `None` when it needs no session.
    fn key(&self, screenshot: &Screenshot, walk: &Walk) -> Result<Option<SessionKey>, Reason> {
        let key = match &self.config.login {
            Login::None => return Ok(None),
            _ if !walk.may_log_in() => return Ok(None),
            Login::QpsTicket { qps, virtual_proxy, user_directory, user_id } => SessionKey::new(
                AuthMode::QpsTicket,
                &qps.host,
                qps.port,
                virtual_proxy.clone(),
                user_directory,
                user_id,
            ),
            Login::UserTicket { qps, users } => {
                let user = screenshot.user.as_deref().unwrap_or_default();
                let identity = identity::parse(user)
                    .filter(identity::Identity::usable_for_ticket)
                    .ok_or(Reason::UserNotParseable)?;
                if !users.allows(&identity) {
                    return Err(Reason::UserNotAllowed);
                }
                let virtual_proxy =
                    VirtualProxy::of_url(walk.original()).map_err(|_| Reason::InvalidVirtualProxy)?;
                SessionKey::new(
                    AuthMode::UserTicket,
                    &qps.host,
                    qps.port,
                    virtual_proxy,
                    identity.directory,
                    identity.id,
                )
            }
        };
        Ok(Some(key.for_images_of(walk.original())))
    }

    async fn log_in(
        &self,
        walk: &Walk,
        sessions: Option<&mut Sessions>,
        log: &Logger,
    ) -> Result<Auth, Reason> {
        let Some(sessions) = sessions else { return Ok(Auth::Nothing) };
        if walk.has_session() {
            if let Some(session_use) = &mut sessions.session_use {
                session_use.resume();
            }
            return Ok(Auth::Kept);
        }
        sessions.session_use = None;
        // A lead without a session is given back before the next request.
        sessions.give_back_lead();
        match self.config.to_sessions.ask(SessionFor(sessions.key.clone())).await {
            Ok(Ok(Grant::Session { session, session_use })) => {
                debug!(log, "downloading with a cached session"; "session" => ?session);
                sessions.session_use = Some(session_use);
                Ok(Auth::Cached(session))
            }
            Ok(Ok(Grant::Ticket { ticket, lease, session_use })) => {
                debug!(log, "downloading with a ticket");
                sessions.session_use = Some(session_use);
                sessions.lease = Some(lease);
                Ok(Auth::Ticket(ticket))
            }
            // The ticket actor has logged the reason.
            Ok(Err(_)) | Err(_) => Err(Reason::TicketFailed),
        }
    }

    /// One attempt: follows redirects to another answer, and reads the body if it is an image.
    async fn attempt(
        &self,
        walk: &mut Walk,
        mut request: Request,
        screenshot: &Screenshot,
        mut sessions: Option<&mut Sessions>,
        place: &mut Place,
        log: &Logger,
    ) -> Ended {
        let mut time = TimeLeft(self.config.attempt_timeout);
        loop {
            place.move_to(request.url.host_str().unwrap_or_default());
            let answered = time.limit(self.send(&request)).await.unwrap_or(Err(Reason::Timeout));
            let mut response = match answered {
                Ok(response) => response,
                Err(reason) => return walk.fail(reason, None).into(),
            };
            debug!(log, "response received"; "status" => response.status.as_u16(), "asked" => ?request);
            match walk.step(&answer_of(response.status.as_u16(), &response.headers)) {
                Step::Follow(next) => request = next,
                Step::Image(claim) => {
                    // The session works: other downloads need not wait for the body.
                    if let Some(sessions) = &mut sessions {
                        sessions.notify(walk).await;
                    }
                    return match self.store(&mut response.body, claim, walk, screenshot, &mut time).await {
                        Ok(stored) => Ended::Stored(stored),
                        Err(NotStored::Page) => walk.fail_with_page().into(),
                        Err(NotStored::For(reason)) => walk.fail(reason, None).into(),
                    };
                }
                step => return step.into(),
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<ImageAnswer, Reason> {
        let client = self.client();
        let answered = client.get(&request.url, request.cookie.as_ref()).await;
        answered.map_err(|error| match error {
            ImageClientError::Timeout => Reason::Timeout,
            ImageClientError::Tls => Reason::Tls,
            ImageClientError::Transport => Reason::Transport,
        })
    }

    /// Streams the body to the image writer.
    async fn store(
        &self,
        body: &mut WholeBody,
        claim: Claim,
        walk: &Walk,
        screenshot: &Screenshot,
        time: &mut TimeLeft,
    ) -> Result<ImageStored, NotStored> {
        let file_name = screenshot.file_stem.with_extension(extension(claim, walk.original()));
        let (to_writer, pieces) = mpsc::channel(PIECES_MAX);
        let mut head = Vec::new();
        let stored = self.config.to_images.ask(StoreImage { file_name, claim, pieces });
        let (stored, sent) = futures_util::future::join(stored, async {
            let sent =
                time.limit(send_body(body, &to_writer, &mut head)).await.unwrap_or(Err(Reason::Timeout));
            // A body without its end counts as truncated.
            drop(to_writer);
            sent
        })
        .await;
        match stored {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(ImageRefused::NotAnImage)) if is_page(&head) => Err(NotStored::Page),
            Ok(Err(refused)) => Err(NotStored::For(match refused {
                ImageRefused::NotAnImage => Reason::NotAnImage,
                ImageRefused::TooLarge { .. } => Reason::TooLarge,
                ImageRefused::Cut => sent.err().unwrap_or(Reason::Transport),
                ImageRefused::Write(_) => Reason::WriteFailed,
            })),
            Err(_) => Err(NotStored::For(Reason::WriteFailed)),
        }
    }
}

/// Why a body was not stored.
enum NotStored {
    /// It is a web page, whatever its Content-Type is.
    Page,
    For(Reason),
}

async fn send_body(
    body: &mut WholeBody,
    to_writer: &mpsc::Sender<Piece>,
    head: &mut Vec<u8>,
) -> Result<(), Reason> {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| Reason::Transport)?;
        head.extend(piece.iter().take(HEAD_BYTES_MAX - head.len()));
        if to_writer.send(Piece::Bytes(piece)).await.is_err() {
            // The writer has stopped reading, and answers with the reason.
            return Ok(());
        }
    }
    // As above.
    let _ = to_writer.send(Piece::End).await;
    Ok(())
}

/// The end of an attempt.
enum Ended {
    Stored(ImageStored),
    Step(Step),
}

impl From<Step> for Ended {
    fn from(step: Step) -> Self {
        Self::Step(step)
    }
}

/// The remaining time of an attempt.
struct TimeLeft(Duration);

impl TimeLeft {
    /// `None` when the time is up.
    async fn limit<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let done = tokio::time::timeout(self.0, work).await.ok();
        self.0 = self.0.saturating_sub(begun.elapsed());
        done
    }
}

/// Reports to the session cache: news, and the lead, also when the download is dropped half-way.
struct Sessions {
    key: SessionKey,
    lease: Option<Lease>,
    /// While it exists, the session is not ended to make room for another.
    session_use: Option<SessionUse>,
    notified: Option<SessionCookies>,
    are_kept: bool,
    to_cache: Mailbox<SessionNews>,
}

impl Sessions {
    fn new(key: SessionKey, config: &FetchConfig) -> Self {
        Self {
            key,
            lease: None,
            session_use: None,
            notified: None,
            are_kept: config.are_sessions_kept,
            to_cache: config.to_session_news.clone(),
        }
    }

    /// Reports changes of sessions since the last call.
    async fn notify(&mut self, walk: &mut Walk) {
        let opened = walk.opened_session().filter(|_| self.are_kept).cloned();
        let is_new = opened.is_some() && opened != self.notified;
        let endings = walk.take_endings();
        if !is_new && endings.rejected.is_empty() && endings.discarded.is_empty() {
            return;
        }
        let mut news = SessionNews::of(self.key.clone(), self.lease);
        news.rejected = endings.rejected;
        news.discarded = endings.discarded;
        if is_new {
            self.notified.clone_from(&opened);
            news.opened = opened;
            // With its session stored, the flight is over.
            self.lease = None;
        }
        // Fails only while the process stops.
        let _ = if news.rejected.is_empty() {
            self.to_cache.deliver(news, 1).await
        } else {
            self.to_cache.ask(news).await
        };
    }

    /// The download waits before its next attempt. Returns whether no other download waits for it meanwhile:
    /// with the cache off, it keeps its session and its user's lead to its end.
    fn pause(&mut self) -> bool {
        if self.are_kept {
            self.give_back_lead();
        }
        if let Some(session_use) = &mut self.session_use {
            session_use.pause();
        }
        self.lease.is_none()
    }

    /// The download is over.
    async fn end(mut self, walk: &mut Walk) {
        self.notify(walk).await;
        let opened = walk.opened_session().filter(|_| !self.are_kept).cloned();
        let lease = self.lease.take();
        if opened.is_none() && lease.is_none() {
            return;
        }
        let news = SessionNews { opened, is_over: true, ..SessionNews::of(self.key.clone(), lease) };
        let _ = self.to_cache.deliver(news, 1).await;
    }

    fn give_back_lead(&mut self) {
        if let Some(lease) = self.lease.take() {
            let news = SessionNews { is_over: true, ..SessionNews::of(self.key.clone(), Some(lease)) };
            // Without room the cache notices the end later by itself.
            let _ = self.to_cache.offer(news, 1);
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.give_back_lead();
    }
}

fn answer_of(status: u16, headers: &HeaderMap) -> Answer<'_> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Answer {
        status,
        location: headers.get(header::LOCATION).map(HeaderValue::as_bytes),
        set_cookies: headers.get_all(header::SET_COOKIE).map(HeaderValue::as_bytes).collect(),
        content_type: text(header::CONTENT_TYPE),
        content_encoding: text(header::CONTENT_ENCODING),
        content_length: text(header::CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
        retry_after: text(header::RETRY_AFTER)
            .and_then(|value| retry_after(value, OffsetDateTime::now_utc())),
    }
}
