//! Turns the body of an answer into a file, whole or not at all.
//!
//! Receives: `StoreImage`, whose pieces arrive by a channel of their own.
//! Sends: nothing; it answers.
//! Keeps: nothing between two images.
//! When full: the asker's channel is bounded, so a slow disk slows the download.
//! When it fails: one target's failure is logged and the others go on; a cut image leaves no file.
//!
//! Per target directory: a temporary file next to the final name, checked, hashed on the way, synced, renamed; then
//! the directory is synced. Temporary names begin with `.butler-sos-` and end with `.tmp`; what a crash left of them
//! is removed at start. Contract: screenshots.md, "The file".

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, Context, Handler, ResponseFuture, Supervised};
use butler_sos_domain::image::{Sniffed, Sniffer};
use openssl::sha::Sha256;
use slog::{Logger, info, warn};
use tokio::sync::mpsc;

use crate::kit::mailbox::Envelope;
use crate::kit::metric::ActorMeter;
use crate::kit::platform::{self, Modes};
use crate::screenshots::message::{ImageRefused, ImageStored, Piece, StoreImage};

/// Where images go (`auditEvents.destination.screenshots.storageTargets`), and how large they may be.
#[derive(Clone)]
pub struct ImageWriterConfig {
    pub directories: Vec<PathBuf>,
    /// `Pipeline.screenshots.bytesMax`.
    pub bytes_max: u64,
    pub actor: ActorMeter,
    pub log: Logger,
}

const TEMPORARY_PREFIX: &str = ".butler-sos-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The actor.
pub struct ImageWriter {
    config: ImageWriterConfig,
    /// Makes temporary names differ.
    written: Arc<AtomicU64>,
}

impl ImageWriter {
    /// An actor on directories that exist and hold no temporary file of an earlier run.
    ///
    /// # Errors
    /// When a directory cannot be made or read: the start then says so and ends.
    pub fn new(config: ImageWriterConfig) -> io::Result<Self> {
        for directory in &config.directories {
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
            make_directory(directory).map_err(named)?;
            remove_unfinished(directory, &config.log).map_err(named)?;
        }
        Ok(Self { config, written: Arc::default() })
    }
}

impl Actor for ImageWriter {
    type Context = Context<Self>;
}

impl Supervised for ImageWriter {}

impl Handler<Envelope<StoreImage>> for ImageWriter {
    type Result = ResponseFuture<Result<ImageStored, ImageRefused>>;

    fn handle(&mut self, envelope: Envelope<StoreImage>, _: &mut Self::Context) -> Self::Result {
        self.config.actor.received.inc();
        let config = self.config.clone();
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let _in_flight = envelope.in_flight;
            let image = envelope.body;
            let meter = config.actor.clone();
            let stored = actix_rt::task::spawn_blocking(move || store(&config, number, image)).await;
            let stored =
                stored.unwrap_or_else(|_| Err(ImageRefused::Write("the writer panicked".to_owned())));
            match &stored {
                Ok(_) => {
                    meter.sent.inc();
                }
                Err(refused) => meter.rejected(refused.class(), 1),
            }
            stored
        })
    }
}

impl ImageRefused {
    fn class(&self) -> &'static str {
        match self {
            Self::NotAnImage => "not-an-image",
            Self::TooLarge { .. } => "too-large",
            Self::Cut => "cut",
            Self::Write(_) => "write-failed",
        }
    }
}

// === the blocking part

/// One target's copy under way. Removes its temporary file unless it was finished.
struct Copy {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Copy {
    fn create(directory: &Path, file_name: &str, number: u64) -> io::Result<Self> {
        let temporary =
            directory.join(format!("{TEMPORARY_PREFIX}{}-{number}{TEMPORARY_SUFFIX}", std::process::id()));
        let open = || platform::create_afresh(&temporary, Modes::default());
        let file = open().or_else(|error| match error.kind() {
            // Somebody took the directory away since the start.
            io::ErrorKind::NotFound => make_directory(directory).and_then(|()| open()),
            _ => Err(error),
        })?;
        let target = directory.join(file_name);
        Ok(Self { file, temporary, target, is_finished: false })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        platform::rename_over(&self.temporary, &self.target)?;
        self.is_finished = true;
        match self.target.parent() {
            Some(directory) => platform::sync_directory(directory),
            None => Ok(()),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// All targets' copies; those that fail fall away.
struct Copies<'a> {
    copies: Vec<Copy>,
    trouble: Option<String>,
    log: &'a Logger,
}

impl Copies<'_> {
    /// Does something to each copy that is left.
    fn each(&mut self, mut work: impl FnMut(&mut Copy) -> io::Result<()>) -> Result<(), ImageRefused> {
        let (log, trouble) = (self.log, &mut self.trouble);
        self.copies.retain_mut(|copy| match work(copy) {
            Ok(()) => true,
            Err(error) => {
                fell_away(log, trouble, &copy.target, &error);
                false
            }
        });
        self.expect_some()
    }

    fn expect_some(&self) -> Result<(), ImageRefused> {
        if self.copies.is_empty() {
            return Err(ImageRefused::Write(
                self.trouble.clone().unwrap_or_else(|| "there is none".to_owned()),
            ));
        }
        Ok(())
    }
}

fn fell_away(log: &Logger, trouble: &mut Option<String>, path: &Path, error: &io::Error) {
    warn!(log, "cannot write an image to one of its targets"; "path" => %path.display(), "error" => %error);
    *trouble = Some(format!("{}: {error}", path.display()));
}

fn store(config: &ImageWriterConfig, number: u64, image: StoreImage) -> Result<ImageStored, ImageRefused> {
    let StoreImage { file_name, claim, mut pieces } = image;
    let head = read_head(Sniffer::new(claim), &mut pieces)?;

    let mut copies = Copies { copies: Vec::new(), trouble: None, log: &config.log };
    for directory in &config.directories {
        match Copy::create(directory, &file_name, number) {
            Ok(copy) => copies.copies.push(copy),
            Err(error) => fell_away(&config.log, &mut copies.trouble, &directory.join(&file_name), &error),
        }
    }
    copies.expect_some()?;

    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut take = |piece: &[u8], copies: &mut Copies<'_>| {
        bytes += piece.len() as u64;
        if bytes > config.bytes_max {
            return Err(ImageRefused::TooLarge { bytes_max: config.bytes_max });
        }
        hash.update(piece);
        copies.each(|copy| copy.file.write_all(piece))
    };
    take(&head, &mut copies)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(piece)) => take(&piece, &mut copies)?,
            Some(Piece::End) => break,
            None => return Err(ImageRefused::Cut),
        }
    }
    copies.each(Copy::finish)?;
    let paths = copies.copies.iter().map(|copy| copy.target.to_string_lossy().into_owned()).collect();
    let sha256 = hex::encode(hash.finish());
    Ok(ImageStored { paths, sha256, bytes })
}

/// The first bytes, as many as it takes to see that they are an image: nothing else touches the disk.
fn read_head(mut sniffer: Sniffer, pieces: &mut mpsc::Receiver<Piece>) -> Result<Vec<u8>, ImageRefused> {
    let mut bytes = Vec::new();
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(piece)) => {
                bytes.extend_from_slice(&piece);
                match sniffer.push(&piece) {
                    Sniffed::More => {}
                    Sniffed::Image(_) => return Ok(bytes),
                    Sniffed::NotAnImage => return Err(ImageRefused::NotAnImage),
                }
            }
            Some(Piece::End) => return Err(ImageRefused::NotAnImage),
            None => return Err(ImageRefused::Cut),
        }
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    platform::create_directories(directory, Modes::default())
}

/// Removes the temporary files that a crash left in a directory. Only while no image is written there.
///
/// # Errors
/// When the directory cannot be read, or a file of it not be removed.
pub fn remove_unfinished(directory: &Path, log: &Logger) -> io::Result<()> {
    let removed = remove_temporary(directory)?;
    if removed > 0 {
        info!(log, "removed unfinished images of an earlier run";
            "directory" => %directory.display(), "files" => removed);
    }
    Ok(())
}

fn remove_temporary(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX));
        if is_ours {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
#[path = "image_writer_tests.rs"]
mod tests;
