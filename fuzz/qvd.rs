//! A strict reader of QVD files, by the description at the head of the domain's `encode::qvd`: the test of the
//! domain that compares rows has one of its own; this one counts rows and gives one column.

/// A column's values, by row; `None` for null. Panics when the file is not as it should be.
pub fn column(file: &[u8], name: &str) -> Vec<Option<String>> {
    let end = b"</QvdTableHeader>\r\n\0";
    let at = file.windows(end.len()).position(|bytes| bytes == end).expect("a header") + end.len();
    let header = std::str::from_utf8(&file[..at]).expect("UTF-8");
    let body = &file[at..];
    let (fields, table) = header.split_once("</Fields>").expect("fields");
    let index = &body[number(table, "Offset") as usize..];
    assert_eq!(number(table, "Offset") + number(table, "Length"), body.len() as i64);
    let record_bytes = number(table, "RecordByteSize") as usize;
    let records = number(table, "NoOfRecords") as usize;
    assert_eq!(index.len(), record_bytes * records);
    let mut next_offset = 0;
    let mut wanted = None;
    for field in fields.split("<QvdFieldHeader>").skip(1) {
        let (offset, length) = (number(field, "Offset") as usize, number(field, "Length") as usize);
        assert_eq!(offset, next_offset);
        next_offset += length;
        let symbols = symbols(&body[offset..offset + length]);
        assert_eq!(symbols.len() as i64, number(field, "NoOfSymbols"));
        let places: Vec<i64> = index.chunks(record_bytes).map(|record| place(field, record)).collect();
        assert!(places.iter().all(|place| *place < symbols.len() as i64));
        if field.contains(&format!("<FieldName>{name}</FieldName>")) {
            let value = |place: i64| usize::try_from(place).ok().map(|place| symbols[place].clone());
            wanted = Some(places.into_iter().map(value).collect());
        }
    }
    wanted.expect("the column")
}

fn number(text: &str, name: &str) -> i64 {
    let (_, after) = text.rsplit_once(&format!("<{name}>")).expect("an element");
    after.split_once('<').and_then(|(number, _)| number.parse().ok()).expect("a number")
}

/// The place of a record's value among the field's symbols; negative is null.
fn place(field: &str, record: &[u8]) -> i64 {
    let (bit, width) = (number(field, "BitOffset") as usize, number(field, "BitWidth") as usize);
    let bits = (bit..bit + width).map(|bit| u64::from(record[bit / 8] >> (bit % 8) & 1));
    let part = bits.enumerate().fold(0, |part, (place, bit)| part | bit << place);
    part as i64 + number(field, "Bias")
}

fn symbols(mut bytes: &[u8]) -> Vec<String> {
    let mut symbols = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (symbol, rest) = match kind {
            1 => {
                let (number, rest) = rest.split_first_chunk().expect("four bytes");
                (i32::from_le_bytes(*number).to_string(), rest)
            }
            2 => {
                let (number, rest) = rest.split_first_chunk().expect("eight bytes");
                (f64::from_le_bytes(*number).to_string(), rest)
            }
            4 => {
                let end = rest.iter().position(|byte| *byte == 0).expect("a NUL");
                (std::str::from_utf8(&rest[..end]).expect("UTF-8").to_owned(), &rest[end + 1..])
            }
            other => panic!("symbol of kind {other}"),
        };
        symbols.push(symbol);
        bytes = rest;
    }
    symbols
}
