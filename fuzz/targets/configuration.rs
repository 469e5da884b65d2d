//! Any file is a configuration or a list of mistakes, and comments change neither.

use std::io;
use std::path::Path;

use butler_sos::cli::Settings;
use butler_sos::config::{Environment, load_from};

/// A machine with one file, and one secret in a variable.
struct Machine<'a>(&'a [u8]);

const SECRET: &str = "Qx7-hidden-Zz9";

impl Environment for Machine<'_> {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "SECRET").then(|| SECRET.to_owned())
    }

    fn file(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        if path == Path::new("fuzz.yaml") {
            Ok(self.0.to_owned())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path == Path::new("fuzz.yaml")
    }
}

/// What became of a file, without its places.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The settings.
    Loaded(String),
    /// Paths and words of the mistakes.
    Refused(Vec<(String, String)>),
}

pub fn run(bytes: &[u8]) {
    let outcome = outcome(bytes);
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| is_plain(text)) {
        for seed in 0..3 {
            let commented = with_comments(text, bytes.len() + seed);
            assert_eq!(outcome, self::outcome(commented.as_bytes()), "{commented}");
        }
    }
}

fn outcome(bytes: &[u8]) -> Outcome {
    let settings = Settings {
        config_files: vec!["fuzz.yaml".into()],
        set: vec![("Pipeline.operations.token".to_owned(), "${SECRET}".to_owned())],
        ..Settings::default()
    };
    match load_from(&settings, &Machine(bytes)) {
        Ok(loaded) => {
            let settings = format!("{loaded:?}");
            assert!(!loaded.print().contains(SECRET) && !settings.contains(SECRET));
            Outcome::Loaded(settings)
        }
        Err(refused) => {
            let reported = refused.to_string();
            assert!(!reported.is_empty() && !reported.contains(SECRET));
            let mistakes = refused.mistakes.into_iter();
            Outcome::Refused(
                mistakes.map(|mistake| (mistake.path, without_places(&mistake.detail))).collect(),
            )
        }
    }
}

/// The parser's words end with a place.
fn without_places(detail: &str) -> String {
    detail.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Whether a comment may stand before any line: every line is blank, a comment, or an entry that ends on it. Nothing
/// that goes on over several lines, such as text after `|` or in quotes.
fn is_plain(text: &str) -> bool {
    let mut last_value_at = None;
    text.lines().all(|line| {
        let bare = line.trim_start_matches(' ');
        let indent = line.len() - bare.len();
        if bare.trim().is_empty() || bare.starts_with('#') || line == "---" {
            return true;
        }
        // A line that stands deeper than a value could be its second line.
        if !bare.is_ascii() || last_value_at.is_some_and(|at| indent > at) {
            return false;
        }
        let (at, entry) = match bare.strip_prefix("- ") {
            Some(entry) => (indent + 2, entry),
            None => (indent, bare),
        };
        let is_item = at > indent;
        let (key, value) = match entry.split_once(':') {
            Some((key, value)) => (key, value),
            None if is_item => ("item", entry),
            None => return false,
        };
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let value = value.split(" #").next().unwrap_or_default();
        let is_value = value.is_empty() || value.starts_with(' ') || !entry.contains(':');
        last_value_at = (!value.trim().is_empty()).then_some(at);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ./_,-$<>():".contains(&byte);
        let is_one_value = !value.contains(": ") && !value.trim_end().ends_with(':');
        is_key
            && is_value
            && is_one_value
            && value.bytes().all(plain)
            && !value.trim_start().starts_with(['>', '-', ','])
    })
}

/// The text with lines of comment between its own, how many and how far to the right depends on `seed`.
fn with_comments(text: &str, seed: usize) -> String {
    const MOST_AT_ONCE: usize = 40;
    let mut out = String::new();
    let mut state = seed;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for line in text.lines().chain([""]) {
        if next(4) == 0 {
            for _ in 0..next(MOST_AT_ONCE) {
                out.push_str(&" ".repeat(next(12)));
                out.push_str(["#\n", "# c\n", "# - a: 'b' [c] {d\n", "#: \"\n"][next(4)]);
            }
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_are_files_that_comments_are_added_to() {
        let seeds = crate::seeds::of("configuration");
        let plain =
            seeds.iter().filter_map(|seed| std::str::from_utf8(seed).ok()).filter(|text| is_plain(text));
        assert!(plain.count() >= 2);
        assert!(with_comments("a: 1\n", 7).len() > 6 || with_comments("a: 1\n", 8).len() > 6);
        for text in ["a: |\n  b: c\n", "a: b\n  - c: d\n", "a: 'b\nc: d'\n", "a: {\nb: c}\n"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
