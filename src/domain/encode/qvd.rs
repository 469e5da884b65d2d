//! Audit events as a QVD file, the table format that Qlik Sense loads fastest.
//!
//! The format is not published; this is what readers and Qlik's own files agree on.
//!
//! ```text
//! file    = header, symbols, index
//! header  = XML <QvdTableHeader> in UTF-8, then CR LF NUL
//! symbols = for each field, one after the other, its distinct values:
//!             1, i32 little endian                            a whole number
//!             2, f64 little endian                            a number
//!             4, UTF-8, NUL                                   text
//!             (5 and 6, a number with its own text, are not written here)
//! index   = for each row a record of RecordByteSize bytes. Read as one little-endian integer, a field's
//!           part are the BitWidth bits from BitOffset up (bit 0 is the lowest). That part plus
//!           Bias is the place of the row's value among the field's symbols; negative is null.
//! ```
//!
//! The header tells for the table: RecordByteSize, NoOfRecords, and Offset and Length of the index, counted
//! in bytes from behind the header's NUL; for each field: BitOffset, BitWidth, Bias, NoOfSymbols, and Offset
//! and Length of its symbols, counted likewise. A field with nulls has Bias -2 and its parts are the place
//! plus 2, with 0 for null; a field without has Bias 0. A field whose part is the same in every row has
//! BitWidth 0.
//!
//! Since symbols carry their type, `"007"` stays text and 7 a number. A whole number that fits i32 is
//! written as one, any other number as f64. `visible` is Qlik's truth: -1 and 0. A NUL inside text would
//! end it, so it becomes U+FFFD. `Comment` says which journal records the file holds.
//! Contract: `destinations.md`, "Parquet and QVD".

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::io::{self, Write};

use super::audit_columns::{COLUMNS, Cell, Row, StaticTag, tags_json};
use super::covered::Covered;
use crate::audit::AuditEvent;
use crate::audit::time::plain_moment;

pub const TABLE_NAME: &str = "audit_event";

const HEADER_END: &[u8] = b"</QvdTableHeader>\r\n\0";
const COMMENT: (&str, &str) = ("<Comment>", "</Comment>");

/// Added to a place among the symbols so that 0 is free for null.
const NULL_BIAS: u32 = 2;

/// Writes one file with a row for each of `events` into `out`. `created_ms` is the time now.
pub fn write_file<W: Write>(
    mut out: W,
    events: &[AuditEvent<'_>],
    tags: &[StaticTag],
    covered: Option<&Covered>,
    created_ms: i64,
) -> io::Result<()> {
    let tags = tags_json(tags);
    let mut fields: Vec<Field> = Vec::with_capacity(COLUMNS.len());
    let (mut bit_offset, mut symbols_length) = (0, 0);
    for column in &COLUMNS {
        let cells = events.iter().map(|event| (column.cell)(Row { event, tags: tags.as_deref() }));
        let field = Field::collect(column.name, cells, bit_offset, symbols_length);
        bit_offset += field.bit_width;
        symbols_length += field.symbols.len();
        fields.push(field);
    }
    let table = Table {
        fields,
        rows: events.len(),
        // A record of no bytes would leave readers nothing to count rows by.
        record_bytes: bit_offset.div_ceil(8).max(1) as usize,
        symbols_length,
        comment: covered.map(Covered::to_string).unwrap_or_default(),
        created: plain_moment(created_ms),
    };
    out.write_all(table.header().as_bytes())?;
    for field in &table.fields {
        out.write_all(&field.symbols)?;
    }
    let mut record = vec![0; table.record_bytes];
    for row in 0..table.rows {
        record.fill(0);
        for field in &table.fields {
            put_bits(&mut record, field.bit_offset, field.bit_width, field.parts[row]);
        }
        out.write_all(&record)?;
    }
    out.flush()
}

/// Which journal records a file holds, told from its first bytes (64 KiB hold every header); none when they
/// do not say.
pub fn read_covered(head: &[u8]) -> Option<Covered> {
    let end = head.windows(HEADER_END.len()).position(|bytes| bytes == HEADER_END)?;
    let header = std::str::from_utf8(&head[..end]).ok()?;
    // The table's own comment is the last one; each field has one too.
    let (_, comment) = header.rsplit_once(COMMENT.0)?;
    comment.split_once(COMMENT.1)?.0.parse().ok()
}

struct Table {
    fields: Vec<Field>,
    rows: usize,
    record_bytes: usize,
    symbols_length: usize,
    comment: String,
    created: String,
}

/// A column: its distinct values and which of them each row has.
struct Field {
    name: &'static str,
    symbols: Vec<u8>,
    symbol_count: u32,
    kinds: Kinds,
    has_null: bool,
    /// For each row what the index holds.
    parts: Vec<u32>,
    bit_offset: u32,
    bit_width: u32,
    symbols_offset: usize,
}

/// What kinds of symbols a field has, for its tags.
#[derive(Default)]
struct Kinds {
    text: bool,
    not_ascii: bool,
    double: bool,
    integer: bool,
}

/// A distinct value. Doubles are told apart by their bits.
#[derive(PartialEq, Eq, Hash)]
enum Symbol {
    Integer(i32),
    Double(u64),
    Text(String),
}

impl Symbol {
    fn of(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Null => None,
            Cell::Boolean(value) => Some(Self::Integer(if value { -1 } else { 0 })),
            Cell::Integer(number) => {
                Some(i32::try_from(number).map_or(Self::Double((number as f64).to_bits()), Self::Integer))
            }
            Cell::Float(number) => {
                let whole = number as i32;
                let is_whole = f64::from(whole).to_bits() == number.to_bits();
                Some(if is_whole { Self::Integer(whole) } else { Self::Double(number.to_bits()) })
            }
            Cell::Text(text) if text.contains('\0') => Some(Self::Text(text.replace('\0', "\u{fffd}"))),
            Cell::Text(text) => Some(Self::Text(text.into_owned())),
        }
    }

    fn write(&self, out: &mut Vec<u8>, kinds: &mut Kinds) {
        match self {
            Self::Integer(number) => {
                kinds.integer = true;
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Double(bits) => {
                kinds.double = true;
                out.push(2);
                out.extend_from_slice(&bits.to_le_bytes());
            }
            Self::Text(text) => {
                kinds.text = true;
                kinds.not_ascii |= !text.is_ascii();
                out.push(4);
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
        }
    }
}

impl Field {
    fn collect<'r>(
        name: &'static str,
        cells: impl Iterator<Item = Cell<'r>>,
        bit_offset: u32,
        symbols_offset: usize,
    ) -> Self {
        let (mut symbols, mut kinds) = (Vec::new(), Kinds::default());
        let mut places: HashMap<Symbol, u32> = HashMap::new();
        let places_of_rows: Vec<Option<u32>> = cells
            .map(|cell| {
                let symbol = Symbol::of(cell)?;
                let next = places.len() as u32;
                Some(*places.entry(symbol).or_insert_with_key(|symbol| {
                    symbol.write(&mut symbols, &mut kinds);
                    next
                }))
            })
            .collect();
        let has_null = places_of_rows.contains(&None);
        let bias = if has_null { NULL_BIAS } else { 0 };
        let parts: Vec<u32> =
            places_of_rows.iter().map(|place| place.map_or(0, |place| place + bias)).collect();
        let greatest = parts.iter().max().copied().unwrap_or(0);
        Self {
            name,
            symbols,
            symbol_count: places.len() as u32,
            kinds,
            has_null,
            parts,
            bit_offset,
            bit_width: u32::BITS - greatest.leading_zeros(),
            symbols_offset,
        }
    }

    fn tags(&self) -> &'static [&'static str] {
        match self.kinds {
            Kinds { text: true, not_ascii: false, .. } => &["$ascii", "$text"],
            Kinds { text: true, .. } => &["$text"],
            Kinds { double: true, .. } => &["$numeric"],
            Kinds { integer: true, .. } => &["$numeric", "$integer"],
            _ => &[],
        }
    }

    fn write_header(&self, out: &mut String) {
        let bias = if self.has_null { -i64::from(NULL_BIAS) } else { 0 };
        let _ = write!(
            out,
            "    <QvdFieldHeader>\r\n      <FieldName>{}</FieldName>\r\n      <BitOffset>{}</BitOffset>\r\n      \
             <BitWidth>{}</BitWidth>\r\n      <Bias>{bias}</Bias>\r\n      <NumberFormat>\r\n        \
             <Type>UNKNOWN</Type>\r\n        <nDec>0</nDec>\r\n        <UseThou>0</UseThou>\r\n        \
             <Fmt></Fmt>\r\n        <Dec></Dec>\r\n        <Thou></Thou>\r\n      </NumberFormat>\r\n      \
             <NoOfSymbols>{}</NoOfSymbols>\r\n      <Offset>{}</Offset>\r\n      <Length>{}</Length>\r\n      \
             <Comment></Comment>\r\n      <Tags>\r\n",
            self.name,
            self.bit_offset,
            self.bit_width,
            self.symbol_count,
            self.symbols_offset,
            self.symbols.len(),
        );
        for tag in self.tags() {
            let _ = write!(out, "        <String>{tag}</String>\r\n");
        }
        out.push_str("      </Tags>\r\n    </QvdFieldHeader>\r\n");
    }
}

impl Table {
    /// The header with its end. All names are this program's own, so nothing needs escaping but the comment,
    /// which holds a stream's name and two numbers.
    fn header(&self) -> String {
        let mut out = String::with_capacity(24 * 1024);
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\r\n<QvdTableHeader>\r\n  \
             <QvBuildNo>50699</QvBuildNo>\r\n  <CreatorDoc></CreatorDoc>\r\n  \
             <CreateUtcTime>{}</CreateUtcTime>\r\n  <SourceCreateUtcTime></SourceCreateUtcTime>\r\n  \
             <SourceFileUtcTime></SourceFileUtcTime>\r\n  <SourceFileSize>-1</SourceFileSize>\r\n  \
             <StaleUtcTime></StaleUtcTime>\r\n  <TableName>{TABLE_NAME}</TableName>\r\n  <Fields>\r\n",
            self.created,
        );
        for field in &self.fields {
            field.write_header(&mut out);
        }
        let _ = write!(
            out,
            "  </Fields>\r\n  <Compression></Compression>\r\n  <RecordByteSize>{}</RecordByteSize>\r\n  \
             <NoOfRecords>{}</NoOfRecords>\r\n  <Offset>{}</Offset>\r\n  <Length>{}</Length>\r\n  \
             <Lineage></Lineage>\r\n  {}{}{}\r\n",
            self.record_bytes,
            self.rows,
            self.symbols_length,
            self.record_bytes * self.rows,
            COMMENT.0,
            self.comment.replace('&', "&amp;").replace('<', "&lt;"),
            COMMENT.1,
        );
        out.push_str("</QvdTableHeader>\r\n\0");
        out
    }
}

/// Puts the lowest `width` bits of `part` into `record` from bit `offset` up.
fn put_bits(record: &mut [u8], offset: u32, width: u32, part: u32) {
    let mut rest = u64::from(part) << (offset % 8);
    let mut bits = u64::from(width) + u64::from(offset % 8);
    for byte in record.iter_mut().skip((offset / 8) as usize) {
        *byte |= (rest & 0xff) as u8;
        rest >>= 8;
        bits = bits.saturating_sub(8);
        if bits == 0 {
            break;
        }
    }
}
