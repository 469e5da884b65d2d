//! Probes of endpoints: reachability and login. A probe stores nothing.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use butler_sos_actors::kit::delivery_error::DeliveryError;
use butler_sos_actors::net::reachability::Server;
use butler_sos_actors::net::tls::ClientTls;
use tokio::sync::oneshot;

/// The time limit of an endpoint's answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A probe of one endpoint.
pub struct Probe {
    /// The setting with the endpoint's address.
    pub setting: &'static str,
    pub answer: Pin<Box<dyn Future<Output = Answer>>>,
}

/// The result of a probe, or the reason why events would not arrive. Contains no secret.
pub type Answer = Result<Answered, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub fine: String,
    pub warnings: Vec<String>,
}

impl Probe {
    pub fn new(setting: &'static str, answer: impl Future<Output = Answer> + 'static) -> Self {
        Self { setting, answer: Box::pin(within(PATIENCE, answer)) }
    }

    /// A probe without warnings.
    pub fn plain(
        setting: &'static str,
        answer: impl Future<Output = Result<String, String>> + 'static,
    ) -> Self {
        let answer = async { answer.await.map(|fine| Answered { fine, warnings: Vec::new() }) };
        Self::new(setting, answer)
    }
}

async fn within(patience: Duration, answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> String {
    format!("no response within {} seconds", PATIENCE.as_secs())
}

/// The error message, without secrets.
pub fn detail(error: DeliveryError) -> String {
    error.detail
}

pub fn server(host: &str, port: u16, address: Option<IpAddr>) -> Server {
    Server { host: host.to_owned(), port, address, patience: PATIENCE }
}

/// Whether a connection can be made.
pub async fn connect(server: Server) -> Result<(), String> {
    let connecting = blocking(PATIENCE, move || server.connect().map(drop).map_err(detail));
    connecting.await.unwrap_or_else(|| Err(no_answer()))
}

/// Whether a TLS handshake succeeds.
pub async fn shake_hands(server: Server, tls: ClientTls) -> Result<String, String> {
    blocking(PATIENCE, move || {
        // Our own files have a separate check.
        tls.connector().map_err(|_| "not checked: the certificates are unusable".to_owned())?;
        server.shake_hands(&tls).map_err(detail)?;
        Ok(format!("{}:{} responds with TLS", server.host, server.port))
    })
    .await
    .unwrap_or_else(|| Err(no_answer()))
}

/// Runs blocking work on a separate thread. Returns `None` at the time limit; the thread is then abandoned.
pub async fn blocking<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name("check".into()).spawn(move || {
        // The caller may have stopped waiting.
        let _ = done.send(work());
    });
    thread.ok()?;
    tokio::time::timeout(patience, result).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn an_endpoint_that_never_answers_is_given_up() {
        let answer = within(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(answer, Err("no response within 5 seconds".to_owned()));
    }
}
