//! Any file is a configuration or a list of mistakes.

use std::io;
use std::path::Path;

use butler_sos::cli::Settings;
use butler_sos::config::{Surroundings, load_from};

/// A machine with one file, and one secret in a variable.
struct Machine<'a>(&'a str);

const SECRET: &str = "Qx7-hidden-Zz9";

impl Surroundings for Machine<'_> {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "SECRET").then(|| SECRET.to_owned())
    }

    fn file(&self, path: &Path, _: u64) -> io::Result<String> {
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

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let settings = Settings {
        config_files: vec!["fuzz.yaml".into()],
        set: vec![("Pipeline.operations.token".to_owned(), "${SECRET}".to_owned())],
        ..Settings::default()
    };
    match load_from(&settings, &Machine(&text)) {
        Ok(loaded) => {
            assert!(!loaded.print().contains(SECRET));
            assert!(!format!("{loaded:?}").contains(SECRET));
        }
        Err(mistakes) => {
            let told = mistakes.to_string();
            assert!(!told.is_empty() && !told.contains(SECRET));
        }
    }
}
