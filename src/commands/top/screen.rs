//! The screen, drawn from what is known: a pure function of [`Model`] and size.
//!
//! ```text
//! butler-sos 0.1.0  ok  up 3 h 12 min …                        live      title
//! No problems …  or the problems, each with advice                        problems
//!  INTAKE         STATE      EVENTS/S   RECEIVED  MAILBOX                flow
//! ▼ JOURNAL …
//!  EVENTS                                                                events
//!  08:53:20  Start session  LAB\anna  app=Sales …
//!  q quit   ↑↓ scroll …                                                  keys
//! ```
//!
//! Where there is little room the least important goes first: columns from the right, then events, then problems
//! beyond the first. Colour never tells anything that words do not tell too, so that it can be left out.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::flow::{self, Level, Part, Row};
use super::model::{Focus, Model, Scrolled};
use super::rates::Count;
use crate::commands::job;
use crate::commands::text::{bytes, count, duration, one_line};
use crate::operations::job_state::Phase;
use crate::operations::problem::Severity;
use crate::operations::state::State;

/// A silence that is worth a word; a state comes each second.
const SILENCE_SECONDS: u64 = 4;
const WORDS_CHARACTERS: usize = 1_000;

/// Draws everything into `area`; how far each part can be scrolled.
pub fn draw(model: &Model, area: Rect, buffer: &mut Buffer) -> Scrolled {
    let area = area.intersection(buffer.area);
    let look = Look { colour: model.colour };
    let width = usize::from(area.width);
    let problems = problems(model, &look, width);
    let flow = model.state.as_ref().map_or_else(Vec::new, |state| flow_lines(model, state, &look, width));
    let events = events(model, &look);
    let height = usize::from(area.height);
    let [title, for_problems, for_flow, for_events, keys] = heights(height, problems.len(), flow.len());

    let mut at = Cursor { rest: area };
    put(&title_line(model, &look, width), 0, at.take(title), buffer);
    let problems_most = problems.len().saturating_sub(for_problems);
    let mut shown = problems;
    let skipped = model.scrolled.problems.min(problems_most);
    let beyond = shown.len().saturating_sub(skipped + for_problems);
    if beyond > 0 && for_problems > 1 {
        // In the place of the last line that fits.
        let detail = format!("  … {} more lines: Tab, then ↓", beyond + 1);
        shown[skipped + for_problems - 1] = Line::styled(detail, look.quiet());
    }
    put(&shown, skipped, at.take(for_problems), buffer);
    let flow_most = flow.len().saturating_sub(for_flow);
    put(&flow, model.scrolled.flow.min(flow_most), at.take(for_flow), buffer);
    // The head stays; the rest scrolls.
    let events_most = (events.len() + 1).saturating_sub(for_events.max(1));
    put(&[events_head(model, &look)], 0, at.take(for_events.min(1)), buffer);
    put(&events, model.scrolled.events.min(events_most), at.take(for_events.saturating_sub(1)), buffer);
    put(&[keys_line(model, &look, width)], 0, at.take(keys), buffer);
    let clipped = |most: usize, lines: usize| if lines == 0 { 0 } else { most };
    Scrolled {
        problems: clipped(problems_most, for_problems),
        flow: clipped(flow_most, for_flow),
        events: clipped(events_most, for_events.saturating_sub(1)),
    }
}

/// Where the cursor stands while a filter is typed.
#[must_use]
pub fn cursor(model: &Model, area: Rect) -> Option<Position> {
    if !model.is_typing || area.is_empty() {
        return None;
    }
    let typed = Span::raw(format!(" filter: {}", one_line(&model.filter, WORDS_CHARACTERS))).width();
    let last = usize::from(area.width).saturating_sub(1);
    let x = area.x.saturating_add(u16::try_from(typed.min(last)).unwrap_or(u16::MAX));
    Some(Position { x, y: area.bottom() - 1 })
}

/// Rows for title, problems, flow, events and keys.
fn heights(height: usize, problems: usize, flow: usize) -> [usize; 5] {
    let mut rest = height;
    let mut take = |wanted: usize| {
        let taken = wanted.min(rest);
        rest -= taken;
        taken
    };
    let title = take(1);
    let keys = take(usize::from(height > 3));
    // The first problem and its advice always; all of them while half of the screen is left.
    let for_problems = take(problems.min((height / 3).max(2)));
    let for_flow = take(flow.min(height.saturating_sub(title + keys + for_problems + events_min(height))));
    let events = rest;
    [title, for_problems, for_flow, events, keys]
}

/// Rows that events get even if the flow does not fit.
fn events_min(height: usize) -> usize {
    if height >= 20 { 4 } else { 0 }
}

struct Cursor {
    rest: Rect,
}

impl Cursor {
    fn take(&mut self, lines: usize) -> Rect {
        let height = u16::try_from(lines).unwrap_or(u16::MAX).min(self.rest.height);
        let taken = Rect { height, ..self.rest };
        self.rest = Rect { y: self.rest.y + height, height: self.rest.height - height, ..self.rest };
        taken
    }
}

fn put(lines: &[Line<'_>], skip: usize, area: Rect, buffer: &mut Buffer) {
    for (row, line) in area.rows().zip(lines.iter().skip(skip)) {
        line.render(row, buffer);
    }
}

/// What means what.
struct Look {
    colour: bool,
}

impl Look {
    fn of(&self, level: Level) -> Style {
        match (level, self.colour) {
            (Level::Well, true) => Style::new().fg(Color::Green),
            (Level::Look, true) => Style::new().fg(Color::Yellow),
            (Level::Bad, true) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Level::Well, false) => Style::new(),
            (Level::Look, false) => Style::new().add_modifier(Modifier::BOLD),
            (Level::Bad, false) => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }

    fn quiet(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn head(&self, is_focused: bool) -> Style {
        let style = if self.colour { Style::new().fg(Color::Cyan) } else { Style::new() };
        if is_focused { style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED) } else { style }
    }
}

// === title

fn title_line(model: &Model, look: &Look, width: usize) -> [Line<'static>; 1] {
    let (right, level) = match (&model.away, &model.state) {
        (Some(_), _) => ("no connection", Level::Bad),
        (None, Some(_)) if model.no_response.as_secs() >= SILENCE_SECONDS => ("no data", Level::Look),
        (None, Some(_)) => ("live", Level::Well),
        (None, None) => ("connecting", Level::Look),
    };
    let left = match &model.state {
        None => format!(" butler-sos top  {}", one_line(&model.server, 200)),
        Some(state) => {
            let rate = |key: &Count| model.rates.now(key).map_or_else(|| "-".to_owned(), per_second);
            let cpu = model.rates.now(&Count::CpuSeconds);
            let cpu = cpu.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
            format!(
                " butler-sos {}  {}  in {}/s  out {}/s  up {}  CPU {cpu}  {}  {}",
                one_line(&state.version, 30),
                one_line(&state.status, 30),
                rate(&Count::AllReceived),
                rate(&Count::AllDelivered),
                duration(state.uptime_seconds),
                bytes(state.process.resident_bytes),
                one_line(&model.server, 200),
            )
        }
    };
    let room = width.saturating_sub(right.len() + 2);
    let left = fit(&left, room, Side::Left);
    [Line::from(vec![
        Span::styled(left, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(" "),
        Span::styled(right, look.of(level)),
    ])]
}

// === problems

fn problems(model: &Model, look: &Look, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(detail) = &model.away {
        let since = if model.state.is_some() {
            format!(" The screen shows the state of {} ago.", duration(model.no_response.as_secs_f64()))
        } else {
            String::new()
        };
        let text = format!("No connection to the server: {}.{since}", one_line(detail, WORDS_CHARACTERS));
        push_wrapped(&mut lines, "", &text, width, look.of(Level::Bad));
        let advice = "Check that the process is running: systemctl status butler-sos. This screen reconnects by itself.";
        push_wrapped(&mut lines, "-> ", advice, width, Style::new());
    }
    let Some(state) = &model.state else {
        if lines.is_empty() {
            push_wrapped(&mut lines, "", "Connecting to the server.", width, look.quiet());
        }
        return lines;
    };
    for problem in &state.problems {
        let (name, level) = match problem.severity {
            Severity::Error => ("ERROR ", Level::Bad),
            Severity::Warning => ("WARNING ", Level::Look),
            Severity::Notice => ("", Level::Well),
        };
        let [what, advice] = [&problem.what, &problem.advice].map(|text| one_line(text, WORDS_CHARACTERS));
        push_wrapped(&mut lines, name, &what, width, look.of(level));
        push_wrapped(&mut lines, "-> ", &advice, width, Style::new());
    }
    if state.problems.is_empty() {
        // What no advice is known for is told all the same.
        for reason in state.reasons.iter().chain(&state.warnings) {
            push_wrapped(&mut lines, "", &one_line(reason, WORDS_CHARACTERS), width, look.of(Level::Look));
        }
    }
    if lines.is_empty() {
        let detail = "No problems: all events are stored and delivered.";
        push_wrapped(&mut lines, "", detail, width, look.of(Level::Well));
    }
    for job in state.jobs.iter().filter(|job| job.phase == Phase::Running) {
        push_wrapped(&mut lines, "", &job::progress(job), width, Style::new());
    }
    lines
}

/// One blank before everything; what follows the first line is set in below its text.
fn push_wrapped(lines: &mut Vec<Line<'static>>, mark: &str, text: &str, width: usize, style: Style) {
    let indent = mark.chars().count();
    let room = width.saturating_sub(indent + 2).max(8);
    for (at, part) in wrapped(text, room).into_iter().enumerate() {
        let before = if at == 0 { mark.to_owned() } else { " ".repeat(indent) };
        lines.push(Line::styled(format!(" {before}{part}"), style));
    }
}

/// Lines of whole words, none wider than `width` columns; a word that is wider itself is cut into pieces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut wide = Span::raw(word).width();
        if used > 0 && used + 1 + wide > width {
            lines.push(String::new());
            used = 0;
        }
        if used > 0 {
            push(&mut lines, " ");
            used += 1;
        }
        let mut rest = word;
        while wide > width {
            let (cut, end) = (cut(rest, width), lines.len() - 1);
            // At least a character, or this would never end.
            let cut = if cut.is_empty() { first_character(rest) } else { cut };
            lines[end].push_str(cut);
            lines.push(String::new());
            rest = &rest[cut.len()..];
            wide = Span::raw(rest).width();
        }
        push(&mut lines, rest);
        used += wide;
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

fn first_character(text: &str) -> &str {
    text.chars().next().map_or("", |c| &text[..c.len_utf8()])
}

/// As much of the beginning as fits into so many columns.
fn cut(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += Span::raw(&text[at..at + c.len_utf8()]).width();
        if used > width {
            return &text[..at];
        }
    }
    text
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Exactly so many columns, with `…` where something is cut off.
fn fit(text: &str, width: usize, side: Side) -> String {
    let wide = Span::raw(text).width();
    if wide > width {
        let kept = cut(text, width.saturating_sub(1));
        let kept = format!("{kept}{}", if width > 0 { "…" } else { "" });
        let blanks = width.saturating_sub(Span::raw(kept.as_str()).width());
        return kept + &" ".repeat(blanks);
    }
    let blanks = " ".repeat(width - wide);
    match side {
        Side::Left => format!("{text}{blanks}"),
        Side::Right => format!("{blanks}{text}"),
    }
}

// === flow

/// `1 203`, and below ten one more digit.
fn per_second(figure: f64) -> String {
    if figure > 0.0 && figure < 9.95 { format!("{figure:.1}") } else { count(figure.round() as u64) }
}

const NAME: usize = 20;
const STATE: usize = 10;
const RATE: usize = 9;
const TOTAL: usize = 12;
const BAR: usize = 8;
const FILL: usize = BAR + 6;
const MINUTE: usize = 20;
const MORE_MIN: usize = 16;

/// Which columns there is room for; name, state and rate always.
#[derive(Clone, Copy)]
struct Columns {
    total: bool,
    fill: bool,
    minute: bool,
    /// Its width.
    more: usize,
}

impl Columns {
    fn of(width: usize) -> Self {
        let mut rest = width.saturating_sub(1 + NAME + STATE + RATE);
        let mut take = |wide: usize| {
            let has_room = rest >= wide;
            rest -= if has_room { wide } else { 0 };
            has_room
        };
        let total = take(TOTAL);
        let fill = take(2 + FILL);
        // A line over time is worth less than words.
        let minute = take(2 + MINUTE + 2 + 2 * MORE_MIN) && {
            rest += 2 + 2 * MORE_MIN;
            true
        };
        Self { total, fill, minute, more: rest.saturating_sub(2) }
    }
}

fn flow_lines(model: &Model, state: &State, look: &Look, width: usize) -> Vec<Line<'static>> {
    let columns = Columns::of(width);
    let is_focused = model.focus == Focus::Flow;
    let mut lines = Vec::new();
    for part in flow::parts(state, &model.rates) {
        match part {
            Part::Head { name, total, fill } => {
                let is_first = lines.is_empty();
                lines.push(head_line(is_first, [name, total, fill], columns, look.head(is_focused)));
            }
            Part::Row(row) => lines.push(row_line(&row, columns, look)),
        }
    }
    lines
}

/// What all rows have is named above the first ones alone.
fn head_line(
    is_first: bool,
    [name, total, fill]: [&str; 3],
    columns: Columns,
    style: Style,
) -> Line<'static> {
    let [mark, state, rate] = if is_first { [" ", "STATE", "EVENTS/S"] } else { ["▼", "", ""] };
    let mut text = format!(
        "{mark}{}{}{}",
        fit(name, NAME, Side::Left),
        fit(state, STATE, Side::Left),
        fit(rate, RATE, Side::Right)
    );
    if columns.total {
        text.push_str(&fit(total, TOTAL, Side::Right));
    }
    if columns.fill {
        text.push_str(&format!("  {}", fit(fill, FILL, Side::Left)));
    }
    if columns.minute {
        let minute = if is_first { "LAST MINUTE" } else { "" };
        text.push_str(&format!("  {}", fit(minute, MINUTE, Side::Left)));
    }
    Line::styled(text, style)
}

fn row_line(row: &Row, columns: Columns, look: &Look) -> Line<'static> {
    let rate = row.per_second.map_or_else(|| "-".to_owned(), per_second);
    let mut spans = vec![
        Span::raw(format!("  {}", fit(&row.name, NAME - 1, Side::Left))),
        Span::styled(fit(row.state, STATE, Side::Left), look.of(row.level)),
        Span::styled(fit(&rate, RATE, Side::Right), Style::new().add_modifier(Modifier::BOLD)),
    ];
    if columns.total {
        spans.push(Span::raw(fit(&count(row.total), TOTAL, Side::Right)));
    }
    if columns.fill {
        spans.push(Span::raw("  "));
        spans.extend(bar(row.fill, look));
    }
    if columns.minute {
        spans.push(Span::raw(format!("  {}", line_over_time(&row.minute))));
    }
    if columns.more > 0 {
        let style = if row.level == Level::Well { look.quiet() } else { Style::new() };
        spans.push(Span::styled(format!("  {}", fit(&row.more, columns.more, Side::Left)), style));
    }
    Line::from(spans)
}

/// Full from this share on is told in the colour of trouble.
const FULL: f64 = 0.8;

fn bar(fill: Option<f64>, look: &Look) -> Vec<Span<'static>> {
    let Some(share) = fill.map(|share| share.clamp(0.0, 1.0)) else { return vec![" ".repeat(FILL).into()] };
    // Something is never drawn as nothing.
    let full = ((share * BAR as f64).round() as usize).max(usize::from(share > 0.0));
    let level = if share >= FULL { Level::Look } else { Level::Well };
    let percent = match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    };
    vec![
        Span::styled("█".repeat(full), look.of(level)),
        Span::styled("░".repeat(BAR - full), look.quiet()),
        Span::raw(fit(&percent, FILL - BAR, Side::Right)),
    ]
}

/// The last minute as columns of different height, newest at the right; each stands for the most of three seconds.
fn line_over_time(minute: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = minute.iter().copied().fold(0.0, f64::max);
    let columns: Vec<f64> =
        minute.rchunks(3).take(MINUTE).map(|of| of.iter().copied().fold(0.0, f64::max)).collect();
    let drawn = columns.iter().rev().map(|figure| match figure / most {
        share if share > 0.0 => HEIGHTS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1],
        // Nothing at all, or no number.
        _ => ' ',
    });
    let blanks = " ".repeat(MINUTE - columns.len());
    blanks.chars().chain(drawn).collect()
}

// === events

fn events_head(model: &Model, look: &Look) -> Line<'static> {
    let mut spans = vec![Span::styled(" LATEST EVENTS", look.head(model.focus == Focus::Events))];
    if !model.filter.is_empty() {
        let detail = format!("  filter: {}", one_line(&model.filter, WORDS_CHARACTERS));
        spans.push(Span::styled(detail, look.of(Level::Look)));
    }
    if model.scrolled.events > 0 {
        let detail = format!("  paused, {} newer events above: Home resumes", model.scrolled.events);
        spans.push(Span::styled(detail, look.quiet()));
    }
    Line::from(spans)
}

fn events(model: &Model, look: &Look) -> Vec<Line<'static>> {
    if let Some(detail) = &model.events_trouble {
        return vec![Line::styled(format!(" {}", one_line(detail, WORDS_CHARACTERS)), look.of(Level::Look))];
    }
    if model.events.is_empty() && model.state.is_some() {
        let detail = if model.filter.is_empty() { " none yet" } else { " no matching events" };
        return vec![Line::styled(detail, look.quiet())];
    }
    model.events.iter().map(|line| Line::raw(format!(" {}", line.text))).collect()
}

fn keys_line(model: &Model, look: &Look, width: usize) -> Line<'static> {
    if model.is_typing {
        let typed = format!(" filter: {}", one_line(&model.filter, WORDS_CHARACTERS));
        let help = "  (user:… app:… type:… words, Enter, Esc)";
        let room = width.saturating_sub(Span::raw(typed.as_str()).width());
        let help = if help.chars().count() <= room { help } else { "" };
        return Line::from(vec![Span::raw(typed), Span::styled(help, look.quiet())]);
    }
    let long = " q quit   ↑ ↓ PgUp PgDn scroll   Tab next part   / filter   Esc clear filter";
    let short = " q quit  ↑↓ scroll  Tab part  / filter";
    let keys = if long.chars().count() <= width { long } else { short };
    Line::styled(keys, look.quiet())
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
