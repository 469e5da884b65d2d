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
    let (columns, rows) = csv_table(directory);
    rows.into_iter().map(|row| named(&columns, row)).collect()
}

/// The columns, which every CSV file of a directory must have alike, and all rows, in the order in which they were
/// written. There is nothing else in the directory.
pub fn csv_table(directory: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut paths = files(directory, "csv");
    let entries = std::fs::read_dir(directory).map_or(0, Iterator::count);
    assert_eq!(entries, paths.len(), "{}: more than CSV files", directory.display());
    paths.sort_by_key(|path| written_as(path));
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for path in paths {
        let (header, records) = csv_file(&path);
        assert!(columns.is_empty() || columns == header, "{}: other columns: {header:?}", path.display());
        columns = header;
        rows.extend(records.map(|row| row.unwrap_or_else(|error| panic!("{}: {error}", path.display()))));
    }
    (columns, rows)
}

/// Day, then part: `…_20261120_part2.csv` is before `…_20261120_part10.csv`, and that before the next day's first.
fn written_as(path: &Path) -> (String, u64) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let part = stem.rsplit_once("_part").and_then(|(day, part)| Some((day.to_owned(), part.parse().ok()?)));
    part.unwrap_or_else(|| panic!("{} is not named as a CSV file", path.display()))
}

/// How many of [`csv_rows`] there are while they are being written. The last one may be on its way.
pub fn csv_rows_so_far(directory: &Path) -> usize {
    files(directory, "csv").iter().map(|path| csv_file(path).1.map_while(Result::ok).count()).sum()
}

type CsvRow = Result<Vec<String>, csv::Error>;

fn csv_file(path: &Path) -> (Vec<String>, impl Iterator<Item = CsvRow>) {
    let texts = |record: csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let mut reader = csv::Reader::from_path(path).expect("a readable file");
    let header = texts(reader.headers().expect("a header").clone());
    (header, reader.into_records().map(move |record| record.map(texts)))
}

fn named(columns: &[String], row: Vec<String>) -> Row {
    columns.iter().cloned().zip(row.into_iter().map(Value::String)).collect()
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
