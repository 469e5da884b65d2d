//! Directories: whether the server can create them and write to them.
//!
//! Nothing is left behind. A missing directory is not created, because the check may run under another
//! account than the server and would then own it: its nearest parent is tested instead.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use butler_sos_actors::journal::store;
use butler_sos_actors::kit::platform::{self, Modes};

use super::report::{CheckResult, Verdict};
use crate::{config::Config, topology::destinations};

/// Writes a file to each directory in use, and removes it. Blocks.
pub fn results(config: &Config) -> Vec<CheckResult> {
    let mut found: Vec<CheckResult> = in_use(config)
        .into_iter()
        .map(|(setting, directory)| {
            let (verdict, detail) = match try_directory(&directory) {
                Ok(Tried::There) => (Verdict::Fine, format!("{} is writable", directory.display())),
                Ok(Tried::ToBeMade) => (Verdict::Fine, format!("{} can be created", directory.display())),
                Err(Refused { at, source }) => {
                    let directory = directory.display();
                    let detail = format!("{directory} is not writable ({}): {source}", at.display());
                    (Verdict::Unavailable, detail)
                }
            };
            CheckResult::new(verdict, setting, detail)
        })
        .collect();
    let journal = &config.pipeline.journal.directory;
    if store::is_held(journal.as_ref()) {
        let detail = format!("a running server uses the journal in {journal}");
        found.push(CheckResult::new(Verdict::Warning, "Pipeline.journal.directory", detail));
    }
    found
}

/// Every directory that the server writes to, with its setting.
fn in_use(config: &Config) -> Vec<(String, PathBuf)> {
    let (butler, pipeline) = (&config.butler_sos, &config.pipeline);
    let mut used = vec![
        ("Pipeline.journal.directory", &pipeline.journal.directory),
        ("Pipeline.deadLetters.directory", &pipeline.dead_letters.directory),
        ("Pipeline.quarantine.directory", &pipeline.quarantine.directory),
    ];
    if butler.file_logging {
        used.push(("Butler-SOS.logDirectory", &butler.log_directory));
    }
    let used = used.into_iter().map(|(setting, path)| (setting.to_owned(), PathBuf::from(path)));
    let of_destinations = destinations::directories(config).into_iter();
    let of_destinations = of_destinations.map(|of| (of.setting, of.path));
    let shots = &butler.audit_events.destination.screenshots;
    let has_shots = butler.audit_events.enable && shots.enable;
    let targets = shots.storage_targets.iter().enumerate();
    let of_shots = targets.filter(|(_, target)| has_shots && target.enable).map(|(index, target)| {
        let section = "Butler-SOS.auditEvents.destination.screenshots";
        (format!("{section}.storageTargets[{index}].directory"), PathBuf::from(&target.directory))
    });
    used.chain(of_destinations).chain(of_shots).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Tried {
    There,
    ToBeMade,
}

/// Why a directory is unusable.
#[derive(Debug)]
struct Refused {
    at: PathBuf,
    source: io::Error,
}

fn try_directory(directory: &Path) -> Result<Tried, Refused> {
    let here = Path::new(".");
    let mut at = directory;
    let there = loop {
        // The nearest parent of a plain name is the current directory.
        at = if at.as_os_str().is_empty() { here } else { at };
        match fs::metadata(at) {
            Ok(_) => break at,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match at.parent() {
                Some(parent) => at = parent,
                None => return Err(Refused { at: at.to_owned(), source: error }),
            },
            Err(source) => return Err(Refused { at: at.to_owned(), source }),
        }
    };
    try_write(there).map_err(|source| Refused { at: there.to_owned(), source })?;
    Ok(if there == directory { Tried::There } else { Tried::ToBeMade })
}

/// Writes a page: a full disk can still create a file, but not its content.
fn try_write(directory: &Path) -> io::Result<()> {
    const PAGE: [u8; 4096] = [0; 4096];
    let path = directory.join(format!(".butler-sos-check-{}", std::process::id()));
    let mut file = platform::create_new(&path, Modes::default())?;
    let written = file.write_all(&PAGE).and_then(|()| file.sync_all());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        fs::write(path("file"), "").expect("a file");
        let tried = |name: &str| try_directory(&path(name)).map_err(|refused| refused.at);
        assert_eq!(tried(""), Ok(Tried::There));
        assert_eq!(tried("a/b/c"), Ok(Tried::ToBeMade));
        assert!(!path("a").exists());
        assert_eq!(tried("file"), Err(path("file")));
        assert!(tried("file/below").is_err());
        assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 1, "nothing is left behind");
        assert!(matches!(try_directory(Path::new("no-such-directory/x")), Ok(Tried::ToBeMade)));
    }

    #[test]
    fn a_directory_of_another_account_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o500)).expect("permissions");
        // Root may write everywhere unless the kernel itself refuses.
        let is_root = fs::write(root.path().join("file"), "").is_ok();
        let closed = if is_root { Path::new("/proc") } else { root.path() };
        assert!(try_directory(closed).is_err());
        assert!(try_directory(&closed.join("below")).is_err());

        let mut config = Config::default();
        for directory in
            [&mut config.pipeline.dead_letters.directory, &mut config.pipeline.quarantine.directory]
        {
            *directory = std::env::temp_dir().display().to_string();
        }
        config.pipeline.journal.directory = closed.join("journal").display().to_string();
        let found = results(&config);
        let wrong: Vec<_> =
            found.iter().filter(|found| found.verdict != Verdict::Fine).map(|found| &*found.path).collect();
        assert_eq!(wrong, ["Pipeline.journal.directory"], "{found:?}");
    }

    #[test]
    fn checks_only_directories_in_use() {
        let paths = |config: &Config| -> Vec<String> {
            in_use(config)
                .into_iter()
                .map(|(path, _)| path.replace("Butler-SOS.auditEvents.destination.", ""))
                .collect()
        };
        let mut config = Config::default();
        assert_eq!(
            paths(&config),
            ["Pipeline.journal.directory", "Pipeline.deadLetters.directory", "Pipeline.quarantine.directory"]
        );
        config.butler_sos.file_logging = true;
        config.pipeline.csv.user_events.enable = true;
        config.butler_sos.user_events.enable = true;
        let audit = &mut config.butler_sos.audit_events;
        audit.enable = true;
        audit.destination.enable = true;
        audit.destination.kinds = "json,parquet,qvd".into();
        audit.destination.json.objectdata.enable = true;
        assert_eq!(
            paths(&config)[3..],
            [
                "Butler-SOS.logDirectory",
                "Pipeline.csv.userEvents.exportDirectory",
                "json.objectdata.exportDirectory",
                "parquet.metadata.exportDirectory",
                "qvd.metadata.exportDirectory"
            ]
        );
    }
}
