//! The table: what is wanted, what was measured, whether it suffices.

use std::path::Path;

use anyhow::Context;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub target: String,
    pub measured: String,
    /// `None`: told for comparison.
    pub is_met: Option<bool>,
}

impl Row {
    pub fn new(
        what: impl Into<String>,
        target: impl Into<String>,
        measured: impl Into<String>,
        is_met: bool,
    ) -> Self {
        let (what, target, measured) = (what.into(), target.into(), measured.into());
        Self { what, target, measured, is_met: Some(is_met) }
    }

    /// A figure without a target.
    pub fn reported(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), target: String::new(), measured: measured.into(), is_met: None }
    }

    fn verdict(&self) -> &'static str {
        match self.is_met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        }
    }
}

/// The middle one; the lower of two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// `123456.7` as `123 457`.
pub fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub fn mega(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | target | measured | verdict |\n|---|---|---|---|\n");
    for row in rows {
        text += &format!("| {} | {} | {} | {} |\n", row.what, row.target, row.measured, row.verdict());
    }
    text
}

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Puts `measured` where the page has its measured part.
pub fn write(page: &Path, measured: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no measured part")?;
    let (_, after) = rest.split_once(END).context("the page's measured part has no end")?;
    std::fs::write(page, format!("{before}{BEGIN}{measured}{END}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([2.0, 1.0]), 1.0);
        assert_eq!(median([]), 0.0);
        assert_eq!(whole(1_234_567.4), "1 234 567");
        assert_eq!(whole(12.0), "12");
        assert_eq!(mega(31_900_000.0), "32 MB");
    }

    #[test]
    fn only_the_measured_part_is_replaced() {
        let page = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(page.path(), format!("a\n{BEGIN}old\n{END}b\n")).unwrap();
        write(page.path(), "new\n").unwrap();
        assert_eq!(std::fs::read_to_string(page.path()).unwrap(), format!("a\n{BEGIN}new\n{END}b\n"));
    }
}
