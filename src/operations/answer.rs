//! Answers in JSON, and errors as `{"error": "…"}`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a request is refused, with a message for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub status: StatusCode,
    pub detail: String,
}

impl Refusal {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// A disk that cannot be read. The message is the system's.
    pub fn disk(error: &std::io::Error) -> Self {
        Self::unavailable(format!("cannot read from disk: {error}"))
    }

    pub fn response(&self) -> HttpResponse {
        with_status(self.status, &serde_json::json!({ "error": self.detail }))
    }
}

pub type Answer = Result<HttpResponse, Refusal>;

pub fn json(value: &impl Serialize) -> HttpResponse {
    with_status(StatusCode::OK, value)
}

pub fn with_status(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .json(value)
}

/// Parses the query string. Reports unknown and invalid parameters.
pub fn query<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    actix_web::web::Query::<T>::from_query(text)
        .map(actix_web::web::Query::into_inner)
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Parses a request's body.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad_request(format!("the body: {error}")))
}
