//! The way of events as rows: intakes, parser, journal, destinations, and other parts that failed of late.

use super::rates::{Count, Rates};
use crate::commands::text::{bytes, count, duration, one_line};
use crate::operations::problem::Severity;
use crate::operations::state::{ActorState, MailboxState, State};
use butler_sos_domain::streams::Stream;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Well,
    Look,
    Bad,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Head { name: &'static str, total: &'static str, fill: &'static str },
    Row(Row),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub name: String,
    pub state: &'static str,
    pub level: Level,
    pub per_second: Option<f64>,
    pub total: u64,
    /// Between 0 and 1, of a queue or of the room.
    pub fill: Option<f64>,
    pub more: String,
    /// Rates of the last minute, oldest first.
    pub minute: Vec<f64>,
}

const PARSER: &str = "user_parser";
const JOURNAL: &str = "journal";

/// All rows under their heads, in the order in which an event meets them.
#[must_use]
pub fn parts(state: &State, rates: &Rates) -> Vec<Part> {
    let groups = [
        (Part::Head { name: "INTAKE", total: "RECEIVED", fill: "MAILBOX" }, intakes(state, rates)),
        (Part::Head { name: "PARSER", total: "STORED", fill: "MAILBOX" }, parser(state, rates)),
        (Part::Head { name: "JOURNAL", total: "RECORDS", fill: "USED" }, journal(state, rates)),
        (
            Part::Head { name: "DESTINATIONS", total: "DELIVERED", fill: "MAILBOX" },
            destinations(state, rates),
        ),
        (Part::Head { name: "OTHER ACTORS", total: "MESSAGES", fill: "MAILBOX" }, others(state)),
    ];
    let groups = groups.into_iter().filter(|(_, rows)| !rows.is_empty());
    groups.flat_map(|(head, rows)| std::iter::once(head).chain(rows.into_iter().map(Part::Row))).collect()
}

/// Where the server sees something wrong, and how bad it is.
fn level(state: &State, place: &str) -> Level {
    match state.problems.iter().filter(|of| of.place == place).map(|of| of.severity).min() {
        Some(Severity::Error) => Level::Bad,
        Some(Severity::Warning) => Level::Look,
        Some(Severity::Notice) | None => Level::Well,
    }
}

fn has(state: &State, place: &str, symptom: &str) -> bool {
    state.problems.iter().any(|of| of.place == place && of.symptom == symptom)
}

fn fill(actor: Option<&ActorState>) -> Option<f64> {
    let MailboxState { depth, bound } = actor?.mailbox?;
    Some(share(depth.into(), bound.into()))
}

fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64).min(1.0)
}

/// `3 rejected, 1 restart`: what is not nought.
fn named(figures: &[(u64, &str)]) -> String {
    let figures: Vec<String> = figures
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| match (number, what.strip_suffix("(s)")) {
            (1, Some(one)) => format!("1 {one}"),
            (_, Some(one)) => format!("{} {one}s", count(*number)),
            (_, None) => format!("{} {what}", count(*number)),
        })
        .collect();
    figures.join(", ")
}

fn restarts(state: &State, actor: &str) -> u64 {
    state.actors.get(actor).map_or(0, |of| of.figures.restarts)
}

fn intakes(state: &State, rates: &Rates) -> Vec<Row> {
    let is_open = |service: &str| state.listening.iter().any(|of| of.service == service);
    let used = Stream::of_events().filter(|stream| is_open(stream.name()));
    let found = used.filter_map(|of| Some((of.intake(), of.receiver(), state.intakes.get(of.intake())?)));
    found
        .map(|(name, actor, of)| {
            let key = Count::Received(name.to_owned());
            let level = level(state, name);
            let (detail, level) = match level {
                _ if state.draining => ("stopped", Level::Look),
                Level::Bad => ("losing", level),
                Level::Look => ("warning", level),
                Level::Well => ("listening", level),
            };
            let lost = of.shed.values().sum::<u64>() + of.dropped_by_kernel.unwrap_or(0);
            Row {
                name: name.to_owned(),
                state: detail,
                level,
                per_second: rates.now(&key),
                total: of.received,
                fill: fill(state.actors.get(actor)),
                more: named(&[
                    (of.rejected.values().sum(), "rejected"),
                    (lost, "lost"),
                    (restarts(state, actor), "restart(s)"),
                ]),
                minute: rates.minute(&key).collect(),
            }
        })
        .collect()
}

fn parser(state: &State, rates: &Rates) -> Vec<Row> {
    let Some(actor) = state.actors.get(PARSER) else { return Vec::new() };
    let key = Count::Stored("user_events".to_owned());
    let level = level(state, PARSER);
    vec![Row {
        name: PARSER.to_owned(),
        state: match level {
            Level::Well => "running",
            _ if has(state, PARSER, "restarts") => "restarted",
            _ => "warning",
        },
        level,
        per_second: rates.now(&key),
        total: state.intakes.get("user_events").map_or(0, |of| of.stored),
        fill: fill(Some(actor)),
        more: named(&[(actor.figures.restarts, "restart(s)")]),
        minute: rates.minute(&key).collect(),
    }]
}

fn journal(state: &State, rates: &Rates) -> Vec<Row> {
    let journal = &state.journal;
    let whole = if journal.answers && journal.append_trouble.is_none() {
        level(state, JOURNAL)
    } else {
        // Whatever advice there is, nothing can be stored.
        Level::Bad
    };
    let sync = rates.seconds_per_sync().unwrap_or(journal.syncs.seconds_last) * 1_000.0;
    let mut rows = Vec::new();
    let mut streams: Vec<_> = journal.streams.iter().collect();
    streams.sort_by_key(|(name, _)| rank(name));
    for (name, of) in streams {
        if of.next_offset == 0 && !state.destinations.values().any(|reader| reader.stream == *name) {
            continue;
        }
        let key = Count::Appended(name.clone());
        let own = level(state, name);
        let (detail, level) = match (whole, own) {
            (Level::Bad, _) if !journal.answers => ("no answer", Level::Bad),
            (Level::Bad, _) => ("rejecting", Level::Bad),
            (_, Level::Look | Level::Bad) => ("filling", own),
            (Level::Look, _) => ("warning", Level::Look),
            _ => ("running", Level::Well),
        };
        let mut more = format!("{} of {}", bytes(of.bytes), bytes(of.bytes_max));
        if rows.is_empty() {
            more.push_str(&format!(", fsync {sync:.1} ms"));
            let restarts = named(&[(restarts(state, JOURNAL), "restart(s)")]);
            if !restarts.is_empty() {
                more.push_str(&format!(", {restarts}"));
            }
        }
        rows.push(Row {
            name: one_line(name, NAME_CHARACTERS),
            state: detail,
            level,
            per_second: rates.now(&key),
            total: of.next_offset.saturating_sub(of.first_offset),
            fill: Some(share(of.bytes, of.bytes_max)),
            more,
            minute: rates.minute(&key).collect(),
        });
    }
    if rows.is_empty() && !journal.answers {
        rows.push(Row {
            name: JOURNAL.to_owned(),
            state: "no answer",
            level: Level::Bad,
            per_second: None,
            total: 0,
            fill: None,
            more: String::new(),
            minute: Vec::new(),
        });
    }
    rows
}

/// The place of a stream in the list.
fn rank(stream: &str) -> usize {
    Stream::ALL.into_iter().position(|of| of.name() == stream).unwrap_or(usize::MAX)
}

/// No name of ours is longer.
const NAME_CHARACTERS: usize = 40;
const ERROR_CHARACTERS: usize = 200;

fn destinations(state: &State, rates: &Rates) -> Vec<Row> {
    let mut rows: Vec<(&str, Row)> = Vec::new();
    for (name, of) in &state.destinations {
        let key = Count::Delivered(name.clone());
        let (detail, level) = match level(state, name) {
            _ if !of.figures.up => ("DOWN", Level::Bad),
            level if has(state, name, "lag-growing") => ("lagging", level),
            Level::Well => ("up", Level::Well),
            level => ("warning", level),
        };
        let mut more = Vec::new();
        if !of.figures.up {
            let error = of.figures.last_error.as_deref().unwrap_or("no response yet");
            more.push(one_line(error, ERROR_CHARACTERS));
        }
        if of.lag_events > 0 {
            let since = if of.lag_seconds >= 1.0 {
                format!(" for {}", duration(of.lag_seconds))
            } else {
                String::new()
            };
            // What waits matters more than why: it is never cut off.
            more.insert(0, format!("{} waiting{since}", count(of.lag_events)));
        }
        let figures = named(&[
            (of.figures.deferred, "deferred"),
            (of.figures.parked, "parked"),
            (of.figures.dead_lettered, "dead letter(s)"),
            (of.figures.missed, "missed"),
            (restarts(state, name), "restart(s)"),
        ]);
        if !figures.is_empty() {
            more.insert(more.len().min(1), figures);
        }
        let row = Row {
            name: one_line(name, NAME_CHARACTERS),
            state: detail,
            level,
            per_second: rates.now(&key),
            total: of.figures.delivered_events,
            fill: fill(state.actors.get(name)),
            more: more.join(", "),
            minute: rates.minute(&key).collect(),
        };
        rows.push((&of.stream, row));
    }
    // Those that read the same stream stand together.
    rows.sort_by_key(|(stream, _)| rank(stream));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Parts that no row above is about, when they failed or cannot keep up.
fn others(state: &State) -> Vec<Row> {
    let is_shown = |name: &str| {
        name == PARSER
            || name == JOURNAL
            || state.destinations.contains_key(name)
            || Stream::of_events().any(|stream| stream.receiver() == name)
    };
    let hidden = state.actors.iter().filter(|(name, _)| !is_shown(name));
    hidden
        .filter(|(name, of)| of.figures.restarts > 0 || level(state, name) != Level::Well)
        .map(|(name, of)| {
            let level = level(state, name);
            Row {
                name: one_line(name, NAME_CHARACTERS),
                state: match level {
                    Level::Well => "running",
                    _ if has(state, name, "restarts") => "restarted",
                    _ => "warning",
                },
                level,
                per_second: None,
                total: of.figures.received,
                fill: fill(Some(of)),
                more: named(&[(of.figures.restarts, "restart(s)")]),
                minute: Vec::new(),
            }
        })
        .collect()
}
