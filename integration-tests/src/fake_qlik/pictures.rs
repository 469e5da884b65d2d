//! The images that the fake serves: real ones, small, of every kind that is stored.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use actix_web::web::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;

/// Everything of a PNG file before its first chunk.
pub const PNG_SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// The smallest GIF.
pub const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// A lossless WebP of one pixel.
pub const WEBP: &[u8] = b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0/\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";

/// The head and the end of a JPEG: enough for everyone who looks at signatures.
pub const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9";

/// Different pictures.
const DESIGNS: u32 = 16;

/// A chart-like PNG, one of sixteen by `seed`, padded to at least `bytes_min` with a private chunk. Drawn once.
pub fn png(seed: &str, bytes_min: usize) -> Bytes {
    static DRAWN: Mutex<BTreeMap<(u32, usize), Bytes>> = Mutex::new(BTreeMap::new());
    let design = hash(seed) % DESIGNS;
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    if drawn.len() > 1000 {
        drawn.clear();
    }
    drawn.entry((design, bytes_min)).or_insert_with(|| draw(design, bytes_min).into()).clone()
}

fn hash(seed: &str) -> u32 {
    seed.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn draw(design: u32, bytes_min: usize) -> Vec<u8> {
    let [red, green, blue, shape] = hash(&format!("design {design}")).to_be_bytes();
    let mut pixels = Vec::with_capacity((HEIGHT * (1 + WIDTH * 3)) as usize);
    for y in 0..HEIGHT {
        pixels.push(0);
        for x in 0..WIDTH {
            // Twelve bars of different height on a light ground.
            let bar = x * 12 / WIDTH;
            let height = (u32::from(shape) + bar * 53 + bar * bar * 29) % (HEIGHT - 30) + 10;
            let is_bar = x % (WIDTH / 12) > 5 && HEIGHT - y < height;
            pixels.extend(if is_bar {
                [red / 2 + 30, green / 2 + 30, blue / 2 + 30]
            } else {
                [246, 247, 249]
            });
        }
    }
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&pixels).expect("memory");
    let packed = packer.finish().expect("memory");

    let mut header = Vec::new();
    header.extend(WIDTH.to_be_bytes());
    header.extend(HEIGHT.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = PNG_SIGNATURE.to_vec();
    chunk(&mut file, b"IHDR", &header);
    let missing = bytes_min.saturating_sub(file.len() + packed.len() + 3 * 12);
    if missing > 0 {
        chunk(&mut file, b"paDd", &vec![0x55; missing]);
    }
    chunk(&mut file, b"IDAT", &packed);
    chunk(&mut file, b"IEND", b"");
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let sum = crc32fast::hash(&file[start..]);
    file.extend(sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_of_the_wanted_size() {
        let small = png("/tempcontent/a.png", 0);
        assert!(small.starts_with(PNG_SIGNATURE) && small.ends_with(b"IEND\xae\x42\x60\x82"));
        assert!(small.len() < 20_000, "{}", small.len());
        assert_eq!(png("/tempcontent/a.png", 100_000).len(), 100_000);
        assert_ne!(small, png("/tempcontent/c.png", 0));
    }
}
