//! The fake's four servers: sockets, TLS, recording.

use std::any::Any;
use std::net::TcpListener;

use actix_tls::accept::openssl::TlsStream;
use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use openssl::error::ErrorStack;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode};

use super::certificates::Certificates;
use super::context::{Context, Server};
use super::record::{Recorded, masked_cookie, masked_path};
use super::{proxy, qps};

/// Whether the peer showed a certificate.
#[derive(Clone, Copy)]
struct HasCertificate(bool);

fn note_certificate(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(tls) = connection.downcast_ref::<TlsStream<TcpStream>>() {
        extensions.insert(HasCertificate(tls.ssl().peer_certificate().is_some()));
    }
}

/// Starts one of the servers on its listener.
pub fn start(
    context: Context,
    listener: TcpListener,
    certificates: &Certificates,
) -> std::io::Result<ServerHandle> {
    let server = context.server;
    let http = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(context.clone()))
            .app_data(web::PayloadConfig::new(1 << 20))
            .default_service(web::to(answer))
    })
    .workers(1)
    .on_connect(note_certificate)
    .disable_signals();
    let http = match server {
        Server::Http => http.listen(listener)?,
        _ => http.listen_openssl(listener, acceptor(server, certificates)?)?,
    };
    let running = http.run();
    let handle = running.handle();
    actix_rt::spawn(running);
    Ok(handle)
}

fn acceptor(server: Server, certificates: &Certificates) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate(&certificates.server.certificate)?;
    acceptor.set_private_key(&certificates.server.key)?;
    acceptor.cert_store_mut().add_cert(certificates.root.clone())?;
    match server {
        Server::Qps | Server::Qrs => {
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        // Asks for a certificate, so that one shown to the wrong host is seen; takes any and none.
        Server::Https | Server::Http => acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true),
    }
    acceptor.set_session_id_context(server.name().as_bytes())?;
    Ok(acceptor)
}

async fn answer(context: web::Data<Context>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    context.state.record(Recorded {
        server: context.server.name().to_owned(),
        method: request.method().to_string(),
        host: header("host").unwrap_or_default().to_owned(),
        path: masked_path(request.path(), request.query_string()),
        cookie: header("cookie").map(masked_cookie),
        body: (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned()),
        client_certificate: request.conn_data::<HasCertificate>().is_some_and(|has| has.0),
    });
    match context.server {
        Server::Qps => qps::qps(&context, &request, &body).await,
        Server::Qrs => qps::qrs(&context, &request),
        Server::Https | Server::Http => proxy::proxy(&context, &request).await,
    }
}
