//! `butler-sos send-sample`: believable events to a running server, so that one can see it work.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use awc::http::StatusCode;
use awc::http::header;
use butler_sos_domain::allowed_hosts::AllowedHosts;
use butler_sos_domain::audit::{SCREENSHOT_TYPE, sample as audit_sample};
use butler_sos_domain::sample;
use url::Url;

use crate::cli::{Layout, SendSample};
use crate::commands::address::reachable;
use crate::commands::client::http_client;
use crate::commands::token::{Configured, Sent, token_for, token_in};
use crate::config::Config;
use butler_sos_actors::kit::clock::unix_ms;

/// Sends what the command line asks for; ends when all is sent or at Ctrl-C.
pub async fn run(arguments: &SendSample, config: &Config) -> anyhow::Result<()> {
    if arguments.audit || arguments.screenshots {
        send_audit(arguments, config).await?;
    }
    if arguments.user_events || !(arguments.audit || arguments.screenshots) {
        send_user(arguments, config).await?;
    }
    Ok(())
}

async fn send_user(arguments: &SendSample, config: &Config) -> anyhow::Result<()> {
    let udp = &config.butler_sos.user_events.udp_server;
    let to = arguments.to.clone().unwrap_or_else(|| format!("{}:{}", reachable(&udp.server_host), udp.port));
    let to = resolve(&to)?;
    let unspecified: SocketAddr = if to.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0_u8; 4], 0).into() };
    let socket = UdpSocket::bind(arguments.from.unwrap_or(unspecified)).context("no socket to send from")?;
    socket.connect(to).with_context(|| format!("cannot send to {to}"))?;
    let layout = match arguments.layout {
        Layout::Mixed => sample::Layout::Mixed,
        Layout::Eight => sample::Layout::Eight,
        Layout::Five => sample::Layout::Five,
    };
    let mut pace = Pace::new(arguments.rate, arguments.count);
    let mut refused = 0_u64;
    while let Some(n) = pace.next().await {
        // On loopback, a port where nobody listens answers; a lost datagram elsewhere does not.
        refused += u64::from(socket.send(sample::datagram(n, layout).as_bytes()).is_err());
    }
    println!("{} user events sent to udp://{to}", pace.sent - refused);
    if refused > 0 {
        bail!("{refused} were refused: does the server listen on {to}?");
    }
    Ok(())
}

async fn send_audit(arguments: &SendSample, config: &Config) -> anyhow::Result<()> {
    let audit = &config.butler_sos.audit_events;
    let scheme = if arguments.https || audit.tls.enable { "https" } else { "http" };
    let to = arguments.to.clone().unwrap_or_else(|| format!("{}:{}", reachable(&audit.host), audit.port));
    let url = format!("{scheme}://{to}/api/v1/audit-event");
    let sent = audit_token(arguments, config, &url)?;
    let client = http_client(arguments.insecure)?;
    let mut pace = Pace::new(arguments.rate, arguments.count);
    let mut refused = 0_u64;
    let base = if arguments.screenshots { Some(screenshot_base(arguments, config)?) } else { None };
    // Every run has event ids of its own: the same event sent twice is stored once.
    let mut events = (unix_ms()..).flat_map(|seed| {
        let start_ms = i64::try_from(unix_ms()).unwrap_or(i64::MAX);
        let mut session = audit_sample::session(seed, start_ms, base.as_deref());
        session.retain(|event| arguments.audit || event.event_type == SCREENSHOT_TYPE);
        session
    });
    while pace.next().await.is_some() {
        let Some(event) = events.next() else { break };
        let answer = loop {
            let mut request = client
                .post(&url)
                .insert_header(("content-type", "application/json"))
                .insert_header(("x-audit-qs-version", audit_sample::SAMPLE_VERSION));
            if let Some(token) = sent.token() {
                request = request.bearer_auth(token.expose());
            }
            let answer = request.send_body(event.body.clone()).await;
            let Some(pause) = answer.as_ref().ok().and_then(rate_limit_pause) else { break answer };
            eprintln!("the server's rate limit is reached, going on in {} s", pause.as_secs());
            if !pace.pause(pause).await {
                break answer;
            }
        };
        match answer {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {}
            Ok(mut answer) => {
                refused += 1;
                let detail = answer.body().await.unwrap_or_default();
                eprintln!("refused with {}: {}", answer.status(), String::from_utf8_lossy(&detail));
                if answer.status() == StatusCode::UNAUTHORIZED && matches!(sent, Sent::Withheld) {
                    bail!(
                        "the configured token is for the configured server: give this one's with --token-file"
                    );
                }
            }
            Err(error) => bail!("cannot reach {url}: {error}"),
        }
    }
    println!("{} audit events sent to {url}, {refused} refused", pace.sent);
    if refused > 0 {
        bail!("{refused} events were refused");
    }
    Ok(())
}

/// What is sent along to the audit API at `url`.
fn audit_token(arguments: &SendSample, config: &Config, url: &str) -> anyhow::Result<Sent> {
    let audit = &config.butler_sos.audit_events;
    let given = match (&arguments.token, &arguments.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => Some(token_in(path)?),
        (None, None) => None,
    };
    let configured = Configured { host: &audit.host, port: audit.port, token: &audit.api_token };
    let url = Url::parse(url).context("--to is not HOST:PORT")?;
    Ok(token_for(&url, given, Some(configured), arguments.insecure_http)?)
}

/// Where sampled screenshots are said to be: `--screenshot-url`, else the first host that downloads are allowed from.
fn screenshot_base(arguments: &SendSample, config: &Config) -> anyhow::Result<String> {
    let section = &config.butler_sos.audit_events.destination.screenshots;
    let hosts = &section.allowed_image_download_hosts;
    let text = match (&arguments.screenshot_url, hosts.first()) {
        (Some(url), _) => url.clone(),
        (None, Some(host)) if host.contains(':') => format!("https://[{}]", host.trim_matches(['[', ']'])),
        (None, Some(host)) => format!("https://{host}"),
        (None, None) => "https://qlik.example.com".to_owned(),
    };
    let mut url = Url::parse(&text).with_context(|| format!("not a URL: {text}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!("not the URL of a screenshot: {text}");
    }
    if url.path() == "/" {
        // Where Qlik Sense keeps them; the first part of another path would be taken for a virtual proxy.
        url.set_path("/tempcontent");
    }
    if section.enable && !AllowedHosts::new(hosts).is_ok_and(|hosts| hosts.allows(&url)) {
        let host = url.host_str().unwrap_or_default();
        eprintln!(
            "note: {host} is not among allowedImageDownloadHosts, a server with this configuration refuses it"
        );
    }
    Ok(url.into())
}

/// How long the audit API asks us to wait; `None` when it does not.
fn rate_limit_pause<S>(answer: &awc::ClientResponse<S>) -> Option<Duration> {
    let headers = answer.headers();
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (answer.status() == StatusCode::TOO_MANY_REQUESTS).then(|| Duration::from_secs(seconds))
}

fn resolve(to: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = to.to_socket_addrs().with_context(|| format!("not HOST:PORT, or not known: {to}"))?;
    addresses.next().with_context(|| format!("no address for {to}"))
}

/// At full speed, Ctrl-C is looked for once in so many events.
const LOOKS_EVERY: u64 = 64;

/// Numbers from 0 on, at a rate: no more than what should have been sent by now.
struct Pace {
    rate: f64,
    count: Option<u64>,
    begun: Instant,
    sent: u64,
    /// Ctrl-C, from the first look at it on.
    interrupted: Pin<Box<dyn Future<Output = io::Result<()>>>>,
    is_over: bool,
}

impl Pace {
    fn new(rate: f64, count: Option<u64>) -> Self {
        let interrupted = Box::pin(tokio::signal::ctrl_c());
        Self { rate, count, begun: Instant::now(), sent: 0, interrupted, is_over: false }
    }

    async fn next(&mut self) -> Option<u64> {
        if self.count.is_some_and(|count| self.sent >= count) {
            return None;
        }
        let mut early = Duration::ZERO;
        if self.rate > 0.0 {
            let due = self.begun + Duration::from_secs_f64(self.sent as f64 / self.rate);
            early = due.saturating_duration_since(Instant::now());
        }
        if !self.pause(early).await {
            return None;
        }
        self.sent += 1;
        Some(self.sent - 1)
    }

    /// Waits; `false` once Ctrl-C was pressed.
    async fn pause(&mut self, pause: Duration) -> bool {
        if pause.is_zero() && !self.sent.is_multiple_of(LOOKS_EVERY) {
            return !self.is_over;
        }
        let passed = async {
            if pause.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(pause).await }
        };
        if !self.is_over {
            tokio::select! {
                _ = &mut self.interrupted => self.is_over = true,
                () = passed => {}
            }
        }
        !self.is_over
    }
}
