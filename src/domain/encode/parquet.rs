//! Audit events as a Parquet file: the columns of [`COLUMNS`], zstd, one file from one call.
//!
//! `timestamp` is a required INT64 (ms since 1970), every other column is optional: text is UTF-8,
//! `durationMs` DOUBLE, `dataStateId` INT64, `visible` BOOLEAN. The key-value metadata says under
//! [`COVERED_KEY`] which journal records the file holds. Contract: `destinations.md`, "Parquet and QVD".

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::audit_columns::{COLUMNS, Cell, Column, ColumnType, Row, StaticTag, tags_json};
use super::covered::Covered;
use crate::audit::AuditEvent;

/// Where the metadata says which journal records a file holds.
pub const COVERED_KEY: &str = "butler-sos.journal";

/// Rows of one row group: what a reader must hold of a column at once.
const ROW_GROUP_ROWS_MAX: usize = 8192;

/// The file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ParquetFileError {
    #[error("writing a Parquet file")]
    Write(#[source] ParquetError),
    #[error("reading a Parquet file")]
    Read(#[source] ParquetError),
}

/// Writes one file with a row for each of `events` into `out`.
pub fn write_file<W: Write + Send>(
    out: W,
    events: &[AuditEvent<'_>],
    tags: &[StaticTag],
    covered: Option<&Covered>,
) -> Result<(), ParquetFileError> {
    write(out, events, tags, covered).map_err(ParquetFileError::Write)
}

/// Which journal records a file holds; none when the file does not say.
pub fn read_covered<R: ChunkReader + 'static>(file: R) -> Result<Option<Covered>, ParquetFileError> {
    let reader = SerializedFileReader::new(file).map_err(ParquetFileError::Read)?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let entry = metadata.into_iter().flatten().find(|entry| entry.key == COVERED_KEY);
    Ok(entry.and_then(|entry| entry.value.as_deref()?.parse().ok()))
}

fn write<W: Write + Send>(
    out: W,
    events: &[AuditEvent<'_>],
    tags: &[StaticTag],
    covered: Option<&Covered>,
) -> Result<(), ParquetError> {
    let tags = tags_json(tags);
    let properties =
        WriterProperties::builder()
            .set_created_by(concat!("butler-sos version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(covered.map(|covered| {
                vec![KeyValue { key: COVERED_KEY.to_owned(), value: Some(covered.to_string()) }]
            }))
            .build();
    let mut file =
        SerializedFileWriter::new(out, Arc::new(parse_message_type(&schema())?), Arc::new(properties))?;
    for events in events.chunks(ROW_GROUP_ROWS_MAX) {
        let mut group = file.next_row_group()?;
        for column in &COLUMNS {
            let Some(mut writer) = group.next_column()? else { break };
            let cells = events.iter().map(|event| (column.cell)(Row { event, tags: tags.as_deref() }));
            write_column(&mut writer, column, cells)?;
            writer.close()?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(())
}

fn schema() -> String {
    let columns = COLUMNS.iter().map(|column| {
        let repetition = if is_required(column) { "REQUIRED" } else { "OPTIONAL" };
        let name = column.name;
        match column.column_type {
            ColumnType::Text => format!("{repetition} BYTE_ARRAY {name} (STRING); "),
            ColumnType::Integer => format!("{repetition} INT64 {name}; "),
            ColumnType::Float => format!("{repetition} DOUBLE {name}; "),
            ColumnType::Boolean => format!("{repetition} BOOLEAN {name}; "),
        }
    });
    format!("message audit_event {{ {}}}", columns.collect::<String>())
}

fn is_required(column: &Column) -> bool {
    column.name == "timestamp"
}

fn write_column<'r>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    cells: impl Iterator<Item = Cell<'r>>,
) -> Result<(), ParquetError> {
    match column.column_type {
        ColumnType::Text => put::<ByteArrayType>(writer, column, cells, |cell| match cell {
            Cell::Text(text) => Some(ByteArray::from(text.into_owned().into_bytes())),
            _ => None,
        }),
        ColumnType::Integer => put::<Int64Type>(writer, column, cells, |cell| match cell {
            Cell::Integer(number) => Some(number),
            _ => None,
        }),
        ColumnType::Float => put::<DoubleType>(writer, column, cells, |cell| match cell {
            Cell::Float(number) => Some(number),
            _ => None,
        }),
        ColumnType::Boolean => put::<BoolType>(writer, column, cells, |cell| match cell {
            Cell::Boolean(value) => Some(value),
            _ => None,
        }),
    }
}

/// Writes a column's values, and for an optional one which rows have a value (definition level 1).
fn put<'r, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    cells: impl Iterator<Item = Cell<'r>>,
    value: impl Fn(Cell<'r>) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let levels = (!is_required(column)).then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&values, levels, None)?;
    Ok(())
}
