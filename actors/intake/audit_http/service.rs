//! One request from its first line to its answer, with the order of checks in the contract's `audit-api.md`.
//!
//! All routes end in one function, so that every answer is made there and has all headers. (Below this level,
//! input that is not HTTP is answered with 400 or 408, and its connection is closed.)

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use butler_sos_domain::audit::{test_connection, time::rfc3339};
use butler_sos_domain::client_network::network_of;
use butler_sos_domain::rate_window::{Exceeded, RateWindows};
use futures_util::FutureExt;
use ipnet::IpNet;
use slog::{Logger, debug, error};

use super::body::{self, BodyError, LargeBodies};
use super::client;
use super::cors::Cors;
use super::group::Groups;
use super::intake::{Intake, Taken};
use super::reply::Reply;
use super::token::Token;
use super::warnings::{Warning, Warnings};
use crate::kit::clock::unix_ms;
use crate::kit::lock::lock;
use crate::kit::supervisor::panic_text;
use crate::net::http_server::brake::Brake;
use crate::net::http_server::connection_limiter::ConnectionSlot;

pub const EVENT: &str = "/api/v1/audit-event";
pub const TEST_CONNECTION: &str = "/api/v1/test-connection";

const VERSION_HEADER: &str = "x-audit-qs-version";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The state that all threads share to answer requests.
pub struct Service {
    pub intake: Arc<Intake>,
    pub warnings: Warnings,
    pub token: Option<Token>,
    pub cors: Cors,
    pub trusted_proxies: Vec<IpNet>,
    pub client_rate: Option<Mutex<RateWindows<IpAddr>>>,
    /// Addresses of one IPv6 network with this prefix length are one client.
    pub ipv6_prefix: u8,
    pub brake: Brake,
    pub body_bytes_max: usize,
    /// The limit of a request line with its headers.
    pub header_bytes_max: usize,
    pub body_timeout: Duration,
    pub large_bodies: LargeBodies,
    pub backpressure_percent: u8,
    pub is_tls: bool,
    pub since: Instant,
    pub log: Logger,
}

/// Answers every request. `groups` are those of the current thread.
pub async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    service: Arc<Service>,
    groups: Groups,
) -> HttpResponse {
    let received_at = rfc3339(unix_ms().cast_signed());
    let routed = AssertUnwindSafe(service.route(&request, payload.into_inner(), &groups, &received_at));
    let reply = routed.catch_unwind().await.unwrap_or_else(|panic| {
        error!(service.log, "audit API: a request handler panicked"; "panic" => panic_text(&*panic));
        Reply::internal(&received_at).closing()
    });
    let is_preflight = *request.method() == Method::OPTIONS;
    reply.finish(service.is_tls, service.cors.headers(&request, is_preflight))
}

impl Service {
    async fn route(
        &self,
        request: &HttpRequest,
        mut payload: Payload,
        groups: &Groups,
        received_at: &str,
    ) -> Reply {
        if head_bytes(request) > self.header_bytes_max {
            self.warnings.note(Warning::HeadTooLarge, Some(self.client(request)), "");
            return Reply::head_too_large(received_at).closing();
        }
        let method = request.method();
        let reply = match (request.path(), method.as_str()) {
            (EVENT | TEST_CONNECTION, "OPTIONS") => Reply::preflight(),
            (EVENT, "POST") => self.take(request, &mut payload, groups, received_at).await,
            (TEST_CONNECTION, "GET" | "HEAD") => self.test_connection(request, received_at).await,
            (EVENT, _) => Reply::method_not_allowed(received_at, "POST, OPTIONS"),
            (TEST_CONNECTION, _) => Reply::method_not_allowed(received_at, "GET, HEAD, OPTIONS"),
            _ => Reply::not_found(received_at),
        };
        // Discard the rest of a refused request, so that its sender sees the answer and not a reset.
        if body::discard(&mut payload, 4 * self.body_bytes_max).await { reply } else { reply.closing() }
    }

    async fn test_connection(&self, request: &HttpRequest, received_at: &str) -> Reply {
        let client = self.client(request);
        if let Err(exceeded) = self.count_client(client) {
            self.warnings.note(Warning::RateLimited, Some(client), "");
            return Reply::rate_limited(received_at, exceeded);
        }
        if let Err(reply) = self.authorize(request, client, received_at).await {
            self.warnings.note(Warning::Unauthorized, Some(client), "");
            return reply;
        }
        Reply::connection_test(&test_connection(version(request).as_deref()).body(received_at))
    }

    async fn take(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        groups: &Groups,
        received_at: &str,
    ) -> Reply {
        let client = self.client(request);
        let account = self.intake.account();
        let (warning, label, reply) = if let Err(exceeded) = self.count_client(client) {
            (Warning::RateLimited, "rate_limit", Reply::rate_limited(received_at, exceeded))
        } else if let Err(reply) = self.authorize(request, client, received_at).await {
            (Warning::Unauthorized, "unauthorized", reply)
        } else {
            let slot = request.conn_data::<Arc<ConnectionSlot>>();
            slot.into_iter().for_each(|slot| slot.await_body());
            let limits = (self.body_bytes_max, self.body_timeout);
            let read = body::read(payload, declared(request), limits, &self.large_bodies).await;
            slot.into_iter().for_each(|slot| slot.begin());
            match read {
                Err(BodyError::NoRoom) => {
                    account.shed("bodies_full");
                    self.warnings.note(Warning::NoRoom, Some(client), "");
                    return Reply::no_room(received_at);
                }
                Err(BodyError::TooLarge) => (Warning::TooLarge, "too_large", Reply::too_large(received_at)),
                Err(BodyError::Slow) => (Warning::Incomplete, "incomplete", Reply::body_slow(received_at)),
                Err(BodyError::Cut) => (Warning::Incomplete, "incomplete", Reply::body_cut(received_at)),
                Ok(_) if !is_plain_json(request) => {
                    (Warning::MediaType, "media_type", Reply::media_type(received_at))
                }
                Ok((body, _room)) => {
                    let version = version(request);
                    let taken = self.intake.take(&body, version.as_deref(), account, groups).await;
                    return self.reply(taken, client, received_at);
                }
            }
        };
        account.rejected(label);
        self.warnings.note(warning, Some(client), "");
        reply
    }

    fn reply(&self, taken: Taken, client: IpAddr, received_at: &str) -> Reply {
        self.look_at_queue();
        match taken {
            Taken::Stored(stored) => {
                if let Some(event_id) = &stored.conflict {
                    self.warnings.note(Warning::Conflict, Some(client), event_id);
                }
                if !stored.has_version {
                    debug!(self.log, "audit API: event has no Audit.qs version"; "source" => %client);
                    self.warnings.note(Warning::NoVersion, Some(client), "");
                }
                Reply::accepted(received_at)
            }
            Taken::Refused(refusal) => {
                self.warnings.note(Warning::Content, Some(client), refusal.reason);
                Reply::refused(received_at, &refusal)
            }
            Taken::RateLimited(exceeded) => {
                self.warnings.note(Warning::QueueRateLimited, Some(client), "");
                Reply::rate_limited(received_at, exceeded)
            }
            Taken::NoRoom => {
                self.warnings.note(Warning::NoRoom, Some(client), "");
                Reply::no_room(received_at)
            }
            Taken::Failed => {
                error!(self.log, "audit API: cannot process an event"; "source" => %client);
                Reply::internal(received_at)
            }
        }
    }

    fn look_at_queue(&self) {
        let (depth, bound) = self.intake.depth();
        if u64::from(depth) * 100 > u64::from(bound) * u64::from(self.backpressure_percent)
            && !self.intake.is_closed()
        {
            self.warnings.note(Warning::QueueFilling, None, "");
        }
    }

    fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        // Without trusted proxies the header is ignored.
        if self.trusted_proxies.is_empty() {
            return peer.to_canonical();
        }
        let values: Vec<&str> = request
            .headers()
            .get_all(FORWARDED_FOR)
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        client::address(peer, &self.trusted_proxies, values.into_iter())
    }

    fn count_client(&self, client: IpAddr) -> Result<(), Exceeded> {
        let Some(rate) = &self.client_rate else { return Ok(()) };
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let client = network_of(client, self.ipv6_prefix);
        lock(rate).count(client, now_ms)
    }

    /// Whether the client knows the token. The answer to a wrong token is delayed.
    async fn authorize(&self, request: &HttpRequest, client: IpAddr, received_at: &str) -> Result<(), Reply> {
        let authorization = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        if self.token.as_ref().is_none_or(|token| token.is_in(authorization)) {
            return Ok(());
        }
        let slot = request.conn_data::<Arc<ConnectionSlot>>().map(Arc::as_ref);
        let reply = Reply::unauthorized(received_at);
        let goes_on = authorization.is_none() || self.brake.hold(client, slot).await;
        Err(if goes_on { reply } else { reply.closing() })
    }
}

/// The first value of the version header. Bytes that are not text are not a version number.
fn version(request: &HttpRequest) -> Option<Cow<'_, str>> {
    Some(String::from_utf8_lossy(request.headers().get(VERSION_HEADER)?.as_bytes()))
}

/// The size of the request line and the client's headers.
fn head_bytes(request: &HttpRequest) -> usize {
    let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + headers.sum::<usize>()
}

fn declared(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Only `application/json`, with or without parameters, and not compressed: Butler SOS does not decompress
/// bodies either, and a compression bomb could exhaust the server.
fn is_plain_json(request: &HttpRequest) -> bool {
    let value = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let media_type = value(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let coding = value(header::CONTENT_ENCODING).map_or("identity", str::trim);
    media_type.eq_ignore_ascii_case("application/json") && coding.eq_ignore_ascii_case("identity")
}
