//! Whatever answers in place of an InfluxDB, with whatever status: only a 204 counts as taken, each line has one fate,
//! and asking again comes to an end.

use std::collections::BTreeSet;
use std::time::Duration;

use butler_sos_actors::sinks::influx::answer::{Reply, Verdict};

/// Lines that an answer may be about.
const LINES: [&str; 5] =
    ["m f=1 1", "m f=", "user_events,a=b c=1 1", "m,host=a\\ b f=\"x,y\",g=2i 1795169472345000000", "m"];

/// Those that mean something, once more than any other.
const STATUSES: [u16; 12] = [200, 204, 302, 400, 401, 404, 413, 422, 429, 500, 503, 999];
/// Words for people are no longer than this, whatever was said.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// The first byte says how many lines were sent, the second with which status they were answered: one of the list,
/// and any number that two bytes can name.
pub fn run(bytes: &[u8]) {
    let (Some(count), Some(status)) = (bytes.first(), bytes.get(1)) else { return };
    let body = String::from_utf8_lossy(&bytes[2..]);
    // Whole bytes are an answer, too: recorded ones have no head.
    let whole = String::from_utf8_lossy(bytes);
    let listed = STATUSES[usize::from(*status) % STATUSES.len()];
    let any = u16::from(*count) << 8 | u16::from(*status);
    for (status, body) in [(listed, &body), (any, &body), (400, &whole), (422, &whole), (500, &whole)] {
        let reply = Reply { status, retry_after: Some(Duration::from_secs(1)), body: body.to_string() };
        assert!(!reply.detail().is_empty());
        let complaint = match reply.verdict() {
            Verdict::Taken => {
                assert_eq!(status, 204, "taken: {body}");
                continue;
            }
            Verdict::DeliveryError(trouble) => {
                assert!(trouble.detail.len() <= WORDS_BYTES_MAX && !trouble.detail.is_empty());
                continue;
            }
            Verdict::TooLarge(detail) => {
                assert!(status == 413 && detail.len() <= WORDS_BYTES_MAX);
                continue;
            }
            Verdict::Refused(complaint) => complaint,
        };
        assert!(status >= 400, "{status} refuses lines");
        assert!(complaint.to_string().len() <= WORDS_BYTES_MAX);
        let lines: Vec<&[u8]> =
            LINES.iter().cycle().take(usize::from(*count % 12)).map(|line| line.as_bytes()).collect();
        let rejected = complaint.about(&lines);
        let mut seen = BTreeSet::new();
        let again = rejected.again.iter().flatten().copied();
        for line in rejected.bad.keys().copied().chain(again) {
            assert!(line < lines.len(), "line {line} of {}", lines.len());
            assert!(seen.insert(line), "line {line} twice");
        }
        assert!(rejected.again.iter().all(|group| !group.is_empty() && group.len() < lines.len()));
    }
}
