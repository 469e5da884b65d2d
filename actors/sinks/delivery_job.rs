//! A batch in delivery to an endpoint that takes many items in one request and may refuse some of them.
//!
//! Records become items once. Groups of items are sent in order; a refused group is split into smaller groups
//! until each bad item is alone. After an error the job continues where it stopped, so that accepted items
//! are not sent again. Pure: it sends nothing itself.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::journal::batch::{Batch, Record};
use crate::kit::guard::guard;
use crate::sinks::sink::{Delivered, Refused};

/// The limits of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobLimits {
    /// A longer single item is sent alone.
    pub bytes_max: usize,
    pub items_max: usize,
}

/// The result of a refusal for a group of items. Items in neither part were accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RejectedItems {
    /// Refused items, by their index in the group, with the server's message.
    pub bad: BTreeMap<usize, String>,
    /// Items to send again, in these groups. Each group is smaller than the one that was sent.
    pub again: Vec<Vec<usize>>,
}

/// Splits the group in two, because the server does not say which item is bad.
#[must_use]
pub fn bisect(items: usize) -> RejectedItems {
    let middle = items / 2;
    let again = [(0..middle).collect(), (middle..items).collect()];
    RejectedItems {
        bad: BTreeMap::new(),
        again: again.into_iter().filter(|half: &Vec<usize>| !half.is_empty()).collect(),
    }
}

/// A batch, or its first part, in delivery: its items, and those that are still to be sent.
pub(crate) struct Job {
    batch: Range<u64>,
    next_offset: u64,
    records: u64,
    body: Bytes,
    items: Vec<Item>,
    /// Groups of items by index. The last one is sent next.
    todo: Vec<Vec<usize>>,
    /// Reasons by offset.
    refused: BTreeMap<u64, String>,
    /// Reasons by offset, for events that a limit of the endpoint keeps out.
    parked: BTreeMap<u64, String>,
}

struct Item {
    offset: u64,
    /// The position in the body.
    bytes: Range<usize>,
}

// === impl Job ===

impl Job {
    /// Encodes records until the body is full. `encode` appends a record's item, appends nothing when there
    /// is nothing to send, or returns what is wrong with the record. After an error or a panic the appended
    /// bytes are removed.
    pub fn encode(
        batch: &Batch,
        limits: JobLimits,
        mut encode: impl FnMut(&Record<'_>, &mut Vec<u8>) -> Result<(), String>,
    ) -> Self {
        let mut body = Vec::with_capacity(limits.bytes_max.min(batch.bytes() * 2 + 64 * batch.len()));
        let mut items: Vec<Item> = Vec::with_capacity(batch.len().min(limits.items_max));
        let mut refused = BTreeMap::new();
        let mut next_offset = batch.next_offset();
        let mut records = 0;
        for record in batch.iter() {
            let start = body.len();
            let encoded = guard(|| encode(&record, &mut body));
            let reason = match encoded {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(reason),
                Err(panic) => Some(format!("cannot be encoded: {panic}")),
            };
            if let Some(reason) = reason {
                body.truncate(start);
                refused.insert(record.offset, reason);
            } else if body.len() > start {
                let is_full = body.len() > limits.bytes_max || items.len() == limits.items_max;
                if is_full && !items.is_empty() {
                    // The next delivery begins with this record.
                    body.truncate(start);
                    next_offset = record.offset;
                    break;
                }
                items.push(Item { offset: record.offset, bytes: start..body.len() });
            }
            records += 1;
        }
        let all: Vec<usize> = (0..items.len()).collect();
        Self {
            batch: batch.from_offset()..batch.next_offset(),
            next_offset,
            records,
            body: body.into(),
            todo: if all.is_empty() { Vec::new() } else { vec![all] },
            items,
            refused,
            parked: BTreeMap::new(),
        }
    }

    /// Whether this job was made from `batch`.
    pub fn is_of(&self, batch: &Batch) -> bool {
        self.batch == (batch.from_offset()..batch.next_offset())
    }

    /// The group to send next. The caller gives it back or settles it.
    pub fn next_group(&mut self) -> Option<Vec<usize>> {
        self.todo.pop()
    }

    /// Puts a group back that was not sent, or whose outcome is unknown.
    pub fn give_back(&mut self, group: Vec<usize>) {
        self.todo.push(group);
    }

    pub fn item(&self, index: usize) -> &[u8] {
        &self.body[self.items[index].bytes.clone()]
    }

    /// The items of a group as one body. Copies only when there are gaps.
    pub fn body_of(&self, group: &[usize]) -> Bytes {
        let (Some(&first), Some(&last)) = (group.first(), group.last()) else { return Bytes::new() };
        let bytes = self.items[first].bytes.start..self.items[last].bytes.end;
        if last - first + 1 == group.len() {
            return self.body.slice(bytes);
        }
        let mut copy = BytesMut::with_capacity(bytes.len());
        for &item in group {
            copy.extend_from_slice(self.item(item));
        }
        copy.freeze()
    }

    /// Records the outcome of a group.
    pub fn settle(&mut self, group: &[usize], rejected: RejectedItems) {
        self.settle_or_park(group, rejected, |_| false);
    }

    /// Like [`Job::settle`], but an item is parked when `is_limit` is true for its message.
    pub fn settle_or_park(
        &mut self,
        group: &[usize],
        rejected: RejectedItems,
        is_limit: impl Fn(&str) -> bool,
    ) {
        for (at, detail) in rejected.bad {
            let reasons = if is_limit(&detail) { &mut self.parked } else { &mut self.refused };
            reasons.insert(self.items[group[at]].offset, detail);
        }
        for part in rejected.again.into_iter().rev() {
            self.todo.push(part.into_iter().map(|at| group[at]).collect());
        }
    }

    /// The result of the delivery. Call it when no group is left.
    pub fn delivered(mut self, batch: &Batch) -> Delivered {
        let bad =
            |item: &&Item| self.refused.contains_key(&item.offset) || self.parked.contains_key(&item.offset);
        let refused_bytes: usize = self.items.iter().filter(bad).map(|item| item.bytes.len()).sum();
        let events = self.records - self.refused.len() as u64 - self.parked.len() as u64;
        let (mut refused, mut parked) = (Vec::new(), Vec::new());
        if !self.refused.is_empty() || !self.parked.is_empty() {
            for record in batch.iter() {
                for (reasons, with) in [(&mut self.refused, &mut refused), (&mut self.parked, &mut parked)] {
                    if let Some(reason) = reasons.remove(&record.offset) {
                        with.push(Refused { offset: record.offset, reason, record: record.data.to_vec() });
                    }
                }
            }
        }
        let bytes = (self.body.len() - refused_bytes) as u64;
        Delivered { next_offset: self.next_offset, events, bytes, refused, parked, note: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(batch: &Batch, bytes_max: usize, items_max: usize) -> Job {
        Job::encode(batch, JobLimits { bytes_max, items_max }, |record, out| {
            out.extend_from_slice(record.data);
            match record.data {
                b"bad" => Err("why".to_owned()),
                b"panic" => panic!("why"),
                _ => Ok(()),
            }
        })
    }

    #[test]
    fn a_job_holds_as_much_as_one_request_may_contain() {
        let batch = Batch::of_records(10, [&b"aa"[..], b"bad", b"", b"bb", b"panic", b"cc", b"dd"]);
        let check = |bytes_max, items_max, body: &str, next_offset: u64, events: u64, refused: &[u64]| {
            let mut job = job(&batch, bytes_max, items_max);
            let group = job.next_group().unwrap();
            assert_eq!(job.body_of(&group), body);
            let delivered = job.delivered(&batch);
            let offsets: Vec<u64> = delivered.refused.iter().map(|refused| refused.offset).collect();
            assert_eq!((delivered.next_offset, delivered.events), (next_offset, events), "{body}");
            assert_eq!(offsets, refused, "{body}");
        };
        check(100, 100, "aabbccdd", 17, 5, &[11, 14]);
        check(100, 4, "aabbccdd", 17, 5, &[11, 14]);
        check(100, 3, "aabbcc", 16, 4, &[11, 14]);
        check(100, 1, "aa", 13, 2, &[11]);
        check(5, 100, "aabb", 15, 3, &[11, 14]);
        check(1, 100, "aa", 13, 2, &[11]);
    }

    #[test]
    fn a_refused_group_is_split_in_two_and_keeps_its_order() {
        let records: Vec<Vec<u8>> = (0..7_u8).map(|n| vec![b'0' + n]).collect();
        let batch = Batch::of_records(0, records.iter().map(Vec::as_slice));
        let mut job = job(&batch, 100, 100);
        let mut sent = Vec::new();
        while let Some(group) = job.next_group() {
            let body = String::from_utf8(job.body_of(&group).to_vec()).unwrap();
            let rejected = match (body.contains(['2', '5']), group.len()) {
                (false, _) => RejectedItems::default(),
                (true, 1) => RejectedItems { bad: [(0, "why".to_owned())].into(), again: Vec::new() },
                (true, items) => bisect(items),
            };
            job.settle(&group, rejected);
            sent.push(body);
        }
        assert_eq!(sent, ["0123456", "012", "0", "12", "1", "2", "3456", "34", "56", "5", "6"]);
        let delivered = job.delivered(&batch);
        assert_eq!(delivered.refused.iter().map(|refused| refused.offset).collect::<Vec<_>>(), [2, 5]);
        assert_eq!((delivered.events, delivered.bytes), (5, 5));
    }
}
