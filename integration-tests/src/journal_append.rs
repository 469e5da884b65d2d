//! Records put into the journal of a server that does not run, as a fault of its disk or of another version would.

use butler_sos_actors::kit::clock::unix_ns;
use std::path::Path;
use std::time::Duration;

use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{OnFull, Store, StoreConfig, StreamConfig};
use butler_sos_domain::streams::Stream;

/// Appends one record to a stream, durably.
pub fn append(directory: &Path, stream: Stream, record: &[u8]) {
    let config = |stream: Stream| StreamConfig {
        name: stream.name().to_owned(),
        bytes_max: 1 << 30,
        on_full: OnFull::Block,
        room_bytes: 0,
    };
    let opened = Store::open(StoreConfig {
        directory: directory.to_owned(),
        streams: Stream::ALL.into_iter().map(config).collect(),
        segment_bytes_max: 1 << 22,
        retention: Duration::from_secs(86_400),
        tail_bytes_max: 1 << 22,
    });
    let (mut store, _) = opened.expect("the journal of a server that does not run");
    let id = store.stream(stream.name()).expect("a stream of the server");
    let mut batch = RecordBatch::new();
    batch.push(record).expect("a record that is not too large");
    store.append(id, &mut batch, unix_ns()).expect("room in the journal");
    store.sync(id).expect("a disk");
}
