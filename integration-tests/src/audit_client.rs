//! A client of the audit API as Audit.qs is one: it keeps its connection, and says what it is.

use std::net::SocketAddr;

use butler_sos_domain::audit::sample::SAMPLE_VERSION;

use crate::http::{Answer, Http};

/// The id of a test's event number `n`.
pub fn event_id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// One client; not shared between threads, so that each has its own connection.
pub struct AuditClient(Http);

impl AuditClient {
    pub fn new(server: SocketAddr) -> Self {
        Self::over(Http::new(server).keeping())
    }

    /// One that reaches the server this way.
    pub fn over(http: Http) -> Self {
        let http = http.with_header("Content-Type", "application/json");
        Self(http.with_header("X-Audit-QS-Version", SAMPLE_VERSION))
    }

    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self(self.0.with_token(token))
    }

    /// Posts one event; `None` when the server does not answer.
    pub fn try_post(&self, body: impl AsRef<[u8]>) -> Option<Answer> {
        self.0.send("POST", "/api/v1/audit-event", &[], body).ok().filter(|answer| !answer.is_cut)
    }

    /// [`AuditClient::try_post`] to a server that answers.
    pub fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.try_post(body).expect("the audit API answers")
    }

    /// Posts one event that is taken.
    pub fn deliver(&self, body: impl AsRef<[u8]>) {
        let answer = self.post(&body);
        assert_eq!(answer.status, 202, "{answer:?} to {}", String::from_utf8_lossy(body.as_ref()));
    }
}
