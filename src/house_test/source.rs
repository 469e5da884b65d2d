//! The workspace's own Rust files, parsed.

use std::fs;
use std::path::Path;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The crates by the name that others use, each with its folder. The innermost folder counts.
const CRATES: [(&str, &str); 9] = [
    ("butler_sos", "src"),
    ("butler_sos_domain", "src/domain"),
    ("butler_sos_settings", "src/settings"),
    ("butler_sos_actors", "actors"),
    ("butler_sos_integration_tests", "integration-tests/src"),
    ("it", "integration-tests/tests/it"),
    ("butler_sos_load", "benches/load/src"),
    ("butler_sos_paths", "benches/paths"),
    ("butler_sos_fuzz", "fuzz"),
];

pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// The crate's name, then its modules.
    pub module: Vec<String>,
    pub code: syn::File,
}

/// Every file of the crates above.
pub fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = CRATES
        .iter()
        .flat_map(|(_, folder)| files(&Path::new(ROOT).join(folder)))
        .map(|path| path.strip_prefix(ROOT).expect("below the root").trim_start_matches('/').to_owned())
        .map(|path| {
            let text = fs::read_to_string(Path::new(ROOT).join(&path)).expect("UTF-8");
            let code = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            Source { module: module(&path), path, code }
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources.dedup_by(|a, b| a.path == b.path);
    assert!(sources.len() > 300, "{} files", sources.len());
    sources
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    found
}

fn module(path: &str) -> Vec<String> {
    let (name, rest) = CRATES
        .iter()
        .filter_map(|(name, folder)| Some((*name, path.strip_prefix(folder)?.strip_prefix('/')?)))
        .min_by_key(|(_, rest)| rest.len())
        .expect("the folder of a crate");
    let modules = rest.trim_end_matches(".rs").split('/').filter(|part| !matches!(*part, "mod" | "lib"));
    [name].into_iter().chain(modules).map(str::to_owned).collect()
}
