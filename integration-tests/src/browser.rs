//! A page in a real browser, driven step by step (`browser/drive.js`, headless Chromium).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::tools::{node_modules, source};

/// One page.
pub struct Page {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// How the page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 1440, height: 900, scheme: "light" }
    }
}

impl Page {
    pub fn open(url: &str, look: Look) -> Self {
        let mut child = Command::new("node")
            .arg(source("browser/drive.js"))
            .env("NODE_PATH", node_modules())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut page = Self { child, orders, answers };
        let Look { width, height, scheme } = look;
        page.order(&json!({ "do": "open", "url": url, "width": width, "height": height, "scheme": scheme }));
        page
    }

    /// What the expression gives in the page.
    pub fn eval(&mut self, script: &str) -> Value {
        self.order(&json!({ "do": "eval", "script": script }))
    }

    /// What the expression gives, as text.
    pub fn text(&mut self, script: &str) -> String {
        let value = self.eval(script);
        value.as_str().unwrap_or_else(|| panic!("{script} gives {value}")).to_owned()
    }

    /// Waits until the expression gives something true.
    pub fn until(&mut self, script: &str) {
        self.order(&json!({ "do": "until", "script": script }));
    }

    pub fn click(&mut self, selector: &str) {
        self.order(&json!({ "do": "click", "selector": selector }));
    }

    pub fn fill(&mut self, selector: &str, text: &str) {
        self.order(&json!({ "do": "fill", "selector": selector, "text": text }));
    }

    pub fn press(&mut self, key: &str) {
        self.order(&json!({ "do": "press", "text": key }));
    }

    pub fn size(&mut self, width: u32, height: u32) {
        self.order(&json!({ "do": "size", "width": width, "height": height }));
    }

    pub fn picture(&mut self, path: &Path) {
        self.order(&json!({ "do": "picture", "path": path }));
    }

    /// What axe-core finds in the page as it is now that keeps people out, one text each.
    pub fn barriers(&mut self) -> Vec<String> {
        let barriers = self.order(&json!({ "do": "barriers" }));
        serde_json::from_value(barriers).expect("a list of texts")
    }

    /// Controls that Tab does not reach, or that do not show that they have the focus.
    pub fn unreachable(&mut self) -> Vec<String> {
        let unreachable = self.order(&json!({ "do": "unreachable" }));
        serde_json::from_value(unreachable).expect("a list of texts")
    }

    /// What browser and page have complained of since the last time.
    pub fn complaints(&mut self) -> Vec<String> {
        let complaints = self.order(&json!({ "do": "complaints" }));
        serde_json::from_value(complaints).expect("a list of texts")
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").expect("the driver takes orders");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver answers");
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{order}: {error}: {line:?}"));
        assert!(answer.get("error").is_none(), "{order}: {}", answer["error"]);
        answer["value"].take()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
