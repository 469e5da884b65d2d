//! What each event costs, step by step: parse and enrich, the record, each encoder; and files of a thousand rows.

use std::hint::black_box;

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::encode::{parquet, qvd};
use butler_sos_paths::{STEPS, audit_records};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("event");
    group.throughput(Throughput::Elements(1));
    for step in STEPS {
        let (mut run, mut n) = ((step.prepare)(), 0);
        group.bench_function(step.name, |bencher| {
            bencher.iter(|| {
                n += 1;
                black_box(run(n))
            });
        });
    }
    group.finish();
}

fn files(c: &mut Criterion) {
    let records = audit_records();
    let events: Vec<AuditEvent<'_>> =
        records.iter().filter_map(|record| AuditEvent::from_bytes(record).ok()).collect();
    let mut group = c.benchmark_group("file");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.sample_size(20);
    group.bench_function("parquet", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::new();
            parquet::write_file(&mut out, &events, &[], None).map(|()| out.len())
        });
    });
    group.bench_function("qvd", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::new();
            qvd::write_file(&mut out, &events, &[], None, 1_795_169_472_345).map(|()| out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, events, files);
criterion_main!(benches);
