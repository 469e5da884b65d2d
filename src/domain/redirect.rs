//! The walk of one screenshot, as a state machine without a socket.
//!
//! A [`Walk`] is told what was answered and says what to do next. It belongs to one download, from the event's URL
//! to the image or to the reason why there is none:
//!
//! ```text
//! new(url) ─► begin(auth) ─► Request ─► answer ─► step ─┬─► Follow(request) ─► answer ─► step …
//!                ▲                   └► failure ─► fail ┤
//!                ├──── a ticket, at once ◄──────────────┼─► RetryWithTicket
//!                ├──── after a pause ◄──────────────────┼─► RetryLater { after }
//!                                                       ├─► Image(claim)     then read the body; `fail` if it is none
//!                                                       └─► Refuse(reason)
//! ```
//!
//! Sessions: a cookie seen on any answer is sent on every later hop (to its own host alone when sessions are not
//! carried, and never over http when it is `Secure`) and, when the attempt fails, on the next attempt. What has to be ended at QPS is collected on the way ([`Walk::take_endings`]).
//! Rules: contract, screenshots.md, "The walk" 1 to 10.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::allowed_hosts::AllowedHosts;
use crate::image::Claim;
use crate::login_page::is_login;
use crate::refusal::Reason;
use crate::retry::AttemptPolicy;
use crate::session_cookie::{SessionCookie, SessionCookieNames, SessionCookies, SetSession};
use crate::ticket_url::{url_for_log, with_ticket, without_ticket};
use crate::transport::{AllowedPorts, PlainHttp, is_plain};

/// Longest URL that is asked for, in bytes.
pub const URL_BYTES_MAX: usize = 8192;

/// What a walk keeps to; shared by all walks.
#[derive(Debug, Clone)]
pub struct WalkRules {
    pub hosts: AllowedHosts,
    /// `Pipeline.screenshots.allowHttp`.
    pub plain_http: PlainHttp,
    /// `Pipeline.screenshots.allowedPorts`.
    pub ports: AllowedPorts,
    /// Whether a session goes along on a redirect to another allowed host (`Pipeline.screenshots.carrySessions`).
    pub are_sessions_carried: bool,
    pub cookie_names: SessionCookieNames,
    pub attempts: AttemptPolicy,
    /// Redirects followed in one attempt (`Pipeline.screenshots.redirectsMax`).
    pub redirects_max: u32,
    /// Longest body, in bytes (`Pipeline.screenshots.bytesMax`).
    pub bytes_max: u64,
}

impl WalkRules {
    /// The contract's defaults for these hosts.
    pub fn for_hosts(hosts: AllowedHosts) -> Self {
        Self {
            hosts,
            plain_http: PlainHttp::default(),
            ports: AllowedPorts::default(),
            are_sessions_carried: true,
            cookie_names: SessionCookieNames::default(),
            attempts: AttemptPolicy::default(),
            redirects_max: 5,
            bytes_max: 50 * 1024 * 1024,
        }
    }
}

/// How an attempt shows who it is.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Not at all (`auth.mode: none`).
    Nothing,
    /// A ticket, redeemed by the first request of this attempt.
    Ticket(SecretString),
    /// A session that another download opened.
    Cached(SessionCookies),
    /// The session that this walk has ([`Walk::has_session`]).
    Kept,
}

/// What to ask for next. Redirects must be off, and no certificate shown.
#[derive(Clone)]
pub struct Request {
    /// May hold a ticket: for the wire only. Logs take [`Request::url_for_log`].
    pub url: Url,
    /// Value of the `Cookie` header.
    pub cookie: Option<SecretString>,
}

impl Request {
    pub fn url_for_log(&self) -> String {
        url_for_log(&self.url)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}{}", self.url_for_log(), if self.cookie.is_some() { " with a session" } else { "" })
    }
}

/// What matters of an answer's head.
#[derive(Debug, Clone, Default)]
pub struct Answer<'a> {
    pub status: u16,
    pub location: Option<&'a [u8]>,
    /// Every `Set-Cookie` value.
    pub set_cookies: Vec<&'a [u8]>,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub content_length: Option<u64>,
    /// Read by [`crate::retry::retry_after`].
    pub retry_after: Option<Duration>,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Ask for this, within the same attempt.
    Follow(Request),
    /// The session that this attempt began with is not accepted: begin again at once with a fresh ticket.
    RetryWithTicket,
    /// Begin again after a pause: with the kept session if there is one, else as at first.
    RetryLater { after: Duration },
    /// The body should be an image of this claim. Read it; if it is not, or breaks off, say so to [`Walk::fail`].
    Image(Claim),
    /// No image.
    Refuse(Reason),
}

/// Sessions that a walk is done with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// A cached session that Qlik Sense did not accept: out of the cache with it.
    pub rejected: Vec<SessionCookies>,
    /// Sessions that this walk opened and no longer uses: to be ended at QPS.
    pub discarded: Vec<SessionCookie>,
}

/// One download under way.
pub struct Walk {
    rules: Arc<WalkRules>,
    original: Url,
    current: Url,
    /// Attempts begun.
    attempts: u32,
    /// Redirects followed in this attempt.
    hops: u32,
    /// The ticket that this attempt redeems.
    ticket: Option<SecretString>,
    /// Whether this attempt began with a session.
    is_session_used: bool,
    /// Sent on the next request.
    session: SessionCookies,
    /// The cached session that the walk was given last, for telling the walk's own cookies from it.
    cached: SessionCookies,
    endings: Endings,
}

impl Walk {
    /// A walk from the event's URL. Refused when it is no absolute http(s) URL or its host is not in the list.
    pub fn new(url: &str, rules: Arc<WalkRules>) -> Result<Self, Reason> {
        if url.len() > URL_BYTES_MAX {
            return Err(Reason::InvalidUrl);
        }
        let url = Url::parse(url).map_err(|_| Reason::InvalidUrl)?;
        let original = checked(url, None, &rules)?;
        Ok(Self {
            rules,
            current: original.clone(),
            original,
            attempts: 0,
            hops: 0,
            ticket: None,
            is_session_used: false,
            session: SessionCookies::default(),
            cached: SessionCookies::default(),
            endings: Endings::default(),
        })
    }

    /// The event's URL: what the virtual proxy and the file's ending are read off.
    pub fn original(&self) -> &Url {
        &self.original
    }

    /// Whether a ticket or a session may go to the event's URL.
    pub fn may_log_in(&self) -> bool {
        self.takes_secrets(&self.original)
    }

    /// Attempts begun so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Redirects followed in this attempt.
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Whether the next attempt can begin with [`Auth::Kept`].
    pub fn has_session(&self) -> bool {
        !self.session.is_empty()
    }

    /// Begins an attempt at the event's URL.
    pub fn begin(&mut self, auth: Auth) -> Request {
        self.attempts += 1;
        self.hops = 0;
        self.ticket = None;
        self.is_session_used = false;
        self.current = self.original.clone();
        match auth {
            Auth::Kept => self.is_session_used = self.has_session(),
            Auth::Nothing => self.discard_session(),
            Auth::Ticket(ticket) => {
                self.discard_session();
                self.current = with_ticket(&self.original, ticket.expose_secret());
                self.ticket = Some(ticket);
            }
            Auth::Cached(session) => {
                self.discard_session();
                self.cached = session.clone();
                self.session = session;
                self.is_session_used = self.has_session();
            }
        }
        self.request()
    }

    /// What an answer means.
    pub fn step(&mut self, answer: &Answer<'_>) -> Step {
        self.keep_cookies(&answer.set_cookies);
        match answer.status {
            200..=299 => self.step_success(answer),
            301 | 302 | 303 | 307 | 308 => self.step_redirect(answer),
            401 | 403 => self.reject_session(Reason::Http(answer.status), answer.retry_after),
            status => self.fail(Reason::Http(status), answer.retry_after),
        }
    }

    /// What a failure without an answer means: no ticket, no connection, no end of waiting, no image after all.
    pub fn fail(&mut self, reason: Reason, retry_after: Option<Duration>) -> Step {
        if !reason.is_retried_at_once() {
            return Step::Refuse(reason);
        }
        match self.rules.attempts.pause_after(self.attempts, retry_after) {
            Some(after) => Step::RetryLater { after },
            None => Step::Refuse(reason),
        }
    }

    /// The same for a body that should have been an image and is a page: what a proxy answers when a session is over.
    pub fn fail_with_page(&mut self) -> Step {
        self.reject_session(Reason::NotAnImage, None)
    }

    /// The same for an attempt that never began, because no ticket was to be had: it counts as one.
    pub fn fail_before_begin(&mut self, reason: Reason) -> Step {
        self.attempts += 1;
        self.fail(reason, None)
    }

    /// The session that this walk opened, if it did, still has it, and has no reason to doubt it: for the cache,
    /// or to be ended at QPS.
    pub fn opened_session(&self) -> Option<&SessionCookies> {
        (self.has_session() && self.session != self.cached).then_some(&self.session)
    }

    /// Takes what is to be ended by now.
    pub fn take_endings(&mut self) -> Endings {
        std::mem::take(&mut self.endings)
    }

    fn step_success(&mut self, answer: &Answer<'_>) -> Step {
        let claim = Claim::of_content_type(answer.content_type);
        let is_empty = matches!(answer.status, 204 | 205) || answer.content_length == Some(0);
        let is_encoded = answer.content_encoding.is_some_and(|coding| {
            !coding.trim().is_empty() && !coding.trim().eq_ignore_ascii_case("identity")
        });
        match claim {
            Claim::Html => self.reject_session(Reason::NotAnImage, answer.retry_after),
            Claim::Other => self.fail(Reason::NotAnImage, answer.retry_after),
            _ if is_empty || is_encoded => self.fail(Reason::NotAnImage, answer.retry_after),
            _ if answer.content_length.is_some_and(|length| length > self.rules.bytes_max) => {
                self.fail(Reason::TooLarge, None)
            }
            _ => Step::Image(claim),
        }
    }

    fn step_redirect(&mut self, answer: &Answer<'_>) -> Step {
        let target = match self.resolve(answer.location) {
            Ok(target) => target,
            Err(reason) => return Step::Refuse(reason),
        };
        if self.is_session_used && is_login(&target, &self.current) {
            return self.reject_session(Reason::LoginRedirect, answer.retry_after);
        }
        let target = match checked(target, Some(&self.current), &self.rules) {
            Ok(target) => target,
            // A proxy sends whoever has no session to an identity provider, which is somewhere else.
            Err(reason) if self.is_session_used && reason.hostname().is_some() => {
                return self.reject_session(Reason::LoginRedirect, answer.retry_after);
            }
            Err(reason) => return Step::Refuse(reason),
        };
        if self.hops >= self.rules.redirects_max {
            return Step::Refuse(Reason::MaxRedirects);
        }
        self.hops += 1;
        self.current = match &self.ticket {
            Some(spent) => without_ticket(&target, spent.expose_secret()),
            None => target,
        };
        Step::Follow(self.request())
    }

    fn resolve(&self, location: Option<&[u8]>) -> Result<Url, Reason> {
        let location = location.unwrap_or_default().trim_ascii();
        if location.is_empty() {
            return Err(Reason::MissingLocation);
        }
        if location.len() > URL_BYTES_MAX {
            return Err(Reason::InvalidLocation);
        }
        let text = std::str::from_utf8(location).map_err(|_| Reason::InvalidLocation)?;
        self.current.join(text).map_err(|_| Reason::InvalidLocation)
    }

    /// Qlik Sense does not take the session that was sent. One that the attempt began with may have been over:
    /// the next attempt needs a ticket. One that a ticket opened just now is no good: nobody shall have it.
    fn reject_session(&mut self, reason: Reason, retry_after: Option<Duration>) -> Step {
        if !self.cached.is_empty() {
            self.endings.rejected.push(self.cached.clone());
        }
        self.discard_session();
        if !self.is_session_used {
            self.fail(reason, retry_after)
        } else if self.rules.attempts.is_left(self.attempts) {
            Step::RetryWithTicket
        } else {
            Step::Refuse(reason)
        }
    }

    /// Lets go of the session; what of it is this walk's own is to be ended.
    fn discard_session(&mut self) {
        let cached = std::mem::take(&mut self.cached);
        let own = std::mem::take(&mut self.session);
        self.endings.discarded.extend(own.without(&cached).iter().cloned());
    }

    fn keep_cookies(&mut self, set_cookies: &[&[u8]]) {
        if !self.takes_secrets(&self.current) {
            return;
        }
        for set_cookie in set_cookies {
            let gone = match self.rules.cookie_names.read(set_cookie, &self.current) {
                Some(SetSession::Begin(cookie)) => self.session.set(cookie),
                Some(SetSession::End { name }) => self.session.remove(&name),
                None => None,
            };
            // A cookie of the cached session is the cache's to end.
            if let Some(gone) = gone
                && !self.cached.iter().any(|cached| *cached == gone)
            {
                self.endings.discarded.push(gone);
            }
        }
    }

    fn takes_secrets(&self, url: &Url) -> bool {
        !is_plain(url) || self.rules.plain_http == PlainHttp::Allowed
    }

    fn request(&self) -> Request {
        let is_carried = self.hops > 0 && self.rules.are_sessions_carried;
        let cookie = self
            .takes_secrets(&self.current)
            .then(|| self.session.header(&self.current, is_carried))
            .flatten();
        Request { url: self.current.clone(), cookie }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("original", &url_for_log(&self.original))
            .field("current", &url_for_log(&self.current))
            .field("attempts", &self.attempts)
            .field("hops", &self.hops)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// A URL that may be asked for: http(s) as far as allowed, host and port in the lists; without user information and
/// fragment, which are not for the wire. `from`: the URL that a redirect comes from.
fn checked(mut url: Url, from: Option<&Url>, rules: &WalkRules) -> Result<Url, Reason> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Reason::InvalidScheme);
    }
    let hostname = || url.host_str().unwrap_or_default().to_owned();
    if !rules.hosts.allows(&url) {
        return Err(Reason::HostNotAllowed { hostname: hostname() });
    }
    let is_plain_allowed = match rules.plain_http {
        PlainHttp::Refused => false,
        PlainHttp::WithoutTickets => from.is_none_or(is_plain),
        PlainHttp::Allowed => true,
    };
    if is_plain(&url) && !is_plain_allowed {
        return Err(Reason::HttpNotAllowed { hostname: hostname() });
    }
    if !rules.ports.allows(&url) {
        let port = url.port_or_known_default().unwrap_or_default();
        return Err(Reason::PortNotAllowed { hostname: hostname(), port });
    }
    // These fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
