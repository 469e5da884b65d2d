//! What stands in a directory of CSV files, for whoever opens them.

use std::path::Path;

/// The columns, which every file must have alike, and all rows, in the order in which they were written.
pub fn read(directory: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    // …_part2 is before …_part10.
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for file in files {
        let mut reader = csv::ReaderBuilder::new().from_path(&file).expect("a file that opens");
        let header: Vec<String> = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        assert!(columns.is_empty() || columns == header, "{}: other columns: {header:?}", file.display());
        columns = header;
        rows.extend(reader.records().map(|row| row.expect("a row").iter().map(str::to_owned).collect()));
    }
    (columns, rows)
}
