//! The actors of screenshot downloads, and their connections.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::metric::DestinationMeter;
use butler_sos_actors::screenshots::image_fetch::{FetchConfig, Login, QpsAddress};
use butler_sos_actors::screenshots::image_writer::{ImageWriter, ImageWriterConfig, remove_unfinished};
use butler_sos_actors::screenshots::message::{EndAllSessions, FinishDownloads};
use butler_sos_actors::screenshots::redirect_walker::{
    CONSUMER, RedirectWalker, WalkerConfig, WalkerMailboxes,
};
use butler_sos_actors::screenshots::session_cache_actor::{
    CacheLimits, SessionCacheActor, SessionCacheConfig,
};
use butler_sos_actors::screenshots::ticket_actor::{TicketActor, TicketConfig};
use butler_sos_domain::allowed_hosts::AllowedHosts;
use butler_sos_domain::redirect::WalkRules;
use butler_sos_domain::retry::LaterPolicy;
use butler_sos_domain::session_cookie::SessionCookieNames;
use butler_sos_domain::ticket_users::TicketUsers;
use butler_sos_domain::transport::{AllowedPorts, PlainHttp};
use butler_sos_domain::turns::TurnLimits;
use butler_sos_domain::virtual_proxy::VirtualProxy;
use slog::{Logger, warn};

use super::settings::{bound, image_tls, pseudonymizer, qlik_tls, size, static_hosts};
use super::{Runtime, StartError};
use crate::config::Config;
use crate::config::butler::screenshots::{AuthMode, Screenshots};
use crate::config::pipeline::screenshots::{AllowHttp, CarrySessions};
use crate::operations::screenshots::Storage;
use crate::operations::view::MailboxGauge;

/// The note that tickets and sessions may be sent over plain http.
pub const HTTP_WITH_TICKETS: &str = "http-with-tickets";

/// The maximum time for which a download may lead while others wait for its session.
const LEAD_MAX: Duration = Duration::from_secs(60);

/// The parts to stop in order.
pub struct Downloads {
    pub to_finish: Mailbox<FinishDownloads>,
    pub to_end_sessions: Mailbox<EndAllSessions>,
    pub meter: DestinationMeter,
    pub gauges: Vec<MailboxGauge>,
}

/// Starts them. When downloads are off, no host is allowed and there is no login: earlier events end at once
/// with a recorded reason.
pub fn start(
    config: &Config,
    runtime: &Runtime,
    arbiter: &ArbiterHandle,
    mailboxes: WalkerMailboxes,
) -> Result<Downloads, StartError> {
    let Runtime { supervision, metrics, reread, log } = runtime;
    let section = &config.butler_sos.audit_events.destination.screenshots;
    let pipeline = &config.pipeline;
    let actors = &pipeline.actors;
    let concurrency = config.screenshot_concurrency();
    // Every download may send a request and a report at once.
    let room = |mailbox: usize| bound(mailbox.max(2 * concurrency));

    let meter = metrics.actor("ticket_actor");
    let tickets = TicketConfig {
        host: section.auth.qps.host.clone().unwrap_or_default(),
        port: section.auth.qps.port,
        tls: qlik_tls(config),
        reread: reread.clone(),
        hosts: static_hosts(config),
        ticket_timeout: Duration::from_millis(section.auth.qps.ticket_timeout_ms),
        concurrency: actors.ticket_actor.concurrency,
        pseudonymizer: pseudonymizer(config),
        actor: meter.clone(),
        log: log.clone(),
    };
    let tickets_to = {
        let address = supervision.start(arbiter, meter.clone(), move || TicketActor::new(tickets));
        (Mailbox::new(address.clone(), room(actors.ticket_actor.mailbox)), Mailbox::new(address, room(0)))
    };
    let mut gauges = vec![MailboxGauge::new(meter, tickets_to.0.clone())];

    let cache = &section.auth.session_cache;
    let meter = metrics.actor("session_cache_actor");
    let session_cache = SessionCacheConfig {
        cache: NonZeroUsize::new(size(cache.max_entries))
            .filter(|_| cache.enable)
            .map(|entries_max| CacheLimits { ttl: Duration::from_secs_f64(cache.ttl_seconds), entries_max }),
        per_user_max: NonZeroUsize::new(pipeline.screenshots.sessions_per_user_max),
        lead_max: LEAD_MAX,
        to_tickets: tickets_to.0,
        to_endings: tickets_to.1,
        actor: meter.clone(),
        log: log.clone(),
    };
    let cache_address =
        supervision.start(arbiter, meter.clone(), move || SessionCacheActor::new(session_cache));
    let to_sessions = Mailbox::new(cache_address.clone(), room(actors.session_cache_actor.mailbox));
    gauges.push(MailboxGauge::new(meter, to_sessions.clone()));

    let meter = metrics.actor("image_writer");
    if !section.enable {
        tidy_up(section, log);
    }
    let writer = ImageWriter::new(ImageWriterConfig {
        directories: if section.enable { directories(section) } else { Vec::new() },
        bytes_max: pipeline.screenshots.bytes_max,
        actor: meter.clone(),
        log: log.clone(),
    })
    .map_err(|error| StartError::unavailable("the screenshots' directory", error))?;
    let writer_address = supervision.start(arbiter, meter.clone(), move || writer);
    let to_images = Mailbox::new(writer_address, room(actors.image_writer.mailbox));
    gauges.push(MailboxGauge::new(meter, to_images.clone()));

    let actor = metrics.actor("redirect_walker");
    if section.enable && pipeline.screenshots.allow_http == AllowHttp::True {
        actor.note(HTTP_WITH_TICKETS, "");
    }
    let fetch = FetchConfig {
        rules: Arc::new(rules(config)?),
        login: login(config)?,
        are_sessions_kept: cache.enable,
        attempt_timeout: Duration::from_millis(section.download_timeout_ms),
        hosts: static_hosts(config),
        tls: image_tls(config),
        reread: reread.clone(),
        to_sessions,
        to_session_news: Mailbox::new(cache_address.clone(), room(actors.session_cache_actor.mailbox)),
        to_images,
        actor: actor.clone(),
        log: log.clone(),
    };
    let image_tls = fetch.tls.connector().map_err(|error| StartError::config("Butler-SOS.cert", error))?;
    let meter = metrics.destination(CONSUMER.name);
    let walker = WalkerConfig {
        fetch,
        image_tls,
        turns: TurnLimits { places: concurrency, per_host: pipeline.screenshots.per_host_concurrency },
        waiting_max: pipeline.screenshots.waiting_entries_max,
        later: LaterPolicy {
            give_up_after: Duration::from_secs(pipeline.screenshots.give_up_after_seconds),
            ..LaterPolicy::default()
        },
        retries_max: pipeline.screenshots.retry_entries_max,
        pseudonymizer: pseudonymizer(config),
        mailboxes,
        actor: actor.clone(),
        meter: meter.clone(),
        log: log.clone(),
    };
    let walker_address = supervision.start(arbiter, actor.clone(), move || RedirectWalker::new(walker));
    let to_finish = Mailbox::new(walker_address, bound(actors.redirect_walker.mailbox));
    gauges.push(MailboxGauge::new(actor, to_finish.clone()));

    Ok(Downloads { to_finish, to_end_sessions: Mailbox::new(cache_address, 1), meter, gauges })
}

/// The directories of stored images.
pub fn storage(config: &Config) -> Storage {
    // Disabled targets still contain earlier images.
    let targets = &config.butler_sos.audit_events.destination.screenshots.storage_targets;
    Storage {
        directories: targets.iter().map(|target| PathBuf::from(&target.directory)).collect(),
        bytes_max: config.pipeline.screenshots.bytes_max,
    }
}

fn directories(section: &Screenshots) -> Vec<PathBuf> {
    let targets = section.storage_targets.iter().filter(|target| target.enable);
    targets.map(|target| PathBuf::from(&target.directory)).collect()
}

/// Nothing is written there any more, so nothing else would remove files that a crash left.
fn tidy_up(section: &Screenshots, log: &Logger) {
    for directory in directories(section) {
        // An unreadable directory may be why downloads were disabled, so it does not stop the start.
        match remove_unfinished(&directory, log) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(log, "cannot remove unfinished images of an earlier run";
                    "directory" => %directory.display(), "error" => %error);
            }
            _ => {}
        }
    }
}

fn rules(config: &Config) -> Result<WalkRules, StartError> {
    let section = &config.butler_sos.audit_events.destination.screenshots;
    let limits = &config.pipeline.screenshots;
    let pseudonymizer: &[String] = if section.enable { &section.allowed_image_download_hosts } else { &[] };
    let hosts = AllowedHosts::new(pseudonymizer).map_err(|errors| {
        let detail: Vec<String> = errors.iter().map(|(_, error)| error.to_string()).collect();
        let path = "Butler-SOS.auditEvents.destination.screenshots.allowedImageDownloadHosts";
        StartError::config(path, detail.join("; "))
    })?;
    Ok(WalkRules {
        plain_http: match limits.allow_http {
            AllowHttp::False => PlainHttp::Refused,
            AllowHttp::WithoutTickets => PlainHttp::WithoutTickets,
            AllowHttp::True => PlainHttp::Allowed,
        },
        ports: AllowedPorts::new(limits.allowed_ports.iter().copied()),
        are_sessions_carried: limits.carry_sessions == CarrySessions::AllowedHosts,
        cookie_names: SessionCookieNames { configured: section.auth.qps.session_cookie_name.clone() },
        redirects_max: limits.redirects_max,
        bytes_max: limits.bytes_max,
        ..WalkRules::for_hosts(hosts)
    })
}

fn login(config: &Config) -> Result<Login, StartError> {
    let section = &config.butler_sos.audit_events.destination.screenshots;
    let qps = &section.auth.qps;
    let address = QpsAddress { host: qps.host.clone().unwrap_or_default(), port: qps.port };
    Ok(match section.auth.mode {
        _ if !section.enable => Login::None,
        AuthMode::None => Login::None,
        AuthMode::UserTicket => Login::UserTicket { qps: address, users: ticket_users(config) },
        AuthMode::QpsTicket => Login::QpsTicket {
            qps: address,
            virtual_proxy: VirtualProxy::of_setting(qps.virtual_proxy.as_deref().unwrap_or_default())
                .map_err(|error| {
                    StartError::config(
                        "Butler-SOS.auditEvents.destination.screenshots.auth.qps.virtualProxy",
                        error,
                    )
                })?,
            user_directory: qps.user_directory.clone().unwrap_or_default(),
            user_id: qps.user_id.clone().unwrap_or_default(),
        },
    })
}

fn ticket_users(config: &Config) -> TicketUsers {
    let users = &config.pipeline.screenshots.ticket_users;
    let internal = users.deny_internal.then_some("INTERNAL");
    TicketUsers::new(
        users.allow.iter().map(String::as_str),
        users.deny.iter().map(String::as_str).chain(internal),
    )
}
