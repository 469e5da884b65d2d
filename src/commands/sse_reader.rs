//! Reads server-sent events, in the form that [`crate::operations::sse`] describes, from bytes as they come.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub name: String,
    pub data: String,
}

/// A line, and an event's data, may be as long as this.
const BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an event is larger than {BYTES_MAX} bytes")]
pub struct TooLarge;

/// What came of an event that is not whole yet.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Vec<u8>,
    event: SseEvent,
}

impl SseReader {
    /// Takes bytes; the events that they complete.
    ///
    /// # Errors
    /// An event that is too large. The stream cannot be read on.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLarge> {
        let mut whole = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let line = std::mem::take(&mut self.line);
            whole.extend(self.end_of_line(&line)?);
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > BYTES_MAX { Err(TooLarge) } else { Ok(whole) }
    }

    fn end_of_line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, TooLarge> {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok((!event.data.is_empty()).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.event.data.len() + value.len() > BYTES_MAX {
                    return Err(TooLarge);
                }
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field that has no meaning here.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": still here\n\nid: user-events:7\nevent: event\ndata: {\"a\":\"ö\"}\n\ndata:1\r\ndata: 2\r\nretry: 5\r\n\r\nevent: half";

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        let event = |id: Option<&str>, name: &str, data: &str| SseEvent {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let expect = [event(Some("user-events:7"), "event", "{\"a\":\"ö\"}"), event(None, "", "1\n2")];
        for cut in 0..=TEXT.len() {
            let mut reader = SseReader::default();
            let mut got = reader.take(&TEXT.as_bytes()[..cut]).expect("small");
            got.extend(reader.take(&TEXT.as_bytes()[cut..]).expect("small"));
            assert_eq!(got, expect, "cut at {cut}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut reader = SseReader::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let ended = (0..10).map(|_| reader.take(&chunk)).find(Result::is_err);
        assert_eq!(ended, Some(Err(TooLarge)));
        let mut reader = SseReader::default();
        let line = [b"data: ".as_slice(), &chunk, b"\n"].concat();
        assert!((0..10).any(|_| reader.take(&line).is_err()));
    }
}
