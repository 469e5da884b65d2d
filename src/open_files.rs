//! How many files and connections the process may have open (`RLIMIT_NOFILE`).
//!
//! The soft limit is often 1024, for old programs' sake; a process may raise it to the hard one. Connections get what
//! is left above a reserve for journal, files, destinations and the operations endpoint, so that many
//! connections cannot keep the server from opening its own files.

use butler_sos_actors::kit::platform::process::{open_files, raise_open_files};
use slog::{Logger, warn};

/// For everything but connections to the audit API.
const RESERVE: usize = 512;

/// Raises the limit as far as it goes, and says when that is too little for so many connections.
pub fn raise(connections_wanted: usize, log: &Logger) {
    if let Ok(limit) = open_files()
        && limit.now < limit.most
        && let Err(error) = raise_open_files(limit)
    {
        warn!(log, "cannot raise the limit of open files"; "limit" => limit.now, "error" => %error);
    }
    let connections = connections_within(connections_wanted);
    if connections < connections_wanted {
        warn!(log, "the limit of open files is too low for all connections; raise LimitNOFILE or ulimit -n";
            "connections" => connections, "wanted" => connections_wanted, "files" => limit());
    }
}

/// As many connections as are wanted, or as the limit has room for.
#[must_use]
pub fn connections_within(wanted: usize) -> usize {
    within(wanted, limit())
}

fn limit() -> usize {
    open_files().map_or(1_024, |limit| usize::try_from(limit.now).unwrap_or(usize::MAX))
}

fn within(wanted: usize, limit: usize) -> usize {
    wanted.min(limit.saturating_sub(RESERVE).max(limit / 4)).max(1)
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn something_is_left_for_everything_else() {
        assert_eq!(within(4_096, 65_536), 4_096);
        assert_eq!(within(4_096, 4_096), 3_584);
        assert_eq!(within(4_096, 1_024), 512);
        assert_eq!(within(4_096, 256), 64);
        assert_eq!(within(10, 256), 10);
        assert_eq!(within(10, 0), 1);
    }
}
