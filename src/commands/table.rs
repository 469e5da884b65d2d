//! Tables for a terminal: columns as wide as their widest cell, two blanks between them, nothing after the last.

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A head and rows of cells, which are one line each.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    #[must_use]
    pub fn new(head: &[(&'static str, Side)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// A row that is shorter than the head ends early; what is beyond the head is not shown.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All lines, each with its end.
    #[must_use]
    pub fn lines(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width_of = |column: usize| {
            all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width_of).collect();
        let mut out = String::new();
        for row in all {
            let mut line = String::new();
            for ((cell, (_, side)), width) in row.iter().zip(&self.head).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
                match side {
                    Side::Left => line.extend([cell.as_str(), &blanks]),
                    Side::Right => line.extend([blanks.as_str(), cell]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("name", Side::Left), ("n", Side::Right), ("words", Side::Left)]);
        assert!(table.is_empty());
        table.push(vec!["Göran".into(), "5".into(), "no".into()]);
        table.push(vec!["b".into(), "1 234".into()]);
        table.push(vec!["c".into(), "1".into(), String::new()]);
        assert_eq!(table.lines(), "name       n  words\nGöran      5  no\nb      1 234\nc          1\n");
    }
}
