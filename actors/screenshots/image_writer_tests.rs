//! Images into directories, and what is not one.

use actix::Actor;
use butler_sos_domain::image::Claim;
use bytes::Bytes;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::kit::mailbox::Mailbox;
use crate::kit::metric::Metrics;
use crate::kit::testing::discard_log;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";
const NAME: &str = "20261120T101112.345Z_1_2.png";

struct Harness {
    root: tempfile::TempDir,
    to_writer: Mailbox<StoreImage>,
}

fn config(root: &Path, directories: &[&str]) -> ImageWriterConfig {
    ImageWriterConfig {
        directories: directories.iter().map(|directory| root.join(directory)).collect(),
        bytes_max: 1000,
        actor: Metrics::new().actor("image_writer"),
        log: discard_log(),
    }
}

fn harness(directories: &[&str]) -> Harness {
    let root = tempfile::tempdir().unwrap();
    let writer = ImageWriter::new(config(root.path(), directories)).unwrap();
    Harness { root, to_writer: Mailbox::new(writer.start(), 4) }
}

impl Harness {
    async fn store(&self, claim: Claim, pieces: Vec<Piece>) -> Result<ImageStored, ImageRefused> {
        let (sender, receiver) = mpsc::channel(2);
        let sending = actix_rt::spawn(async move {
            for piece in pieces {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        let image = StoreImage { file_name: NAME.to_owned(), claim, pieces: receiver };
        let answer = self.to_writer.ask(image).await.unwrap();
        sending.await.unwrap();
        answer
    }

    /// Every file under the root, with its size.
    fn files(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for directory in fs::read_dir(self.root.path()).unwrap() {
            let directory = directory.unwrap().path();
            if !directory.is_dir() {
                continue;
            }
            for file in fs::read_dir(&directory).unwrap() {
                let file = file.unwrap();
                let path = file.path().strip_prefix(self.root.path()).unwrap().to_string_lossy().into_owned();
                found.push((path, file.metadata().unwrap().len()));
            }
        }
        found.sort();
        found
    }
}

fn cut(body: &[u8], at: usize) -> Vec<Piece> {
    body.chunks(at).map(|piece| Piece::Bytes(Bytes::copy_from_slice(piece))).collect()
}

fn whole(body: &[u8], at: usize) -> Vec<Piece> {
    let mut pieces = cut(body, at);
    pieces.push(Piece::End);
    pieces
}

#[actix_rt::test]
async fn one_download_several_files() {
    let harness = harness(&["a", "b/c"]);
    let stored = harness.store(Claim::Nothing, whole(PNG, 3)).await.unwrap();
    let path = |directory| harness.root.path().join(directory).join(NAME).to_string_lossy().into_owned();
    assert_eq!(stored.paths, [path("a"), path("b/c")]);
    assert_eq!(stored.bytes, PNG.len() as u64);
    let digest = hex::encode(openssl::sha::sha256(PNG));
    assert_eq!(stored.sha256, digest);
    for path in &stored.paths {
        assert_eq!(fs::read(path).unwrap(), PNG);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[actix_rt::test]
async fn no_file_of_what_is_no_whole_image() {
    let harness = harness(&["a"]);
    let check = async |claim, pieces, expect| {
        assert_eq!(harness.store(claim, pieces).await, Err(expect));
        assert!(harness.files().is_empty(), "{:?}", harness.files());
    };
    check(Claim::Nothing, whole(b"<!doctype html>", 4), ImageRefused::NotAnImage).await;
    check(Claim::Nothing, whole(&PNG[..5], 4), ImageRefused::NotAnImage).await;
    check(Claim::Nothing, whole(b"", 4), ImageRefused::NotAnImage).await;
    check(Claim::of_content_type(Some("image/jpeg")), whole(PNG, 4), ImageRefused::NotAnImage).await;
    check(Claim::Nothing, cut(PNG, 4), ImageRefused::Cut).await;
    check(Claim::Nothing, cut(&PNG[..4], 4), ImageRefused::Cut).await;
    let mut large = PNG.to_vec();
    large.resize(1001, 0);
    check(Claim::Nothing, whole(&large, 100), ImageRefused::TooLarge { bytes_max: 1000 }).await;
    large.pop();
    assert!(harness.store(Claim::Nothing, whole(&large, 100)).await.is_ok());
}

#[actix_rt::test]
async fn one_target_fails_and_the_others_go_on() {
    let harness = harness(&["a", "b"]);
    fs::remove_dir(harness.root.path().join("b")).unwrap();
    fs::write(harness.root.path().join("b"), "a file in the directory's place").unwrap();
    let stored = harness.store(Claim::Nothing, whole(PNG, 100)).await.unwrap();
    assert_eq!(stored.paths.len(), 1);
    fs::remove_dir_all(harness.root.path().join("a")).unwrap();
    // A directory that is gone is made again.
    assert!(harness.store(Claim::Nothing, whole(PNG, 100)).await.is_ok());
    fs::remove_dir_all(harness.root.path().join("a")).unwrap();
    fs::write(harness.root.path().join("a"), "").unwrap();
    let refused = harness.store(Claim::Nothing, whole(PNG, 100)).await.unwrap_err();
    assert!(matches!(refused, ImageRefused::Write(_)), "{refused}");
}

#[actix_rt::test]
async fn the_same_image_again_is_the_same_file() {
    let harness = harness(&["a"]);
    harness.store(Claim::Nothing, whole(PNG, 100)).await.unwrap();
    let mut longer = PNG.to_vec();
    longer.push(b'!');
    harness.store(Claim::Nothing, whole(&longer, 100)).await.unwrap();
    assert_eq!(harness.files(), [(format!("a/{NAME}"), longer.len() as u64)]);
}

#[actix_rt::test]
async fn what_a_crash_left_is_removed_at_start() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a");
    fs::create_dir(&directory).unwrap();
    for name in [".butler-sos-1-2.tmp", "mine.tmp", "x.png", ".butler-sos-notes"] {
        fs::write(directory.join(name), "x").unwrap();
    }
    ImageWriter::new(config(root.path(), &["a"])).unwrap();
    let mut left: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".butler-sos-notes", "mine.tmp", "x.png"]);
    fs::write(root.path().join("file"), "").unwrap();
    assert!(ImageWriter::new(config(root.path(), &["file"])).is_err());
}
