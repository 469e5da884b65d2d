//! The operations server (contract: config, "Operating endpoints").

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use openssl::memcmp;
use secrecy::{ExposeSecret, SecretString};

use super::view::View;

/// Which of the endpoints a listener serves.
#[derive(Clone)]
pub struct Access {
    /// Asked for on everything but `/metrics` and `/health`.
    pub token: Option<SecretString>,
    /// Reachable from other machines.
    pub exposed: bool,
    /// Only this path (Butler SOS's own `prometheus`, `dockerHealthCheck` and `configVisualisation` listeners).
    pub only: Option<&'static str>,
    /// `/` is the effective configuration.
    pub configuration_first: bool,
}

impl Access {
    #[must_use]
    pub fn operations(address: SocketAddr, token: Option<SecretString>) -> Self {
        Self { token, exposed: !address.ip().is_loopback(), only: None, configuration_first: false }
    }

    #[must_use]
    pub fn only(path: &'static str) -> Self {
        Self { token: None, exposed: true, only: Some(path), configuration_first: false }
    }

    /// The configuration alone, to those who may see the rest.
    #[must_use]
    pub fn configuration(address: SocketAddr, token: Option<SecretString>) -> Self {
        Self { only: Some("/"), configuration_first: true, ..Self::operations(address, token) }
    }

    fn allows(&self, path: &str, authorization: Option<&str>) -> Result<(), StatusCode> {
        if self.only.is_some_and(|only| only != path) {
            return Err(StatusCode::NOT_FOUND);
        }
        if matches!(path, "/metrics" | "/health") {
            return Ok(());
        }
        match &self.token {
            Some(token) if bearer_is(authorization, token.expose_secret()) => Ok(()),
            Some(_) => Err(StatusCode::UNAUTHORIZED),
            None if self.exposed => Err(StatusCode::FORBIDDEN),
            None => Ok(()),
        }
    }
}

fn bearer_is(authorization: Option<&str>, token: &str) -> bool {
    let Some((scheme, given)) = authorization.and_then(|value| value.split_once(' ')) else { return false };
    let given = given.trim();
    scheme.eq_ignore_ascii_case("bearer")
        && given.len() == token.len()
        && memcmp::eq(given.as_bytes(), token.as_bytes())
}

/// Serves `view` on a listener that is already bound; one thread is enough for people and scrapers.
pub fn serve(listener: TcpListener, view: View, access: Access) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(view.clone()))
            .app_data(web::Data::new(access.clone()))
            .default_service(web::to(answer))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    Ok(server)
}

async fn answer(request: HttpRequest, view: web::Data<View>, access: web::Data<Access>) -> HttpResponse {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Err(status) = access.allows(request.path(), authorization) {
        return HttpResponse::build(status).finish();
    }
    match (request.method().as_str(), request.path()) {
        ("GET" | "HEAD", "/metrics") => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(view.exposition().await),
        ("GET" | "HEAD", "/health") => {
            let readiness = view.readiness().await;
            let status = if readiness.stopping { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            HttpResponse::build(status).json(serde_json::json!({
                "status": readiness.status,
                "reasons": readiness.reasons,
            }))
        }
        ("GET" | "HEAD", "/ready") => {
            let readiness = view.readiness().await;
            let status =
                if readiness.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            HttpResponse::build(status).json(readiness)
        }
        ("GET" | "HEAD", "/configuration") => plain(&view.configuration),
        ("GET" | "HEAD", "/") if access.configuration_first => plain(&view.configuration),
        ("GET" | "HEAD", "/") => plain(INDEX),
        #[cfg(feature = "test-panics")]
        ("POST", path) if path.starts_with("/test/panic/") => {
            let actor = path.trim_start_matches("/test/panic/");
            let found = view.switches.panic(actor);
            HttpResponse::build(if found { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }).finish()
        }
        ("GET" | "HEAD", _) => HttpResponse::NotFound().finish(),
        _ => HttpResponse::MethodNotAllowed().finish(),
    }
}

fn plain(text: &str) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(text.to_owned())
}

const INDEX: &str = "butler-sos\n\n/metrics  figures for Prometheus\n/health   is the process alive\n/ready    can it take events, and where do events wait\n/configuration  the effective configuration, without its secrets\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: Option<&str>, exposed: bool, path: &str, authorization: Option<&str>, expect: u16) {
        let access =
            Access { token: token.map(SecretString::from), exposed, only: None, configuration_first: false };
        let status = access.allows(path, authorization).map_or_else(|status| status.as_u16(), |()| 200);
        assert_eq!(status, expect, "{token:?} {exposed} {path} {authorization:?}");
    }

    #[test]
    fn who_may_see_what() {
        check(None, false, "/ready", None, 200);
        check(None, true, "/ready", None, 403);
        check(None, true, "/metrics", None, 200);
        check(Some("s"), true, "/metrics", None, 200);
        check(Some("s"), true, "/ready", None, 401);
        check(Some("s"), false, "/ready", Some("Bearer t"), 401);
        check(Some("s"), true, "/ready", Some("bearer s"), 200);
        check(Some("s"), true, "/health", None, 200);
    }

    #[test]
    fn a_listener_of_its_own_serves_its_path_alone() {
        let access = Access::only("/metrics");
        assert!(access.allows("/metrics", None).is_ok());
        assert_eq!(access.allows("/ready", None), Err(StatusCode::NOT_FOUND));
    }
}
