//! The mark that each event of the load carries: its number and when it was sent.
//!
//! It stands in the field `host`, which every destination gets near the beginning of its line:
//! `n000000000042t1795169472345000`, a number of 12 digits and Unix microseconds of 16.

use std::time::{SystemTime, UNIX_EPOCH};

use butler_sos_domain::sample::{self, Layout};

/// Characters of a mark.
const MARK_BYTES: usize = 1 + NUMBER_DIGITS + 1 + TIME_DIGITS;
const NUMBER_DIGITS: usize = 12;
const TIME_DIGITS: usize = 16;

/// Different sample events that are sent in turn.
const TEMPLATES: u64 = 4_096;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub number: u64,
    pub sent_us: u64,
}

/// Sample datagrams with room for a mark.
pub struct Templates(Vec<Template>);

struct Template {
    bytes: Vec<u8>,
    mark_at: usize,
}

impl Templates {
    pub fn new() -> Self {
        Self((0..TEMPLATES).map(Template::new).collect())
    }

    /// Writes event `number` over what is in `out`.
    pub fn write(&self, mark: Mark, out: &mut Vec<u8>) {
        let at = usize::try_from(mark.number).unwrap_or_default() % self.0.len();
        let template = &self.0[at];
        out.clear();
        out.extend_from_slice(&template.bytes);
        mark.write(&mut out[template.mark_at..template.mark_at + MARK_BYTES]);
    }
}

impl Template {
    fn new(n: u64) -> Self {
        let datagram = sample::datagram(n, Layout::Eight);
        // `type;host;…`: the host gives way to the mark.
        let mut fields = datagram.splitn(3, ';');
        let mut next = || fields.next().unwrap_or_default();
        let (kind, _host, rest) = (next(), next(), next());
        let mark_at = kind.len() + 1;
        let bytes = format!("{kind};{};{rest}", "0".repeat(MARK_BYTES)).into_bytes();
        Self { bytes, mark_at }
    }
}

impl Mark {
    fn write(self, out: &mut [u8]) {
        let (number, time) = out.split_at_mut(1 + NUMBER_DIGITS);
        number[0] = b'n';
        digits(self.number, &mut number[1..]);
        time[0] = b't';
        digits(self.sent_us, &mut time[1..]);
    }

    /// Reads the mark of a line of InfluxDB's line protocol: behind its first `host=`, quoted or not.
    pub fn of_line(line: &[u8]) -> Option<Self> {
        const KEY: &[u8] = b"host=";
        // It is the first tag or field there is.
        let head = &line[..line.len().min(64)];
        let at = head.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let value = line.get(at..)?;
        let value = value.strip_prefix(b"\"").unwrap_or(value).get(..MARK_BYTES)?;
        let (number, time) = value.split_at(1 + NUMBER_DIGITS);
        Some(Self {
            number: number_of(number.strip_prefix(b"n")?)?,
            sent_us: number_of(time.strip_prefix(b"t")?)?,
        })
    }
}

fn digits(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn number_of(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Unix microseconds.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_in_the_lines_of_server_and_floor() {
        let mark = Mark { number: 42, sent_us: 1_795_169_472_345_000 };
        let mut datagram = Vec::new();
        Templates::new().write(mark, &mut datagram);
        let text = String::from_utf8(datagram).unwrap();
        let host = text.split(';').nth(1).unwrap();
        assert_eq!(host, "n000000000042t1795169472345000");
        let found = |line: String| Mark::of_line(line.as_bytes());
        assert_eq!(found(format!("user_events,host={host},event_action=x userId=\"a\" 1")), Some(mark));
        assert_eq!(found(format!("user_events host=\"{host}\",command=\"x\" 1")), Some(mark));
        assert_eq!(found("user_events,host=sample-1 userId=\"a\" 1".to_owned()), None);
        assert_eq!(found("audit_event userId=\"a\" 1".to_owned()), None);
        assert_eq!(found(String::new()), None);
    }
}
