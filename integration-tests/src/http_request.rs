//! A request of HTTP/1.1, read to its end by those who do not care what it says.

use std::io::{BufRead, Read, copy, sink};

/// Reads one request; its first line, or `None` where the connection ends or speaks no HTTP.
pub fn read(from: &mut impl BufRead) -> Option<String> {
    let mut line = || {
        let mut line = String::new();
        from.by_ref().read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_ascii_lowercase())
    };
    let first = line()?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        match name {
            "content-length" => length = value.trim().parse::<u64>().ok()?,
            "transfer-encoding" => is_chunked = value.contains("chunked"),
            _ => {}
        }
    }
    if !is_chunked {
        return (copy(&mut from.take(length), &mut sink()).ok()? == length).then_some(first);
    }
    loop {
        let mut size = String::new();
        from.read_line(&mut size).ok().filter(|read| *read > 0)?;
        let size = u64::from_str_radix(size.trim(), 16).ok()?;
        // With the line's end behind it.
        let whole = size + 2;
        if copy(&mut from.by_ref().take(whole), &mut sink()).ok()? < whole {
            return None;
        }
        if size == 0 {
            return Some(first);
        }
    }
}
