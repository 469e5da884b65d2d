//! Runs the fake Qlik Sense by hand: prints what a server's configuration needs, then serves until it is stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use butler_sos_integration_tests::fake_qlik::{FakeQlik, GOLDEN_PORTS, Limits, Ports};
use clap::Parser;

/// A Qlik Sense that is not one: tickets, sessions and images for trying out screenshot downloads.
#[derive(Parser)]
struct Arguments {
    /// Where certificates and the configuration are written; images go to its folder `images`.
    #[arg(long, default_value = "./data/fake-qlik")]
    dir: PathBuf,
    /// Port of QPS; 0 takes any, here and below.
    #[arg(long, default_value_t = GOLDEN_PORTS.qps)]
    qps_port: u16,
    /// Port of QRS. A server asks 4242.
    #[arg(long, default_value_t = GOLDEN_PORTS.qrs)]
    qrs_port: u16,
    /// Port of the proxy.
    #[arg(long, default_value_t = GOLDEN_PORTS.https)]
    https_port: u16,
    /// Port of the proxy without TLS.
    #[arg(long, default_value_t = GOLDEN_PORTS.http)]
    http_port: u16,
    /// Forget all sessions every so many seconds, as a proxy does whose sessions time out.
    #[arg(long)]
    forget_every: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let ports = Ports {
        qps: arguments.qps_port,
        qrs: arguments.qrs_port,
        https: arguments.https_port,
        http: arguments.http_port,
    };
    let fake = FakeQlik::start_with(&arguments.dir, ports, Limits::default())?;
    fake.set_apps(&[
        ("6a4ae4ea-0ed7-4fdd-b4d2-3dbdf0a1c9b3", "Sales overview"),
        ("b7ef5bca-fd0a-4ac2-9b1c-d03ce6b9d5a8", "Operations monitor"),
    ]);
    let fragment = fake.config_fragment(&arguments.dir.join("images"));
    let file = arguments.dir.join("fake-qlik.yaml");
    std::fs::write(&file, &fragment).with_context(|| format!("writing {}", file.display()))?;
    let Ports { qps, qrs, https, http } = fake.ports;
    // The example is for the usual ports and directory; besides those, what was just written says it all.
    let example = "conf/examples/screenshots-with-fake-qlik.yaml";
    let is_usual = ports == GOLDEN_PORTS && arguments.dir == Path::new("./data/fake-qlik");
    let config = if is_usual { example.to_owned() } else { file.display().to_string() };
    let images = arguments.dir.join("images");
    println!(
        "\
A stand-in for Qlik Sense runs on 127.0.0.1: QPS {qps}, QRS {qrs}, proxy {https} (https) and {http} (http).
  1. In a second terminal, in this directory:  butler-sos -c {config}
  2. In a third one:  butler-sos send-sample -c {config} --screenshots --count 10 --screenshot-url https://qlik.test:{https}
  3. Images appear in {}, and each request that they took below.
  4. Other ways to go, instead of that URL (all of them: integration-tests/src/fake_qlik/proxy.rs):",
        images.display()
    );
    for (tail, what) in [
        ("/analytics/tempcontent?b=redirect", "another virtual proxy, and a redirect"),
        ("/tempcontent?b=cross", "redirects over three hosts"),
        ("/tempcontent?b=404then", "not there at first"),
        ("/tempcontent?b=evil", "a redirect to a host that is not allowed"),
        ("/tempcontent?b=html", "a page instead of an image"),
    ] {
        println!("     https://qlik.test:{https}{tail:36} {what}");
    }
    println!("  5. Settings for a server of your own: {}\n", file.display());
    watch(&fake, arguments.forget_every.map(Duration::from_secs))
}

/// Prints each request as it comes.
fn watch(fake: &FakeQlik, forget_every: Option<Duration>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let mut forgotten = tokio::time::Instant::now();
        loop {
            ticks.tick().await;
            for seen in fake.take_requests() {
                println!(
                    "{:5} {:6} {}{}{}{}",
                    seen.server,
                    seen.method,
                    seen.host,
                    seen.path,
                    seen.cookie.map(|cookie| format!("  cookie {cookie}")).unwrap_or_default(),
                    if seen.client_certificate { "  with certificate" } else { "" },
                );
            }
            if forget_every.is_some_and(|every| forgotten.elapsed() >= every) {
                fake.forget_sessions();
                forgotten = tokio::time::Instant::now();
                println!("all sessions forgotten");
            }
        }
    })
}
