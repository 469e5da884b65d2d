//! The parser held against real user agents.

use std::collections::BTreeSet;

use super::browser::BROWSERS;
use super::tests::shown;
use super::{TEXT_BYTES_MAX, UserAgent, parse};

/// A line is `browser|major|system|version`, a tab and the user agent; one that begins with `##` is a heading.
const CORPUS: &str = include_str!("corpus.txt");

/// Fewer would not be worth the name.
const ROWS_MIN: usize = 300;

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with("##"));
    lines.map(|line| line.split_once('\t').unwrap_or_else(|| panic!("no tab in {line}")))
}

#[test]
fn reads_every_user_agent_of_the_corpus() {
    let wrong: Vec<String> = rows()
        .filter_map(|(expect, text)| {
            let got = shown(&parse(text));
            (got != expect).then(|| format!("{got} instead of {expect}: {text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows().count(), wrong.join("\n"));
    assert!(rows().count() >= ROWS_MIN);
}

#[test]
fn every_row_of_the_table_has_a_user_agent() {
    let found: Vec<(String, &str)> = rows()
        .map(|(expect, text)| (text.to_lowercase(), expect.split('|').next().unwrap_or_default()))
        .collect();
    for row in BROWSERS {
        for marker in row.markers {
            let is_covered = found.iter().any(|(text, name)| text.contains(marker) && *name == row.name);
            assert!(is_covered, "no user agent of {} with {marker:?}", row.name);
        }
    }
}

#[test]
fn no_user_agent_stands_twice_in_the_corpus() {
    let mut seen = BTreeSet::new();
    for (_, text) in rows() {
        assert!(seen.insert(text), "{text}");
    }
}

#[test]
fn an_empty_and_a_very_long_user_agent_are_read() {
    assert_eq!(parse(""), UserAgent::default());
    let chrome =
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0";
    let long = format!("{chrome} {}", "x/1 (".repeat(TEXT_BYTES_MAX));
    assert_eq!(shown(&parse(&long)), "Chrome|131|Windows|10");
    assert_eq!(parse(&"a".repeat(1 << 20)), UserAgent::default());
}
