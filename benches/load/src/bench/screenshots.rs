//! Screenshots: how many a second come from the stand-in for Qlik Sense to disk, and whether memory knows their size.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Options;
use super::process::{Program, pause};
use super::report::{Row, median, mega, whole};
use super::runs::repeat;
use super::server::Plan;
use super::site::Site;

/// Of one measurement.
struct Downloads {
    per_second: f64,
    resident_bytes_max: u64,
}

/// What send-sample's users share: few sessions, all of them cached.
pub fn screenshots(site: &Site, options: &Options) -> anyhow::Result<Vec<Row>> {
    let what = "screenshots of 100 kB from the stand-in for Qlik Sense, sessions cached";
    if !site.fake_qlik.exists() {
        return Ok(vec![Row::reported(what, "not measured: fake-qlik is not built")]);
    }
    // About each fifth sample has one.
    let count = (1_500.0 * (options.seconds / 6.0).max(5.0)) as u64;
    let small = repeat(options, || downloads(site, 98, count))?;
    let large = repeat(options, || downloads(site, 1_000, count / 10))?;
    let rate = median(small.iter().map(|run| run.per_second));
    let resident = |runs: &[Downloads]| median(runs.iter().map(|run| run.resident_bytes_max as f64));
    let (of_small, of_large) = (resident(&small), resident(&large));
    Ok(vec![
        Row::new(what, "≥ 300/s", format!("{}/s", whole(rate)), rate >= 300.0),
        Row::new(
            "memory with images of 1 MB, of 100 kB",
            "independent of the size",
            format!("{}, {}", mega(of_large), mega(of_small)),
            of_large <= 1.5 * of_small,
        ),
    ])
}

fn downloads(site: &Site, kibibytes: u32, count: u64) -> anyhow::Result<Downloads> {
    let directory = site.scratch.with_extension("qlik");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let dir = directory.display().to_string();
    let ports = ["--qps-port", "0", "--qrs-port", "0", "--https-port", "0", "--http-port", "0"];
    let arguments = ["--dir", &dir].into_iter().chain(ports);
    let mut qlik = Program::start(&site.load_cpus, &site.fake_qlik, arguments)?;
    let https = https_port(&qlik.line()?).context("the stand-in's ports")?;
    qlik.ignore_output();

    let fragment = directory.join("fake-qlik.yaml");
    let server =
        site.fresh_server(&Plan { audit: true, besides: Some(fragment.clone()), ..Plan::default() })?;
    let to = server.audit_events.context("an address of the audit API")?.to_string();
    let url = format!("https://qlik.test:{https}/tempcontent?kb={kibibytes}");
    let count_text = count.to_string();
    let began = Instant::now();
    let mut sender = Program::start(
        &site.load_cpus,
        &site.server,
        [
            "send-sample".as_ref(),
            "-c".as_ref(),
            server.config.as_os_str(),
            "-c".as_ref(),
            fragment.as_os_str(),
            "--screenshots".as_ref(),
            "--count".as_ref(),
            count_text.as_ref(),
            "--rate".as_ref(),
            "0".as_ref(),
            "--to".as_ref(),
            to.as_ref(),
            "--screenshot-url".as_ref(),
            url.as_ref(),
        ],
    )?;
    sender.ignore_output();
    let mut sender = Some(sender);
    let mut resident_bytes_max = 0;
    let images = loop {
        if began.elapsed() > Duration::from_secs(300) {
            bail!("screenshots are not done after five minutes");
        }
        resident_bytes_max = resident_bytes_max.max(server.program.resident_bytes()?);
        if sender.as_mut().is_some_and(|sender| sender.is_running()) {
            pause(Duration::from_millis(20));
            continue;
        }
        sender.take().map_or(Ok(()), Program::finish)?;
        let metrics = server.metrics()?;
        let walker = "destination=\"redirect_walker\"";
        if metrics.sum("destination_lag_events", walker) == 0.0 {
            break metrics.sum("events_delivered_total", walker);
        }
        pause(Duration::from_millis(20));
    };
    let per_second = images / began.elapsed().as_secs_f64();
    let files = images_in(&directory.join("images"));
    eprintln!("  {kibibytes} KiB: {files} files, {per_second:.0}/s, {resident_bytes_max} bytes resident");
    anyhow::ensure!(files as f64 == images, "{images} screenshots, but {files} files");
    Ok(Downloads { per_second, resident_bytes_max })
}

/// Whole ones.
fn images_in(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().as_encoded_bytes().ends_with(b".tmp")).count()
}

/// From the first line that the stand-in prints: `… proxy 4433 (https) and …`.
fn https_port(line: &str) -> Option<u16> {
    let (before, _) = line.split_once(" (https)")?;
    before.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found() {
        let line =
            "A stand-in for Qlik Sense runs on 127.0.0.1: QPS 1, QRS 2, proxy 38123 (https) and 4 (http).";
        assert_eq!(https_port(line), Some(38123));
        assert_eq!(https_port("panicked"), None);
    }
}
