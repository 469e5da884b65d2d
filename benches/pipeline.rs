//! What the ways between the steps cost: a journal append and read, a message through a mailbox, a step of a download.

use std::hint::black_box;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use butler_sos_actors::journal::batch::RecordBatch;
use butler_sos_actors::journal::store::{
    OnFull, RETENTION_DEFAULT, SEGMENT_BYTES_MAX_DEFAULT, Start, Store, StoreConfig, StreamConfig,
    TAIL_BYTES_MAX_DEFAULT,
};
use butler_sos_actors::kit::mailbox::{Envelope, Mailbox};
use butler_sos_domain::allowed_hosts::AllowedHosts;
use butler_sos_domain::redirect::{Answer, Auth, Walk, WalkRules};
use butler_sos_paths::user_records;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Events of one turn of the UDP receiver under load.
const BATCH: usize = 256;

fn journal(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut store, _) = Store::open(StoreConfig {
        directory: directory.path().to_owned(),
        // What is older than this goes, so that the bench does not fill the disk.
        streams: vec![StreamConfig {
            name: "user-events".into(),
            bytes_max: 1 << 30,
            on_full: OnFull::DropOldest,
            room_bytes: 0,
        }],
        segment_bytes_max: SEGMENT_BYTES_MAX_DEFAULT,
        retention: RETENTION_DEFAULT,
        tail_bytes_max: TAIL_BYTES_MAX_DEFAULT,
    })
    .expect("a new store");
    let stream = store.stream("user-events").expect("its stream");
    let consumer = store.register(stream, "influx_sink", Start::Oldest).expect("a consumer");
    let records = user_records();
    let batch = || {
        let mut batch = RecordBatch::with_capacity(BATCH * 400);
        for record in records.iter().take(BATCH) {
            batch.push(record).expect("a small record");
        }
        batch
    };
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("fill a batch", |bencher| bencher.iter(batch));
    group.bench_function("append, no sync", |bencher| {
        bencher.iter_batched(
            batch,
            |mut batch| store.append(stream, &mut batch, 1).expect("room"),
            BatchSize::LargeInput,
        );
    });
    let newest = store.next_offset(stream) - BATCH as u64;
    group.bench_function("read from memory and commit", |bencher| {
        bencher.iter(|| {
            let batch = store.read(stream, newest, BATCH, 1 << 20).expect("a batch");
            store.commit(consumer, batch.next_offset(), None).expect("a commit");
            batch.iter().map(|record| record.data.len()).sum::<usize>()
        });
    });
    let oldest = store.stats(1).expect("the stream's state")[0].first_offset;
    let mut from = oldest;
    group.bench_function("read from the file", |bencher| {
        bencher.iter(|| {
            let batch = store.read(stream, from, BATCH, 1 << 20).expect("a batch");
            from = batch.next_offset();
            if from + 100_000 > newest {
                from = oldest;
            }
            batch.iter().map(|record| record.data.len()).sum::<usize>()
        });
    });
    group.bench_function("append with a sync", |bencher| {
        bencher.iter_batched(
            batch,
            |mut batch| {
                store.append(stream, &mut batch, 1).expect("room");
                store.sync(stream).expect("a sync")
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Work(u64);

struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Envelope<Work>> for Worker {
    type Result = u64;

    fn handle(&mut self, envelope: Envelope<Work>, _: &mut Self::Context) -> u64 {
        black_box(envelope.body.0)
    }
}

fn mailbox(c: &mut Criterion) {
    /// Messages of one measurement; the last is asked, so all before it are done.
    const MESSAGES: u64 = 1_000;
    let system = actix::System::new();
    let arbiter = actix::Arbiter::new();
    let elsewhere = Worker::start_in_arbiter(&arbiter.handle(), |_| Worker);
    let mut group = c.benchmark_group("outlet");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("offer to another thread", |bencher| {
        let mailbox = Mailbox::<Work>::new(elsewhere.clone(), 2 * MESSAGES as u32);
        bencher.iter(|| {
            system.block_on(async {
                (1..MESSAGES).for_each(|n| drop(mailbox.offer(Work(n), 1)));
                mailbox.ask(Work(0)).await
            })
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("ask another thread", |bencher| {
        let mailbox = Mailbox::<Work>::new(elsewhere.clone(), 10);
        bencher.iter(|| system.block_on(mailbox.ask(Work(0))));
    });
    group.finish();
}

fn redirect(c: &mut Criterion) {
    let hosts = AllowedHosts::new(["qlik.example.com", "node1.example.com"]).expect("names of hosts");
    let rules = Arc::new(WalkRules::for_hosts(hosts));
    let redirect = Answer {
        status: 302,
        location: Some(b"https://node1.example.com/analytics/tempcontent/abc/screenshot.png"),
        set_cookies: vec![
            b"X-Qlik-Session-analytics=0b16fb7d-0000-4000-8000-000000000001; Path=/; HttpOnly; Secure",
        ],
        ..Answer::default()
    };
    let image = Answer { status: 200, content_type: Some("image/png"), ..Answer::default() };
    c.bench_function("redirect/a walk of two hops", |bencher| {
        bencher.iter(|| {
            let url = "https://qlik.example.com/analytics/tempcontent/abc/screenshot.png";
            let mut walk = Walk::new(url, Arc::clone(&rules)).expect("an allowed host");
            let request = walk.begin(Auth::Ticket("one-use".to_owned().into()));
            (request, walk.step(&redirect), walk.step(&image))
        });
    });
}

criterion_group!(benches, journal, mailbox, redirect);
criterion_main!(benches);
