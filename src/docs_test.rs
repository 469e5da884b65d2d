//! README and `docs/` held against the code: metrics, settings, commands, log messages, links.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use butler_sos_actors::kit::metric::{Metrics, StreamFigures};

use crate::{
    cli::{Cli, Settings},
    config::{Environment, load_from},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `directory` whose name ends so.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![Path::new(ROOT).join(directory)]);
    while let Some(directory) = left.pop() {
        for entry in
            fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path())
        {
            match entry.is_dir() {
                true => left.push(entry),
                false if entry.to_string_lossy().ends_with(ending) => found.push(entry),
                false => {}
            }
        }
    }
    found
}

/// README and the pages of `docs/`, by path.
fn pages() -> Vec<(PathBuf, String)> {
    let readme = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|name| Path::new(ROOT).join(name));
    let pages: Vec<_> = files("docs", ".md").into_iter().chain(readme).collect();
    assert!(pages.len() > 7, "{pages:?}");
    pages.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// The fenced blocks of a language, each with the page that it stands in.
fn blocks(language: &str) -> Vec<(String, String)> {
    let fence = format!("\n```{language}\n");
    let of_page = |(path, text): (PathBuf, String)| {
        let parts: Vec<_> = text.split(fence.as_str()).skip(1).map(str::to_owned).collect();
        parts.into_iter().map(move |part| {
            (path.display().to_string(), part.split("\n```").next().unwrap_or_default().to_owned() + "\n")
        })
    };
    let blocks: Vec<_> = pages().into_iter().flat_map(of_page).collect();
    assert!(blocks.len() > 4, "few blocks of {language}");
    blocks
}

/// The texts between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_metric_is_described_with_its_type_and_no_other() {
    let metrics = Metrics::new();
    let (actor, intake) = (metrics.actor("a"), metrics.intake("i"));
    actor.rejected("r", 1);
    actor.set_mailbox(0, 1);
    for counter in [intake.kernel(), intake.rejected("r"), intake.shed("r"), intake.remark("r")] {
        counter.inc();
    }
    metrics.destination("d").failed("c", "words", 0);
    metrics.journal().set_stream("s", &StreamFigures::default());
    let text = metrics.expose();
    let shown: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();

    let page = read("docs/operating.md");
    let rows = page.lines().filter(|line| line.starts_with("| `butler_sos_"));
    let reported: BTreeMap<&str, &str> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[2])
        })
        .collect();
    assert_eq!(reported, shown);
    for name in spans(&page).filter(|span| span.len() > 11 && span.starts_with("butler_sos_")) {
        assert!(shown.contains_key(name), "{name}");
    }
}

/// Where every variable and every file holds a secret, and the page's block is the configuration.
struct World(String);

const FILE: &str = "block.yaml";
/// Long enough for every setting that asks for a length.
const SECRET: &str = "a-secret-of-enough-characters";

impl Environment for World {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn variable(&self, _name: &str) -> Option<String> {
        Some(SECRET.to_owned())
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        Ok(if path == Path::new(FILE) { self.0.clone() } else { SECRET.to_owned() }.into_bytes())
    }

    fn exists(&self, path: &Path) -> bool {
        path == Path::new(FILE)
    }
}

#[test]
fn every_piece_of_configuration_loads() {
    for (page, block) in blocks("yaml") {
        let settings = Settings { config_files: vec![FILE.into()], ..Settings::default() };
        if let Err(mistakes) = load_from(&settings, &World(block.clone())) {
            panic!("{page}\n{block}\n{mistakes}");
        }
    }
}

/// The arguments of a line that calls the server, also by way of `sudo` and `systemd-run`.
fn call(line: &str) -> Option<Vec<String>> {
    let detail = line.split(['|', '>', '#', ';']).next()?.split_whitespace();
    let detail: Vec<String> = detail.map(|word| word.trim_matches(['\'', '"']).to_owned()).collect();
    let is_server = |word: &str| word == "butler-sos" || word.ends_with("/butler-sos");
    let mut before = detail.iter().map(String::as_str);
    let first = before.find(|word| *word != "sudo")?;
    let at = match first {
        word if is_server(word) => detail.iter().position(|word| is_server(word))?,
        "systemd-run" => detail.iter().position(|word| word.ends_with("bin/butler-sos"))?,
        _ => return None,
    };
    Some(detail[at..].to_vec())
}

#[test]
fn every_command_can_be_read() {
    let mut calls = 0;
    for (page, block) in blocks("sh") {
        let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
        bash.stdin.take().expect("its input").write_all(block.as_bytes()).expect("room");
        assert!(bash.wait().expect("its end").success(), "{page}\n{block}");
        for arguments in block.replace("\\\n", " ").lines().filter_map(call) {
            calls += 1;
            match Cli::read(&arguments) {
                Ok(_) => {}
                Err(error) if error.exit_code() == 0 => {}
                Err(error) => panic!("{page}: {arguments:?}\n{error}"),
            }
        }
    }
    assert!(calls > 10, "{calls}");
}

/// The code of the program without its tests, each string literal on one line.
fn code() -> String {
    let sources = files("src", ".rs").into_iter().chain(files("actors", ".rs"));
    let is_test = |path: &PathBuf| {
        path.to_string_lossy().ends_with("test.rs") || path.to_string_lossy().ends_with("tests.rs")
    };
    let mut code = String::new();
    for path in sources.filter(|path| !is_test(path)) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let mut lines = text.split("\nmod tests {").next().unwrap_or_default().lines();
        while let Some(line) = lines.next() {
            code.push_str(line.trim());
            while code.ends_with('\\') {
                code.pop();
                code.push_str(lines.next().unwrap_or_default().trim());
            }
            code.push('\n');
        }
    }
    code
}

/// What the code says at warning and error level, where it stands in the call.
fn warnings(code: &str) -> BTreeSet<&str> {
    let calls = ["warn!(", "error!("].into_iter().flat_map(|call| code.split(call).skip(1));
    let first_text = calls.filter_map(|call| call.split('"').nth(1));
    first_text.filter(|text| *text != "{}").collect()
}

#[test]
fn every_log_message_is_explained_and_none_is_made_up() {
    let (page, code) = (read("docs/troubleshooting.md"), code());
    let reported: BTreeSet<&str> =
        spans(&page).filter_map(|span| span.strip_prefix('"')?.strip_suffix('"')).collect();
    let made_up: Vec<_> = reported.iter().filter(|message| !code.contains(**message)).collect();
    assert!(made_up.is_empty(), "{made_up:#?}");
    let reported = warnings(&code);
    assert!(reported.len() > 50, "{reported:?}");
    let untold: Vec<_> = reported.difference(&reported).collect();
    assert!(untold.is_empty(), "{untold:#?}");
}

/// As the forge makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !fragment.is_empty() {
                let target = fs::read_to_string(target).expect("UTF-8");
                let mut headings = target.lines().filter_map(|line| line.strip_prefix('#'));
                let is_there = headings.any(|heading| anchor(heading.trim_start_matches('#')) == fragment);
                assert!(is_there, "{}: {link}", page.display());
            }
        }
    }
}

/// Whether a line says the word that switches the compiler's guarantees off, outside of comments.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe")
}

#[test]
fn every_unsafe_is_told_with_its_reason() {
    let mut found = BTreeMap::new();
    for path in files("src", ".rs").into_iter().chain(files("actors", ".rs")) {
        let text = fs::read_to_string(&path).expect("UTF-8");
        // This file looks for the word.
        let count = text.lines().filter(|line| is_unsafe(line)).count();
        let name = path.strip_prefix(ROOT).expect("in here").display().to_string();
        if count > 0 && name != "src/docs_test.rs" {
            found.insert(name, count.to_string());
        }
    }
    let page = read("docs/security.md");
    let (_, table) = page.split_once("| file | unsafe | why |\n").expect("the table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let reported: BTreeMap<String, String> = rows
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .filter(|cells: &Vec<String>| cells[1] != "none")
        .map(|cells| {
            assert!(!cells[3].is_empty(), "no reason for {}", cells[1]);
            (cells[1].clone(), cells[2].clone())
        })
        .collect();
    assert_eq!(reported, found);
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
    assert!(is_unsafe("let x = unsafe { y() };") && !is_unsafe("#![deny(unsafe_code)] // unsafe"));
}

/// Whether one of `sources` holds the test of this name, as cargo prints it: `module::path::name`.
fn has_test(sources: &[(String, String)], name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    // A file of tests, a file's own `mod tests`, or one that lies beside it.
    let owner = module.strip_suffix("::tests").unwrap_or(module);
    let files =
        [module, owner, &format!("{owner}_tests")].map(|path| format!("/{}", path.replace("::", "/")));
    sources.iter().filter(|(path, _)| files.iter().any(|file| path.ends_with(file))).any(|(_, text)| {
        let before = text.split(&format!("fn {function}(")).next().unwrap_or_default();
        let mut above = before.lines().rev().take(4).map(str::trim);
        before.len() < text.len() && above.any(|line| line.starts_with("#[") && line.ends_with("test]"))
    })
}

/// Every file with Rust code, by its path without ending, and its text.
fn sources() -> Vec<(String, String)> {
    let folders = ["src", "actors", "benches", "integration-tests"];
    folders
        .into_iter()
        .flat_map(|folder| files(folder, ".rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let path = path.to_string_lossy().into_owned();
            let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
            (module.to_owned(), text)
        })
        .collect()
}

/// The rows of the table in a section, without its head.
fn rows(page: &str, section: &str, columns: usize) -> Vec<Vec<String>> {
    let page = read(page);
    let section =
        page.split("\n## ").find(|part| part.starts_with(&format!("{section}\n"))).expect("the section");
    let lines = section.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &str| line.trim_matches('|').split('|').map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = lines.skip(1).map(cells).collect();
    assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == columns), "{rows:?}");
    rows
}

#[test]
fn every_test_in_the_table_of_promises_exists() {
    let sources = sources();
    for row in rows("docs/reliability.md", "The table", 7) {
        let tests: Vec<&str> = spans(&row[1]).collect();
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            let is_program =
                Path::new(ROOT).join("integration-tests/src/bin").join(format!("{test}.rs")).exists();
            assert!(is_program || has_test(&sources, test), "{test}: no such test");
        }
    }
    assert!(!has_test(&sources, "docs_test::has_test"), "a function that is no test");
}

#[test]
fn every_test_in_the_table_of_attacks_exists() {
    let sources = sources();
    for row in rows("docs/security.md", "Attacks and mistakes", 3) {
        let tests: Vec<&str> = spans(&row[2]).collect();
        assert!(!tests.is_empty(), "{row:?}");
        for test in tests {
            assert!(has_test(&sources, test), "{test}: no such test");
        }
    }
}
