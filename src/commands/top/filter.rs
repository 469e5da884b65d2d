//! Which events are shown: `user:anna app:sales type:session` and words that stand anywhere in the line.
//!
//! What has a name is looked for by the server, as `tail` has it done; free words are looked for in what is shown.

/// A filter, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub user: String,
    pub app: String,
    pub event_type: String,
    /// In lower case.
    pub terms: Vec<String>,
}

impl Filter {
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut filter = Self::default();
        for word in text.split_whitespace() {
            match word.split_once(':') {
                Some(("user", value)) => value.clone_into(&mut filter.user),
                Some(("app", value)) => value.clone_into(&mut filter.app),
                Some(("type", value)) => value.clone_into(&mut filter.event_type),
                _ => filter.terms.push(word.to_lowercase()),
            }
        }
        filter
    }

    /// Whether a line holds all free words.
    #[must_use]
    pub fn takes(&self, line: &str) -> bool {
        let line = line.to_lowercase();
        self.terms.iter().all(|word| line.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_for_the_server() {
        let filter = Filter::read("  user:LAB\\anna Start type:session app:  SALES:x ");
        let expect = Filter {
            user: "LAB\\anna".into(),
            app: String::new(),
            event_type: "session".into(),
            terms: vec!["start".into(), "sales:x".into()],
        };
        assert_eq!(filter, expect);
        assert!(filter.takes("START session Sales:X"));
        assert!(!filter.takes("start session"));
        assert!(Filter::read("").takes("anything"));
    }
}
