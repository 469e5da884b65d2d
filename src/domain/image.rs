//! Is this answer an image, and of which kind: what its Content-Type claims against its first bytes.
//!
//! | kind | Content-Type | first bytes |
//! |---|---|---|
//! | PNG  | `image/png`, `image/x-png` | `89 50 4E 47 0D 0A 1A 0A` |
//! | JPEG | `image/jpeg`, `image/jpg`, `image/pjpeg` | `FF D8 FF` |
//! | GIF  | `image/gif` | `GIF87a` or `GIF89a` |
//! | WebP | `image/webp` | `RIFF`, four bytes of length, `WEBP` |
//!
//! An answer without a Content-Type may be any of the four; one with another Content-Type is none. A login page
//! with status 200 is not an image, whatever it claims. Rules: contract, screenshots.md, "The file".

use url::Url;

/// The kinds of image that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    Png,
    Jpeg,
    Gif,
    Webp,
}

/// As many first bytes as any signature needs.
pub const SIGNATURE_BYTES: usize = 12;

impl ImageKind {
    /// The kind whose signature `head` begins with. `head` holds the first [`SIGNATURE_BYTES`] of the body, or
    /// the whole of a shorter one.
    pub fn of_signature(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if head.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
            Some(Self::Gif)
        } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else {
            None
        }
    }

    /// The file name's ending, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::Webp => "webp",
        }
    }
}

/// What an answer's Content-Type says about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// One of the kinds that are stored.
    Kind(ImageKind),
    /// No Content-Type: the bytes decide.
    Nothing,
    /// A page: what a proxy answers instead of an image when it wants a login.
    Html,
    /// Anything else.
    Other,
}

impl Claim {
    /// What a Content-Type value claims; parameters and case do not matter.
    pub fn of_content_type(value: Option<&str>) -> Self {
        let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(essence));
        if essence.is_empty() {
            Self::Nothing
        } else if is(&["image/png", "image/x-png"]) {
            Self::Kind(ImageKind::Png)
        } else if is(&["image/jpeg", "image/jpg", "image/pjpeg"]) {
            Self::Kind(ImageKind::Jpeg)
        } else if is(&["image/gif"]) {
            Self::Kind(ImageKind::Gif)
        } else if is(&["image/webp"]) {
            Self::Kind(ImageKind::Webp)
        } else if is(&["text/html", "application/xhtml+xml"]) {
            Self::Html
        } else {
            Self::Other
        }
    }

    /// The kind of the image that begins with `head`, when it is what was claimed.
    pub fn verify(self, head: &[u8]) -> Option<ImageKind> {
        let found = ImageKind::of_signature(head)?;
        match self {
            Self::Kind(claimed) => (claimed == found).then_some(found),
            Self::Nothing => Some(found),
            Self::Html | Self::Other => None,
        }
    }
}

/// Endings that a URL's path may lend to a file: those of images, so that no address decides that a file is
/// called a page or a program.
const PATH_EXTENSIONS: [&str; 11] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "gif", "webp", "bmp", "tif", "tiff", "avif"];

/// The file name's ending: from the Content-Type, else from the screenshot URL's path, else `bin`.
pub fn extension(claim: Claim, url: &Url) -> &'static str {
    if let Claim::Kind(kind) = claim {
        return kind.extension();
    }
    let name = url.path().rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    PATH_EXTENSIONS.iter().find(|known| known.eq_ignore_ascii_case(ending)).copied().unwrap_or("bin")
}

/// Collects the first bytes of a streamed body until the claim can be judged.
#[derive(Debug)]
pub struct Sniffer {
    claim: Claim,
    head: [u8; SIGNATURE_BYTES],
    held: usize,
}

/// What is known of a body so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// Fewer bytes than it takes.
    More,
    /// An image of the kind that was claimed.
    Image(ImageKind),
    /// Something else.
    NotAnImage,
}

impl Sniffer {
    pub fn new(claim: Claim) -> Self {
        Self { claim, head: [0; SIGNATURE_BYTES], held: 0 }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, chunk: &[u8]) -> Sniffed {
        let taken = chunk.len().min(SIGNATURE_BYTES - self.held);
        self.head[self.held..self.held + taken].copy_from_slice(&chunk[..taken]);
        self.held += taken;
        match self.claim.verify(&self.head[..self.held]) {
            Some(kind) => Sniffed::Image(kind),
            None if self.held < SIGNATURE_BYTES => Sniffed::More,
            None => Sniffed::NotAnImage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0";
    const WEBP: &[u8] = b"RIFF\x24\0\0\0WEBPVP8 ";

    #[test]
    fn claim_and_bytes() {
        let check = |content_type: Option<&str>, body: &[u8], expect: Option<ImageKind>| {
            let claim = Claim::of_content_type(content_type);
            assert_eq!(claim.verify(body), expect, "{content_type:?} {body:?}");
        };
        check(Some("image/png"), PNG, Some(ImageKind::Png));
        check(Some("IMAGE/PNG; charset=binary"), PNG, Some(ImageKind::Png));
        check(Some(" image/jpeg "), JPEG, Some(ImageKind::Jpeg));
        check(Some("image/jpg"), JPEG, Some(ImageKind::Jpeg));
        check(Some("image/gif"), GIF, Some(ImageKind::Gif));
        check(Some("image/gif"), b"GIF87a", Some(ImageKind::Gif));
        check(Some("image/webp"), WEBP, Some(ImageKind::Webp));
        check(None, PNG, Some(ImageKind::Png));
        check(Some(""), WEBP, Some(ImageKind::Webp));
        // What lies, what is cut, what is empty.
        check(Some("image/png"), JPEG, None);
        check(Some("image/jpeg"), PNG, None);
        check(Some("image/webp"), b"RIFF\x24\0\0\0WAVEfmt ", None);
        check(Some("image/webp"), b"RIFF\x24\0\0\0WEB", None);
        check(Some("image/png"), &PNG[..7], None);
        check(Some("image/png"), b"", None);
        check(None, b"", None);
        check(Some("image/png"), b"<!doctype html>", None);
        check(Some("image/png"), b"\x1f\x8b\x08\0\0\0\0\0", None);
        // Images that are not stored, and no images.
        check(Some("image/svg+xml"), b"<svg/>", None);
        check(Some("image/bmp"), PNG, None);
        check(Some("application/octet-stream"), PNG, None);
        check(Some("text/html"), PNG, None);
    }

    #[test]
    fn claims() {
        let check = |value, expect| assert_eq!(Claim::of_content_type(value), expect, "{value:?}");
        check(None, Claim::Nothing);
        check(Some(" ; "), Claim::Nothing);
        check(Some("text/html"), Claim::Html);
        check(Some("Text/HTML;charset=utf-8"), Claim::Html);
        check(Some("application/xhtml+xml"), Claim::Html);
        check(Some("text/plain"), Claim::Other);
        check(Some("image/svg+xml"), Claim::Other);
    }

    #[test]
    fn extensions() {
        let check = |content_type: Option<&str>, path: &str, expect: &str| {
            let url = Url::parse(&format!("https://qlik.test{path}")).unwrap();
            assert_eq!(
                extension(Claim::of_content_type(content_type), &url),
                expect,
                "{content_type:?} {path}"
            );
        };
        check(Some("image/png"), "/a", "png");
        check(Some("image/jpeg"), "/a.png", "jpg");
        check(Some("image/webp"), "/a.png", "webp");
        check(Some("image/gif"), "/a.png", "gif");
        check(None, "/tempcontent/a.png?b=noct", "png");
        check(None, "/tempcontent/a.PNG", "png");
        check(None, "/tempcontent/a.jpeg", "jpeg");
        check(None, "/tempcontent/a?b=noct", "bin");
        check(None, "/tempcontent.png/a", "bin");
        check(None, "/a.png/", "bin");
        check(None, "/", "bin");
        check(None, "/a.", "bin");
        check(None, "/a.exe", "bin");
        check(None, "/a.png%00", "bin");
        check(None, "/a.p.n.g", "bin");
    }

    proptest! {
        #[test]
        fn the_same_however_it_is_cut(body in proptest::collection::vec(any::<u8>(), 0..40), image in 0..5usize, cuts in proptest::collection::vec(0usize..5, 0..30)) {
            let mut whole = [b"".as_slice(), PNG, JPEG, GIF, WEBP][image].to_vec();
            whole.extend(body);
            let claim = Claim::Nothing;
            let mut sniffer = Sniffer::new(claim);
            let mut seen = Sniffed::More;
            let mut rest = whole.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                let now = sniffer.push(chunk);
                // Once an image, always an image.
                prop_assert!(!matches!(seen, Sniffed::Image(_)) || now == seen);
                seen = now;
            }
            let head = &whole[..whole.len().min(SIGNATURE_BYTES)];
            match claim.verify(head) {
                Some(kind) => prop_assert_eq!(seen, Sniffed::Image(kind)),
                None => prop_assert!(!matches!(seen, Sniffed::Image(_))),
            }
        }
    }
}
