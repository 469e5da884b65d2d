//! Tells a monitoring tool that the server lives, by a GET at fixed intervals.
//!
//! Receives: nothing.
//! Sends: the request, first when it starts.
//! Keeps: whether the last one failed.
//! When full: one request is under way at a time.
//! When it fails: a warning when failing begins, a word when it ends; it goes on at its interval.
//!
//! Such addresses often carry a secret in their path, so the log names the host alone.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Supervised, WrapFuture};
use slog::{Logger, debug, info, warn};
use url::Url;

use crate::http_delivery::{CONNECT_TIMEOUT, FarSide, exchange, status_class, tls_connector};
use crate::metric::ActorMeter;
use crate::sink::Trouble;
use crate::tls::certificate_fault::CertificateWatch;
use crate::tls::reread;

/// `Butler-SOS.heartbeat`.
#[derive(Clone)]
pub struct HeartbeatConfig {
    /// `remoteURL`.
    pub url: String,
    pub every: Duration,
    /// For one whole call.
    pub timeout: Duration,
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
    let host = host_of(&config.url);
    let watch = CertificateWatch::default();
    let to = FarSide { name: "the monitoring tool".to_owned(), host: host.clone(), watch };
    let (mut client, mut made_at) = (None, reread::asked());
    let mut failures = 0_u64;
    let mut interval = tokio::time::interval(config.every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        actor.sent.inc();
        if made_at != reread::asked() {
            (client, made_at) = (None, reread::asked());
        }
        match beat(&config, &to, &mut client).await {
            Ok(()) => {
                if failures > 0 {
                    info!(log, "heartbeats arrive again"; "host" => &host, "failures" => failures);
                    failures = 0;
                }
                debug!(log, "heartbeat sent"; "host" => &host);
            }
            Err(trouble) => {
                actor.rejected(trouble.class, 1);
                actor.failed(trouble.class);
                if failures == 0 {
                    warn!(log, "a heartbeat has not arrived, will go on sending them";
                        "host" => &host, "class" => trouble.class, "error" => trouble.words);
                }
                failures += 1;
            }
        }
    }
}

async fn beat(
    config: &HeartbeatConfig,
    to: &FarSide,
    client: &mut Option<awc::Client>,
) -> Result<(), Trouble> {
    let client = match client {
        Some(client) => client,
        None => client.insert(http_client(config.timeout, &to.watch)?),
    };
    let request = client.get(&config.url);
    let answer = exchange(request, Default::default(), config.timeout, to, None).await?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(Trouble::new(status_class(status), format!("the answer has status {status}"))),
    }
}

/// Redirects are followed: there is nothing in the request that another host may not see.
fn http_client(timeout: Duration, watch: &CertificateWatch) -> Result<awc::Client, Trouble> {
    let tls = tls_connector(None, watch).map_err(|error| Trouble::new("tls", error.to_string()))?;
    let connector =
        awc::Connector::new().timeout(CONNECT_TIMEOUT).handshake_timeout(CONNECT_TIMEOUT).openssl(tls);
    Ok(awc::Client::builder().connector(connector).timeout(timeout).finish())
}

fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_does_not_see_the_path() {
        assert_eq!(host_of("https://user:pw@ping.test:8443/s3cret?token=x"), "ping.test");
        assert_eq!(host_of("not a url"), "");
    }
}
