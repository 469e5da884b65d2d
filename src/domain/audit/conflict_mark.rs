//! The mark of an event that came with the ids of an earlier one, and a body of its own. The record has it
//! ([`super::record`]), and every destination makes something of the event that stands beside the first:
//!
//! | | |
//! |---|---|
//! | files | `_conflict-` and the first 16 hex digits of its own body's SHA-256 before the extension |
//! | InfluxDB | a point 1 to 999 999 ns later, by the same hash |
//! | `conflictOf` | the first half of the first body's SHA-256, in hex: a field, a member, or in the column `tags` |

use super::body_hash::BodyHash;
use crate::file_name;

/// That an event came with the ids of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The body that came first.
    pub of: BodyHash,
    /// The event's own.
    pub own: BodyHash,
}

/// A point of a conflict lies in the millisecond of the first one.
const OFFSET_NS_MAX: u64 = 999_999;

impl Conflict {
    /// What stands in a file's name before its extension.
    pub fn suffix(&self) -> String {
        format!("{}{:016x}", file_name::CONFLICT, self.own.first_half())
    }

    /// How much later its point is.
    pub fn offset_ns(&self) -> i64 {
        // Far below an i64's bounds.
        (1 + self.own.first_half() % OFFSET_NS_MAX) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_stands_beside_the_first() {
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
