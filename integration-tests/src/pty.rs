//! A program on a terminal: `script` (util-linux) gives it one, and what it draws is read as a terminal would.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A shell on a terminal of its own; ended with the test.
pub struct Pty {
    child: Child,
    keys: ChildStdin,
    drawn: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Everything that was written, as it was.
    pub raw: Vec<u8>,
}

impl Pty {
    /// Runs `command` by the shell, in `directory`.
    pub fn start(command: &str, directory: &Path, rows: u16, columns: u16) -> Self {
        let command = format!("stty rows {rows} cols {columns}; {command}");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
            .current_dir(directory)
            .env("SHELL", "/bin/bash")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is installed");
        let keys = child.stdin.take().expect("a pipe");
        let mut out = child.stdout.take().expect("a pipe");
        let (to_test, drawn) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                if to_test.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let [rows, columns] = [rows, columns].map(|size| NonZero::new(size).expect("a size"));
        Self { child, keys, drawn, screen: vt100::Parser::new(rows, columns, 0), raw: Vec::new() }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("keys are taken");
    }

    /// What the terminal shows now.
    pub fn shown(&self) -> String {
        self.screen.screen().contents().replace('\u{a0}', " ")
    }

    /// Waits until the terminal shows what `is_it` looks for.
    pub fn until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let shown = self.shown();
            if is_it(&shown) {
                return shown;
            }
            let left = end.saturating_duration_since(Instant::now());
            let bytes = self.drawn.recv_timeout(left);
            let bytes = bytes.unwrap_or_else(|error| panic!("waiting for {what}: {error}:\n{shown}"));
            self.screen.process(&bytes);
            self.raw.extend(bytes);
        }
    }

    pub fn until_shown(&mut self, part: &str) -> String {
        self.until(part, |shown| shown.contains(part))
    }

    /// The colour of the first character of `part`, as the terminal numbers colours.
    pub fn colour_of(&self, part: &str) -> Option<vt100::Color> {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        for (row, text) in screen.rows(0, columns.get()).enumerate() {
            if let Some(at) = text.find(part) {
                let column = u16::try_from(text[..at].chars().count()).expect("a column");
                let cell = screen.cell(u16::try_from(row).expect("a row"), column)?;
                return Some(cell.fgcolor());
            }
        }
        None
    }

    /// Whether the program draws on the terminal's second screen.
    pub fn is_on_second_screen(&self) -> bool {
        self.screen.screen().alternate_screen()
    }

    pub fn is_cursor_hidden(&self) -> bool {
        self.screen.screen().hide_cursor()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Its terminal goes with it, and with the terminal what runs there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
