//! The highest part number per day that a destination has used for a file.
//!
//! Loaders take files away, so a directory does not show which numbers were used. The commit note contains
//! them: a number is noted before its file exists and is never used again, also after restarts and crashes.
//! Several days are kept, because the clock may be set back across midnight.

use serde::{Deserialize, Serialize};

/// Days to remember. The least recently used one is dropped first.
const DAYS_MAX: usize = 8;

/// The form in a note: `[["20261121",3]]`, the most recently used day last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartNumbers(Vec<(String, u64)>);

impl PartNumbers {
    /// The number for the next file of a day, above those of existing files.
    pub fn next(&self, day: &str, highest_there: u64) -> u64 {
        let given = self.0.iter().find(|(known, _)| known == day).map_or(0, |(_, part)| *part);
        given.max(highest_there).saturating_add(1)
    }

    /// Adds a used number.
    pub fn with(mut self, day: &str, part: u64) -> Self {
        let given = self.0.iter().position(|(known, _)| known == day).map_or(0, |at| self.0.remove(at).1);
        self.0.push((day.to_owned(), given.max(part)));
        if self.0.len() > DAYS_MAX {
            self.0.remove(0);
        }
        self
    }

    /// Adds the number in a file name: `…20261121_part3.csv`.
    pub fn with_name(self, name: &str) -> Self {
        let read = || {
            let (before, after) = name.rsplit_once("_part")?;
            let day = before.rsplit('_').next()?;
            let is_day = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
            let part = after.split('.').next()?.parse().ok()?;
            is_day.then_some((day, part))
        };
        match read() {
            Some((day, part)) => self.with(day, part),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_reused() {
        let numbers = PartNumbers::default();
        assert_eq!((numbers.next("20261121", 0), numbers.next("20261121", 4)), (1, 5));
        let numbers = numbers.with("20261121", 5);
        assert_eq!((numbers.next("20261121", 0), numbers.next("20261121", 9)), (6, 10));
        let numbers = numbers.with("20261122", 1).with("20261121", 2);
        assert_eq!((numbers.next("20261121", 0), numbers.next("20261122", 0)), (6, 2));
        let numbers = (0..20).fold(numbers, |numbers, n| numbers.with(&format!("202701{n:02}"), 1));
        assert_eq!(numbers.0.len(), DAYS_MAX);
    }

    #[test]
    fn reads_the_number_from_a_file_name() {
        let check = |name: &str, next: u64| {
            assert_eq!(PartNumbers::default().with_name(name).next("20261121", 0), next, "{name}");
        };
        check("user-events_20261121_part3.csv", 4);
        check("20261121_part12.parquet", 13);
        check("20261120_part12.parquet", 1);
        for other in ["", "part", "_part3.csv", "a_part3.csv", "20261121_part.csv", "20261121_partx.csv"] {
            check(other, 1);
        }
    }
}
