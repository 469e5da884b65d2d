//! Batches for the tests of consumers.

use super::batch::{Batch, BatchBuilder, RecordBatch};
use super::frame::Frame;

/// `records` as a consumer reads them, from offset `from` on.
pub fn batch_of(from: u64, records: &[impl AsRef<[u8]>]) -> Batch {
    let mut builder = BatchBuilder::new(from, usize::MAX, usize::MAX);
    if !records.is_empty() {
        let mut batch = RecordBatch::new();
        for record in records {
            batch.push(record.as_ref()).expect("a test's record fits");
        }
        let (header, bytes) = batch.seal(from, 1, 1);
        builder.take_from(&Frame::copy_checked(header, bytes).expect("just sealed"));
    }
    builder.finish()
}
