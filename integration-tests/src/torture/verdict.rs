//! What was acknowledged against what each destination holds.

use std::collections::BTreeSet;
use std::fmt;

use super::contents::{Contents, Place};
use super::load::Book;
use crate::numbered::Census;

/// One destination's line.
#[derive(Debug)]
pub struct Line {
    kind: &'static str,
    place: Place,
    /// Acknowledged, or held by another destination.
    due: usize,
    held: usize,
    /// Due and not here.
    lost: Vec<u64>,
    /// Here more than once.
    repeated: Vec<u64>,
    /// Never sent.
    strangers: Vec<u64>,
}

/// The table.
#[derive(Debug)]
pub struct Verdict {
    pub lines: Vec<Line>,
    /// Screenshot events that ended without a picture and without a reason.
    without_picture: Vec<u64>,
    stray_files: usize,
}

impl Verdict {
    /// Everything that is held anywhere must be held everywhere, and of what was acknowledged, all.
    pub fn of(book: &Book, held: &Contents) -> Self {
        let mut all = book.clone();
        all.users.extend(held.users.iter().flat_map(|(_, census)| census.numbers()));
        all.audits.extend(held.audits.iter().flat_map(|(_, census)| census.numbers()));
        Self::of_copy(&all, held)
    }

    /// The same for a server on a copy: what came after the copy may be in some destinations and not in others.
    pub fn of_copy(book: &Book, held: &Contents) -> Self {
        let users = lines("user", &book.users, book.users_sent, &held.users);
        let audits = lines("audit", &book.audits, book.audits_sent, &held.audits);
        Self {
            lines: users.into_iter().chain(audits).collect(),
            without_picture: held.without_picture.iter().copied().collect(),
            stray_files: held.stray_files.len(),
        }
    }

    /// Nothing lost, nothing twice where once is promised.
    pub fn is_clean(&self) -> bool {
        self.lines.iter().all(Line::is_clean) && self.without_picture.is_empty() && self.stray_files == 0
    }

    /// Lost and repeated events, over all destinations; those that promise at least once do not count as repeated.
    pub fn lost_and_doubled(&self) -> (usize, usize) {
        let doubled = |line: &&Line| line.place.once;
        (
            self.lines.iter().map(|line| line.lost.len()).sum(),
            self.lines.iter().filter(doubled).map(|line| line.repeated.len()).sum(),
        )
    }

    /// The line of one destination.
    pub fn line(&self, kind: &str, name: &str) -> &Line {
        let line = self.lines.iter().find(|line| (line.kind, line.place.name) == (kind, name));
        line.unwrap_or_else(|| panic!("no line for {kind} events in {name}"))
    }

    /// For a copy that was made file after file while the server went on: those whose files tell of more than the
    /// copied journal does may begin a file again.
    pub fn is_clean_for_a_copy(&self) -> bool {
        let is_clean = |line: &Line| {
            let may_repeat = matches!(line.place.name, "Parquet" | "QVD");
            line.lost.is_empty() && line.strangers.is_empty() && (may_repeat || line.is_clean())
        };
        self.lines.iter().all(is_clean) && self.without_picture.is_empty()
    }
}

impl Line {
    pub fn lost(&self) -> &[u64] {
        &self.lost
    }

    fn is_clean(&self) -> bool {
        let repeats = self.place.once && !self.repeated.is_empty();
        self.lost.is_empty() && self.strangers.is_empty() && !repeats
    }
}

fn lines(kind: &'static str, due: &BTreeSet<u64>, sent: u64, held: &[(Place, Census)]) -> Vec<Line> {
    let line = |(place, census): &(Place, Census)| {
        let here = census.numbers();
        Line {
            kind,
            place: *place,
            due: due.len(),
            held: here.len(),
            lost: due.difference(&here).copied().collect(),
            repeated: census.repeated(),
            strangers: here.range(sent..).copied().collect(),
        }
    };
    held.iter().map(line).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:6} {:10} {:>9} {:>9} {:>6} {:>15}  promise",
            "events", "at", "due", "held", "lost", "more than once"
        )?;
        for line in &self.lines {
            let Line { kind, place, due, held, lost, repeated, strangers } = line;
            let promise = if place.once { "once" } else { "at least once" };
            let (lost_count, repeated_count) = (lost.len(), repeated.len());
            write!(
                f,
                "{kind:6} {:10} {due:>9} {held:>9} {lost_count:>6} {repeated_count:>15}  {promise}",
                place.name
            )?;
            for (detail, numbers) in [("lost", lost), ("more than once", repeated), ("never sent", strangers)]
            {
                if !numbers.is_empty() && (place.once || detail != "more than once") {
                    write!(f, "; {detail}: {:?}", &numbers[..numbers.len().min(10)])?;
                }
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "screenshots that ended with neither picture nor reason: {}; files that no event speaks of: {}",
            self.without_picture.len(),
            self.stray_files
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: &[(bool, &[u64])], expect: (usize, usize), is_clean: bool) {
        let book = Book { users: (0..3).collect(), users_sent: 5, ..Book::default() };
        let held = Contents {
            users: held
                .iter()
                .map(|(once, numbers)| (Place { name: "x", once: *once }, numbers.iter().copied().collect()))
                .collect(),
            audits: Vec::new(),
            without_picture: BTreeSet::new(),
            stray_files: Vec::new(),
        };
        let verdict = Verdict::of(&book, &held);
        assert_eq!((verdict.lost_and_doubled(), verdict.is_clean()), (expect, is_clean), "{verdict}");
    }

    #[test]
    fn losses_and_doubles_are_seen() {
        check(&[(true, &[0, 1, 2]), (true, &[0, 1, 2])], (0, 0), true);
        check(&[(true, &[0, 2])], (1, 0), false);
        check(&[(true, &[0, 1, 2, 2])], (0, 1), false);
        check(&[(false, &[0, 1, 2, 2])], (0, 0), true);
        // Not acknowledged: it may be there, but then everywhere.
        check(&[(true, &[0, 1, 2, 3]), (true, &[0, 1, 2, 3])], (0, 0), true);
        check(&[(true, &[0, 1, 2, 3]), (true, &[0, 1, 2])], (1, 0), false);
        // Never sent.
        check(&[(true, &[0, 1, 2, 5])], (0, 0), false);
    }
}
