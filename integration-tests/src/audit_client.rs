//! A client of the audit API as Audit.qs is one: it keeps its connection, and says what it is.

use std::net::SocketAddr;
use std::time::Duration;

use butler_sos_domain::audit::sample::SAMPLE_VERSION;
use serde_json::Value;

/// The id of a test's event number `n`.
pub fn event_id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// One client; not shared between threads, so that each has its own connection.
pub struct AuditClient {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct AuditAnswer {
    pub status: u16,
    pub body: Value,
}

impl AuditClient {
    pub fn new(server: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        Self { agent, url: format!("http://{server}/api/v1/audit-event"), token: None }
    }

    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Posts one event; `None` when the server does not answer.
    pub fn try_post(&self, body: impl AsRef<[u8]>) -> Option<AuditAnswer> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("X-Audit-QS-Version", SAMPLE_VERSION);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.send(body.as_ref()).ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(AuditAnswer { status: answer.status().as_u16(), body })
    }

    /// [`AuditClient::try_post`] to a server that answers.
    pub fn post(&self, body: impl AsRef<[u8]>) -> AuditAnswer {
        self.try_post(body).expect("the audit API answers")
    }

    /// Posts one event that is taken.
    pub fn deliver(&self, body: impl AsRef<[u8]>) {
        let answer = self.post(&body);
        assert_eq!(answer.status, 202, "{answer:?} to {}", String::from_utf8_lossy(body.as_ref()));
    }
}
