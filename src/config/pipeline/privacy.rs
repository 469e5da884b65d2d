//! `Pipeline.privacy`: what is not stored of people.

use butler_sos_settings::{secret::Secret, section};

section! {
    /// Privacy.
    pub struct Privacy {
        /// Pseudonyms: user directories and ids are replaced by keyed hashes before events are stored.
        "pseudonymise" => pseudonymise: Pseudonymise = group::<Pseudonymise>();
    }
}

section! {
    /// Pseudonyms: user directories and ids are replaced by keyed hashes before events are stored.
    pub struct Pseudonymise {
        /// Whether they are replaced: in user events, audit events, files, log and dashboard. `docs/security.md` lists
        /// the exceptions.
        "enable" => enable: bool = no();
        /// The key, at least 16 random characters. Another key yields other pseudonyms. With the key, pseudonyms can be
        /// attributed to users.
        "key" => key: Secret = secret();
    }
}
