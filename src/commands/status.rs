//! `butler-sos status`: one screen about a running server, what is wrong first.

use butler_sos_actors::kit::metric::IntakeFigures;

use super::client::Server;
use super::table::{Side, Table};
use super::text::{bytes, count, duration, one_line};
use super::{CommandError, job, say};
use crate::logging::line::escaped_json;
use crate::operations::job_state::Phase;
use crate::operations::problem::Severity;
use crate::operations::state::{DestinationStateNow, State};

/// The most of an error that a table shows.
const ERROR_CHARACTERS: usize = 100;

pub(super) async fn run(server: &Server, as_json: bool) -> Result<(), CommandError> {
    let text = server.text(&["state"], &[]).await?;
    // Looked at in both cases: what is not a state is not passed on as one.
    let state: State = server.read(&text)?;
    if as_json {
        say(&format!("{}\n", escaped_json(text.trim_end())))?;
    } else {
        say(&screen(&state))?;
    }
    Ok(())
}

/// The whole screen.
#[must_use]
pub fn screen(state: &State) -> String {
    let uptime = duration(state.uptime_seconds);
    let memory = bytes(state.process.resident_bytes);
    let (version, status) = (one_line(&state.version, 30), one_line(&state.status, 30));
    let mut out =
        format!("butler-sos {version}: {status}, up {uptime}, pid {}, memory {memory}\n", state.process.pid);
    out.push_str(&problems(state));
    for part in [intakes(state), destinations(state), journal(state)] {
        if !part.is_empty() {
            out.push('\n');
            out.push_str(&part.lines());
        }
    }
    if let Some(trouble) = &state.journal.append_trouble {
        out.push_str(&format!("the journal rejects events: {}\n", one_line(trouble, 300)));
    }
    let running = state.jobs.iter().filter(|job| job.phase == Phase::Running);
    for (at, job) in running.enumerate() {
        out.push_str(if at == 0 { "\n" } else { "" });
        out.push_str(&format!("{}\n", job::progress(job)));
    }
    out
}

fn problems(state: &State) -> String {
    let mut out = String::new();
    for problem in &state.problems {
        let severity = match problem.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        };
        let [place, what, advice] =
            [&problem.place, &problem.what, &problem.advice].map(|text| one_line(text, 1_000));
        out.push_str(&format!("\n{severity} {place}: {what}\n  -> {advice}\n"));
    }
    if state.problems.is_empty() {
        // What no advice is known for is told all the same.
        for reason in state.reasons.iter().chain(&state.warnings) {
            out.push_str(&format!("\n{}\n", one_line(reason, 1_000)));
        }
    }
    if out.is_empty() { "no problems\n".to_owned() } else { out }
}

fn intakes(state: &State) -> Table {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("INTAKE", Left),
        ("RECEIVED", Right),
        ("STORED", Right),
        ("REJECTED", Right),
        ("SHED", Right),
        ("KERNEL DROPS", Right),
    ]);
    for (name, IntakeFigures { received, stored, dropped_by_kernel, rejected, shed, .. }) in &state.intakes {
        let figures = [*received, *stored, rejected.values().sum(), shed.values().sum()];
        let kernel = dropped_by_kernel.map_or_else(|| "-".to_owned(), count);
        table.push([one_line(name, 40)].into_iter().chain(figures.map(count)).chain([kernel]).collect());
    }
    table
}

fn destinations(state: &State) -> Table {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("DESTINATION", Left),
        ("STATE", Left),
        ("WAITING", Right),
        ("OLDEST", Right),
        ("DELIVERED", Right),
        ("DEAD LETTERS", Right),
        ("LAST ERROR", Left),
    ]);
    for (name, destination) in &state.destinations {
        let DestinationStateNow { figures, lag_events, lag_seconds, .. } = destination;
        table.push(vec![
            one_line(name, 40),
            if figures.up { "up" } else { "DOWN" }.to_owned(),
            count(*lag_events),
            if *lag_events > 0 { duration(*lag_seconds) } else { "-".to_owned() },
            count(figures.delivered_events),
            count(figures.dead_lettered),
            last_error(destination, state.unix_ms),
        ]);
    }
    table
}

fn last_error(destination: &DestinationStateNow, now_unix_ms: u64) -> String {
    let Some(error) = &destination.figures.last_error else { return "-".to_owned() };
    let detail = one_line(error, ERROR_CHARACTERS);
    match destination.figures.last_error_unix_ms {
        Some(at) => {
            let age = duration(now_unix_ms.saturating_sub(at) as f64 / 1_000.0);
            format!("{age} ago: {detail}")
        }
        None => detail,
    }
}

fn journal(state: &State) -> Table {
    use Side::{Left, Right};
    let mut table = Table::new(&[
        ("JOURNAL", Left),
        ("RECORDS", Right),
        ("NEXT OFFSET", Right),
        ("SIZE", Right),
        ("MAX", Right),
        ("OLDEST", Right),
    ]);
    for (name, stream) in &state.journal.streams {
        let age = |at: u64| duration(state.unix_ms.saturating_sub(at) as f64 / 1_000.0);
        table.push(vec![
            one_line(name, 40),
            count(stream.next_offset.saturating_sub(stream.first_offset)),
            stream.next_offset.to_string(),
            bytes(stream.bytes),
            bytes(stream.bytes_max),
            stream.oldest_unix_ms.map_or_else(|| "-".to_owned(), age),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::problem::Problem;

    fn state() -> State {
        let json = serde_json::json!({
            "version": "0.1.0", "unixMs": 1_760_000_000_000_u64, "uptimeSeconds": 11_520.0, "status": "degraded",
            "reasons": [], "warnings": [], "draining": false, "problems": [], "listening": [],
            "intakes": { "user_events": {
                "received": 1_200, "stored": 1_190, "droppedByKernel": 0, "rejected": { "size": 4, "source": 5 },
                "shed": { "crash": 1 }, "remarks": {},
            }},
            "actors": {},
            "destinations": {
                "csv_sink": destination(true, 0, None),
                "influx_sink": destination(false, 12, Some("connection refused\u{1b}[31m")),
            },
            "journal": { "answers": true, "appendTrouble": null, "appendErrors": 0,
                "syncs": { "count": 1, "secondsTotal": 0.1, "secondsLast": 0.1 },
                "streams": { "user-events": { "bytes": 2_048, "bytesMax": 4_294_967_296_u64, "segments": 1,
                    "firstOffset": 10, "nextOffset": 1_200, "durableOffset": 1_200,
                    "oldestUnixMs": 1_759_999_940_000_u64 } } },
            "jobs": [],
            "process": { "pid": 7, "residentBytes": 47_185_920, "openFds": 9, "threads": 9, "cpuSeconds": 1.0,
                "startUnixMs": 1 },
        });
        serde_json::from_value(json).expect("a state")
    }

    fn destination(up: bool, lag: u64, error: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "up": up, "deliveredEvents": 1_190, "deliveredBatches": 3, "deliveredBytes": 1, "redeliveredEvents": 0,
            "deadLettered": 2, "missed": 0, "deferred": 0, "errors": {}, "lastError": error,
            "lastErrorUnixMs": error.map(|_| 1_759_999_995_000_u64), "stream": "user-events", "committed": 1,
            "lagEvents": lag, "lagSeconds": 65.0, "canRetry": true, "replayRefused": null,
        })
    }

    #[test]
    fn a_screen_is_read_from_the_top() {
        let mut state = state();
        state.problems.push(Problem {
            severity: Severity::Error,
            symptom: "destination-down".into(),
            place: "influx_sink".into(),
            what: "It does not respond.\n".into(),
            advice: "Start it.".into(),
        });
        let expect = "\
butler-sos 0.1.0: degraded, up 3 h 12 min, pid 7, memory 45.0 MiB

ERROR influx_sink: It does not respond.\\n
  -> Start it.

INTAKE       RECEIVED  STORED  REJECTED  SHED  KERNEL DROPS
user_events     1 200   1 190         9     1             0

DESTINATION  STATE  WAITING     OLDEST  DELIVERED  DEAD LETTERS  LAST ERROR
csv_sink     up           0          -      1 190             2  -
influx_sink  DOWN        12  1 min 5 s      1 190             2  5 s ago: connection refused\\u{1b}[31m

JOURNAL      RECORDS  NEXT OFFSET     SIZE      MAX     OLDEST
user-events    1 190         1200  2.0 KiB  4.0 GiB  1 min 0 s
";
        assert_eq!(screen(&state).replace('\u{a0}', " "), expect);
    }

    #[test]
    fn what_the_system_does_not_tell_is_no_zero() {
        let mut state = state();
        state.intakes.get_mut("user_events").expect("it is there").dropped_by_kernel = None;
        let text = screen(&state).replace('\u{a0}', " ");
        assert!(text.contains("\nuser_events     1 200   1 190         9     1             -\n"), "{text}");
    }

    #[test]
    fn what_is_well_is_said_and_what_has_no_advice_too() {
        let mut state = state();
        assert!(screen(&state).contains("\nno problems\n"));
        state.reasons.push("the journal does not respond".into());
        let text = screen(&state);
        assert!(text.contains("\nthe journal does not respond\n") && !text.contains("no problems"));
    }
}
