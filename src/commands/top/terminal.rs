//! The terminal while `top` has it: raw, on its second screen, and given back however it ends.

use std::io::{self, IsTerminal};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use super::model::{Model, Scrolled};
use super::screen;
use crate::commands::CommandError;

/// Pressed keys that wait; nobody types faster than they are taken.
const EVENTS_MAX: usize = 64;

/// The terminal; dropping it gives it back. A panic gives it back before its words are printed.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// # Errors
    /// There is no terminal, or it cannot be drawn on.
    pub fn open() -> Result<Self, CommandError> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            let detail = "top needs a terminal; scripts use `butler-sos status --json`";
            return Err(CommandError::Usage(detail.to_owned()));
        }
        if std::env::var("TERM").is_ok_and(|kind| kind == "dumb") {
            let detail = "top does not support the terminal type dumb (TERM); use `butler-sos status`";
            return Err(CommandError::Usage(detail.to_owned()));
        }
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // It may have come halfway.
                ratatui::restore();
                Err(error.into())
            }
        }
    }

    pub fn draw(&mut self, model: &Model) -> io::Result<Scrolled> {
        let mut most = Scrolled::default();
        self.terminal.draw(|frame| {
            let area = frame.area();
            most = screen::draw(model, area, frame.buffer_mut());
            if let Some(at) = screen::cursor(model, area) {
                frame.set_cursor_position(at);
            }
        })?;
        Ok(most)
    }

    /// Nothing that stands there is taken for granted any more.
    pub fn forget(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic the hook has done it; a second time would move the cursor into what has been printed since.
        if !std::thread::panicking() {
            // A terminal that is gone needs nothing.
            let _ = self.terminal.show_cursor();
            ratatui::restore();
        }
    }
}

/// Keys, and changes of size, as they come. The thread behind it ends with the process: it waits for keys.
pub fn events() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (to_screen, events) = mpsc::channel(EVENTS_MAX);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = event::read();
            let is_end = event.is_err();
            if to_screen.blocking_send(event).is_err() || is_end {
                return;
            }
        }
    })?;
    Ok(events)
}
