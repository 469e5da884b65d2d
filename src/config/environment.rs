//! The environment and the file system, and the secrets that a setting only refers to: the one place where a
//! configuration looks outside.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use butler_sos_actors::kit::platform;

use super::{
    decode::{self, Decoded},
    masked::quoted,
};

/// Most bytes of a secret's file.
const SECRET_BYTES_MAX: u64 = 64 << 10;
const FILE_PREFIX: &str = "file:";

/// The environment and the file system, as far as a configuration may look at them.
pub trait Environment {
    fn variables(&self) -> Vec<(String, String)>;
    fn variable(&self, name: &str) -> Option<String>;
    /// A file of at most `bytes_max` bytes.
    fn file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;
    fn exists(&self, path: &Path) -> bool;
    /// The permission bits of a file, where the system has them.
    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }
}

/// The real environment and file system.
pub struct Process;

impl Environment for Process {
    fn variables(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        // A name with `=` or NUL in it makes no variable.
        if name.is_empty() || name.contains(['=', '\0']) { None } else { std::env::var(name).ok() }
    }

    fn file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        let mut bytes = Vec::new();
        let read = file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if read as u64 > bytes_max {
            return Err(io::Error::other(format!("it is larger than {bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        platform::mode(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// Whether a secret is looked up elsewhere: `${NAME}` or `file:/path`.
pub fn is_reference(text: &str) -> bool {
    variable_name(text).is_some() || text.starts_with(FILE_PREFIX)
}

fn variable_name(text: &str) -> Option<&str> {
    text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
}

/// Looks a secret up: `${NAME}` is that environment variable, `file:/path` the content of that file without the end
/// of its last line, anything else is the secret itself.
pub fn secret(environment: &dyn Environment, text: &str) -> Result<String, String> {
    if let Some(name) = variable_name(text) {
        return environment
            .variable(name)
            .ok_or_else(|| format!("the environment variable {} is not set", quoted(name)));
    }
    if let Some(path) = text.strip_prefix(FILE_PREFIX) {
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        let shown = quoted(&path.display().to_string());
        let bytes = environment
            .file(path, SECRET_BYTES_MAX)
            .map_err(|error| format!("cannot read the secret file {shown}: {error}"))?;
        let content = match decode::text(&bytes) {
            Ok(Decoded { text, other: None }) => text,
            Ok(_) => return Err(format!("cannot read the secret file {shown}: it is not UTF-8")),
            Err(error) => return Err(format!("cannot read the secret file {shown}: {error}")),
        };
        return Ok(content.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(text.to_owned())
}
