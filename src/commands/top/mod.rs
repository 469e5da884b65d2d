//! `butler-sos top`: the server at work on one screen, until q or Ctrl-C.
//!
//! | file | |
//! |---|---|
//! | [`feed`] | hears states and events from the server |
//! | [`rates`], [`flow`] | what figures mean: rates, rows, how something is |
//! | [`model`], [`filter`] | what is known, and how keys change it |
//! | [`screen`] | draws that: a pure function |
//! | [`terminal`] | has the terminal and gives it back |
//!
//! Each state, key and second leads to one drawing; the terminal is written to where something differs. Text from
//! outside is escaped. Colour is left out with `NO_COLOR`.

use std::time::Duration;

use ratatui::crossterm::event::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::CommandError;
use super::client::Server;
use super::text::one_line;
use crate::cli::Top;
use crate::signals::Leaving;

pub mod feed;
pub mod filter;
pub mod flow;
pub mod model;
#[cfg(test)]
mod picture;
pub mod rates;
pub mod screen;
pub mod terminal;

use feed::{News, Wanted};
use model::{Model, Wish};
use terminal::Screen;

/// News that wait to be drawn.
const NEWS_MAX: usize = 16;

pub(super) async fn run(server: &Server, arguments: &Top) -> Result<(), CommandError> {
    let not_heard = |error| CommandError::NotDone(format!("cannot install signal handlers: {error}"));
    // Each of them leaves the terminal as it was.
    let mut signals = Leaving::listen().map_err(not_heard)?;
    let model = Model {
        server: server.name(),
        filter: arguments.filter.clone(),
        colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        ..Model::default()
    };
    let screen = Screen::open()?;
    let (to_screen, news) = mpsc::channel(NEWS_MAX);
    let (want, wanted) = watch::channel(Wanted::default());
    tokio::select! {
        ended = show(screen, model, news, want) => ended,
        ended = feed::states(server, &to_screen) => ended.map_err(CommandError::from),
        // It ends with those who want events.
        () = async { feed::events(server, wanted, &to_screen).await; std::future::pending().await } => Ok(()),
        () = signals.any() => Ok(()),
    }
}

/// Draws until somebody wants to leave.
async fn show(
    mut screen: Screen,
    mut model: Model,
    mut news: mpsc::Receiver<News>,
    want: watch::Sender<Wanted>,
) -> Result<(), CommandError> {
    let mut events = terminal::events()?;
    let mut heard_at = Instant::now();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        model.no_response = heard_at.elapsed();
        let most = screen.draw(&model)?;
        model.limit(most);
        tokio::select! {
            event = events.recv() => match event {
                Some(Ok(Event::Key(key))) => match model.press(key) {
                    Wish::Leave => return Ok(()),
                    Wish::Redraw => screen.forget()?,
                    Wish::Nothing => {}
                },
                // A change of size, for instance: it is drawn anew in any case.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            heard = news.recv() => match heard {
                Some(News::State(state)) => {
                    heard_at = Instant::now();
                    model.hear(*state);
                }
                Some(News::Away(detail)) => model.away = Some(detail),
                // Found with a filter that has been changed since: the answer to that one is on its way.
                Some(News::Events { filter, .. }) if filter != model.filter => {}
                Some(News::Events { events, .. }) => model.see(&events),
                Some(News::EventsError(detail)) => model.events_trouble = Some(detail),
                None => return Ok(()),
            },
            _ = seconds.tick() => {}
        }
        if let Some(state) = &model.state {
            let now = Wanted::of(state, &model.filter);
            want.send_if_modified(|wanted| {
                let differs = *wanted != now;
                *wanted = now;
                differs
            });
        }
    }
}
