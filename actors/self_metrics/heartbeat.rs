//! Sends a GET to a monitoring tool at fixed intervals, to show that the server is alive.
//!
//! Receives: nothing.
//! Sends: the request, first when it starts.
//! Keeps: whether the last one failed.
//! When full: one request is in progress at a time.
//! When it fails: a warning at the first failure, a line at the recovery; it continues at its interval.
//!
//! Such addresses often contain a secret in their path, so the log names only the host.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use slog::{Logger, debug, info, warn};
use url::Url;

use crate::kit::delivery_error::DeliveryError;
use crate::kit::metric::ActorMeter;
use crate::net::http_client::{CONNECT_TIMEOUT, Endpoint, exchange, status_class};
use crate::net::tls::ClientTls;
use crate::net::tls::certificate_fault::CertificateWatch;
use crate::net::tls::reread::Reread;

/// `Butler-SOS.heartbeat`.
#[derive(Clone)]
pub struct HeartbeatConfig {
    /// `remoteURL`: http or https, with user information or without.
    pub url: SecretString,
    pub every: Duration,
    /// The time limit of one whole call.
    pub timeout: Duration,
    pub reread: Reread,
}

/// The actor.
pub struct Heartbeat {
    config: HeartbeatConfig,
    actor: ActorMeter,
    log: Logger,
}

impl Heartbeat {
    #[must_use]
    pub fn new(config: HeartbeatConfig, actor: ActorMeter, log: Logger) -> Self {
        Self { config, actor, log }
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let beating = beat_for_ever(self.config.clone(), self.actor.clone(), self.log.clone());
        ctx.spawn(beating.into_actor(self));
    }
}

impl Supervised for Heartbeat {}

async fn beat_for_ever(config: HeartbeatConfig, actor: ActorMeter, log: Logger) {
    let call = Call::new(config.url.expose_secret());
    let host = call.as_ref().map(|call| call.host.clone()).unwrap_or_default();
    let watch = CertificateWatch::default();
    let to = Endpoint { name: "the monitoring tool".to_owned(), host: host.clone(), watch };
    let (mut client, mut made_at) = (None, config.reread.asked());
    let mut failures = 0_u64;
    let mut interval = tokio::time::interval(config.every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        actor.sent.inc();
        if made_at != config.reread.asked() {
            (client, made_at) = (None, config.reread.asked());
        }
        match beat(&config, call.as_ref(), &to, &mut client).await {
            Ok(()) => {
                if failures > 0 {
                    info!(log, "heartbeats succeed again"; "host" => &host, "failures" => failures);
                    failures = 0;
                }
                debug!(log, "heartbeat sent"; "host" => &host);
            }
            Err(trouble) => {
                actor.rejected(trouble.class, 1);
                actor.failed(trouble.class);
                if failures == 0 {
                    warn!(log, "cannot send a heartbeat, will retry";
                        "host" => &host, "class" => trouble.class, "error" => trouble.detail);
                }
                failures += 1;
            }
        }
    }
}

async fn beat(
    config: &HeartbeatConfig,
    call: Option<&Call>,
    to: &Endpoint,
    client: &mut Option<awc::Client>,
) -> Result<(), DeliveryError> {
    let call = call.ok_or_else(|| {
        DeliveryError::new("config", "remoteURL is no address that can be called".to_owned())
    })?;
    let client = match client {
        Some(client) => client,
        None => client.insert(http_client(config.timeout, &to.watch)?),
    };
    let mut request = client.get(call.url.expose_secret());
    if let Some((user, password)) = &call.login {
        request = request.basic_auth(user.expose_secret(), password.expose_secret());
    }
    let answer = exchange(request, Default::default(), config.timeout, to, None).await?;
    match answer.status {
        // The exact status code depends on the monitoring tool.
        200..=299 => Ok(()),
        status => Err(DeliveryError::new(status_class(status), format!("the answer has status {status}"))),
    }
}

/// The request to send.
struct Call {
    /// Without user information and fragment.
    url: SecretString,
    /// The part of the address that may be logged.
    host: String,
    /// User and password of the address, sent as basic authentication.
    login: Option<(SecretString, SecretString)>,
}

impl Call {
    fn new(address: &str) -> Option<Self> {
        let mut url = Url::parse(address.trim()).ok()?;
        let host = url.host_str()?.to_owned();
        let decoded =
            |text: &str| SecretString::from(percent_decode_str(text).decode_utf8_lossy().into_owned());
        let has_user = !url.username().is_empty() || url.password().is_some();
        let login = has_user.then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        Some(Self { url: String::from(url).into(), host, login })
    }
}

/// Redirects are followed: the request contains nothing secret for another host.
fn http_client(timeout: Duration, watch: &CertificateWatch) -> Result<awc::Client, DeliveryError> {
    let tls = ClientTls::default().http_connector(watch);
    let tls = tls.map_err(|error| DeliveryError::new("tls", error.to_string()))?;
    let connector =
        awc::Connector::new().timeout(CONNECT_TIMEOUT).handshake_timeout(CONNECT_TIMEOUT).openssl(tls);
    Ok(awc::Client::builder().connector(connector).timeout(timeout).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, url: &str, host: &str, login: Option<(&str, &str)>) {
        let call = Call::new(address).expect(address);
        assert_eq!(call.url.expose_secret(), url);
        assert_eq!(call.host, host);
        let found =
            call.login.as_ref().map(|(user, password)| (user.expose_secret(), password.expose_secret()));
        assert_eq!(found, login, "{address}");
    }

    #[test]
    fn user_information_becomes_a_login_and_the_log_shows_only_the_host() {
        check("https://ping.test/s3cret?token=x", "https://ping.test/s3cret?token=x", "ping.test", None);
        check("HTTPS://PING.test/A", "https://ping.test/A", "ping.test", None);
        let login = Some(("user", "p@w+ü"));
        check(
            "https://user:p%40w+%C3%BC@ping.test:8443/s3cret#x",
            "https://ping.test:8443/s3cret",
            "ping.test",
            login,
        );
        check("http://user@ping.test", "http://ping.test/", "ping.test", Some(("user", "")));
        assert!(Call::new("not a url").is_none());
    }
}
