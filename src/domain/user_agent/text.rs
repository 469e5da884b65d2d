//! Pieces of a user agent's text.

/// What follows the first `key` in `text`.
pub(super) fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.find(key).map(|at| &text[at + key.len()..])
}

/// The digits that `text` begins with; `None` without any.
pub(super) fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// The dotted number that follows the first of `keys` that one follows.
pub(super) fn dotted_after(text: &str, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| dotted(after(text, key)?))
}

/// The dotted number that `text` begins with; `_` counts as a dot. `None` without a digit.
pub(super) fn dotted(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number = text[..end].trim_end_matches(['.', '_']);
    number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.replace('_', "."))
}

/// What woothee says of a part that it does not know.
pub(super) fn is_unknown(text: &str) -> bool {
    text.is_empty() || text.contains("UNKNOWN")
}
