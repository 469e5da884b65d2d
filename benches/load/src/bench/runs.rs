//! What is measured, one function each. Figures are medians; floor and server of one figure run one after the other.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::Options;
use super::load::{Receiver, Sink, Stretch};
use super::process::{Program, pause};
use super::report::{Row, median, mega, whole};
use super::server::Plan;
use super::site::Site;

/// The rate at which most is asked for.
const RATE: f64 = 100_000.0;

fn with_influx(sink: &Sink) -> Plan {
    Plan { influx: Some(sink.address), ..Plan::default() }
}

fn server(site: &Site, plan: &Plan) -> anyhow::Result<Receiver> {
    Ok(Receiver::Server(Box::new(site.fresh_server(plan)?)))
}

/// The same stretch through the server and through the floor.
fn side_by_side(site: &Site, rate: f64, count: u64) -> anyhow::Result<[Stretch; 2]> {
    let sink = site.sink()?;
    let floor = site.stretch(&site.floor(&sink)?, &sink, rate, count)?;
    let ours = site.stretch(&server(site, &with_influx(&sink))?, &sink, rate, count)?;
    eprintln!("  {rate:>8}/s  server {ours:?}\n{:>12}  floor  {floor:?}", "");
    Ok([ours, floor])
}

fn medians(runs: &[[Stretch; 2]], which: usize, figure: fn(&Stretch) -> f64) -> f64 {
    median(runs.iter().map(|run| figure(&run[which])))
}

/// Memory of a server that has nothing to do, and the binary's size.
pub fn idle(site: &Site, _: &Options) -> anyhow::Result<Vec<Row>> {
    let sink = site.sink()?;
    let plan = Plan { audit: true, csv: true, ..with_influx(&sink) };
    let server = site.fresh_server(&plan)?;
    pause(Duration::from_secs(3));
    let resident = server.program.resident_bytes()? as f64;
    let binary = std::fs::metadata(&site.server)?.len() as f64;
    Ok(vec![
        Row::new("memory, idle", "≤ 40 MB", mega(resident), resident <= 40e6),
        Row::new("stripped binary", "≤ 30 MB", mega(binary), binary <= 30e6),
    ])
}

/// 100 000 events a second for the whole time.
pub fn steady(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let count = (RATE * options.seconds) as u64;
    let runs = repeat(options, || side_by_side(site, RATE, count))?;
    let lost: u64 = runs.iter().map(|[ours, _]| ours.lost).sum();
    let rate = medians(&runs, 0, |run| run.rate);
    let (cpu, floor_cpu) = (medians(&runs, 0, |run| run.cpu_us), medians(&runs, 1, |run| run.cpu_us));
    let resident = medians(&runs, 0, |run| run.resident_bytes_max as f64);
    let seconds = options.seconds;
    Ok(vec![
        Row::new(
            format!(
                "user events UDP → journal on disk → InfluxDB, steady {seconds} s, default configuration"
            ),
            "≥ 100 000/s, no loss",
            format!("{}/s, {lost} lost", whole(rate)),
            rate >= 0.99 * RATE && lost == 0,
        ),
        Row::new(
            "processor time per million events at that rate",
            "≤ 10 s, ≤ 2 × the floor",
            format!("{cpu:.2} s; floor {floor_cpu:.2} s; {:.2} ×", cpu / floor_cpu),
            cpu <= 10.0 && cpu <= 2.0 * floor_cpu,
        ),
        Row::new("memory at that rate", "≤ 150 MB", mega(resident), resident <= 150e6),
    ])
}

/// The highest rate without loss, in steps of an eighth.
pub fn highest(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let seconds = (options.seconds / 10.0).max(3.0);
    let best = |receiver: &dyn Fn(&Sink) -> anyhow::Result<Receiver>| -> anyhow::Result<Stretch> {
        let (mut best, mut rate) = (Stretch::default(), RATE);
        loop {
            let sink = site.sink()?;
            let stretch = site.stretch(&receiver(&sink)?, &sink, rate, (rate * seconds) as u64)?;
            eprintln!("  {rate:>8.0}/s  {stretch:?}");
            // A destination that keeps up has all soon after the last was sent.
            let kept_up = stretch.seconds <= seconds + 1.0;
            if stretch.lost > 0 || stretch.rate < 0.97 * rate || !kept_up {
                return Ok(best);
            }
            best = stretch;
            rate *= 1.125;
        }
    };
    let runs = repeat(options, || {
        let floor = best(&|sink| site.floor(sink))?;
        let ours = best(&|sink| server(site, &with_influx(sink)))?;
        Ok([ours, floor])
    })?;
    let (rate, floor_rate) = (medians(&runs, 0, |run| run.rate), medians(&runs, 1, |run| run.rate));
    let cpu = medians(&runs, 0, |run| run.cpu_us);
    Ok(vec![
        Row::new(
            format!("highest rate without loss, {seconds:.0} s each"),
            "≥ 60 % of the floor's",
            format!("{}/s; floor {}/s; {:.0} %", whole(rate), whole(floor_rate), 100.0 * rate / floor_rate),
            rate >= 0.6 * floor_rate,
        ),
        Row::reported("processor time per million events at the highest rate", format!("{cpu:.2} s")),
    ])
}

/// What an event costs when few come.
pub fn cost_by_rate(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let seconds = (options.seconds / 6.0).max(3.0);
    let mut costs = Vec::new();
    for rate in [1_000.0, 10_000.0, RATE] {
        let runs = repeat(options, || side_by_side(site, rate, (rate * seconds) as u64))?;
        costs.push((rate, medians(&runs, 0, |run| run.cpu_us), medians(&runs, 1, |run| run.cpu_us)));
    }
    let (low, high) =
        costs.iter().fold((f64::MAX, 0.0_f64), |(low, high), cost| (low.min(cost.1), high.max(cost.1)));
    let reported = costs
        .iter()
        .map(|(rate, ours, floor)| format!("{}/s: {ours:.1} µs (floor {floor:.1})", whole(*rate)));
    Ok(vec![Row::new(
        "processor time per event, from 1 000/s up",
        "within a factor 2",
        reported.collect::<Vec<_>>().join("; "),
        high <= 2.0 * low,
    )])
}

/// MQTT and CSV besides.
pub fn all_destinations(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    const AT: f64 = 40_000.0;
    let what = "the same with MQTT (QoS 1) and CSV on too";
    let target = "≥ 40 000/s without loss; MQTT may lag";
    let count = (AT * (options.seconds / 3.0).max(3.0)) as u64;
    let mut runs = Vec::new();
    for _ in 0..options.repeat {
        let Some((_broker, port)) = broker(site)? else {
            return Ok(vec![Row::reported(what, "not measured: mosquitto is not installed")]);
        };
        let sink = site.sink()?;
        let plan = Plan { mqtt: Some(port), csv: true, ..with_influx(&sink) };
        let receiver = server(site, &plan)?;
        let stretch = site.stretch(&receiver, &sink, AT, count)?;
        let metrics = receiver.server()?.metrics()?;
        let lag = |name: &str| metrics.sum("destination_lag_events", &format!("destination=\"{name}\""));
        let gone = metrics.sum("events_missed_total", "") + metrics.sum("events_shed_total", "");
        eprintln!("  {stretch:?}, behind: CSV {}, MQTT {}, gone {gone}", lag("csv_sink"), lag("mqtt_sink"));
        runs.push((stretch, lag("csv_sink"), lag("mqtt_sink"), gone));
    }
    let lost: f64 = runs.iter().map(|(stretch, _, _, gone)| stretch.lost as f64 + gone).sum();
    let rate = median(runs.iter().map(|run| run.0.rate));
    let (csv, mqtt) = (median(runs.iter().map(|run| run.1)), median(runs.iter().map(|run| run.2)));
    let measured = format!(
        "{}/s, {lost} lost; when InfluxDB had the last one CSV lacked {}, MQTT {}; {:.2} s per million",
        whole(rate),
        whole(csv),
        whole(mqtt),
        median(runs.iter().map(|run| run.0.cpu_us)),
    );
    Ok(vec![Row::new(what, target, measured, rate >= 0.99 * AT && lost == 0.0 && csv < AT)])
}

/// A broker with all its limits off, and its port.
fn broker(site: &Site) -> anyhow::Result<Option<(Program, u16)>> {
    let Some(path) = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        return Ok(None);
    };
    // Taken for a moment to learn of a free one.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = site.scratch.with_extension("mosquitto");
    std::fs::write(
        &config,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_dest none\n"),
    )?;
    let mut broker = Program::start(&site.load_cpus, path.as_ref(), ["-c".as_ref(), config.as_os_str()])?;
    broker.ignore_output();
    pause(Duration::from_millis(500));
    Ok(Some((broker, port)))
}

/// As fast as the sender can.
pub fn burst(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    const COUNT: u64 = 200_000;
    let runs = repeat(options, || {
        let sink = site.sink()?;
        let receiver = server(site, &with_influx(&sink))?;
        let stretch = site.stretch(&receiver, &sink, 0.0, COUNT)?;
        // The kernel's count is read once a second.
        pause(Duration::from_millis(1_500));
        let metrics = receiver.server()?.metrics()?;
        let kernel = metrics.sum("events_dropped_by_kernel_total", "");
        let stored = metrics.sum("events_stored_total", "intake=\"user_events\"");
        eprintln!("  {stretch:?}, kernel {kernel}, stored {stored}");
        Ok((stretch, kernel, stored))
    })?;
    let is_exact = |(stretch, kernel, stored): &(Stretch, f64, f64)| {
        stretch.sent as f64 == stored + kernel && stretch.lost as f64 == *kernel
    };
    let measured = format!(
        "sent at {}/s: kernel dropped {}, stored and delivered {}",
        whole(median(runs.iter().map(|run| run.0.rate))),
        whole(median(runs.iter().map(|run| run.1))),
        whole(median(runs.iter().map(|run| run.2))),
    );
    Ok(vec![Row::new(
        "burst of 200 000 datagrams",
        "all that the kernel took is stored, the rest counted",
        measured,
        runs.iter().all(is_exact),
    )])
}

/// From sending a datagram to the request that holds it, when few come.
pub fn latency(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let count = (100.0 * (options.seconds / 3.0).max(5.0)) as u64;
    let runs = repeat(options, || {
        let sink = site.sink()?;
        site.stretch(&server(site, &with_influx(&sink))?, &sink, 100.0, count)
    })?;
    let p99 = median(runs.iter().map(|run| run.p99_ms));
    Ok(vec![Row::new(
        "from datagram to InfluxDB request at 100/s, p99",
        "≤ 50 ms",
        format!("{p99:.1} ms"),
        p99 <= 50.0,
    )])
}

/// Audit events, each answered when it is on disk.
pub fn audit(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let seconds = (options.seconds / 6.0).max(3.0).to_string();
    let post = |to: std::net::SocketAddr| -> anyhow::Result<Value> {
        let to = to.to_string();
        let mut poster = site.tool(["http-poster", "--to", &to, "--seconds", &seconds])?;
        let reported = poster.line()?;
        poster.finish()?;
        eprintln!("  {reported}");
        Ok(serde_json::from_str(&reported)?)
    };
    let runs = repeat(options, || {
        let mut constant = Program::start(&site.server_cpus, &site.tools, ["constant"])?;
        let yardstick = post(constant.line()?.parse()?)?;
        drop(constant);
        let sink = site.sink()?;
        let server = site.fresh_server(&Plan { audit: true, ..with_influx(&sink) })?;
        let ours = post(server.audit_events.context("an address of the audit API")?)?;
        Ok([ours, yardstick])
    })?;
    let figure = |which: usize, key: &str| {
        median(runs.iter().map(|run| run[which].get(key).and_then(Value::as_f64).unwrap_or_default()))
    };
    let (rate, yardstick) = (figure(0, "per_second"), figure(1, "per_second"));
    let all_accepted = runs.iter().all(|run| run[0].get("sent") == run[0].get("accepted"));
    Ok(vec![
        Row::new(
            "audit POST of 1 kB, 64 connections, each 202 after its group commit",
            "≥ 50 % of the same web server answering a constant",
            format!("{}/s; constant {}/s; {:.0} %", whole(rate), whole(yardstick), 100.0 * rate / yardstick),
            rate >= 0.5 * yardstick && all_accepted,
        ),
        Row::new(
            "the same, p99",
            "≤ 25 ms",
            format!("{:.1} ms; constant {:.1} ms", figure(0, "p99_ms"), figure(1, "p99_ms")),
            figure(0, "p99_ms") <= 25.0,
        ),
    ])
}

/// Millions of events wait for InfluxDB; then a start, the return of InfluxDB, and the cost beside a full journal.
pub fn outage(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let waiting = options.waiting;
    let millions = waiting as f64 / 1e6;
    let sink = site.sink()?;
    // Nobody listens there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let room = Plan { journal_bytes_max: Some("16 GiB"), ..Plan::default() };
    let down = site.fresh_server(&Plan { influx: Some(nowhere), ..room.clone() })?;
    let mut resident: f64 = 0.0;
    let step = 1_000_000.min(waiting);
    for first in (0..waiting).step_by(step as usize) {
        site.send(down.user_events, RATE, step, first)?;
        resident = resident.max(down.program.resident_bytes()? as f64);
    }
    pause(Duration::from_secs(1));
    let lag = down.metrics()?.sum("destination_lag_events", "");
    down.program.stop()?;
    eprintln!("  {lag} waiting, {resident} bytes resident");

    let up = site.same_server(&Plan { influx: Some(sink.address), ..room })?;
    let started_ms = up.started_in.as_secs_f64() * 1e3;
    let began = std::time::Instant::now();
    let receiver = Receiver::Server(Box::new(up));
    let mut catching_up: f64 = 0.0;
    let (figures, came_at) = loop {
        catching_up = catching_up.max(receiver.program().resident_bytes()? as f64);
        let figures = sink.figures()?;
        if figures.distinct as f64 >= lag || began.elapsed() > Duration::from_secs(600) {
            break (figures, std::time::Instant::now());
        }
        pause(Duration::from_millis(100));
    };
    let caught_up = figures.distinct as f64 / came_at.duration_since(began).as_secs_f64();
    let beside = site.stretch(&receiver, &sink, RATE, (RATE * (options.seconds / 6.0).max(3.0)) as u64)?;
    let alone = {
        let sink = site.sink()?;
        site.stretch(&server(site, &with_influx(&sink))?, &sink, RATE, beside.sent)?
    };
    eprintln!("  beside {beside:?}\n  alone  {alone:?}");
    Ok(vec![
        Row::new(
            format!("memory during an outage, {millions} million events waiting"),
            "≤ 200 MB",
            format!(
                "{} with {} waiting, while catching up {}",
                mega(resident),
                whole(lag),
                mega(catching_up)
            ),
            resident.max(catching_up) <= 200e6 && lag >= 0.99 * waiting as f64,
        ),
        Row::new(
            format!("start to ready with a journal of {millions} million records"),
            "≤ 0.5 s",
            format!("{started_ms:.0} ms"),
            started_ms <= 500.0,
        ),
        Row::reported("catching up after the outage", format!("{}/s", whole(caught_up))),
        Row::new(
            format!("processor time per event at 100 000/s with {millions} million records in the journal"),
            "within a factor 2 of an empty one",
            format!("{:.2} µs; empty {:.2} µs", beside.cpu_us, alone.cpu_us),
            beside.cpu_us <= 2.0 * alone.cpu_us && beside.lost == 0,
        ),
    ])
}

pub fn repeat<T>(options: &Options, mut run: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    (0..options.repeat.max(1)).map(|_| run()).collect()
}
