//! What is of one operating system stands behind the seam, and nowhere else in the product.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Attribute, Meta, UseTree};

use super::source::{Source, sources};
use super::tests_in::{is_test, is_test_file};

/// The seam, and what is of the system by its own nature.
const ALLOWED: [&str; 3] = ["actors/kit/platform/", "src/signals.rs", "src/service_manager"];

/// Where paths of one system begin, each with its second word where the first is shared with others.
const PATHS: [&[&str]; 6] = [
    &["std", "os"],
    &["nix"],
    &["libc"],
    &["rustix"],
    &["tokio", "signal", "unix"],
    &["tokio", "net", "unix"],
];
/// Conditions of `cfg`.
const CONDITIONS: [&str; 6] =
    ["unix", "windows", "target_os", "target_family", "target_env", "target_vendor"];
/// Files that the kernel of one system has.
const FILES: [&str; 2] = ["/proc/", "/sys/"];

#[test]
fn nothing_but_the_seam_is_of_one_system() {
    let product = |source: &&Source| {
        let is_product = source.path.starts_with("src/") || source.path.starts_with("actors/");
        is_product
            && !is_test_file(&source.path)
            && !ALLOWED.iter().any(|allowed| source.path.starts_with(allowed))
    };
    let sources = sources();
    let found: Vec<String> = sources
        .iter()
        .filter(product)
        .flat_map(|source| {
            of_one_system(&source.code).into_iter().map(|what| format!("{}: {what}", source.path))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_is_of_one_system_is_found() {
    let check = |code: &str, expect: &[&str]| {
        let found = of_one_system(&syn::parse_file(code).expect("code"));
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expect, "{code}");
    };
    check("use std::os::unix::fs::FileExt;", &["std::os"]);
    check("use std::{io, os::fd::AsRawFd};", &["std::os"]);
    check("use nix::{errno::Errno, sys};", &["nix"]);
    check("use tokio::signal::{self, unix::{Signal, signal}};", &["tokio::signal::unix"]);
    check("fn f() -> i32 { libc::O_NONBLOCK }", &["libc"]);
    check("fn f(fd: &impl std::os::fd::AsFd) { g::<nix::Error>(fd) }", &["nix", "std::os"]);
    check("#[cfg(not(unix))] fn f() {}", &["cfg(unix)"]);
    check("fn f() { if cfg!(windows) {} }", &["cfg(windows)"]);
    check("#[cfg_attr(target_os = \"linux\", inline)] fn f() {}", &["cfg(target_os)"]);
    check("fn f() { read(\"/proc/self/stat\") }", &["/proc/"]);
    check("fn f() { let of = format!(\"/proc/{}/stat\", 7); }", &["/proc/"]);
    check("fn f() { info!(log, \"x\"; \"error\" => %nix::errno::Errno::last()); }", &["nix"]);
    // Comments may speak of it, tests may use it.
    check("//! Reads `/proc/net/udp`.\n#[cfg(test)] mod tests { use std::os::unix::fs::symlink; }", &[]);
    check("#[cfg(feature = \"unix\")] use std::fs; use crate::os; fn nix() {}", &[]);
}

/// What of it a file has, once each.
fn of_one_system(code: &syn::File) -> Vec<String> {
    let mut found = Found::default();
    found.visit_file(code);
    found.0.into_iter().collect()
}

#[derive(Default)]
struct Found(BTreeSet<String>);

impl Found {
    fn path(&mut self, path: &[String]) {
        let begins =
            |of: &&[&str]| path.len() >= of.len() && of.iter().zip(path).all(|(of, word)| of == word);
        self.0.extend(PATHS.into_iter().filter(begins).map(|of| of.join("::")));
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
            UseTree::Name(name) => self.path(&with(&name.ident)),
            UseTree::Rename(name) => self.path(&with(&name.ident)),
            UseTree::Glob(_) => self.path(before),
        }
    }

    fn text(&mut self, text: &str) {
        self.0.extend(FILES.into_iter().filter(|file| text.contains(file)).map(str::to_owned));
    }

    fn condition(&mut self, text: &str) {
        let words: Vec<&str> =
            text.split(|of: char| !of.is_alphanumeric() && of != '_' && of != '"').collect();
        let found = CONDITIONS.into_iter().filter(|condition| words.contains(condition));
        self.0.extend(found.map(|condition| format!("cfg({condition})")));
    }

    /// What stands in a macro is no code yet: paths are what has `::` between its names.
    fn tokens(&mut self, text: &str) {
        self.text(text);
        let path = text.replace(' ', "");
        for word in path.split(|of: char| !of.is_alphanumeric() && of != '_' && of != ':') {
            self.path(&word.split("::").map(str::to_owned).collect::<Vec<_>>());
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
        visit::visit_item_use(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta
            && (list.path.is_ident("cfg") || list.path.is_ident("cfg_attr"))
        {
            self.condition(&list.tokens.to_string());
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.text(&text.value());
    }

    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        let text = of.tokens.to_string();
        if of.path.is_ident("cfg") {
            self.condition(&text);
        }
        self.tokens(&text);
        visit::visit_macro(self, of);
    }
}
