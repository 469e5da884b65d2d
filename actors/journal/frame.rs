//! One frame, which is the data of one append. The byte table is at the head of the journal module.

use bytes::Bytes;

pub const MAGIC: [u8; 4] = *b"BSJF";
pub const FORMAT: u8 = 1;
pub const HEADER_BYTES: usize = 48;
/// The length before each record in a body.
pub const LENGTH_BYTES: usize = 4;
/// Bounds the memory of a reader for one frame.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: u64,
    /// Unix nanoseconds.
    pub appended_at_ns: u64,
    pub records: u32,
    pub body_bytes: u32,
    pub body_crc: u32,
}

/// Why bytes are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("not the beginning of a frame of this journal")]
    Header,
    #[error("a frame of format version {0}, which this version cannot read")]
    Format(u8),
    #[error("the body of a frame does not match its header")]
    Body,
}

impl Header {
    /// The offset after the last record.
    pub fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.records)
    }

    pub fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    pub fn encode(&self, store_id: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = FORMAT;
        bytes[8..16].copy_from_slice(&store_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.appended_at_ns.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.records.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`. Does not check the body.
    ///
    /// # Errors
    /// `Header` when the bytes are not a header of this store, `Format` when they have a later format.
    pub fn decode(bytes: &[u8], store_id: u64) -> Result<Header, FrameError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(FrameError::Header)?;
        if bytes[0..4] != MAGIC
            || u64_at(bytes, 8) != store_id
            || u32_at(bytes, 44) != crc32fast::hash(&bytes[..44])
        {
            return Err(FrameError::Header);
        }
        if bytes[4] != FORMAT {
            return Err(FrameError::Format(bytes[4]));
        }
        let header = Header {
            base_offset: u64_at(bytes, 16),
            appended_at_ns: u64_at(bytes, 24),
            records: u32_at(bytes, 32),
            body_bytes: u32_at(bytes, 36),
            body_crc: u32_at(bytes, 40),
        };
        let possible = header.records > 0
            && header.body_bytes as usize <= BODY_BYTES_MAX
            && header.records as usize <= header.body_bytes as usize / LENGTH_BYTES
            && header.base_offset.checked_add(u64::from(header.records)).is_some();
        if possible { Ok(header) } else { Err(FrameError::Header) }
    }

    /// Checks that `body` belongs to this header, and that the lengths of its records add up.
    ///
    /// # Errors
    /// `Body` when the check fails.
    pub fn check_body(&self, body: &[u8]) -> Result<(), FrameError> {
        if body.len() != self.body_bytes as usize || crc32fast::hash(body) != self.body_crc {
            return Err(FrameError::Body);
        }
        let mut rest = body;
        for _ in 0..self.records {
            let (length, after) = rest.split_first_chunk().ok_or(FrameError::Body)?;
            rest = after.get(u32::from_le_bytes(*length) as usize..).ok_or(FrameError::Body)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(FrameError::Body) }
    }
}

/// The store id of a frame at the start of `bytes`, of any store.
pub fn store_id_of(bytes: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    match Header::decode(bytes, id) {
        Ok(_) | Err(FrameError::Format(_)) => Some(id),
        Err(_) => None,
    }
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// A frame in memory with a checked body. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frame {
    pub header: Header,
    /// Header and body.
    pub bytes: Bytes,
    /// The size of the allocation behind `bytes`.
    pub memory_bytes: usize,
}

impl Frame {
    /// Checks the body and copies the frame.
    ///
    /// # Errors
    /// `Body` when the body does not belong to the header.
    pub fn copy_checked(header: Header, bytes: &[u8]) -> Result<Frame, FrameError> {
        header.check_body(bytes.get(HEADER_BYTES..).unwrap_or_default())?;
        Ok(Frame { header, bytes: Bytes::copy_from_slice(bytes), memory_bytes: bytes.len() })
    }

    pub fn contains(&self, offset: u64) -> bool {
        (self.header.base_offset..self.header.end_offset()).contains(&offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(body: &[u8], records: u32) -> Header {
        Header {
            base_offset: 7,
            appended_at_ns: 1_700_000_000_000_000_000,
            records,
            body_bytes: body.len() as u32,
            body_crc: crc32fast::hash(body),
        }
    }

    #[test]
    fn a_frame_has_the_layout_of_the_byte_table() {
        let body = [2, 0, 0, 0, b'h', b'i'];
        let bytes = header(&body, 1).encode(0x1122_3344_5566_7788);
        let expect = [
            b"BSJF\x01\0\0\0".as_slice(),
            &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
            &7u64.to_le_bytes(),
            &1_700_000_000_000_000_000u64.to_le_bytes(),
            &[1, 0, 0, 0, 6, 0, 0, 0],
            &crc32fast::hash(&body).to_le_bytes(),
        ]
        .concat();
        assert_eq!(bytes[..44], expect);
        assert_eq!(bytes[44..], crc32fast::hash(&expect).to_le_bytes());
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let body = [2, 0, 0, 0, b'h', b'i', 0, 0, 0, 0];
        let header = header(&body, 2);
        let bytes = header.encode(5);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, 5), Err(FrameError::Header), "bit {bit}");
        }
        for bit in 0..body.len() * 8 {
            let mut flipped = body;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header.check_body(&flipped), Err(FrameError::Body), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused_even_with_a_good_checksum() {
        for (body, records) in [
            (vec![3, 0, 0, 0, 1, 2], 1),
            (vec![1, 0, 0, 0, 1, 2], 1),
            (vec![0, 0, 0, 0], 2),
            (vec![255, 255, 255, 255], 1),
        ] {
            assert_eq!(header(&body, records).check_body(&body), Err(FrameError::Body), "{body:?}");
        }
    }

    #[test]
    fn another_store_and_another_format_are_distinguished() {
        let mut bytes = header(&[0; 4], 1).encode(5);
        assert_eq!(Header::decode(&bytes, 6), Err(FrameError::Header));
        assert_eq!(store_id_of(&bytes), Some(5));
        bytes[4] = 2;
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes, 5), Err(FrameError::Format(2)));
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), records: u32) {
            let _ = Header::decode(&bytes, 0);
            let mut good = header(&bytes, records);
            good.records = records;
            let _ = good.check_body(&bytes);
        }
    }
}
