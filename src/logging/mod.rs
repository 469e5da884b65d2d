//! The log: one event one line, to the console and to a file a day.
//!
//! Levels carry Butler SOS's names: error, warn, info, verbose, debug, silly. In slog's words `error!`, `warn!`,
//! `info!`, `debug!` are themselves, `trace!` is silly, and verbose is any record with the tag `verbose`:
//! `debug!(log, # "verbose", "…")`.
//!
//! Lines are made and written by a thread of their own. When it cannot keep up, lines are dropped and not waited for;
//! how many is counted ([`Guard::dropped`]) and told in the log as soon as there is room.
//!
//! Errors, warnings and information are capped: of one kind, which is a message, so many lines a minute and no more,
//! whoever causes them; how many more there would have been is told when the minute is over. Verbose and debug lines
//! are for those who want to see everything.

mod file;
pub mod line;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use butler_sos_actors::kit::lock::lock;
use butler_sos_domain::throttle::LineCap;
use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o, warn};
use slog_async::{AsyncCore, AsyncError, AsyncGuard};
use time::OffsetDateTime;

use self::file::{DailyFile, FileLimits};
use crate::config::{Config, butler::LogLevel, pipeline::operations::LogFormat};

/// What is logged, how, and where to.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Directory of daily files; none: console only.
    pub directory: Option<PathBuf>,
    /// Lines that may wait.
    pub queue_max: usize,
    /// Of the files.
    pub files: FileLimits,
    /// Lines of one kind in a minute; 0: as many as there are.
    pub lines_per_minute_max: u32,
    /// Longest line.
    pub line_characters_max: usize,
}

impl From<&Config> for LogConfig {
    fn from(config: &Config) -> Self {
        let butler = &config.butler_sos;
        let log = &config.pipeline.log;
        Self {
            level: butler.log_level,
            format: log.format,
            directory: butler.file_logging.then(|| PathBuf::from(&butler.log_directory)),
            queue_max: log.queue_max,
            files: FileLimits { files_max: log.files_max, bytes_max: log.file_bytes_max },
            lines_per_minute_max: log.lines_per_minute_max,
            line_characters_max: log.line_characters_max,
        }
    }
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log directory {directory} cannot be used")]
    Directory { directory: String, source: io::Error },
}

/// Keeps the log open. When it is dropped, what waits is written first.
pub struct Guard {
    dropped: Arc<AtomicU64>,
    reopener: FileReopener,
    cap: Arc<Cap>,
    // Named for its drop alone.
    _writer: AsyncGuard,
}

impl Guard {
    /// Lines dropped since the start because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Has the log file opened anew.
    pub fn file_reopener(&self) -> FileReopener {
        self.reopener.clone()
    }

    /// The cap on lines of one kind.
    pub fn line_cap(&self) -> Arc<Cap> {
        Arc::clone(&self.cap)
    }

    /// The same counter for the metrics.
    pub fn dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

/// Opens the log on standard output and, when asked for, in files.
pub fn init(config: &LogConfig) -> Result<(Logger, Guard), Error> {
    let console = io::stdout();
    let coloured = console.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    init_to(config, Box::new(console), coloured)
}

/// The same with another console.
pub fn init_to(
    config: &LogConfig,
    console: Box<dyn Write + Send>,
    coloured: bool,
) -> Result<(Logger, Guard), Error> {
    let file = match &config.directory {
        None => None,
        Some(directory) => Some(
            DailyFile::open(directory, config.files, OffsetDateTime::now_utc().date())
                .map_err(|source| Error::Directory { directory: directory.display().to_string(), source })?,
        ),
    };
    let reopener = FileReopener::default();
    let writer = Writer {
        reopener: reopener.clone(),
        format: config.format,
        coloured,
        line_characters_max: config.line_characters_max,
        outputs: Mutex::new(Outputs { console, file, file_failed: false }),
    };
    let (queue, guard) = AsyncCore::custom(writer)
        .chan_size(config.queue_max)
        .blocking(false)
        .thread_name("log".into())
        .build_with_guard();
    let dropped = Arc::new(AtomicU64::new(0));
    let cap = Arc::new(Cap::new(config.lines_per_minute_max));
    let queue = Queue {
        level: config.level,
        cap: Arc::clone(&cap),
        queue,
        dropped: Arc::clone(&dropped),
        untold: AtomicU64::new(0),
    };
    Ok((Logger::root(queue.fuse(), o!()), Guard { dropped, reopener, cap, _writer: guard }))
}

/// The level of a record in Butler SOS's words.
pub fn level_of(record: &Record<'_>) -> LogLevel {
    if record.tag() == "verbose" {
        return LogLevel::Verbose;
    }
    match record.level() {
        Level::Critical | Level::Error => LogLevel::Error,
        Level::Warning => LogLevel::Warn,
        Level::Info => LogLevel::Info,
        Level::Debug => LogLevel::Debug,
        Level::Trace => LogLevel::Silly,
    }
}

/// Asks for the log file to be opened anew, before its next line.
#[derive(Clone, Default)]
pub struct FileReopener(Arc<AtomicBool>);

impl FileReopener {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kinds of lines that are remembered; the program has fewer.
const KINDS_MAX: usize = 1_024;
/// What was held back is told within this time after its minute.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// The line that tells it, which is not capped itself: one for each kind and minute.
const HELD_BACK: &str = "log lines of this kind were suppressed, they exceeded the limit per minute";

/// The cap on lines of one kind.
pub struct Cap {
    since: Instant,
    /// `None`: there is none. By level and message.
    lines: Option<Mutex<LineCap<(LogLevel, String)>>>,
}

impl Cap {
    fn new(lines_max: u32) -> Self {
        let lines = (lines_max > 0).then(|| Mutex::new(LineCap::new(lines_max, KINDS_MAX)));
        Self { since: Instant::now(), lines }
    }

    fn may_write(&self, level: LogLevel, record: &Record<'_>) -> bool {
        let Some(lines) = &self.lines else { return true };
        if level > LogLevel::Info {
            return true;
        }
        let message = record.msg().to_string();
        if message == HELD_BACK {
            return true;
        }
        let mut lines = lock(lines);
        lines.may_write((level, message), self.now_ms())
    }

    /// Tells how many lines were held back, for as long as it is polled.
    pub async fn tell_for_ever(self: Arc<Self>, log: Logger) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            self.log_dropped_lines(&log, false);
        }
    }

    /// Tells how many lines were held back in the minutes that are over; at the end of the log in all.
    pub fn log_dropped_lines(&self, log: &Logger, is_end: bool) {
        let Some(lines) = &self.lines else { return };
        let held_back = lock(lines).held_back(self.now_ms(), is_end);
        for ((level, message), lines) in held_back {
            warn!(log, "{}", HELD_BACK; "kind" => message, "level" => level.name(), "lines" => lines);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Lets records of the wanted levels through to the writer's thread, and counts those that find no room.
struct Queue {
    level: LogLevel,
    cap: Arc<Cap>,
    queue: AsyncCore,
    dropped: Arc<AtomicU64>,
    /// Dropped, and not yet told in the log.
    untold: AtomicU64,
}

impl Queue {
    /// Tells how many lines are missing, when there is room for it.
    fn log_dropped_lines(&self, values: &OwnedKVList) {
        let missing = self.untold.swap(0, Ordering::Relaxed);
        if missing == 0 {
            return;
        }
        let reported = self.queue.log(
            &slog::record!(
                Level::Warning,
                "",
                &format_args!("log lines were dropped because the log queue was full"),
                slog::b!("lines" => missing)
            ),
            values,
        );
        if reported.is_err() {
            self.untold.fetch_add(missing, Ordering::Relaxed);
        }
    }
}

impl Drain for Queue {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let level = level_of(record);
        if level > self.level || !self.cap.may_write(level, record) {
            return Ok(());
        }
        self.log_dropped_lines(values);
        // Any other failure is a writer that has ended: there is no log any more to tell it in.
        if let Err(AsyncError::Full) = self.queue.log(record, values) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        // A debug record may be verbose by its tag, which is not known here.
        let needed = match level {
            Level::Critical | Level::Error => LogLevel::Error,
            Level::Warning => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Verbose,
            Level::Trace => LogLevel::Silly,
        };
        needed <= self.level
    }
}

/// Makes lines and writes them; runs in the writer's thread.
struct Writer {
    reopener: FileReopener,
    format: LogFormat,
    coloured: bool,
    line_characters_max: usize,
    outputs: Mutex<Outputs>,
}

struct Outputs {
    console: Box<dyn Write + Send>,
    file: Option<DailyFile>,
    /// The file could not be written, and the console has been told.
    file_failed: bool,
}

impl Drain for Writer {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let now = OffsetDateTime::now_utc();
        let (plain, coloured) =
            line::lines(self.format, self.coloured, self.line_characters_max, now, record, values);
        let mut outputs = lock(&self.outputs);
        let outputs = &mut *outputs;
        // A console that is gone must not end the server.
        let _ = outputs.console.write_all(coloured.as_deref().unwrap_or(&plain).as_bytes());
        let _ = outputs.console.flush();
        if let Some(file) = &mut outputs.file {
            let reopened = match self.reopener.0.swap(false, Ordering::Relaxed) {
                true => file.reopen(),
                false => Ok(()),
            };
            match reopened.and_then(|()| file.write(&plain, now.date())) {
                Ok(()) => outputs.file_failed = false,
                Err(error) if !outputs.file_failed => {
                    outputs.file_failed = true;
                    let detail = line::escaped(&error.to_string());
                    let _ = writeln!(
                        outputs.console,
                        "{} warn: cannot write the log file: {detail}",
                        line::stamp(now)
                    );
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use slog::{debug, error, info, trace};

    use super::*;

    /// A console that can be read.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("screen").clone()).expect("UTF-8")
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("screen").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(level: LogLevel, format: LogFormat) -> LogConfig {
        LogConfig {
            level,
            format,
            directory: None,
            queue_max: 1_024,
            files: FileLimits { files_max: 0, bytes_max: 1 << 20 },
            lines_per_minute_max: 0,
            line_characters_max: 400,
        }
    }

    fn logged(config: &LogConfig, write: impl FnOnce(&Logger)) -> String {
        let screen = Screen::default();
        let (log, guard) = init_to(config, Box::new(screen.clone()), false).expect("log");
        write(&log);
        drop(log);
        drop(guard);
        screen.text()
    }

    #[test]
    fn levels_have_butler_sos_names() {
        for (level, expect) in [
            (LogLevel::Error, "error"),
            (LogLevel::Warn, "error warn"),
            (LogLevel::Info, "error warn info"),
            (LogLevel::Verbose, "error warn info verbose"),
            (LogLevel::Debug, "error warn info verbose debug"),
            (LogLevel::Silly, "error warn info verbose debug silly"),
        ] {
            let text = logged(&config(level, LogFormat::Human), |log| {
                error!(log, "x");
                warn!(log, "x");
                info!(log, "x");
                debug!(log, # "verbose", "x");
                debug!(log, "x");
                trace!(log, "x");
            });
            let names: Vec<&str> =
                text.lines().filter_map(|line| line.split(' ').nth(1)?.strip_suffix(':')).collect();
            assert_eq!(names.join(" "), expect);
        }
    }

    #[test]
    fn one_event_is_one_line_whatever_it_holds() {
        let write = |log: &Logger| {
            warn!(log, "bad\nname {}", "\u{1b}[31m"; "user" => "LAB\\eve\r\n2026 info: forged", "count" => 7_u64, "ok" => true);
        };
        let text = logged(&config(LogLevel::Info, LogFormat::Human), write);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("warn: bad\\nname \\u{1b}[31m"), "{text}");
        assert!(text.contains("user=\"LAB\\\\eve\\r\\n2026 info: forged\" count=7 ok=true"), "{text}");

        let text = logged(&config(LogLevel::Info, LogFormat::Json), write);
        assert_eq!(text.lines().count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["level"], "warn");
        assert_eq!(json["count"], 7);
        assert_eq!(json["ok"], true);
        assert_eq!(json["user"], "LAB\\eve\r\n2026 info: forged");
    }

    #[test]
    fn long_lines_are_cut() {
        let text =
            logged(&config(LogLevel::Info, LogFormat::Human), |log| info!(log, "{}", "ü".repeat(10_000)));
        assert!(text.chars().count() <= 440, "{}", text.len());
        assert!(text.ends_with("…\n"));
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_told() {
        /// A console that waits until it is let go.
        struct Stuck(Screen, mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.1.recv();
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (let_go, wait) = mpsc::channel();
        let screen = Screen::default();
        let small = LogConfig { queue_max: 16, ..config(LogLevel::Info, LogFormat::Human) };
        let (log, guard) = init_to(&small, Box::new(Stuck(screen.clone(), wait)), false).expect("log");
        for number in 0..200 {
            info!(log, "line"; "number" => number);
        }
        assert!(guard.dropped() >= 180, "{}", guard.dropped());
        drop(let_go);
        // The writer goes on now; log until the report has found its room.
        while !screen.text().contains("log lines were dropped") {
            info!(log, "later");
            std::thread::yield_now();
        }
        drop(log);
        drop(guard);
    }

    #[test]
    fn files_get_the_lines_too() {
        let directory = tempfile::tempdir().expect("directory");
        let to_file = LogConfig {
            directory: Some(directory.path().join("log")),
            ..config(LogLevel::Info, LogFormat::Human)
        };
        let text = logged(&to_file, |log| info!(log, "hello"));
        let name = format!("butler-sos.{}.log", OffsetDateTime::now_utc().date());
        let file = std::fs::read_to_string(directory.path().join("log").join(name)).expect("file");
        assert_eq!(file, text);
    }

    #[test]
    fn lines_of_every_kind_are_capped_and_how_many_were_held_back_is_told() {
        let capped = LogConfig {
            lines_per_minute_max: 60,
            queue_max: 8_192,
            ..config(LogLevel::Debug, LogFormat::Human)
        };
        let screen = Screen::default();
        let (log, guard) = init_to(&capped, Box::new(screen.clone()), false).expect("log");
        for source in 0..3_000 {
            warn!(log, "audit API: {}", "missing or wrong token"; "source" => source);
            info!(log, "something came"; "source" => source);
        }
        for number in 0..100 {
            debug!(log, "everything is wanted"; "number" => number);
        }
        error!(log, "another kind");
        guard.line_cap().log_dropped_lines(&log, true);
        drop(log);
        drop(guard);
        let text = screen.text();
        let lines = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!((lines("warn: audit API: missing"), lines("info: something came")), (60, 60));
        assert_eq!((lines("debug: everything is wanted"), lines("error: another kind")), (100, 1));
        let reported: Vec<&str> = text.lines().filter(|line| line.contains(HELD_BACK)).collect();
        assert_eq!(reported.len(), 2, "{reported:?}");
        assert!(
            reported.iter().any(|line| line.contains("kind=\"something came\" level=info lines=2940")),
            "{reported:?}"
        );
    }

    #[test]
    fn a_log_file_that_was_moved_away_is_made_again_when_asked() {
        let directory = tempfile::tempdir().expect("directory");
        let to_file = LogConfig {
            directory: Some(directory.path().to_owned()),
            ..config(LogLevel::Info, LogFormat::Human)
        };
        let (log, guard) = init_to(&to_file, Box::new(Screen::default()), false).expect("log");
        let name = directory.path().join(format!("butler-sos.{}.log", OffsetDateTime::now_utc().date()));
        std::fs::rename(&name, directory.path().join("moved")).expect("moved");
        guard.file_reopener().ask();
        info!(log, "hello");
        drop(log);
        drop(guard);
        assert!(std::fs::read_to_string(name).expect("a new file").ends_with("info: hello\n"));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let bad =
            LogConfig { directory: Some("/dev/null/log".into()), ..config(LogLevel::Info, LogFormat::Human) };
        assert!(init_to(&bad, Box::new(Screen::default()), false).is_err());
    }
}
