//! Measures the server beside the floor, in one run, on chosen processors, and writes the table.

mod load;
mod process;
mod report;
mod runs;
mod screenshots;
mod server;
mod site;

use std::path::PathBuf;

use anyhow::Context;

use self::report::Row;
use self::site::Site;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The server's binary; else the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Processors of the receiver (server, floor or constant), as `taskset -c` takes them; empty: any.
    #[arg(long, default_value = "0")]
    server_cpus: String,
    /// Processors of sender and sink.
    #[arg(long, default_value = "1")]
    load_cpus: String,
    /// Runs of each measurement; the median is told.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Seconds of the steady load; the others are parts of it.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Events that wait in the outage.
    #[arg(long, default_value_t = 10_000_000)]
    waiting: u64,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the server may write; a directory in it is made and removed. Else the system's temporary directory.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// A setting of the server, PATH=VALUE, to see what it does.
    #[arg(long)]
    set: Vec<String>,
    /// The page to write the table into.
    #[arg(long)]
    page: Option<PathBuf>,
}

type Run = fn(&Site, &Options) -> anyhow::Result<Vec<Row>>;

const RUNS: [(&str, Run); 10] = [
    ("steady", runs::steady),
    ("highest", runs::highest),
    ("all-destinations", runs::all_destinations),
    ("burst", runs::burst),
    ("latency", runs::latency),
    ("audit", runs::audit),
    ("screenshots", screenshots::screenshots),
    ("idle", runs::idle),
    ("outage", runs::outage),
    ("cost", runs::cost_by_rate),
];

pub fn run(options: &Options) -> anyhow::Result<()> {
    let tools = std::env::current_exe().context("this program's path")?;
    let server = match &options.server {
        Some(path) => path.clone(),
        None => tools.with_file_name("butler-sos"),
    };
    let scratch = match &options.scratch {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("a directory to write in")?;
    let site = Site {
        fake_qlik: tools.with_file_name("fake-qlik"),
        tools,
        server,
        server_cpus: options.server_cpus.clone(),
        load_cpus: options.load_cpus.clone(),
        scratch: scratch.path().join("server"),
        settings: options.set.clone(),
    };
    let mut rows = Vec::new();
    for (name, run) in RUNS {
        if options.only.is_empty() || options.only.iter().any(|only| only == name) {
            eprintln!("{name}");
            rows.extend(run(&site, options).with_context(|| name)?);
        }
    }
    let measured = format!("{}\n{}", machine(options), report::table(&rows));
    println!("{measured}");
    if let Some(page) = &options.page {
        report::write(page, &measured)?;
    }
    Ok(())
}

/// On what and how it was measured.
fn machine(options: &Options) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unnamed processor", |(_, name)| name.trim());
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cpus} × {model}, Linux {}; receiver on processor {}, sender and sink on {}; medians of {} runs; \
         load average when it ended {load}.\n",
        kernel.trim(),
        options.server_cpus,
        options.load_cpus,
        options.repeat,
    )
}
