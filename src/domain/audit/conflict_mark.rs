//! The mark of an event with the ids of an earlier one and a different body. The record contains it
//! ([`super::record`]), and every destination stores the event beside the first one:
//!
//! | | |
//! |---|---|
//! | files | `_conflict-` and the first 16 hex digits of its own body's SHA-256 before the extension |
//! | InfluxDB | a point 1 to 999 999 ns later, derived from the same hash |
//! | `conflictOf` | the first half of the first body's SHA-256, in hex: a field, a member, or in the column `tags` |

use super::body_hash::BodyHash;
use crate::file_name;

/// An event has the ids of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The hash of the first body.
    pub of: BodyHash,
    /// The hash of the event's own body.
    pub own: BodyHash,
}

/// The point of a conflict is in the same millisecond as the first one.
const OFFSET_NS_MAX: u64 = 999_999;

impl Conflict {
    /// The suffix of a file's name before its extension.
    pub fn suffix(&self) -> String {
        format!("{}{:016x}", file_name::CONFLICT, self.own.first_half())
    }

    /// The offset of its point.
    pub fn offset_ns(&self) -> i64 {
        // The cast fits: the value is below 10^6.
        (1 + self.own.first_half() % OFFSET_NS_MAX) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_stored_beside_the_first() {
        let conflict = Conflict { of: BodyHash::of(b"{}"), own: BodyHash::of(b"[]") };
        assert_eq!(conflict.of.to_string(), "44136fa355b3678a1146ad16f7e8649e");
        assert_eq!(conflict.suffix(), "_conflict-4f53cda18c2baa0c");
        assert_eq!(conflict.offset_ns(), 1 + (0x4f53_cda1_8c2b_aa0c_u64 % 999_999) as i64);
        let own = |byte| Conflict { own: BodyHash([byte; 16]), ..conflict };
        for byte in 0..=255 {
            assert!((1..=999_999).contains(&own(byte).offset_ns()));
        }
        assert_eq!(own(0).suffix(), "_conflict-0000000000000000");
    }
}
