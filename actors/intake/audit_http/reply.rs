//! Every answer of the server, with its common headers. Contract: `audit-api.md`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use butler_sos_domain::audit::{Answer, Refusal};
use butler_sos_domain::rate_window::Exceeded;

/// Seconds until a client may retry when there is no room.
const RETRY_AFTER_NO_ROOM: HeaderValue = HeaderValue::from_static("30");

const RATE_LIMIT_EXCEEDED: &str = "Rate limit exceeded";

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 8] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), microphone=(), geolocation=()")),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
];

/// Sent over TLS only.
const STRICT_TRANSPORT_SECURITY: HeaderValue =
    HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// An answer without the common headers.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
}

impl Reply {
    fn json(status: StatusCode, body: String) -> Self {
        Self { status, body: Some(body), headers: Vec::new(), closes: false }
    }

    fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Closes the connection after this answer.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub fn preflight() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new(), closes: false }
    }

    pub fn connection_test(body: &serde_json::Value) -> Self {
        Self::json(StatusCode::OK, body.to_string())
    }

    pub fn accepted(received_at: &str) -> Self {
        Self::json(StatusCode::ACCEPTED, Answer::processed(received_at).to_json())
    }

    pub fn refused(received_at: &str, refusal: &Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::json(status, Answer::refused(received_at, refusal).to_json())
    }

    pub fn unauthorized(received_at: &str) -> Self {
        Self::json(StatusCode::UNAUTHORIZED, Answer::dropped(received_at, "Unauthorized").to_json())
    }

    pub fn rate_limited(received_at: &str, exceeded: Exceeded) -> Self {
        let body = Answer::dropped(received_at, RATE_LIMIT_EXCEEDED).to_json();
        Self::json(StatusCode::TOO_MANY_REQUESTS, body)
            .with(header::RETRY_AFTER, exceeded.reset_seconds)
            .with(HeaderName::from_static("x-ratelimit-limit"), exceeded.limit)
            .with(HeaderName::from_static("x-ratelimit-remaining"), 0)
            .with(HeaderName::from_static("x-ratelimit-reset"), exceeded.reset_seconds)
    }

    pub fn no_room(received_at: &str) -> Self {
        let body = Answer::dropped(received_at, "Event queue is full").to_json();
        Self::json(StatusCode::SERVICE_UNAVAILABLE, body).with(header::RETRY_AFTER, RETRY_AFTER_NO_ROOM)
    }

    pub fn too_large(received_at: &str) -> Self {
        let body = Answer::error(received_at, "Payload too large").to_json();
        Self::json(StatusCode::PAYLOAD_TOO_LARGE, body)
    }

    pub fn head_too_large(received_at: &str) -> Self {
        let body = Answer::error(received_at, "Request header fields too large").to_json();
        Self::json(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, body)
    }

    pub fn media_type(received_at: &str) -> Self {
        let body = Answer::error(received_at, "Unsupported media type").to_json();
        Self::json(StatusCode::UNSUPPORTED_MEDIA_TYPE, body)
    }

    pub fn body_slow(received_at: &str) -> Self {
        let body = Answer::error(received_at, "Request timeout").to_json();
        Self::json(StatusCode::REQUEST_TIMEOUT, body).closing()
    }

    pub fn body_cut(received_at: &str) -> Self {
        Self::json(StatusCode::BAD_REQUEST, Answer::error(received_at, "Incomplete body").to_json()).closing()
    }

    pub fn internal(received_at: &str) -> Self {
        let body = Answer::error(received_at, "Internal error while processing event").to_json();
        Self::json(StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    pub fn not_found(received_at: &str) -> Self {
        Self::json(StatusCode::NOT_FOUND, Answer::error(received_at, "Not found").to_json())
    }

    pub fn method_not_allowed(received_at: &str, allowed: &'static str) -> Self {
        let body = Answer::error(received_at, "Method not allowed").to_json();
        Self::json(StatusCode::METHOD_NOT_ALLOWED, body)
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// Adds the common headers.
    pub fn finish(self, is_tls: bool, cors: Vec<(HeaderName, HeaderValue)>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        for header in SECURITY_HEADERS.into_iter().chain(self.headers).chain(cors) {
            response.insert_header(header);
        }
        if is_tls {
            response.insert_header((header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT_SECURITY));
        }
        if self.closes {
            response.force_close();
        }
        match self.body {
            None => response.finish(),
            Some(body) => response.content_type("application/json; charset=utf-8").body(body),
        }
    }
}
