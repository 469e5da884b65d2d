//! The HTTP client for screenshot hosts: `awc` with detection of truncated bodies.
//!
//! `awc` treats the end of a connection as the end of a body: a truncated chunked answer seems complete. So
//! its connections are observed: they include TLS, and record when a read reaches the connection's end. An
//! answer with a length or chunks has its own end, and is truncated if its connection ended before it.
//!
//! `awc` speaks plain HTTP over the given connection: the connections of one client are plain, those of the
//! other are inside TLS. This client sets the `Host` header. It follows no redirects, stores no cookies, and
//! sends no certificate.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready, TcpStream};
use actix_tls::connect::openssl::reexports::AsyncSslStream;
use actix_tls::connect::openssl::{TlsConnector, TlsConnectorService};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector, ConnectorService, Resolver};
use actix_web::dev::Service;
use awc::error::{PayloadError, SendRequestError};
use awc::http::header::{self, HeaderMap, HeaderValue};
use awc::http::{StatusCode, Uri};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use openssl::ssl::SslConnector;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::Url;

use crate::net::static_hosts::StaticHosts;

/// The limit for resolving and connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;
const USER_AGENT: &str = concat!("butler-sos/", env!("CARGO_PKG_VERSION"));

macro_rules! client {
    // The builders have different types, and need the same calls.
    ($connector:expr) => {
        awc::Client::builder()
            .connector(
                awc::Connector::new().connector($connector).timeout(CONNECT_TIMEOUT).limit(CONNECTIONS_MAX),
            )
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .finish()
    };
}

/// The client; one per arbiter.
pub struct ImageClient {
    bare: awc::Client,
    tls: awc::Client,
}

/// An answer with an unread body.
pub struct ImageAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: WholeBody,
}

/// Why there is no answer. No variant contains a part of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageClientError {
    #[error("no connection in time")]
    Timeout,
    #[error("the host's certificate or its TLS was not accepted")]
    Tls,
    #[error("not reached, or no HTTP")]
    Transport,
}

impl ImageClient {
    #[must_use]
    pub fn new(tls: SslConnector, hosts: &StaticHosts) -> Self {
        let tcp = Connector::new(Resolver::custom(hosts.clone())).service();
        let bare = Bare { tcp: tcp.clone() };
        let inside_tls = InsideTls { tcp, tls: TlsConnector::service(tls) };
        Self { bare: client!(bare), tls: client!(inside_tls) }
    }

    /// # Errors
    /// When there is no answer.
    pub async fn get(
        &self,
        url: &Url,
        cookie: Option<&SecretString>,
    ) -> Result<ImageAnswer, ImageClientError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(ImageClientError::Transport);
        };
        let client = if url.scheme() == "https" { &self.tls } else { &self.bare };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        // As in the URL: without the port if it is the default of the scheme.
        let host_header = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut request = client
            .get(format!("http://{host}:{port}{}{query}", url.path()))
            .no_decompress()
            .insert_header((header::HOST, host_header))
            .insert_header((header::ACCEPT, "*/*"))
            .insert_header((header::ACCEPT_ENCODING, "identity"))
            .insert_header((header::USER_AGENT, USER_AGENT));
        if let Some(cookie) = cookie {
            let value = HeaderValue::from_str(cookie.expose_secret());
            let mut value = value.map_err(|_| ImageClientError::Transport)?;
            value.set_sensitive(true);
            request = request.insert_header((header::COOKIE, value));
        }
        let answer = request.send().await.map_err(|error| error_of(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = WholeBody {
            inner: Box::pin(answer),
            left: content_length(&headers),
            is_chunked: is_chunked(&headers),
            is_connection_over: false,
        };
        Ok(ImageAnswer { status, headers, body })
    }
}

fn error_of(error: &SendRequestError) -> ImageClientError {
    use awc::error::ConnectError;
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => {
            ImageClientError::Timeout
        }
        SendRequestError::Connect(ConnectError::Io(error)) if is_tls(error) => ImageClientError::Tls,
        _ => ImageClientError::Transport,
    }
}

// === the body

/// A body that ends with an error when it was truncated.
pub struct WholeBody {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>,
    /// The bytes to come, if the head has a length.
    left: Option<u64>,
    is_chunked: bool,
    is_connection_over: bool,
}

/// The body is truncated, or is not HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut")]
pub struct Cut;

impl Stream for WholeBody {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let (polled, is_over) = noting_the_end(|| this.inner.as_mut().poll_next(cx));
        this.is_connection_over |= is_over;
        match std::task::ready!(polled) {
            Some(Ok(piece)) => {
                this.left = this.left.map(|left| left.saturating_sub(piece.len() as u64));
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(Cut))),
            None => {
                let is_cut =
                    this.left.is_some_and(|left| left > 0) || (this.is_chunked && this.is_connection_over);
                // Report it once; then the stream is over.
                this.left = None;
                this.is_chunked = false;
                Poll::Ready(is_cut.then_some(Err(Cut)))
            }
        }
    }
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let coding = headers.get(header::TRANSFER_ENCODING).and_then(|value| value.to_str().ok());
    coding.is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
}

/// With chunks a length is ignored.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if is_chunked(headers) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

// === watched connections

thread_local! {
    /// Whether a read of an observed connection on this thread reached its end. Reads happen inside the poll
    /// of their body, so a caller that clears this before a poll and checks it afterwards gets the state of
    /// that body.
    static END_SEEN: Cell<bool> = const { Cell::new(false) };
}

fn noting_the_end<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    END_SEEN.set(false);
    let polled = poll();
    (polled, END_SEEN.replace(false))
}

/// A connection that records its end.
#[derive(Debug)]
struct Watched<I>(I);

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let polled = Pin::new(&mut self.0).poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) && room > 0 && buffer.filled().len() == before {
            END_SEEN.set(true);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl ActixStream for Watched<TcpStream> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.0, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.0, cx)
    }
}

impl ActixStream for Watched<AsyncSslStream<TcpStream>> {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.0.get_ref(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.0.get_ref(), cx)
    }
}

/// Connects without TLS.
#[derive(Clone)]
struct Bare {
    tcp: ConnectorService,
}

impl Service<ConnectInfo<Uri>> for Bare {
    type Response = Connection<Uri, Watched<TcpStream>>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, to: ConnectInfo<Uri>) -> Self::Future {
        let connected = self.tcp.call(to);
        Box::pin(async move {
            let (tcp, to) = connected.await?.into_parts();
            // Requests are small, and waiting for more data would only delay them.
            let _ = tcp.set_nodelay(true);
            Ok(Connection::new(to, Watched(tcp)))
        })
    }
}

/// Connects, with TLS for the host's name.
#[derive(Clone)]
struct InsideTls {
    tcp: ConnectorService,
    tls: TlsConnectorService,
}

impl Service<ConnectInfo<Uri>> for InsideTls {
    type Response = Connection<Uri, Watched<AsyncSslStream<TcpStream>>>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, to: ConnectInfo<Uri>) -> Self::Future {
        let (connected, tls) = (self.tcp.call(to), self.tls.clone());
        Box::pin(async move {
            let connection = connected.await?;
            let _ = connection.io_ref().set_nodelay(true);
            let secured = tls.call(connection).await.map_err(|error| ConnectError::Io(tls_error(&error)))?;
            let (io, to) = secured.into_parts();
            Ok(Connection::new(to, Watched(io)))
        })
    }
}

/// Marks an error as an error of the handshake.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
struct Handshake(String);

fn tls_error(error: &io::Error) -> io::Error {
    io::Error::other(Handshake(error.to_string()))
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Handshake>())
}

#[cfg(test)]
#[path = "image_client_tests.rs"]
mod tests;
