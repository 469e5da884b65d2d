//! An HTTP/1.1 server that slow clients cannot block: it limits the number and the duration of connections,
//! and evicts idle ones.
//!
//! actix-web's own server limits connections by not accepting more, so that clients with open connections
//! block all others, and its header timeout covers only the first request. Here every connection gets a slot
//! ([`limiter`]) before its first byte is read, with TLS or without, and its stream ([`deadline_stream`]) has
//! deadlines.
//!
//! HTTP/2 is not offered: clients do not need it, and one connection could carry any number of requests past
//! the limits.

pub mod brake;
pub mod connection_limiter;
pub mod deadline_stream;

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_tls::accept::openssl::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use openssl::ssl::SslAcceptorBuilder;

use self::connection_limiter::{ConnectionLimiter, ConnectionSlot};
use self::deadline_stream::{DeadlineStream, Limits};
use crate::kit::platform::sockets::set_backlog;

/// The limits of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Threads that serve connections.
    pub threads: usize,
    /// The limit of a whole head, from its first byte, and of a handshake.
    pub header_timeout: Duration,
    /// The time between an answer and the next request. Zero: one request per connection.
    pub keep_alive: Duration,
    /// The time limit for the client to read the answer.
    pub answer_timeout: Duration,
    /// The time that a stopping server gives its requests.
    pub stop_patience: Duration,
}

/// The backlog of connections in the kernel, which may reduce it (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Connections beyond the slots that a thread may have while they are refused or closed.
const LEAVING_MAX: usize = 64;

/// Requests of a thread that may block on a file at once. Others wait.
const BLOCKING_MAX: usize = 4;

/// An ending connection reads and discards data for this long, so that its client sees the answer and not a
/// reset.
const LINGER: Duration = Duration::from_secs(1);

/// Serves the application of `factory` on a bound listener, over TLS when there is an acceptor.
///
/// # Errors
/// When the listener is unusable.
pub fn serve<F, I, S, B>(
    listener: TcpListener,
    tls: Option<SslAcceptorBuilder>,
    config: &ServerConfig,
    limiter: &Arc<ConnectionLimiter>,
    factory: F,
) -> std::io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    set_backlog(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let threads = config.threads.max(1);
    let server = Server::build()
        .workers(threads)
        .worker_max_blocking_threads(BLOCKING_MAX)
        .max_concurrent_connections(limiter.connections_max().div_ceil(threads) + LEAVING_MAX)
        .shutdown_timeout(config.stop_patience.as_secs())
        .disable_signals();
    let signal = server.graceful_shutdown_signal();
    let (limits, limiter) = (Limits::of(config, tls.is_some()), Arc::clone(limiter));
    let keep_alive = match config.keep_alive {
        Duration::ZERO => KeepAlive::Disabled,
        keep_alive => KeepAlive::Timeout(keep_alive),
    };
    let header_timeout = config.header_timeout;
    let acceptor = tls.map(SslAcceptorBuilder::build);
    if acceptor.is_some() {
        // Slots limit handshakes. With actix's own limit a few slow ones could block all others.
        max_concurrent_tls_connect(limiter.connections_max().saturating_add(LEAVING_MAX));
    }

    // The common setup of both kinds of stream.
    macro_rules! http {
        ($slot_of:expr) => {{
            let app = factory().into_factory().map_err(|error| error.into().error_response());
            let app = map_config(app, |()| AppConfig::default());
            let app = apply_fn_factory(app, attend::<_, B>);
            let signal = signal.clone();
            HttpService::build()
                .graceful_shutdown_signal(move || {
                    let signal = signal.clone();
                    async move { signal.notified().await }
                })
                .keep_alive(keep_alive)
                .client_request_timeout(header_timeout)
                .client_disconnect_timeout(LINGER)
                .on_connect_ext(move |io: &_, data| {
                    data.insert::<Arc<ConnectionSlot>>($slot_of(io));
                })
                .h1(app)
        }};
    }
    let name = "http";
    let server = match acceptor {
        None => server.listen(name, listener, move || {
            let (limiter, limits) = (Arc::clone(&limiter), limits);
            let http = http!(|io: &DeadlineStream| Arc::clone(io.slot()));
            admitted(limiter, limits)
                .map(|io| {
                    let peer = io.peer();
                    (io, peer)
                })
                .and_then(http.map_err(drop))
        }),
        Some(acceptor) => server.listen(name, listener, move || {
            let (limiter, limits) = (Arc::clone(&limiter), limits);
            let http = http!(|io: &TlsStream<DeadlineStream>| Arc::clone(io.get_ref().slot()));
            let mut handshake = Acceptor::new(acceptor.clone());
            handshake.set_handshake_timeout(header_timeout);
            let handshake = handshake.map_err(TlsError::into_service_error::<()>).map_err(drop);
            admitted(limiter, limits)
                .and_then(handshake)
                .map(|io: TlsStream<DeadlineStream>| {
                    let peer = io.get_ref().peer();
                    (io, peer)
                })
                .and_then(http.map_err(drop))
        }),
    };
    Ok(server?.run())
}

/// Gives a connection a slot, or ends it.
fn admitted(
    limiter: Arc<ConnectionLimiter>,
    limits: Limits,
) -> impl ServiceFactory<TcpStream, Config = (), Response = DeadlineStream, Error = (), InitError = ()> {
    fn_service(move |io: TcpStream| {
        let slot = io.peer_addr().ok().and_then(|peer| Some((peer, limiter.admit(peer.ip())?)));
        let deadline_stream = slot.map(|(peer, slot)| DeadlineStream::new(io, peer, slot, limits));
        std::future::ready(deadline_stream.ok_or(()))
    })
}

/// Marks the slot of a request while it is answered.
fn attend<S, B>(
    request: Request,
    service: &S,
) -> impl Future<Output = Result<Response<B>, S::Error>> + use<S, B>
where
    S: Service<Request>,
    S::Response: Into<Response<B>>,
    S::Future: 'static,
    B: MessageBody,
{
    let slot = request.conn_data::<Arc<ConnectionSlot>>().cloned();
    if let Some(slot) = &slot {
        slot.begin();
    }
    let answer = service.call(request);
    async move {
        let answer: Result<Response<B>, _> = answer.await.map(Into::into);
        if let Some(slot) = &slot {
            let is_good = answer.as_ref().is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 202));
            slot.end(is_good);
        }
        answer
    }
}
