//! The results of a check: one line for each result, and one exit code for all.

use std::fmt;

use crate::exit;

/// The verdict of one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// The server starts, but an administrator should look.
    Warning,
    /// The configuration is wrong.
    Mistake,
    /// The configuration may be right, but a resource is missing.
    Unavailable,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Mistake | Self::Unavailable => "error",
        }
    }
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub verdict: Verdict,
    /// The setting, such as `Pipeline.operations.port`.
    pub path: String,
    /// The message, without secrets.
    pub detail: String,
}

impl CheckResult {
    pub fn new(verdict: Verdict, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict, path: path.into(), detail: detail.into() }
    }
}

/// All results, each with the source of its setting. Prints one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    verdict: Verdict,
    text: String,
}

impl Report {
    /// Adds results. `origin` returns the source of the setting at a path.
    pub fn add(&mut self, results: impl IntoIterator<Item = CheckResult>, origin: &dyn Fn(&str) -> String) {
        for result in results {
            let text = format!("{}: {}: {}", origin(&result.path), result.path, result.detail);
            self.lines.push(Line { verdict: result.verdict, text });
        }
    }

    /// Adds a line that already names its source.
    pub fn add_line(&mut self, verdict: Verdict, text: impl Into<String>) {
        self.lines.push(Line { verdict, text: text.into() });
    }

    /// A mistake in the configuration takes precedence over a missing resource. Warnings do not count.
    pub fn exit_code(&self) -> u8 {
        if self.count(Verdict::Mistake) > 0 {
            exit::CONFIG
        } else if self.count(Verdict::Unavailable) > 0 {
            exit::UNAVAILABLE
        } else {
            exit::OK
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{:<8} {}", line.verdict.word(), OneLine(&line.text))?;
        }
        let counted = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            count => format!("{count} {noun}s"),
        };
        let errors = self.count(Verdict::Mistake) + self.count(Verdict::Unavailable);
        let warnings = self.count(Verdict::Warning);
        writeln!(f, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))
    }
}

/// Escapes control characters in foreign text, so that it stays on one line and cannot control a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                character if character.is_control() => write!(f, "{}", character.escape_default())?,
                character => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Fine, Mistake, Unavailable, Warning};

    fn report(verdicts: &[Verdict]) -> Report {
        let mut report = Report::default();
        let results = verdicts.iter().map(|verdict| CheckResult::new(*verdict, "a.b", "so it is"));
        report.add(results, &|_| "a.yaml:1:2".to_owned());
        report
    }

    #[test]
    fn exit_codes() {
        for (verdicts, expect) in [
            (&[][..], exit::OK),
            (&[Fine, Warning], exit::OK),
            (&[Fine, Unavailable, Warning], exit::UNAVAILABLE),
            (&[Unavailable, Mistake, Fine], exit::CONFIG),
        ] {
            assert_eq!(report(verdicts).exit_code(), expect, "{verdicts:?}");
        }
    }

    #[test]
    fn one_line_for_each_result() {
        assert_eq!(report(&[]).to_string(), "0 errors, 0 warnings\n");
        let mut report = report(&[Fine, Warning, Mistake, Unavailable]);
        report.add_line(Warning, "\x1b[2Jtwo\nlines, ü");
        let expect = "\
ok       a.yaml:1:2: a.b: so it is
warning  a.yaml:1:2: a.b: so it is
error    a.yaml:1:2: a.b: so it is
error    a.yaml:1:2: a.b: so it is
warning  \\u{1b}[2Jtwo\\nlines, ü
2 errors, 2 warnings
";
        assert_eq!(report.to_string(), expect);
    }
}
