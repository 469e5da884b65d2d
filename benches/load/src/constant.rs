//! The web server that the audit API stands on, reading each body and answering 202 with a constant.

use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose, and the first line of output says which.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads that serve connections.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// As long as the audit API's answer to an event that it has stored.
const ANSWER: &str = r#"{"status":"accepted","outcome":"processed","receivedAt":"2026-11-20T10:11:12.345Z"}"#;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).context("cannot listen")?;
    println!("{}", listener.local_addr()?);
    let threads = options.threads.max(1);
    actix_rt::System::new().block_on(async move {
        let server = HttpServer::new(|| App::new().default_service(web::to(answer)));
        server.workers(threads).listen(listener)?.run().await.context("serving")
    })
}

async fn answer(_body: web::Bytes) -> HttpResponse {
    HttpResponse::Accepted().content_type("application/json").body(ANSWER)
}
