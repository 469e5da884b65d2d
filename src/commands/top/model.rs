//! What `top` knows and how keys change it. Nothing here looks at a clock, a terminal or the network.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::filter::Filter;
use super::rates::Rates;
use crate::commands::tail;
use crate::operations::event_json::EventJson;
use crate::operations::state::State;

/// The part of the screen that arrow keys move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Focus {
    Problems,
    Flow,
    #[default]
    Events,
}

/// Lines that were scrolled away at the top of each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrolled {
    pub problems: usize,
    pub flow: usize,
    pub events: usize,
}

/// What a key asks of those who draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Leave,
    /// Everything anew: something else has written on the terminal.
    Redraw,
}

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    pub unix_ms: u64,
    /// Escaped.
    pub text: String,
}

impl EventLine {
    #[must_use]
    pub fn of(event: &EventJson) -> Self {
        // The time of day alone: there is little room, and what is shown is of now.
        let time = event.received_at.get(11..19).unwrap_or_default();
        Self {
            unix_ms: event.received_unix_ms,
            text: format!("{}  {}", super::one_line(time, 8), tail::detail(event)),
        }
    }
}

/// All that a screen is drawn from.
#[derive(Debug, Default)]
pub struct Model {
    /// Where the server is.
    pub server: String,
    /// The last that was heard.
    pub state: Option<State>,
    pub rates: Rates,
    /// Why nothing is heard at the moment.
    pub away: Option<String>,
    /// Since the last state.
    pub no_response: Duration,
    /// Newest first.
    pub events: Vec<EventLine>,
    /// Why there are none to show.
    pub events_trouble: Option<String>,
    pub filter: String,
    pub is_typing: bool,
    pub focus: Focus,
    pub scrolled: Scrolled,
    pub colour: bool,
}

/// No filter is longer.
const FILTER_CHARACTERS_MAX: usize = 200;
const PAGE: usize = 10;

impl Model {
    pub fn hear(&mut self, state: State) {
        self.rates.add(&state);
        self.state = Some(state);
        self.away = None;
        self.no_response = Duration::ZERO;
    }

    /// Takes over the newest events, of those that the filter lets through. While somebody looks at older ones they
    /// stay where they are.
    pub fn see(&mut self, events: &[EventJson]) {
        if self.scrolled.events > 0 {
            return;
        }
        let filter = Filter::read(&self.filter);
        self.events = events.iter().map(EventLine::of).filter(|line| filter.takes(&line.text)).collect();
        // Two streams become one; within each the order is the journal's.
        self.events.sort_by_key(|line| std::cmp::Reverse(line.unix_ms));
        self.events_trouble = None;
    }

    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Wish::Leave,
                KeyCode::Char('l') => Wish::Redraw,
                KeyCode::Char('u') if self.is_typing => {
                    self.refilter(String::clear);
                    Wish::Nothing
                }
                _ => Wish::Nothing,
            };
        }
        if self.is_typing {
            self.write(key.code);
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Leave,
            KeyCode::Char('/' | 'f') => (self.is_typing, self.focus) = (true, Focus::Events),
            KeyCode::Esc if !self.filter.is_empty() => self.refilter(String::clear),
            KeyCode::Esc => self.scrolled = Scrolled::default(),
            KeyCode::Tab => self.focus = self.focus.next(),
            KeyCode::BackTab => self.focus = self.focus.next().next(),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|at| at.saturating_add(1)),
            KeyCode::PageUp => self.scroll(|at| at.saturating_sub(PAGE)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(|at| at.saturating_add(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(|_| 0),
            // More than there is: `limit` brings it back.
            KeyCode::End | KeyCode::Char('G') => self.scroll(|_| usize::MAX),
            #[cfg(feature = "test-panics")]
            KeyCode::F(12) => panic!("a test asked for this"),
            _ => {}
        }
        Wish::Nothing
    }

    fn write(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.refilter(String::clear);
            }
            KeyCode::Backspace => self.refilter(|text| {
                text.pop();
            }),
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_CHARACTERS_MAX && !c.is_control() => {
                self.refilter(|text| text.push(c));
            }
            _ => {}
        }
    }

    /// What is shown was found with another filter; until the server has answered, its free words are looked for in
    /// that.
    fn refilter(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.filter);
        self.scrolled.events = 0;
        let filter = Filter::read(&self.filter);
        self.events.retain(|line| filter.takes(&line.text));
    }

    /// As far as there is something to scroll to; drawing tells.
    pub fn limit(&mut self, most: Scrolled) {
        let now = self.scrolled;
        self.scrolled = Scrolled {
            problems: now.problems.min(most.problems),
            flow: now.flow.min(most.flow),
            events: now.events.min(most.events),
        };
    }

    fn scroll(&mut self, to: impl FnOnce(usize) -> usize) {
        let at = match self.focus {
            Focus::Problems => &mut self.scrolled.problems,
            Focus::Flow => &mut self.scrolled.flow,
            Focus::Events => &mut self.scrolled.events,
        };
        *at = to(*at);
    }
}

impl Focus {
    fn next(self) -> Self {
        match self {
            Self::Problems => Self::Flow,
            Self::Flow => Self::Events,
            Self::Events => Self::Problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::default()
    }

    fn press(model: &mut Model, keys: &str) {
        for c in keys.chars() {
            assert_eq!(model.press(KeyCode::Char(c).into()), Wish::Nothing, "{c}");
        }
    }

    fn event(unix_ms: u64, user: &str) -> EventJson {
        serde_json::from_value(serde_json::json!({
            "offset": 1, "stream": "user-events", "receivedAt": "2025-10-09T08:53:20.123Z",
            "receivedUnixMs": unix_ms, "type": "qseow-proxy-session", "command": "Start session", "user": user,
        }))
        .expect("an event")
    }

    #[test]
    fn keys_lead_out() {
        let check = |key: KeyEvent, expect: Wish| assert_eq!(model().press(key), expect, "{key:?}");
        check(KeyCode::Char('q').into(), Wish::Leave);
        check(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Leave);
        check(KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL), Wish::Redraw);
        check(KeyCode::Char('c').into(), Wish::Nothing);
        check(KeyCode::F(5).into(), Wish::Nothing);
        let mut model = model();
        model.is_typing = true;
        assert_eq!(model.press(KeyCode::Char('q').into()), Wish::Nothing);
        assert_eq!(model.filter, "q");
        assert_eq!(model.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Leave);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut model = model();
        model.see(&[event(1, "LAB\\anna"), event(3, "LAB\\bert"), event(2, "LAB\\anna")]);
        let texts = |model: &Model| model.events.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        assert!(texts(&model)[0].starts_with("08:53:20  Start session  LAB\\bert"), "newest first");
        press(&mut model, "/ANNA");
        assert_eq!((model.filter.as_str(), model.events.len()), ("ANNA", 2));
        press(&mut model, "x");
        model.press(KeyCode::Backspace.into());
        model.press(KeyCode::Enter.into());
        assert_eq!((model.filter.as_str(), model.is_typing), ("ANNA", false));
        model.see(&[event(4, "LAB\\bert"), event(5, "LAB\\Anna")]);
        assert_eq!(model.events.len(), 1);
        model.press(KeyCode::Esc.into());
        assert_eq!(model.filter, "");
        press(&mut model, &format!("/{}", "y".repeat(500)));
        assert_eq!(model.filter.len(), FILTER_CHARACTERS_MAX);
    }

    #[test]
    fn who_looks_at_older_events_is_left_in_peace() {
        let mut model = model();
        model.see(&[event(1, "a")]);
        model.press(KeyCode::Down.into());
        model.see(&[event(2, "b"), event(3, "c")]);
        assert_eq!(model.events.len(), 1);
        model.press(KeyCode::Home.into());
        model.see(&[event(2, "b"), event(3, "c")]);
        assert_eq!(model.events.len(), 2);
        model.press(KeyCode::Tab.into());
        assert_eq!(model.focus, Focus::Problems);
        model.press(KeyCode::BackTab.into());
        assert_eq!(model.focus, Focus::Events);
        model.press(KeyCode::Up.into());
        model.press(KeyCode::PageUp.into());
        assert_eq!(model.scrolled, Scrolled::default());
    }

    #[test]
    fn an_event_steers_no_terminal() {
        let line = EventLine::of(&event(1, "a\u{1b}[2J\n\u{202e}"));
        assert_eq!(line.text, "08:53:20  Start session  a\\u{1b}[2J\\n\\u{202e}");
        let odd = EventJson { received_at: "ääääääääääää".into(), ..event(1, "a") };
        assert!(EventLine::of(&odd).text.ends_with("  Start session  a"));
    }
}
