//! `conf/full.yaml`, written from the descriptions of the settings, so that it cannot say anything but what the code
//! does.

use butler_sos_settings::coerce::{self, Kind};
use butler_sos_settings::schema::{Fallback, Key, Leaf, Section, Shape};

use super::Config;

const HEAD: &str = "\
# Every setting with its default, purpose and allowed values. Generated from the code; a test keeps the two
# equal. Copy the lines that you want to change; a setting that a file omits has the value shown here.
#
# * Relative files and directories refer to the working directory of the server.
# * Secrets can be set as ${NAME} (an environment variable) or file:/run/secrets/name (the content of a file).
# * Any setting can be set in the environment, BUTLER_SOS__Pipeline__journal__directory=/data, and on the command
#   line, --set Pipeline.journal.directory=/data. Later sources win: default, file, environment, command line.
# * The section Butler-SOS contains the keys of Butler SOS 15 and a few keys that are marked as not known there.
#   Keys of Butler SOS 15 without effect in this server are accepted and logged at start.
";
/// Longest line of a comment.
const WIDTH: usize = 118;

/// The whole file.
pub fn yaml() -> String {
    let mut out = String::from(HEAD);
    for key in Config::keys() {
        out.push('\n');
        write_key(&key, 0, &mut out);
    }
    out
}

fn write_key(key: &Key, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let mut detail: Vec<String> = key.about.iter().map(|line| line.trim().to_owned()).collect();
    if let Some(range) = range(&key.shape) {
        detail.push(range);
    }
    comment(&detail.join(" "), &indent, out);
    match &key.shape {
        Shape::Section(keys) => {
            out.push_str(&format!("{indent}{}:\n", key.name));
            for key in keys.iter().filter(|key| !matches!(key.shape, Shape::Ignored)) {
                write_key(key, depth + 1, out);
            }
        }
        Shape::List(item) => {
            out.push_str(&format!("{indent}{}: []\n", key.name));
            example(item, &indent, out);
        }
        Shape::Map(_) => out.push_str(&format!("{indent}{}: {{}}\n", key.name)),
        Shape::Scalar(leaf) => out.push_str(&format!("{indent}{}: {}\n", key.name, value(leaf))),
        Shape::Ignored => {}
    }
}

/// What an item of a list looks like, as a comment.
fn example(item: &Shape, indent: &str, out: &mut String) {
    if let Shape::Section(keys) = item {
        for (index, key) in keys.iter().enumerate() {
            let dash = if index == 0 { "-" } else { " " };
            let about = key.about.join(" ");
            out.push_str(&format!("{indent}#  {dash} {}: … # {}\n", key.name, about.trim()));
        }
    }
}

fn value(leaf: &Leaf) -> String {
    match &leaf.default {
        Fallback::Nothing | Fallback::Required => "null".into(),
        Fallback::Text(text) => match leaf.kind {
            Kind::Text | Kind::Secret | Kind::SecretAddress => format!("'{}'", text.replace('\'', "''")),
            _ => text.clone(),
        },
    }
}

/// What may stand there, where the default does not show it.
fn range(shape: &Shape) -> Option<String> {
    match shape {
        Shape::Scalar(leaf) => match &leaf.kind {
            Kind::Text | Kind::Bool => None,
            Kind::Secret => Some("(secret)".into()),
            Kind::SecretAddress => Some("(secret but for its host)".into()),
            kind => Some(format!("({})", coerce::expected(kind))),
        },
        Shape::List(_) => Some("(list)".into()),
        Shape::Map(_) => Some("(name: value)".into()),
        Shape::Section(_) | Shape::Ignored => None,
    }
}

fn comment(text: &str, indent: &str, out: &mut String) {
    let mut line = format!("{indent}#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{indent}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.trim() != "#" {
        out.push_str(&line);
        out.push('\n');
    }
}
