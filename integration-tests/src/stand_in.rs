//! What all stand-ins for HTTP servers have in common: they listen on a free port, take requests apart, and
//! answer, or do not, as the service behind them says.
//!
//! They run on a thread of their own, so that tests may block.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use serde_json::Value;

/// What stands behind the port.
pub(crate) trait Service: Send + 'static {
    fn react(&mut self, asked: Asked) -> Reaction;
}

/// A request, taken apart.
pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    /// With the query.
    pub full: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    /// Empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What comes of a request.
pub(crate) enum Reaction {
    /// Status, seconds of `Retry-After`, and body, which is empty for null.
    Answer(u16, Option<u64>, Value),
    /// Status, type and text.
    Text(u16, &'static str, &'static str),
    /// Nothing, for longer than anybody waits.
    Hang,
    /// The connection breaks.
    Cut,
}

impl Reaction {
    pub fn answer(status: u16, body: Value) -> Self {
        Self::Answer(status, None, body)
    }

    /// What a login page or a wrong port says.
    pub fn page(status: u16) -> Self {
        Self::Text(status, "text/html", "<!doctype html><html><body>Sign in</body></html>")
    }

    /// `None` when there is no answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(status, ..) | Self::Text(status, ..) => Some(*status),
            Self::Hang | Self::Cut => None,
        }
    }
}

/// The running server.
pub(crate) struct StandIn<S> {
    address: SocketAddr,
    service: Arc<Mutex<S>>,
    server: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl<S: Service> StandIn<S> {
    pub fn start(service: S) -> Self {
        let service = Arc::new(Mutex::new(service));
        let (started, starts) = mpsc::channel();
        let shared = Arc::clone(&service);
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let shared = web::Data::from(shared);
                let server = HttpServer::new(move || {
                    App::new().app_data(shared.clone()).default_service(web::to(serve::<S>))
                });
                let server = server.workers(1).disable_signals().shutdown_timeout(0);
                let server = server.bind(("127.0.0.1", 0)).expect("a free port");
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).expect("the starter waits");
                let _ = server.await;
            });
        });
        let (address, server) = starts.recv().expect("the stand-in starts");
        Self { address, service, server, thread: Some(thread) }
    }

    pub fn service(&self) -> MutexGuard<'_, S> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> StandIn<S> {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl<S> Drop for StandIn<S> {
    fn drop(&mut self) {
        let stopping = self.server.stop(false);
        let runtime = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.expect("a runtime").block_on(stopping);
        };
        thread::scope(|scope| _ = scope.spawn(runtime).join());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve<S: Service>(
    service: web::Data<Mutex<S>>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> HttpResponse {
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = payload.next().await {
        body.extend_from_slice(&chunk);
    }
    let query = web::Query::<BTreeMap<String, String>>::from_query(request.query_string());
    let headers = request.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let asked = Asked {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        full: request.uri().to_string(),
        query: query.map(web::Query::into_inner).unwrap_or_default(),
        headers: headers.collect(),
        body,
    };
    let reaction = service.lock().unwrap_or_else(PoisonError::into_inner).react(asked);
    match reaction {
        Reaction::Answer(status, retry_after, body) => {
            let mut answer = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
            if let Some(seconds) = retry_after {
                answer.insert_header(("Retry-After", seconds.to_string()));
            }
            if body.is_null() { answer.finish() } else { answer.json(body) }
        }
        Reaction::Text(status, kind, text) => {
            HttpResponse::build(StatusCode::from_u16(status).expect("a status")).content_type(kind).body(text)
        }
        Reaction::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            HttpResponse::NoContent().finish()
        }
        // Ends the connection's task, and no hook prints it.
        Reaction::Cut => std::panic::resume_unwind(Box::new("cut")),
    }
}
