//! The hash that identifies the body of an audit event.

use std::fmt;

use openssl::sha::Sha256;

/// The first half of the body's SHA-256. Nobody can construct two bodies with the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyHash(pub [u8; 16]);

impl BodyHash {
    pub fn of(body: &[u8]) -> Self {
        // Not the one-call function, which looks up its algorithm in OpenSSL's providers each time.
        let mut hash = Sha256::new();
        hash.update(body);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finish()[..16]);
        Self(half)
    }

    pub(super) fn first_half(self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Display for BodyHash {
    /// In lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
