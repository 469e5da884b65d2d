//! Every setting is read: each field of each section is used by the code that it configures.

mod readings;
mod sections;

use self::readings::{Readings, readings};
use self::sections::{Sections, Setting, sections, settings};
use super::source::{Source, sources};

/// Settings that have one value alone, which is checked when the file is read.
const ONE_VALUE: [&str; 1] = ["butler_sos.audit_events.destination.screenshots.storage_targets.kind"];

#[test]
fn every_setting_is_read() {
    let sources = sources();
    let sections = sections(&sources);
    assert!(settings(&sections).len() > 250);
    let unread = unread(&sections, &readings(&sections, &sources));
    assert_eq!(unread, ONE_VALUE, "settings that nobody reads");
}

/// The names of settings that no reading leads to.
fn unread(sections: &Sections, readings: &Readings) -> Vec<String> {
    let settings = settings(sections);
    settings.iter().filter(|setting| !readings.have(setting)).map(Setting::name).collect()
}

const CONFIG: &str = "
    section! { pub struct Config {
        /// One.
        \"a\" => a: Sink = group::<Sink>();
        /// Another.
        \"b\" => b: Sink = group::<Sink>();
        \"pairs\" => pairs: Vec<Pair> = list_of::<Pair>();
        ignored \"old\";
    } }
    section! { pub struct Sink {
        \"mailbox\" | \"queue\" was \"room\" => mailbox: usize = int(1, 1..=2);
        \"tls\" => tls: Tls = group::<Tls>();
    } }
    section! { pub struct Tls { \"on\" => on: bool = no(); } }
    section! { pub struct Pair { \"name\" => name: String = needed_text(); } }
    impl Config { pub fn size(&self) -> usize { self.a.mailbox } }
    impl Config { fn verify(&self) { let _ = self.b.mailbox; } }
";

#[test]
fn a_setting_that_nobody_reads_is_found() {
    let check = |code: &str, expect: &[&str]| {
        let source = |path: &str, code: &str| Source {
            path: path.to_owned(),
            module: Vec::new(),
            code: syn::parse_file(code).expect("code"),
        };
        let sources = [source("src/config/mod.rs", CONFIG), source("src/run.rs", code)];
        let sections = sections(&sources);
        assert_eq!(unread(&sections, &readings(&sections, &sources)), expect, "{code}");
    };
    let all = ["a.mailbox", "a.tls.on", "b.mailbox", "b.tls.on", "pairs.name"];
    check("", &all);
    // What only a test reads, or the configuration itself, nobody reads.
    check("#[cfg(test)] mod tests { fn f(config: &Config) { use_it(config.a.mailbox); } }", &all);
    // A path, however it is written.
    for read in [
        "use_it(config.b.tls.on)",
        "let b = &config.b; use_it(b.tls.on)",
        "let (Sink { tls, .. }, _) = (&config.b, 1); use_it(tls.on)",
        "use_it(config.b.tls.on.then(|| 1))",
        "info!(log, \"x\"; \"on\" => config.b.tls.on)",
    ] {
        let code = format!("fn f(config: &Config) {{ {read}; }}");
        check(&code, &["a.mailbox", "a.tls.on", "b.mailbox", "pairs.name"]);
    }
    // The configuration's own methods are what they are called for.
    check("fn f(config: &Config) { config.size(); }", &all[1..]);
    // A section that is handed on is read as far as whoever takes it reads it.
    let reads = "fn g(tls: &Tls) -> bool { tls.on } struct S { sink: Sink } impl S { fn h(&self) { use_it(self.sink.mailbox); } }";
    check(reads, &all);
    let hands =
        format!("{reads} fn f(config: &Config) {{ g(&config.b.tls); let s = S {{ sink: config.a }}; }}");
    check(&hands, &["a.tls.on", "b.mailbox", "pairs.name"]);
    // Items of lists.
    let items = "fn f(config: &Config) { for pair in &config.pairs { use_it(pair.name); } }";
    check(items, &all[..4]);
    check("fn f(config: &Config) { config.pairs.iter().map(|pair| &pair.name); }", &all[..4]);
}
