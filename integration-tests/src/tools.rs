//! What tests use that others wrote and `scripts/install test` puts beside what cargo builds: `<target>/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with what `readers/requirements.txt` names.
pub fn python() -> PathBuf {
    existing(tools().join("python/bin/python"))
}

/// Packages of `browser/package.json`.
pub fn node_modules() -> PathBuf {
    existing(tools().join("node/node_modules"))
}

/// A file of this package.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a command that succeeds prints.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let detail = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {detail}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `<target>/<profile>`: what cargo built together with this program.
pub fn built() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let directory = own.parent().expect("a program is in a directory");
    // Tests are in <target>/<profile>/deps.
    let is_test = directory.file_name().is_some_and(|name| name == "deps");
    let built = if is_test { directory.parent() } else { Some(directory) };
    built.expect("cargo's directory").to_owned()
}

fn tools() -> PathBuf {
    built().parent().expect("cargo's directory").join("tools")
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is not there; `scripts/install test` makes it", path.display());
    path
}
