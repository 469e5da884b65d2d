//! `butler-sos check`: whether a configuration would work on this machine, now.
//!
//! The settings themselves have been verified when they were loaded. Here follows what only the machine and the
//! network can tell: files, certificates, ports, directories, destinations. Probing and judging are apart: a probe
//! gives results, the report knows how they look and what exit code they make.
//!
//! | file | what is tried |
//! |---|---|
//! | `certificates` | certificates and keys: content, fit, end |
//! | `ports` | addresses to listen at, names of allowed sources |
//! | `directories` | what is written to |
//! | `destinations` | every destination, QRS, QPS |
//! | `report` | what it all means |

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

/// How long files, ports and directories may take; a network file system that hangs does not hang the check.
const LOCAL_PATIENCE: Duration = Duration::from_secs(20);

/// Checks, prints what was found to standard output, and gives the exit code (config contract): 0, 78 for mistakes
/// in the configuration, 69 for something that it names and that is not there. With `offline` the settings alone are
/// looked at. Not to be called from within a runtime.
pub fn run(loaded: &Loaded, offline: bool) -> u8 {
    let mut report = settings(loaded);
    if !offline {
        actix_rt::System::new().block_on(online(loaded, &mut report));
    }
    // Nothing can be done when standard output is gone.
    let _ = write!(std::io::stdout().lock(), "{report}");
    report.exit_code()
}

/// What was found when the configuration was loaded.
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

/// Adds what this machine and the network say.
pub async fn online(loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    let origin = |path: &str| loaded.origin(path);
    if let Err(Mistakes { mistakes, .. }) = loaded.verify_resources() {
        for mistake in mistakes {
            report.add_line(Verdict::Mistake, mistake.to_string());
        }
    }
    // Names are resolved while destinations are asked.
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
