//! `butler-sos check`: tests whether a configuration works on this machine now.
//!
//! The settings were verified when they were loaded. These checks need the machine and the network: files,
//! certificates, ports, directories, destinations. Probes return results; the report formats them and
//! determines the exit code.
//!
//! | file | checks |
//! |---|---|
//! | `certificates` | certificates and keys: content, match, expiry |
//! | `ports` | addresses to listen on, names of allowed sources |
//! | `directories` | directories that the server writes to |
//! | `destinations` | every destination, QRS, QPS |
//! | `report` | output and exit code |

mod certificates;
mod destinations;
mod directories;
mod ports;
pub mod report;
#[cfg(test)]
mod test_files;

use std::{io::Write, time::Duration};

use self::report::{Report, Verdict};
use crate::{
    config::{Loaded, Mistakes},
    topology::destinations::probe::blocking,
};

/// The time limit for files, ports and directories, so that an unresponsive network file system does not
/// block the check.
const LOCAL_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the checks, prints the results to standard output, and returns the exit code (config contract): 0, 78
/// for mistakes in the configuration, 69 for a missing resource. With `offline` only the settings are
/// checked. Must not be called from within a runtime.
pub fn run(loaded: &Loaded, offline: bool) -> u8 {
    let mut report = settings(loaded);
    if !offline {
        actix_rt::System::new().block_on(online(loaded, &mut report));
    }
    // There is no way to report that standard output is closed.
    let _ = write!(std::io::stdout().lock(), "{report}");
    report.exit_code()
}

/// The results of loading the configuration.
fn settings(loaded: &Loaded) -> Report {
    let mut report = Report::default();
    report.add_line(Verdict::Fine, format!("{}: the settings are valid", loaded.files.join(", ")));
    if !loaded.ignored.is_empty() {
        let ignored = format!("these settings have no effect in this server: {}", loaded.ignored.join(", "));
        report.add_line(Verdict::Fine, ignored);
    }
    for warning in &loaded.warnings {
        report.add_line(Verdict::Warning, warning);
    }
    let audit = &loaded.config.butler_sos.audit_events;
    let ports = &loaded.config.pipeline.screenshots.allowed_ports;
    if audit.enable && audit.destination.screenshots.enable && ports.is_empty() {
        let detail = "Pipeline.screenshots.allowedPorts is empty: images may come from every port of the allowed hosts. \
                     Naming the ports of Qlik Sense, such as [443], is recommended";
        report.add_line(Verdict::Fine, detail);
    }
    report
}

/// Adds the results of this machine and the network.
pub async fn online(loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    let origin = |path: &str| loaded.origin(path);
    if let Err(Mistakes { mistakes, .. }) = loaded.verify_resources() {
        for mistake in mistakes {
            report.add_line(Verdict::Mistake, mistake.to_string());
        }
    }
    // Resolve names while destinations are probed.
    let sources = {
        let config = config.clone();
        actix_rt::spawn(blocking(LOCAL_PATIENCE, move || ports::sources(&config)))
    };
    let local = config.clone();
    let local = actix_rt::spawn(blocking(LOCAL_PATIENCE, move || {
        let mut found = certificates::results(&local);
        found.extend(ports::results(&local));
        found.extend(directories::results(&local));
        found
    }));
    let far = destinations::results(config).await;
    for task in [local, sources] {
        match task.await.ok().flatten() {
            Some(results) => report.add(results, &origin),
            None => {
                let detail = "the checks of files and host names timed out".to_owned();
                report.add_line(Verdict::Unavailable, detail);
            }
        }
    }
    report.add(far, &origin);
}
