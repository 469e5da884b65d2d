//! `butler-sos run`: from a configuration to an exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use butler_sos_actors::kit::metric::Metrics;
use butler_sos_actors::kit::platform::Modes;
use butler_sos_actors::kit::supervisor::Supervision;
use butler_sos_actors::net::tls::reread::Reread;
use slog::{Logger, error, info, warn};
use tokio::sync::mpsc;

use crate::config::{Config, Loaded};
use crate::exit;
use crate::logging::{self, Guard, LogConfig};
use crate::open_files;
use crate::operations::machine::say_machine;
use crate::service_manager::ServiceManager;
use crate::signals::{handle_others, told_again, told_to_stop};
use crate::topology::{Runtime, Topology};

/// Runs the server until it is told to stop, or cannot go on.
pub fn run(loaded: &Loaded) -> ExitCode {
    if let Err(mistakes) = loaded.verify_resources() {
        eprintln!("{mistakes}");
        return exit::CONFIG.into();
    }
    let (log, guard) = match logging::init(&LogConfig::from(&loaded.config)) {
        Ok(open) => open,
        Err(error) => {
            eprintln!("{error:#}");
            return exit::UNAVAILABLE.into();
        }
    };
    say_hello(loaded, &log);
    open_files::raise(loaded.config.pipeline.audit.connections_max, &log);
    let code = System::new().block_on(serve(loaded, log.clone(), &guard));
    guard.line_cap().log_dropped_lines(&log, true);
    drop(log);
    // What waits is written before the process goes.
    drop(guard);
    code.into()
}

fn say_hello(loaded: &Loaded, log: &Logger) {
    info!(log, "butler-sos starts"; "version" => env!("CARGO_PKG_VERSION"),
        "files" => loaded.files.join(", "), "pid" => std::process::id());
    if !loaded.ignored.is_empty() {
        info!(log, "settings of Butler SOS that have no effect in this server"; "settings" => loaded.ignored.join(", "));
    }
    if loaded.config.butler_sos.system_info.enable {
        say_machine(log);
    }
    let mode = &loaded.config.pipeline.files.mode;
    if Modes::of_files(mode).is_some_and(|modes| modes != Modes::default() && modes.are_masked()) {
        warn!(log, "the umask removes permissions that Pipeline.files.mode grants"; "mode" => mode);
    }
    for warning in &loaded.warnings {
        warn!(log, "configuration"; "warning" => warning);
    }
}

async fn serve(loaded: &Loaded, log: Logger, guard: &Guard) -> u8 {
    let reread = Reread::default();
    handle_others(&log, reread.clone(), guard.file_reopener());
    actix_rt::spawn(guard.line_cap().tell_for_ever(log.clone()));
    let (give_up, mut given_up) = mpsc::unbounded_channel();
    let supervision = Supervision {
        policy: crate::topology::restart_policy(&loaded.config),
        log: log.clone(),
        give_up: Arc::new(move |actor| {
            // Nobody listens any more only when the process ends anyway.
            let _ = give_up.send(actor);
        }),
        #[cfg(feature = "test-panics")]
        switches: butler_sos_actors::kit::supervisor::PanicSwitches::default(),
    };
    let runtime = Runtime { supervision, metrics: Metrics::new(), reread, log: log.clone() };
    let topology = match Topology::start(loaded, &runtime) {
        Ok(topology) => topology,
        Err(error) => {
            error!(log, "cannot start"; "error" => %error);
            return error.exit;
        }
    };
    info!(log, "butler-sos is running");
    let service_manager = ServiceManager::from_environment(&log);
    service_manager.ready();
    actix_rt::spawn(service_manager.clone().watch(topology.view()));
    tokio::select! {
        signal = told_to_stop() => info!(log, "stopping"; "signal" => signal),
        Some(actor) = given_up.recv() => return end_for(&log, actor),
    }
    service_manager.stopping(Topology::stop_limit(drain(&loaded.config)));
    // A second wish shortens the wait for destinations; it never costs what was taken in and is not on disk yet.
    topology.close_intake().await;
    tokio::select! {
        () = topology.drain(drain(&loaded.config)) => info!(log, "stopped"),
        signal = told_again() => {
            topology.drain(Duration::ZERO).await;
            warn!(log, "stopped immediately, without waiting for destinations"; "signal" => signal);
        }
        Some(actor) = given_up.recv() => return end_for(&log, actor),
    }
    exit::OK
}

fn end_for(log: &Logger, actor: &'static str) -> u8 {
    error!(log, "actors failed too often, the process exits so that the service manager restarts it"; "actor" => actor);
    exit::SUPERVISION
}

fn drain(config: &Config) -> Duration {
    Duration::from_secs(config.pipeline.drain_seconds)
}
