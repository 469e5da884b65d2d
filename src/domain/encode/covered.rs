//! The journal records in a file.
//!
//! A file destination commits its offset after the file has its final name. If the process dies in between,
//! the newest file tells what is already written, so that no record is written twice. The file contains the
//! text form: `audit-events 120 245`. Contract: `delivery.md`.

use std::fmt;
use std::str::FromStr;

/// The records `first` to `last` of `stream`, inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    pub stream: String,
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a range of journal records")]
pub struct NotCovered;

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.stream, self.first, self.last)
    }
}

impl FromStr for Covered {
    type Err = NotCovered;

    fn from_str(text: &str) -> Result<Self, NotCovered> {
        let mut parts = text.split(' ');
        let (Some(stream), Some(first), Some(last), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotCovered);
        };
        let first = first.parse().map_err(|_| NotCovered)?;
        let last = last.parse().map_err(|_| NotCovered)?;
        if stream.is_empty() || last < first {
            return Err(NotCovered);
        }
        Ok(Self { stream: stream.to_owned(), first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        let covered = Covered { stream: "audit-events".into(), first: 120, last: 245 };
        assert_eq!(covered.to_string(), "audit-events 120 245");
        assert_eq!("audit-events 120 245".parse(), Ok(covered));
        for text in ["", "a", "a 1", "a 2 1", "a 1 2 3", "a 1 x", " 1 2"] {
            assert_eq!(text.parse::<Covered>(), Err(NotCovered), "{text:?}");
        }
    }
}
