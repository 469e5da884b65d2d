//! The programs of a measurement, and the processors that they run on.

use std::path::PathBuf;

use super::process::Program;

/// Where the programs are and where they run.
pub struct Site {
    /// This program.
    pub tools: PathBuf,
    pub server: PathBuf,
    /// The stand-in for Qlik Sense.
    pub fake_qlik: PathBuf,
    pub server_cpus: String,
    pub load_cpus: String,
    pub scratch: PathBuf,
    /// PATH=VALUE
    pub settings: Vec<String>,
}

impl Site {
    pub fn tool<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Program> {
        Program::start(&self.load_cpus, &self.tools, arguments)
    }
}
