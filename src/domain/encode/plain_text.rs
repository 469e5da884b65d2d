//! How much of a text is copied as it is: all before the first byte that a format writes otherwise.
//!
//! Eight bytes are compared at once, in one number. A comparison flags bytes by their highest bit. It may flag
//! too many, but only behind one that it flags rightly, so the first flag is right.

const BYTES: usize = 8;
/// 1 in each byte, and the highest bit of each.
const ONES: u64 = u64::MAX / 0xff;
const FLAGS: u64 = ONES << 7;

/// Eight bytes of a text, the first one lowest; zeros behind its end.
#[derive(Clone, Copy)]
pub(super) struct Word(u64);

// === impl Word ===

impl Word {
    /// Flags bytes below `limit`, which is at most 0x80.
    pub(super) fn below(self, limit: u8) -> u64 {
        self.0.wrapping_sub(ONES * u64::from(limit)) & !self.0 & FLAGS
    }

    /// Flags bytes that are `byte`.
    pub(super) fn equal(self, byte: u8) -> u64 {
        Self(self.0 ^ (ONES * u64::from(byte))).below(1)
    }

    /// The last bytes of `text`, fewer than eight.
    fn last(text: &[u8], count: usize) -> Self {
        if let Some(last) = text.last_chunk::<BYTES>() {
            return Self(u64::from_le_bytes(*last) >> (8 * (BYTES - count)));
        }
        Self(text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    }
}

/// The length of the beginning of `text` in which no byte is special.
pub(super) fn plain_length(text: &[u8], special: impl Fn(Word) -> u64) -> usize {
    let (words, rest) = text.as_chunks::<BYTES>();
    for (at, word) in words.iter().enumerate() {
        let flags = special(Word(u64::from_le_bytes(*word)));
        if flags != 0 {
            return at * BYTES + first(flags);
        }
    }
    if rest.is_empty() {
        return text.len();
    }
    let plain = first(special(Word::last(text, rest.len())));
    words.len() * BYTES + plain.min(rest.len())
}

/// Which byte is the first one flagged.
fn first(flags: u64) -> usize {
    flags.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(text in proptest::collection::vec(any::<u8>(), 0..40), plain in "a{0,40}") {
            for text in [[plain.as_bytes(), &text].concat(), text] {
                let expect = text.iter().position(|byte| *byte == b'"' || *byte < 0x20).unwrap_or(text.len());
                prop_assert_eq!(plain_length(&text, |word| word.equal(b'"') | word.below(0x20)), expect);
                let expect = text.iter().position(|byte| *byte == 0x21).unwrap_or(text.len());
                prop_assert_eq!(plain_length(&text, |word| word.equal(0x21)), expect);
            }
        }
    }
}
