//! Lists screenshots, and serves their files.
//!
//! A file is served only if the event at that offset names it *and* it is, with every link resolved, inside a
//! configured storage directory *and* its first bytes are those of an image. No part of a request ever
//! becomes a path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use butler_sos_actors::journal::message::StreamState;
use butler_sos_domain::audit::AuditRecord;
use butler_sos_domain::image::{ImageKind, SIGNATURE_BYTES};
use butler_sos_domain::streams::Stream;
use serde::Serialize;

use super::answer::{Answer, Refusal, json};
use super::event_json::EventJson;
use super::journal_reader::JournalReader;

/// Where images are, and how large one may be (`Pipeline.screenshots.bytesMax`).
#[derive(Debug, Clone, Default)]
pub struct Storage {
    pub directories: Vec<PathBuf>,
    pub bytes_max: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    screenshots: Vec<EventJson>,
    scanned: u64,
    older_before: Option<u64>,
}

/// The newest screenshot events whose download has ended.
pub async fn list(
    reader: &JournalReader,
    audit_events: &StreamState,
    limit: usize,
    before: Option<u64>,
) -> Answer {
    let found = reader
        .newest(audit_events, before, limit, |offset, data| {
            // Only a finished download has the offset of its event.
            AuditRecord::decode(data).ok()?.source_offset?;
            EventJson::of_record(Stream::AuditEvents, offset, data)
        })
        .await?;
    let (scanned, older_before) = (found.scanned, found.older_before);
    Ok(json(&List { screenshots: found.items, scanned, older_before }))
}

/// The image of the event at `offset`.
pub async fn image(
    reader: &JournalReader,
    audit_events: &StreamState,
    storage: Storage,
    offset: u64,
) -> Answer {
    let data = reader.record(audit_events, offset).await?;
    let record = AuditRecord::decode(&data).map_err(|error| Refusal::unavailable(error.to_string()))?;
    let paths: Vec<PathBuf> =
        record.screenshot.saved_paths.iter().map(|path| PathBuf::from(&**path)).collect();
    if paths.is_empty() {
        return Err(Refusal::not_found("this event has no image"));
    }
    let read = actix_web::web::block(move || read_image(&storage, &paths)).await;
    let (kind, bytes) = read.map_err(|_| Refusal::unavailable("the server is stopping"))??;
    Ok(HttpResponse::Ok()
        .content_type(content_type(kind))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"))
        .insert_header((CACHE_CONTROL, "private, max-age=300"))
        .body(bytes))
}

/// The first of the paths that may be shown and read.
fn read_image(storage: &Storage, paths: &[PathBuf]) -> Result<(ImageKind, Vec<u8>), Refusal> {
    let mut refusal = Refusal::not_found("the image file no longer exists");
    for path in paths {
        match read_one(storage, path) {
            Ok(Some(image)) => return Ok(image),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refusal = Refusal::disk(&error),
        }
    }
    Err(refusal)
}

/// `None` for a file that must not be shown.
fn read_one(storage: &Storage, path: &Path) -> io::Result<Option<(ImageKind, Vec<u8>)>> {
    let real = fs::canonicalize(path)?;
    let is_inside = storage
        .directories
        .iter()
        .filter_map(|directory| fs::canonicalize(directory).ok())
        .any(|directory| real.starts_with(&directory) && real != directory);
    if !is_inside {
        return Ok(None);
    }
    let file = File::open(&real)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > storage.bytes_max {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(storage.bytes_max).read_to_end(&mut bytes)?;
    let kind = ImageKind::of_signature(&bytes[..bytes.len().min(SIGNATURE_BYTES)]);
    Ok(kind.map(|kind| (kind, bytes)))
}

fn content_type(kind: ImageKind) -> &'static str {
    match kind {
        ImageKind::Png => "image/png",
        ImageKind::Jpeg => "image/jpeg",
        ImageKind::Gif => "image/gif",
        ImageKind::Webp => "image/webp",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn only_images_inside_a_storage_directory_are_shown() {
        let root = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (root.path().join("shots"), root.path().join("secret"));
        for directory in [&inside.join("lab"), &outside] {
            fs::create_dir_all(directory).expect("a directory");
        }
        for (path, bytes) in [
            (inside.join("lab/a.png"), PNG),
            (inside.join("page.png"), b"<script>alert(1)</script>".as_slice()),
            (inside.join("short.png"), b"\x89P"),
            (inside.join("large.png"), &[PNG, &[0; 500]].concat()),
            (outside.join("b.png"), PNG),
        ] {
            fs::write(path, bytes).expect("a file");
        }
        symlink(outside.join("b.png"), inside.join("link.png")).expect("a link");
        symlink(&outside, inside.join("linked")).expect("a link");
        symlink(inside.join("lab"), inside.join("own")).expect("a link");
        let storage = Storage { directories: vec![inside.clone(), root.path().join("gone")], bytes_max: 400 };
        let check = |path: PathBuf, expect: bool| {
            let got = read_image(&storage, std::slice::from_ref(&path)).is_ok();
            assert_eq!(got, expect, "{}", path.display());
        };
        check(inside.join("lab/a.png"), true);
        check(inside.join("own/a.png"), true);
        check(inside.join("lab/../lab/a.png"), true);
        check(inside.join("../secret/b.png"), false);
        check(inside.join("lab/../../secret/b.png"), false);
        check(outside.join("b.png"), false);
        check(inside.join("link.png"), false);
        check(inside.join("linked/b.png"), false);
        check(inside.join("page.png"), false);
        check(inside.join("short.png"), false);
        check(inside.join("large.png"), false);
        check(inside.join("lab"), false);
        check(inside.clone(), false);
        check(inside.join("none.png"), false);
        check(PathBuf::from("/etc/passwd"), false);
        check(PathBuf::from(""), false);
        // Of several copies the first that can be shown.
        let copies = [inside.join("none.png"), outside.join("b.png"), inside.join("lab/a.png")];
        assert_eq!(read_image(&storage, &copies).expect("an image").0, ImageKind::Png);
    }
}
