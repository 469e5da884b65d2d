//! Builds JSON objects.

use std::fmt::Write as _;

use crate::json_string::write_string;

/// Appends a number: `1234`, `1234.5`, `1e300`. JSON has no infinite numbers and no NaN; they become `null`.
pub fn write_number(number: f64, out: &mut String) {
    let magnitude = number.abs();
    let _ = if !number.is_finite() {
        write!(out, "null")
    } else if magnitude >= 1e21 || (magnitude > 0.0 && magnitude < 1e-6) {
        write!(out, "{number:e}")
    } else {
        write!(out, "{number}")
    };
}

/// Builds a JSON object, member by member in the order of the calls.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Starts with the members of an existing object; none for an empty string.
    pub(crate) fn of_members(object: &str) -> Self {
        Self(object.strip_suffix('}').filter(|members| *members != "{").unwrap_or_default().to_owned())
    }

    /// Adds a member whose value is JSON.
    pub(crate) fn json(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.push_str(value);
        self
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_string(value, &mut self.0);
        self
    }

    /// Adds JSON, or `null`.
    pub(crate) fn json_or_null(self, name: &str, value: Option<&str>) -> Self {
        self.json(name, value.unwrap_or("null"))
    }

    /// Adds text, or `null`.
    pub(crate) fn text_or_null(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.json(name, "null"),
        }
    }

    /// The length so far. The last member's value ends here.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn done(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        write_string(name, &mut self.0);
        self.0.push(':');
    }
}
