//! What destinations wrote into directories, read back by readers that are not ours where there are any.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::tools::{output, python, source};

/// Column to value.
pub type Row = Map<String, Value>;

/// Files below `directory` with this extension, by name. What has a temporary name is not one.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

/// All rows of all Parquet files of a directory, as pyarrow reads them.
pub fn parquet_rows(directory: &Path) -> Vec<Row> {
    read("readers/read_parquet.py", &files(directory, "parquet"))
}

/// All rows of all QVD files of a directory, as pyqvd and qvdrs agree on them.
pub fn qvd_rows(directory: &Path) -> Vec<Row> {
    read("readers/read_qvd.py", &files(directory, "qvd"))
}

/// All rows of all CSV files of a directory. Every value is text; RFC 4180 has nothing else.
pub fn csv_rows(directory: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in files(directory, "csv") {
        let mut reader = csv::Reader::from_path(&path).expect("a readable file");
        for row in reader.deserialize::<BTreeMap<String, String>>() {
            let row = row.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            rows.push(row.into_iter().map(|(column, value)| (column, Value::String(value))).collect());
        }
    }
    rows
}

/// Name to content of all JSON files of a directory.
pub fn json_files(directory: &Path) -> BTreeMap<String, String> {
    let named = files(directory, "json").into_iter().map(|path| {
        let content = std::fs::read_to_string(&path).expect("a readable file");
        (path.file_name().expect("a file").to_string_lossy().into_owned(), content)
    });
    named.collect()
}

fn read(script: &str, files: &[PathBuf]) -> Vec<Row> {
    if files.is_empty() {
        return Vec::new();
    }
    let rows = output(Command::new(python()).arg(source(script)).args(files));
    rows.lines().map(|row| serde_json::from_str(row).expect("a row")).collect()
}
