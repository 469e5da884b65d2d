//! Audit events from HTTP to the journal.
//!
//! Receives: HTTP(S) requests on a listener that is already bound; `Close`.
//! Sends: `Append`; a client gets its 202 after the answer, which means that the event is on disk.
//! Keeps: recent events (duplicates), counts per client address, the certificate in use; all bounded.
//! When full: 503 with `retry-after`, counted as shed; per-address and queue limits answer 429.
//! When it fails: requests continue while the actor restarts; a server that ended is replaced on the same
//! listener.
//!
//! The server's own threads answer requests from shared state ([`Service`]); the actor starts and stops them,
//! renews the certificate and logs counted warnings. Contract: `audit-api.md`.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, Supervised, WrapFuture};
use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpRequest, web};
use butler_sos_domain::audit::conflict::Remembered;
use butler_sos_domain::rate_window::RateWindows;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use slog::{Logger, error, info, warn};
use tokio::sync::watch;

use crate::intake::audit_http::body::LargeBodies;
use crate::intake::audit_http::cors::Cors;
use crate::intake::audit_http::group::Groups;
use crate::intake::audit_http::intake::Intake;
use crate::intake::audit_http::recent::Recent;
use crate::intake::audit_http::service::{Service, answer};
use crate::intake::audit_http::token::Token;
use crate::intake::audit_http::warnings::Warnings;
use crate::journal::message::Append;
use crate::kit::clock::Clock;
use crate::kit::mailbox::{Envelope, Mailbox};
use crate::kit::message::Close;
use crate::kit::metric::{ActorMeter, IntakeMeter};
use crate::net::http_server::brake::Brake;
use crate::net::http_server::connection_limiter::{ConnectionLimiter, ConnectionLimits};
use crate::net::http_server::{self, ServerConfig};

pub use crate::intake::audit_http::intake::Privacy;
pub use crate::intake::audit_http::limits::AuditHttpLimits;
pub use crate::intake::audit_http::tls::{Tls, TlsConfig, TlsError, TlsVersion};

/// `Butler-SOS.auditEvents`, `Pipeline.audit`, `Pipeline.actors.auditHttpIngestor`.
pub struct AuditHttpConfig {
    pub tls: Option<TlsConfig>,
    /// Threads that serve connections.
    pub threads: usize,
    /// `apiToken`; without one, no token is required.
    pub api_token: Option<SecretString>,
    /// `cors.allowedOrigins`.
    pub allowed_origins: Vec<String>,
    /// `rateLimit.maxPerMinute`, if that limit is on.
    pub client_per_minute: Option<u32>,
    /// `limits.trusted_proxies`, parsed.
    pub trusted_proxies: Vec<IpNet>,
    /// `queue.messageQueue.maxSize`: events that wait for the journal's answer.
    pub queue_max: u32,
    /// `queue.messageQueue.backpressureThreshold`.
    pub backpressure_percent: u8,
    /// `queue.rateLimit.maxMessagesPerMinute`, if that limit is on.
    pub queue_per_minute: Option<u32>,
    /// Its `connectionsMax` never exceeds the open files that the process may have.
    pub limits: AuditHttpLimits,
    /// Whether screenshot events go to the stream `screenshots`.
    pub screenshots: bool,
    /// `Pipeline.privacy.pseudonymise`.
    pub privacy: Option<Privacy>,
    /// Stamps received events.
    pub clock: Clock,
}

impl Default for AuditHttpConfig {
    fn default() -> Self {
        Self {
            tls: None,
            threads: 2,
            api_token: None,
            allowed_origins: Vec::new(),
            client_per_minute: Some(300),
            trusted_proxies: Vec::new(),
            queue_max: 10_000,
            backpressure_percent: 80,
            queue_per_minute: None,
            limits: AuditHttpLimits::default(),
            screenshots: false,
            privacy: None,
            clock: Clock::default(),
        }
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The actor.
pub struct AuditHttpIngestor {
    server_config: ServerConfig,
    limiter: Arc<ConnectionLimiter>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    service: Arc<Service>,
    meter: ActorMeter,
    log: Logger,
    server: Option<Running>,
    ticks: u64,
}

/// A running server.
struct Running {
    handle: ServerHandle,
    /// Why it ended, when it has.
    ended: watch::Receiver<Option<String>>,
}

/// The interval of warnings and gauges.
const TICK: Duration = Duration::from_secs(1);
/// The number of ticks between two checks of the certificate files.
const TICKS_PER_RENEWAL: u64 = 10;
/// The pause before the retry of a failed start.
const START_PAUSE: Duration = Duration::from_millis(200);
/// The time that a stopping server gives its requests.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

impl AuditHttpIngestor {
    /// An actor that will serve `listener`. `recent` are stored events, the newest last: if one of them is
    /// sent again it is not stored again, and another event with its ids is marked.
    ///
    /// # Errors
    /// When the certificate, the key or the client CA is invalid.
    pub fn new(
        config: AuditHttpConfig,
        listener: TcpListener,
        to_journal: Mailbox<Append>,
        intake: IntakeMeter,
        meter: ActorMeter,
        log: Logger,
        recent: impl IntoIterator<Item = Remembered>,
    ) -> Result<Self, TlsError> {
        let limits = &config.limits;
        let tls = config.tls.map(Tls::new).transpose()?.map(Arc::new);
        let intake = Intake::new(
            to_journal,
            Recent::new(limits.deduplicate_entries_max, recent),
            config.queue_max,
            config.queue_per_minute,
            config.screenshots,
            intake,
            meter.clone(),
        )
        .private(config.privacy)
        .stamped_by(config.clock);
        let counted = meter.connections();
        let connection_limits = ConnectionLimits {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            many_behind: config.trusted_proxies.clone(),
            ipv6_prefix: limits.rate_limit_ipv6_prefix,
        };
        let server_config = ServerConfig {
            threads: config.threads,
            header_timeout: Duration::from_secs(limits.header_timeout_seconds),
            keep_alive: Duration::from_secs(limits.keep_alive_seconds),
            answer_timeout: Duration::from_secs(limits.answer_timeout_seconds),
            stop_patience: STOP_PATIENCE,
        };
        let service = Service {
            intake: Arc::new(intake),
            warnings: Warnings::new(log.clone()),
            token: config.api_token.and_then(|token| Token::new(token.expose_secret())),
            cors: Cors::new(&config.allowed_origins),
            trusted_proxies: config.trusted_proxies,
            client_rate: config
                .client_per_minute
                .map(|limit| Mutex::new(RateWindows::new(limit, limits.rate_limit_entries_max))),
            ipv6_prefix: limits.rate_limit_ipv6_prefix,
            brake: Brake::new(limits.rate_limit_ipv6_prefix, limits.connections_max),
            body_bytes_max: size(limits.body_bytes_max),
            header_bytes_max: size(limits.header_bytes_max),
            large_bodies: LargeBodies::new(size(limits.large_bodies_bytes_max)),
            body_timeout: Duration::from_secs(limits.body_timeout_seconds),
            backpressure_percent: config.backpressure_percent,
            is_tls: tls.is_some(),
            since: Instant::now(),
            log: log.clone(),
        };
        Ok(Self {
            server_config,
            limiter: ConnectionLimiter::new(connection_limits, counted),
            listener,
            tls,
            service: Arc::new(service),
            meter,
            log,
            server: None,
            ticks: 0,
        })
    }

    /// The address of the listener.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn serve(&mut self, ctx: &mut Context<Self>) {
        let server = match self.server() {
            Ok(server) => server,
            Err(problem) => {
                error!(self.log, "audit API: cannot start the server, will retry"; "error" => problem);
                ctx.run_later(START_PAUSE, Self::serve);
                return;
            }
        };
        let handle = server.handle();
        let (end, ended) = watch::channel(None);
        // A separate task, so that a panic of the actor does not cut off open requests.
        actix_rt::spawn(async move {
            let result = server.await;
            end.send_replace(Some(format!("{result:?}")));
        });
        self.server = Some(Running { handle, ended });
        self.watch(ctx);
    }

    /// Starts another server when this one ends.
    fn watch(&self, ctx: &mut Context<Self>) {
        let Some(running) = &self.server else { return };
        let mut ended = running.ended.clone();
        let end = async move { ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone()) };
        ctx.spawn(end.into_actor(self).map(|end, actor, ctx| {
            error!(actor.log, "audit API: the server stopped, restarting it"; "result" => ?end);
            actor.server = None;
            ctx.run_later(START_PAUSE, Self::serve);
        }));
    }

    /// Ends the server without the actor's knowledge.
    #[cfg(test)]
    pub(crate) fn end_server(&self) {
        if let Some(running) = &self.server {
            actix_rt::spawn(running.handle.stop(true));
        }
    }

    fn server(&self) -> Result<Server, String> {
        let service = Arc::clone(&self.service);
        let listener = self.listener.try_clone().map_err(|error| error.to_string())?;
        let tls =
            self.tls.as_ref().map(|tls| tls.acceptor()).transpose().map_err(|error| error.to_string())?;
        // Called once for each thread that serves connections.
        let app = move || {
            let (service, groups) = (Arc::clone(&service), Groups::default());
            App::new().default_service(web::to(move |request: HttpRequest, payload: web::Payload| {
                answer(request, payload, Arc::clone(&service), groups.clone())
            }))
        };
        http_server::serve(listener, tls, &self.server_config, &self.limiter, app)
            .map_err(|error| error.to_string())
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let (depth, bound) = self.service.intake.depth();
        self.meter.set_mailbox(depth, bound);
        self.service.warnings.flush();
        self.ticks += 1;
        let is_time = self.ticks.is_multiple_of(TICKS_PER_RENEWAL);
        if let Some(tls) = self.tls.clone().filter(|tls| is_time || tls.is_asked()) {
            let renewal = actix_rt::task::spawn_blocking(move || tls.renew());
            ctx.spawn(renewal.into_actor(self).map(|renewed, actor, _| match renewed {
                Ok(Ok(true)) => info!(actor.log, "audit API: certificate reloaded for new connections"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    warn!(actor.log, "audit API: the new certificate is unusable, the old one stays in use";
                    "error" => %error)
                }
                Err(error) => {
                    warn!(actor.log, "audit API: cannot read the certificate"; "error" => %error)
                }
            }));
        }
    }
}

impl Actor for AuditHttpIngestor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // After a panic the server still runs: it shares no state with the actor that a panic could harm.
        if self.server.is_some() {
            self.watch(ctx);
        } else {
            self.serve(ctx);
        }
        ctx.run_interval(TICK, Self::tick);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(running) = self.server.take() {
            actix_rt::spawn(running.handle.stop(true));
        }
    }
}

impl Supervised for AuditHttpIngestor {}

impl Handler<Envelope<Close>> for AuditHttpIngestor {
    type Result = ResponseFuture<()>;

    /// The server continues until the actor or the process ends, so that clients get a 503 and not a refused
    /// connection.
    fn handle(&mut self, envelope: Envelope<Close>, _: &mut Self::Context) -> Self::Result {
        let answered = self.service.intake.close();
        Box::pin(async move {
            answered.await;
            drop(envelope.in_flight);
        })
    }
}
