//! The path of a setting: the keys that lead to it, as messages and flags name it.

/// The path of `key` in the section at `path`; the top has none.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
