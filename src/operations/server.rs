//! The operations server: routes a path to its handler. Contract: config, "Operating endpoints".

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::{self, ContentType, HeaderMap, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::web::Bytes;
use actix_web::{App, HttpRequest, HttpResponse, web};
use butler_sos_actors::kit::metric::ConnectionCounters;
use butler_sos_actors::net::http_server::brake::Brake;
use butler_sos_actors::net::http_server::connection_limiter::{
    ConnectionLimiter, ConnectionLimits, ConnectionSlot,
};
use butler_sos_actors::net::http_server::{self, ServerConfig};
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::client_network::IPV6_PREFIX;
use butler_sos_domain::streams::Stream;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::answer::{Answer, Refusal, body, json, query};
use super::asked::{Asked, BrowserHeaders};
use super::event_json::{EventJson, Filter};
use super::origin::is_passed_on;
use super::tail::stream_of_events;
use super::view::View;
use super::{assets, kept, live, replay, retry, screenshots, sse, tail};
use crate::config::ShownConfiguration;

/// The maximum size of a request's body.
const BODY_BYTES_MAX: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `view` on a bound listener. One thread is enough for people and scrapers.
pub fn serve(
    listener: TcpListener,
    view: View,
    access: Access,
    connections_max: usize,
    counted: ConnectionCounters,
) -> std::io::Result<Server> {
    let limits = ConnectionLimits {
        connections_max,
        per_address_max: connections_max,
        many_behind: Vec::new(),
        ipv6_prefix: IPV6_PREFIX,
    };
    let brake = web::Data::new(Brake::new(IPV6_PREFIX, connections_max));
    let config = ServerConfig {
        threads: 1,
        header_timeout: HEADER_TIMEOUT,
        keep_alive: KEEP_ALIVE,
        answer_timeout: ANSWER_TIMEOUT,
        stop_patience: Duration::from_secs(1),
    };
    http_server::serve(listener, None, &config, &ConnectionLimiter::new(limits, counted), move || {
        App::new()
            .app_data(web::Data::new(view.clone()))
            .app_data(web::Data::new(access.clone()))
            .app_data(brake.clone())
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .default_service(web::to(answer))
    })
}

async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    view: web::Data<View>,
    access: web::Data<Access>,
    brake: web::Data<Brake>,
) -> HttpResponse {
    let asked = Asked {
        method: request.method().as_str(),
        path: request.path(),
        authorization: text_of(request.headers(), header::AUTHORIZATION.as_str()),
        host: request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| text_of(request.headers(), header::HOST.as_str())),
        own_header: text_of(request.headers(), "x-butler-sos"),
        browser: BrowserHeaders::of(request.headers()),
        is_passed_on: is_passed_on(request.headers()) || request.version() < Version::HTTP_11,
    };
    let answer = match access.check(&asked) {
        Err(refusal) => Err(refusal),
        Ok(()) => route(&request, payload, &view, &access).await,
    };
    let is_guess = asked.authorization.is_some()
        && answer.as_ref().is_err_and(|refusal| refusal.status == StatusCode::UNAUTHORIZED);
    let goes_on = !is_guess || held_back(&request, &brake).await;
    let mut response = answer.unwrap_or_else(|refusal| refusal.response());
    if !goes_on {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    headers.insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Delays the answer to a wrong token. Returns whether the connection may continue.
async fn held_back(request: &HttpRequest, brake: &Brake) -> bool {
    let client = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    brake.hold(client, request.conn_data::<Arc<ConnectionSlot>>().map(Arc::as_ref)).await
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn route(request: &HttpRequest, payload: web::Payload, view: &View, access: &Access) -> Answer {
    let path = request.path();
    match request.method().as_str() {
        "GET" | "HEAD" => match path.strip_prefix("/api/") {
            Some(path) => read(path, request.query_string(), view, access).await,
            None => page(request, view, access).await,
        },
        "POST" => {
            let bytes = payload.to_bytes_limited(BODY_BYTES_MAX).await;
            let too_large = |_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
            let bytes = bytes.map_err(too_large)?.map_err(|error| Refusal::bad_request(error.to_string()))?;
            change(path, &bytes, view).await
        }
        _ => Err(only_looked_at()),
    }
}

async fn page(request: &HttpRequest, view: &View, access: &Access) -> Answer {
    Ok(match request.path() {
        "/metrics" => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(view.exposition().await),
        "/health" => {
            let readiness = view.readiness().await;
            let status = if readiness.stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            HttpResponse::build(status).json(serde_json::json!({
                "status": readiness.status,
                "reasons": readiness.reasons,
            }))
        }
        "/ready" => {
            let readiness = view.readiness().await;
            let status =
                if readiness.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            HttpResponse::build(status).json(readiness)
        }
        "/configuration" => plain(&configuration(view, access).text),
        "/" if access.configuration_first() => {
            let wants_page = text_of(request.headers(), "accept").is_some_and(|of| of.contains("text/html"));
            match assets::asset("/configuration.html").filter(|_| wants_page || access.has_token()) {
                Some(page) => page,
                None => plain(&configuration(view, access).text),
            }
        }
        "/" => assets::asset("/index.html").ok_or_else(nothing_here)?,
        path => assets::asset(path).ok_or_else(nothing_here)?,
    })
}

fn only_looked_at() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed")
}

fn nothing_here() -> Refusal {
    Refusal::not_found("not found")
}

/// The configuration that this listener shows.
fn configuration<'v>(view: &'v View, access: &Access) -> &'v ShownConfiguration {
    if access.configuration_first() { &view.configuration_page } else { &view.configuration }
}

fn plain(text: &str) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(text.to_owned())
}

// === looking

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// The parameters of lists.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    limit: Option<usize>,
    before: Option<u64>,
    stream: Option<String>,
    destination: Option<String>,
    user: String,
    app: String,
    #[serde(rename = "type")]
    event_type: String,
}

impl ListQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}

/// Events that were found, newest first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Events {
    events: Vec<EventJson>,
    /// The number of records that were searched.
    scanned: u64,
    /// `before` for the next page; `null` when there is nothing older.
    older_before: Option<u64>,
}

async fn read(path: &str, query_text: &str, view: &View, access: &Access) -> Answer {
    let list = || query::<ListQuery>(query_text);
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["state"] => Ok(json(&view.state().await)),
        ["live"] => {
            let of = view.clone();
            Ok(sse::response(live::events(&view.live, async move || of.state().await)?))
        }
        ["tail"] => {
            let (journal, reader) = (view.journal(), view.reader.clone());
            let events = tail::events(&view.live, journal, reader, query(query_text)?).await?;
            Ok(sse::response(Box::pin(events)))
        }
        ["events"] => events(view, list()?).await,
        ["screenshots"] => {
            let list = list()?;
            let audit_events = view.journal().stream(Stream::AuditEvents).await?;
            screenshots::list(&view.reader, &audit_events, list.limit(), list.before).await
        }
        ["screenshots", offset, "image"] => {
            let offset = offset.parse().map_err(|_| Refusal::bad_request("an offset is a number"))?;
            let audit_events = view.journal().stream(Stream::AuditEvents).await?;
            screenshots::image(&view.reader, &audit_events, view.storage.clone(), offset).await
        }
        ["audit-events", offset, "body"] => {
            let offset = offset.parse().map_err(|_| Refusal::bad_request("an offset is a number"))?;
            audit_body(view, offset).await
        }
        ["quarantine"] => kept::quarantine(&view.quarantine, list()?.limit()).await,
        ["dead-letters"] => {
            let list = list()?;
            let limit = list.limit();
            let destination = list.destination.filter(|name| !name.is_empty());
            kept::dead_letters(&view.dead_letters, destination, limit).await
        }
        ["dead-letters", id] => kept::dead_letter(&view.dead_letters, kept::entry_id(id)?).await,
        ["configuration"] => {
            let settings: Vec<_> = configuration(view, access)
                .settings
                .iter()
                .map(|of| serde_json::json!({ "path": of.path, "value": of.value, "origin": of.origin }))
                .collect();
            Ok(json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "settings": settings })))
        }
        _ => Err(nothing_here()),
    }
}

async fn events(view: &View, list: ListQuery) -> Answer {
    let limit = list.limit();
    let stream = match list.stream.as_deref() {
        None | Some("") => Stream::UserEvents,
        Some(name) => stream_of_events(name)?,
    };
    let filter = Filter { user: list.user, app: list.app, event_type: list.event_type };
    let of = view.journal().stream(stream).await?;
    let found = view
        .reader
        .newest(&of, list.before, limit, |offset, data| {
            EventJson::of_record(stream, offset, data).filter(|event| filter.takes(event))
        })
        .await?;
    let (scanned, older_before) = (found.scanned, found.older_before);
    Ok(json(&Events { events: found.items, scanned, older_before }))
}

/// The body of an audit event as the journal stores it, of any length.
async fn audit_body(view: &View, offset: u64) -> Answer {
    let stream = view.journal().stream(Stream::AuditEvents).await?;
    let data = view.reader.record(&stream, offset).await?;
    let record = AuditRecord::decode(&data).map_err(|error| Refusal::unavailable(error.to_string()))?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(record.body.to_vec()))
}

// === changing

async fn change(path: &str, bytes: &Bytes, view: &View) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["api", "dead-letters", "retry"] => retry::retry_all(&view.redeliverer(), body(bytes)?).await,
        ["api", "dead-letters", "drop"] => retry::drop_all(&view.redeliverer(), body(bytes)?).await,
        ["api", "dead-letters", id, "retry"] => {
            retry::retry_one(&view.redeliverer(), kept::entry_id(id)?).await
        }
        ["api", "dead-letters", id, "drop"] => {
            retry::drop_one(&view.redeliverer(), kept::entry_id(id)?).await
        }
        ["api", "replay"] => replay::replay(&view.redeliverer(), body(bytes)?).await,
        ["api", "replay", "stop"] => replay::stop(&view.redeliverer(), &body(bytes)?),
        #[cfg(feature = "test-panics")]
        ["test", "panic", actor] => {
            let found = view.switches.panic(actor);
            Ok(HttpResponse::build(if found { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }).finish())
        }
        ["api", "dead-letters" | "replay", ..] => Err(nothing_here()),
        _ => Err(only_looked_at()),
    }
}
