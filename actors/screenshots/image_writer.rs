//! Writes the body of an answer to a file, completely or not at all.
//!
//! Receives: `StoreImage`, with its pieces through a separate channel.
//! Sends: nothing; it answers.
//! Keeps: nothing between two images.
//! When full: the channel is bounded, so a slow disk slows the download.
//! When it fails: the failure of one target is logged and the others continue; a truncated image leaves no
//! file.
//!
//! Per target directory: a temporary file next to the final name is checked, hashed while it is written,
//! synced and renamed; then the directory is synced. Temporary names begin with `.butler-sos-` and end with
//! `.tmp`; those that a crash left are removed at start. Contract: screenshots.md, "The file".

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

/// The target directories (`auditEvents.destination.screenshots.storageTargets`), and the size limit of
/// images.
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
    /// Makes temporary names unique.
    written: Arc<AtomicU64>,
}

impl ImageWriter {
    /// An actor with existing directories and without temporary files of an earlier run.
    ///
    /// # Errors
    /// When a directory cannot be created or read. The start then fails.
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

/// A copy in progress for one target. Drop removes an unfinished temporary file.
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
            // The directory was removed after the start.
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
            // The next start removes it if this fails.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The copies of all targets. A failed one is removed from the list.
struct Copies<'a> {
    copies: Vec<Copy>,
    trouble: Option<String>,
    log: &'a Logger,
}

impl Copies<'_> {
    /// Applies `work` to each remaining copy.
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

/// The first bytes, enough to verify the image signature before anything is written to disk.
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

/// Removes temporary files that a crash left in a directory. Call it only while no image is written there.
///
/// # Errors
/// When the directory cannot be read, or a file in it cannot be removed.
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
