//! Where the code reads fields of sections.
//!
//! Names are followed inside one function: parameters by their types, fields of structs by theirs, and what `let`, `for`,
//! patterns and closures bind to a part of the configuration. That is less than a compiler knows, and enough: code
//! that hides a reading from this hides it from a reader too.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Expr, FnArg, ImplItem, Item, Member, Pat, ReturnType, Type};

use super::super::source::Source;
use super::super::tests_in::{is_test, is_test_file};
use super::sections::{ROOT, Sections, Setting, names_in};

/// A part of the configuration: the section that the way began at, and the fields after it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    from: String,
    fields: Vec<String>,
}

/// What is read, and which sections are handed on whole.
#[derive(Default)]
pub struct Readings(BTreeSet<Part>);

impl Readings {
    /// Whether the setting is read: by its whole way, or by whoever takes a section on the way that is handed on.
    pub fn have(&self, setting: &Setting) -> bool {
        self.lead_to(&setting.steps)
    }

    fn lead_to(&self, steps: &[(String, String)]) -> bool {
        let fields: Vec<String> = steps.iter().map(|(_, field)| field.clone()).collect();
        (0..steps.len()).any(|at| {
            let part = Part { from: steps[at].0.clone(), fields: fields[at..].to_vec() };
            self.0.contains(&part) && (at == 0 || self.lead_to(&steps[..at]))
        })
    }
}

/// The server's own code, and not what tests or measures it.
fn is_product(path: &str) -> bool {
    ["src/", "actors/"].iter().any(|folder| path.starts_with(folder))
}

/// The readings of all code that is no test and not `src/config`, and of the methods of sections that it calls.
pub fn readings(sections: &Sections, sources: &[Source]) -> Readings {
    let product = sources.iter().filter(|source| is_product(&source.path) && !is_test_file(&source.path));
    let (config, others): (Vec<_>, Vec<_>) =
        product.partition(|source| source.path.starts_with("src/config/"));
    let mut known = Known { sections, fields: BTreeMap::new(), functions: BTreeMap::new() };
    for source in &others {
        known.learn(&source.code.items);
    }
    let mut reader = Reader {
        known: &known,
        own: None,
        bound: BTreeMap::new(),
        found: Readings::default(),
        called: BTreeSet::new(),
    };
    for source in &others {
        reader.visit_file(&source.code);
    }
    let mut own: Vec<_> = config.iter().flat_map(|source| methods(sections, &source.code.items)).collect();
    while let Some(at) =
        own.iter().position(|(_, method)| reader.called.contains(&method.sig.ident.to_string()))
    {
        let (section, method) = own.swap_remove(at);
        reader.own = Some(section);
        reader.visit_impl_item_fn(method);
    }
    reader.found
}

/// The methods of sections.
fn methods<'a>(sections: &Sections, items: &'a [Item]) -> Vec<(String, &'a syn::ImplItemFn)> {
    let mut found = Vec::new();
    for item in items {
        if let Item::Impl(of) = item
            && let Some(section) = names_in(&of.self_ty).into_iter().find(|name| sections.contains_key(name))
        {
            for item in &of.items {
                if let ImplItem::Fn(method) = item {
                    found.push((section.clone(), method));
                }
            }
        }
    }
    found
}

/// What types say.
struct Known<'a> {
    sections: &'a Sections,
    /// Fields of structs that hold a section.
    fields: BTreeMap<String, BTreeSet<String>>,
    /// Functions that answer with one.
    functions: BTreeMap<String, BTreeSet<String>>,
}

impl Known<'_> {
    fn learn(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Struct(of) => {
                    for field in &of.fields {
                        if let (Some(name), Some(section)) = (&field.ident, self.section(&field.ty)) {
                            self.fields.entry(name.to_string()).or_default().insert(section);
                        }
                    }
                }
                Item::Fn(of) => self.learn_function(&of.sig),
                Item::Mod(of) if !is_test(&of.attrs) => {
                    if let Some((_, items)) = &of.content {
                        self.learn(items);
                    }
                }
                _ => {}
            }
        }
    }

    fn learn_function(&mut self, signature: &syn::Signature) {
        if let ReturnType::Type(_, of_type) = &signature.output
            && let Some(section) = self.section(of_type)
        {
            self.functions.entry(signature.ident.to_string()).or_default().insert(section);
        }
    }

    fn section(&self, of_type: &Type) -> Option<String> {
        names_in(of_type).into_iter().find(|name| self.sections.contains_key(name))
    }

    /// The section that a part is, or a list of which it is.
    fn section_of(&self, part: &Part) -> Option<String> {
        part.fields.iter().try_fold(part.from.clone(), |section, name| {
            self.sections[&section].iter().find(|field| field.name == *name)?.section.clone()
        })
    }

    /// A field of a part.
    fn field(&self, part: &Part, name: &str) -> Option<Part> {
        let section = self.section_of(part)?;
        self.sections[&section].iter().find(|field| field.name == name)?;
        let fields = [part.fields.as_slice(), &[name.to_owned()]].concat();
        Some(Part { from: part.from.clone(), fields })
    }
}

/// Goes through the code, one function after the other.
struct Reader<'a> {
    known: &'a Known<'a>,
    /// The section whose methods are read.
    own: Option<String>,
    /// Names of the function, and what they stand for.
    bound: BTreeMap<String, BTreeSet<Part>>,
    found: Readings,
    called: BTreeSet<String>,
}

impl Reader<'_> {
    /// What an expression is a part of.
    fn parts(&self, expression: &Expr) -> BTreeSet<Part> {
        match expression {
            Expr::Path(path) => {
                path.path.get_ident().map_or_else(BTreeSet::new, |name| self.named(&name.to_string()))
            }
            Expr::Field(field) => match &field.member {
                Member::Named(name) => self.fields(&self.parts(&field.base), &name.to_string()),
                Member::Unnamed(_) => BTreeSet::new(),
            },
            Expr::Reference(of) => self.parts(&of.expr),
            Expr::Paren(of) => self.parts(&of.expr),
            Expr::Unary(of) => self.parts(&of.expr),
            Expr::Try(of) => self.parts(&of.expr),
            Expr::MethodCall(of) => self.parts(&of.receiver),
            Expr::Call(of) => match &*of.func {
                Expr::Path(path) => {
                    let name = path
                        .path
                        .segments
                        .last()
                        .map(|segment| segment.ident.to_string())
                        .unwrap_or_default();
                    let sections = self.known.functions.get(&name).into_iter().flatten();
                    sections.map(|section| Part { from: section.clone(), fields: Vec::new() }).collect()
                }
                _ => BTreeSet::new(),
            },
            _ => BTreeSet::new(),
        }
    }

    fn named(&self, name: &str) -> BTreeSet<Part> {
        self.bound.get(name).cloned().unwrap_or_default()
    }

    fn fields(&self, of: &BTreeSet<Part>, name: &str) -> BTreeSet<Part> {
        let fields: BTreeSet<Part> = of.iter().filter_map(|part| self.known.field(part, name)).collect();
        if !fields.is_empty() {
            return fields;
        }
        // A field of this name elsewhere: names of fields are not unique.
        let sections = self.known.fields.get(name).into_iter().flatten();
        sections.map(|section| Part { from: section.clone(), fields: Vec::new() }).collect()
    }

    fn read(&mut self, parts: BTreeSet<Part>) {
        self.found.0.extend(parts);
    }

    /// Gives the names of a pattern what they stand for.
    fn bind(&mut self, pattern: &Pat, parts: &BTreeSet<Part>) {
        match pattern {
            Pat::Ident(name) => {
                self.bound.entry(name.ident.to_string()).or_default().extend(parts.iter().cloned())
            }
            Pat::Reference(of) => self.bind(&of.pat, parts),
            Pat::Paren(of) => self.bind(&of.pat, parts),
            Pat::Type(of) => self.bind_typed(of, parts),
            Pat::TupleStruct(of) => of.elems.iter().for_each(|inner| self.bind(inner, parts)),
            Pat::Tuple(of) => of.elems.iter().for_each(|inner| self.bind(inner, parts)),
            Pat::Struct(of) => {
                let name =
                    of.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
                let mut parts = parts.clone();
                if parts.is_empty() && self.known.sections.contains_key(&name) {
                    parts.insert(Part { from: name, fields: Vec::new() });
                }
                for field in &of.fields {
                    if let Member::Named(name) = &field.member {
                        let inner = self.fields(&parts, &name.to_string());
                        self.bind(&field.pat, &inner);
                        self.read(
                            inner.into_iter().filter(|part| self.known.section_of(part).is_none()).collect(),
                        );
                    }
                }
            }
            _ => {}
        }
    }

    fn bind_typed(&mut self, of: &syn::PatType, parts: &BTreeSet<Part>) {
        let section = self.known.section(&of.ty);
        let typed = section.map(|section| Part { from: section, fields: Vec::new() });
        let parts = if parts.is_empty() { typed.into_iter().collect() } else { parts.clone() };
        self.bind(&of.pat, &parts);
    }

    /// Binds what an expression is. A name for a section reads nothing yet.
    fn bind_to(&mut self, pattern: &Pat, expression: &Expr) {
        if let (Pat::Tuple(names), Expr::Tuple(values)) = (pattern, expression) {
            names.elems.iter().zip(&values.elems).for_each(|(name, value)| self.bind_to(name, value));
            return;
        }
        let parts = self.parts(expression);
        self.bind(pattern, &parts);
        let is_name = matches!(without_reference(expression), Expr::Field(_) | Expr::Path(_));
        if is_name && parts.iter().all(|part| self.known.section_of(part).is_some()) && !parts.is_empty() {
            return;
        }
        self.visit_expr(expression);
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let outer = std::mem::take(&mut self.bound);
        for input in &signature.inputs {
            match input {
                FnArg::Receiver(_) => {
                    let own =
                        self.own.iter().map(|section| Part { from: section.clone(), fields: Vec::new() });
                    self.bound.insert("self".to_owned(), own.collect());
                }
                FnArg::Typed(typed) => self.bind_typed(typed, &BTreeSet::new()),
            }
        }
        self.visit_block(block);
        self.bound = outer;
    }
}

fn without_reference(expression: &Expr) -> &Expr {
    match expression {
        Expr::Reference(of) => without_reference(&of.expr),
        other => other,
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test(&function.attrs) {
            self.function(&function.sig, &function.block);
        }
    }

    fn visit_impl_item_fn(&mut self, method: &'ast syn::ImplItemFn) {
        if !is_test(&method.attrs) {
            self.function(&method.sig, &method.block);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            self.bind_to(&local.pat, &init.expr);
            if let Some((_, otherwise)) = &init.diverge {
                self.visit_expr(otherwise);
            }
        }
    }

    fn visit_expr_let(&mut self, of: &'ast syn::ExprLet) {
        self.bind_to(&of.pat, &of.expr);
    }

    fn visit_expr_for_loop(&mut self, of: &'ast syn::ExprForLoop) {
        let parts = self.parts(&of.expr);
        self.bind(&of.pat, &parts);
        visit::visit_expr_for_loop(self, of);
    }

    fn visit_expr_match(&mut self, of: &'ast syn::ExprMatch) {
        let parts = self.parts(&of.expr);
        of.arms.iter().for_each(|arm| self.bind(&arm.pat, &parts));
        visit::visit_expr_match(self, of);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.called.insert(call.method.to_string());
        let parts = self.parts(&call.receiver);
        for argument in &call.args {
            if let Expr::Closure(closure) = argument {
                closure.inputs.iter().for_each(|input| self.bind(input, &parts));
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        if let Some(name) = path.path.get_ident() {
            let parts = self.named(&name.to_string());
            self.read(
                parts.into_iter().filter(|part| part.from != ROOT || !part.fields.is_empty()).collect(),
            );
        }
    }

    fn visit_expr_field(&mut self, field: &'ast syn::ExprField) {
        let parts = match &field.member {
            Member::Named(name) => self.fields(&self.parts(&field.base), &name.to_string()),
            Member::Unnamed(_) => BTreeSet::new(),
        };
        self.read(parts);
        // The fields before are on the way only; anything else before is code of its own.
        let mut base = &*field.base;
        while let Expr::Field(before) = base {
            base = &before.base;
        }
        if !matches!(base, Expr::Path(_)) {
            self.visit_expr(base);
        }
    }

    /// What stands in a macro is no code yet: names with dots between them are taken for fields.
    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        let text = of.tokens.to_string();
        let mut parts = BTreeSet::new();
        let mut is_field = false;
        for word in tokens(&text) {
            if word == "." {
                is_field = true;
                continue;
            }
            self.called.insert(word.to_owned());
            let next = if is_field { self.fields(&parts, word) } else { self.named(word) };
            if !is_field || next.is_empty() {
                self.read(parts);
            }
            parts = next;
            is_field = false;
        }
        self.read(parts);
    }
}

/// The names, and every other sign by itself; texts are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_part = |character: char| character.is_alphanumeric() || character == '_';
        let len = match first {
            '"' => {
                let mut is_escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, character)| {
                    let is_end = *character == '"' && !is_escaped;
                    is_escaped = *character == '\\' && !is_escaped;
                    is_end
                });
                end.map_or(rest.len(), |(at, _)| at + 1)
            }
            first if is_part(first) => rest.find(|character| !is_part(character)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(len);
        if first != '"' && !first.is_whitespace() {
            tokens.push(word);
        }
        rest = behind;
    }
    tokens
}
