//! Who imports whom.

use std::collections::{BTreeMap, BTreeSet};

use syn::UseTree;
use syn::visit::{self, Visit};

use super::source::{Source, sources};

type Module = Vec<String>;
/// Each module, and those whose names it uses.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_module_imports_itself_in_a_circle() {
    let imports = imports(&sources());
    let circles = circles(&imports);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn actors_are_ten_folders_at_most_without_a_circle() {
    let sources = sources();
    let in_actors = |module: &Module| module[0] == "butler_sos_actors";
    let mut folders = Imports::new();
    for (from, to) in imports(&sources).into_iter().filter(|(from, _)| in_actors(from) && from.len() > 1) {
        let to = to.into_iter().filter(|to| in_actors(to) && to.len() > 1 && to[1] != from[1]);
        folders.entry(from[..2].to_vec()).or_default().extend(to.map(|to| to[..2].to_vec()));
    }
    assert!(folders.len() <= 10, "{folders:?}");
    let loose: Vec<_> = sources
        .iter()
        .filter(|source| source.path.matches('/').count() == 1 && in_actors(&source.module))
        .collect();
    assert!(loose.iter().all(|source| source.path == "actors/lib.rs"), "an actor outside of the folders");
    let circles = circles(&folders);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_and_a_module_of_its_own_is_none() {
    let source = |module: &str, code: &str| Source {
        path: String::new(),
        module: module.split("::").map(str::to_owned).collect(),
        code: syn::parse_file(code).expect("code"),
    };
    let sources = [
        source("c", "mod a; mod b; mod d; use a::A;"),
        source("c::a", "use crate::b::{self, B};"),
        source("c::b", "fn f() -> usize { super::d::e::size() }"),
        source("c::d", "mod e; use self::e::E; #[cfg(test)] mod tests { use super::E; }"),
        source("c::d::e", "use crate::{a::A, d::D};"),
    ];
    assert_eq!(circles(&imports(&sources)), ["c::a -> c::b -> c::d::e -> c::a"]);
}

/// A module and those around it are no pair: a folder's own file lists what is in it, and what is in it uses the
/// names of the folder.
fn imports(sources: &[Source]) -> Imports {
    let modules: BTreeSet<&Module> = sources.iter().map(|source| &source.module).collect();
    sources
        .iter()
        .map(|source| {
            let mut paths = Paths { at: source.module.clone(), found: Vec::new() };
            paths.visit_file(&source.code);
            let module_of = |path: &Module| {
                (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|part| modules.contains(part))
            };
            let used = paths.found.iter().filter_map(module_of);
            let own = &source.module;
            let others = used.filter(|used| !used.starts_with(own) && !own.starts_with(used));
            (own.clone(), others.collect())
        })
        .collect()
}

/// The shortest way from each module back to itself; every circle once.
fn circles(imports: &Imports) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for start in imports.keys().filter(|module| module.len() > 1) {
        let mut before: BTreeMap<&Module, &Module> = BTreeMap::new();
        let mut next = vec![start];
        while !before.contains_key(start) && !next.is_empty() {
            let mut reached = Vec::new();
            for from in next {
                for to in imports.get(from).into_iter().flatten() {
                    if !before.contains_key(to) {
                        before.insert(to, from);
                        reached.push(to);
                    }
                }
            }
            next = reached;
        }
        if !before.contains_key(start) {
            continue;
        }
        let mut way = vec![start];
        while way.len() == 1 || way[way.len() - 1] != start {
            way.push(before[way[way.len() - 1]]);
        }
        if seen.insert(way.iter().copied().collect::<BTreeSet<_>>()) {
            circles.push(way.iter().rev().map(|module| module.join("::")).collect::<Vec<_>>().join(" -> "));
        }
    }
    circles
}

/// Every path in a file that begins at a crate or at the place where it stands.
struct Paths {
    at: Module,
    found: Vec<Module>,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        let (mut base, mut rest) = match path[0].as_str() {
            "crate" => (self.at[..1].to_vec(), &path[1..]),
            "self" => (self.at.clone(), &path[1..]),
            "super" => (self.at.clone(), &path[..]),
            name if name.starts_with("butler_sos") => (Vec::new(), &path[..]),
            _ => return,
        };
        while let Some(("super", behind)) = rest.split_first().map(|(first, behind)| (first.as_str(), behind))
        {
            base.pop();
            rest = behind;
        }
        base.extend_from_slice(rest);
        self.found.push(base);
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(before, item)),
            UseTree::Name(name) => self.add(with(&name.ident)),
            UseTree::Rename(name) => self.add(with(&name.ident)),
            UseTree::Glob(_) => self.add(before.to_vec()),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.at.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.at.pop();
        }
    }
}
