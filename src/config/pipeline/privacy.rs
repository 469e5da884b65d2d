//! `Pipeline.privacy`: what is not stored of people.

use crate::config::{schema::section, secret::Secret};

section! {
    /// What is not stored of people.
    pub struct Privacy {
        /// Users' directories and ids replaced by keyed hashes, before anything is stored.
        "pseudonymise" => pseudonymise: Pseudonymise = group::<Pseudonymise>();
    }
}

section! {
    /// Users' directories and ids replaced by keyed hashes, before anything is stored.
    pub struct Pseudonymise {
        /// Whether they are: in user events, audit events, files, log and dashboard. `docs/security.md` says what stays.
        "enable" => enable: bool = no();
        /// What makes them, at least 16 characters; as random as it can be. With another key everybody gets another
        /// pseudonym. Whoever has it can find out whose a pseudonym is.
        "key" => key: Secret = secret();
    }
}
