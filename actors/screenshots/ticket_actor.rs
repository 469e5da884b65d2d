//! Requests tickets from Qlik Sense's proxy service (QPS), and ends sessions there.
//!
//! Receives: `TicketFor`, `SessionsOver`.
//! Sends: nothing to actors; HTTPS with a client certificate to QPS, and to QPS only.
//! Keeps: a client, created again when one of the certificate files changes.
//! When full: its mailboxes bound the number of requests; `concurrency` of them run at once, in their order.
//! When it fails: a failed ticket is an answer with its reason; a session that QPS does not end is logged and
//! ignored.
//!
//! Contract: screenshots.md, "QPS ticket" and "Session cookie". Bodies of QPS are never logged.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture, Supervised};
use awc::error::{ConnectError, SendRequestError};
use awc::http::{Method, StatusCode};
use butler_sos_domain::pseudonym::Pseudonymizer;
use butler_sos_domain::session_cookie::SessionCookie;
use butler_sos_domain::virtual_proxy::VirtualProxy;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slog::{Logger, debug, warn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::kit::mailbox::Envelope;
use crate::kit::metric::ActorMeter;
use crate::net::http_client::{class_of_no_response, no_response};
use crate::net::static_hosts::{StaticHosts, plain_http_client};
use crate::net::tls::certificate_fault::CertificateWatch;
use crate::net::tls::reread::Reread;
use crate::net::tls::{ClientTls, ReloadingTls};
use crate::screenshots::message::{SessionsOver, TicketFailed, TicketFor};

/// The address of QPS, and our certificate.
#[derive(Clone)]
pub struct TicketConfig {
    /// `auth.qps.host` and `.port`.
    pub host: String,
    pub port: u16,
    /// `Butler-SOS.cert`, verified unless `serversToMonitor.rejectUnauthorized` is false.
    pub tls: ClientTls,
    pub reread: Reread,
    pub hosts: StaticHosts,
    /// `auth.qps.ticketTimeoutMs`: the limit of the whole request.
    pub ticket_timeout: Duration,
    /// `Pipeline.actors.ticketActor.concurrency`: the number of concurrent requests to QPS.
    pub concurrency: usize,
    /// Replaces the names of users in the log, if they must not be stored.
    pub pseudonymizer: Option<Arc<Pseudonymizer>>,
    pub actor: ActorMeter,
    pub log: Logger,
}

/// The time limit for ending a session, which is best effort.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The actor.
pub struct TicketActor {
    qps: Rc<Qps>,
}

impl TicketActor {
    #[must_use]
    pub fn new(config: TicketConfig) -> Self {
        let turns = Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Self { qps: Rc::new(Qps::new(config, turns)) }
    }
}

impl Actor for TicketActor {
    type Context = Context<Self>;
}

impl Supervised for TicketActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Requests from before the panic continue, and keep their permits.
        let turns = Arc::clone(&self.qps.turns);
        self.qps = Rc::new(Qps::new(self.qps.config.clone(), turns));
    }
}

impl Handler<Envelope<TicketFor>> for TicketActor {
    type Result = ResponseFuture<Result<SecretString, TicketFailed>>;

    fn handle(&mut self, envelope: Envelope<TicketFor>, _: &mut Self::Context) -> Self::Result {
        let qps = Rc::clone(&self.qps);
        Box::pin(async move {
            let _in_flight = envelope.in_flight;
            let key = envelope.body.0;
            qps.config.actor.received.inc();
            let _turn = qps.turn().await;
            let asked = qps.ticket(key.virtual_proxy(), key.user_directory(), key.user_id());
            match tokio::time::timeout(qps.config.ticket_timeout, asked)
                .await
                .unwrap_or(Err(QpsError::Timeout))
            {
                Ok(ticket) => {
                    qps.config.actor.sent.inc();
                    Ok(ticket)
                }
                Err(error) => {
                    qps.config.actor.rejected(error.class(), 1);
                    qps.config.actor.failed(error.class());
                    let shown = |pseudonymizer: &Arc<Pseudonymizer>| {
                        pseudonymizer.of(key.user_directory(), key.user_id())
                    };
                    let shown = qps.config.pseudonymizer.as_ref().map(shown);
                    let (user_directory, user_id) = match &shown {
                        Some(shown) => (shown.new_directory.as_str(), shown.new_id.as_str()),
                        None => (key.user_directory(), key.user_id()),
                    };
                    warn!(qps.config.log, "cannot get a ticket from the Qlik Sense proxy service";
                        "host" => &qps.config.host, "port" => qps.config.port,
                        "error" => %error, "virtual_proxy" => %key.virtual_proxy(),
                        "user_directory" => user_directory, "user_id" => user_id);
                    Err(TicketFailed { detail: error.to_string() })
                }
            }
        })
    }
}

impl Handler<Envelope<SessionsOver>> for TicketActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, envelope: Envelope<SessionsOver>, _: &mut Self::Context) -> Self::Result {
        let qps = Rc::clone(&self.qps);
        Box::pin(async move {
            let _in_flight = envelope.in_flight;
            let SessionsOver { virtual_proxy, sessions } = envelope.body;
            for session in &sessions {
                let _turn = qps.turn().await;
                let ended = qps.end_session(&virtual_proxy, session);
                match tokio::time::timeout(DELETE_TIMEOUT, ended).await.unwrap_or(Err(QpsError::Timeout)) {
                    // QPS expires sessions by itself, so a missing one is no error.
                    Ok(()) | Err(QpsError::Status(404)) => {
                        debug!(qps.config.log, "session ended"; "session" => ?session,
                            "virtual_proxy" => %virtual_proxy);
                    }
                    Err(error) => {
                        qps.config.actor.rejected("session-not-ended", 1);
                        warn!(qps.config.log, "cannot end a session in the Qlik Sense proxy service";
                            "error" => %error, "session" => ?session, "virtual_proxy" => %virtual_proxy);
                    }
                }
            }
        })
    }
}

/// The client side of the proxy service.
struct Qps {
    config: TicketConfig,
    /// One permit for each concurrent request, granted in the order of requests.
    turns: Arc<Semaphore>,
    client: RefCell<Client>,
}

struct Client {
    tls: ReloadingTls,
    made: Option<awc::Client>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TicketRequest<'a> {
    user_directory: &'a str,
    user_id: &'a str,
}

#[derive(Deserialize)]
struct TicketAnswer {
    #[serde(rename = "Ticket")]
    ticket: String,
}

/// Why a request to QPS failed. No variant contains data that QPS sent.
#[derive(Debug, thiserror::Error)]
enum QpsError {
    #[error("client certificate: {0}")]
    Certificate(String),
    #[error("not reached: {detail}")]
    NoResponse { class: &'static str, detail: String },
    #[error("broken answer")]
    Broken,
    #[error("no response in time")]
    Timeout,
    #[error("status {0}")]
    Status(u16),
    #[error("the answer holds no ticket")]
    NoTicket,
}

impl QpsError {
    fn class(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::NoResponse { class, .. } => class,
            Self::Broken => "transport",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::NoTicket => "no-ticket",
        }
    }
}

impl QpsError {
    fn of(error: &SendRequestError, watch: &CertificateWatch) -> Self {
        match error {
            SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => Self::Timeout,
            // Errors of connecting and sending contain only names, addresses and certificates.
            SendRequestError::Connect(_) | SendRequestError::Send(_) => {
                Self::NoResponse { class: class_of_no_response(error), detail: no_response(error, watch) }
            }
            // The answer must not be logged.
            _ => Self::Broken,
        }
    }
}

impl Qps {
    fn new(config: TicketConfig, turns: Arc<Semaphore>) -> Self {
        let client = Client { tls: ReloadingTls::new(config.tls.clone(), config.reread.clone()), made: None };
        Self { config, turns, client: RefCell::new(client) }
    }

    /// Waits for a permit. The time limit of a request begins after that. Never `None`, because the semaphore
    /// is never closed.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// The client for the current certificate files.
    fn client(&self) -> Result<awc::Client, QpsError> {
        let mut client = self.client.borrow_mut();
        match client.tls.changed() {
            Ok(Some(connector)) => {
                let (hosts, timeout) = (&self.config.hosts, self.config.ticket_timeout);
                let connections_max = self.config.concurrency.max(1);
                client.made = Some(plain_http_client(connector, hosts, timeout, connections_max));
            }
            Ok(None) => {}
            // Files that are being replaced: the last client is used until they are complete.
            Err(error) if client.made.is_some() => {
                warn!(self.config.log, "the changed certificate files are unusable"; "error" => %error);
            }
            Err(error) => return Err(QpsError::Certificate(error.to_string())),
        }
        client.made.clone().ok_or_else(|| QpsError::Certificate("none".to_owned()))
    }

    fn no_response(&self, error: &SendRequestError) -> QpsError {
        QpsError::of(error, &self.client.borrow().tls.watch())
    }

    fn request(&self, method: Method, path: &str) -> Result<awc::ClientRequest, QpsError> {
        let key: String = rand::rng().sample_iter(Alphanumeric).take(16).map(char::from).collect();
        let url = format!("https://{}:{}{path}?Xrfkey={key}", self.config.host, self.config.port);
        Ok(self.client()?.request(method, url).insert_header(("X-Qlik-Xrfkey", key)).no_decompress())
    }

    async fn ticket(
        &self,
        virtual_proxy: &VirtualProxy,
        user_directory: &str,
        user_id: &str,
    ) -> Result<SecretString, QpsError> {
        let request = self.request(Method::POST, &virtual_proxy.ticket_path())?;
        let answer = request.send_json(&TicketRequest { user_directory, user_id }).await;
        let mut answer = answer.map_err(|error| self.no_response(&error))?;
        expect_success(answer.status())?;
        let body = answer.body().limit(ANSWER_BYTES_MAX).await;
        let body = body.map_err(|_| QpsError::Broken)?;
        let answer: TicketAnswer = serde_json::from_slice(&body).map_err(|_| QpsError::NoTicket)?;
        if answer.ticket.is_empty() {
            return Err(QpsError::NoTicket);
        }
        Ok(answer.ticket.into())
    }

    async fn end_session(
        &self,
        virtual_proxy: &VirtualProxy,
        session: &SessionCookie,
    ) -> Result<(), QpsError> {
        let path = virtual_proxy.session_path(session.expose_id());
        let answer =
            self.request(Method::DELETE, &path)?.send().await.map_err(|error| self.no_response(&error))?;
        expect_success(answer.status())
    }
}

/// Redirects are refused like any other status, because tickets must come from this host.
fn expect_success(status: StatusCode) -> Result<(), QpsError> {
    if status.is_success() { Ok(()) } else { Err(QpsError::Status(status.as_u16())) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix_web::{App, HttpResponse, HttpServer, web};
    use butler_sos_domain::session::{AuthMode, SessionKey};
    use futures_util::future::join_all;

    use super::*;
    use crate::kit::mailbox::Mailbox;
    use crate::kit::metric::Metrics;
    use crate::kit::testing::{discard_log, until};
    use crate::net::tls::tests::Pki;

    /// A proxy service that answers when the gate opens.
    struct Gate {
        open: Semaphore,
        /// The users for whom a ticket was requested, in order.
        asked: Mutex<Vec<String>>,
    }

    async fn answer(gate: web::Data<Gate>, body: web::Json<serde_json::Value>) -> HttpResponse {
        gate.asked.lock().unwrap().push(body["UserId"].as_str().unwrap().to_owned());
        gate.open.acquire().await.unwrap().forget();
        HttpResponse::Created().json(serde_json::json!({ "Ticket": "t" }))
    }

    #[actix_rt::test]
    async fn concurrent_requests_are_limited_and_the_others_wait_in_order() {
        let pki = Pki::new();
        let gate = web::Data::new(Gate { open: Semaphore::new(0), asked: Mutex::default() });
        let shared = gate.clone();
        let server =
            HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(answer)))
                .workers(1)
                .disable_signals()
                .bind_openssl("127.0.0.1:0", pki.acceptor())
                .unwrap();
        let port = server.addrs()[0].port();
        actix_rt::spawn(server.run());

        let addr = TicketActor::new(TicketConfig {
            host: "localhost".into(),
            port,
            tls: pki.tls(),
            reread: Reread::default(),
            hosts: StaticHosts::new([]),
            ticket_timeout: Duration::from_secs(5),
            concurrency: 2,
            pseudonymizer: None,
            actor: Metrics::new().actor("ticket_actor"),
            log: discard_log(),
        })
        .start();
        let to_tickets: Mailbox<TicketFor> = Mailbox::new(addr, 16);
        let users = ["0", "1", "2", "3", "4"];
        let key = |user: &str| {
            SessionKey::new(AuthMode::UserTicket, "localhost", port, VirtualProxy::default(), "LAB", user)
        };
        let keys = users.map(key);
        let tickets =
            actix_rt::spawn(async move { join_all(keys.map(|key| to_tickets.ask(TicketFor(key)))).await });
        let asked = || gate.asked.lock().unwrap().clone();
        for done in 0..users.len() {
            let under_way = (done + 2).min(users.len());
            until(|| asked().len() == under_way).await;
            gate.open.add_permits(1);
        }
        for ticket in tickets.await.unwrap() {
            ticket.unwrap().unwrap();
        }
        assert_eq!(asked()[2..], users[2..], "in the order in which they came");
    }
}
