//! The sections of the configuration as they are declared.

use std::collections::BTreeMap;

use syn::parse::{Parse, ParseStream};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, GenericArgument, Ident, LitStr, PathArguments, Token, Type, Visibility, braced};

use super::super::source::Source;
use super::super::tests_in::is_test_file;

/// The section that all others are in.
pub const ROOT: &str = "Config";

/// Each section's fields.
pub type Sections = BTreeMap<String, Vec<Field>>;

pub struct Field {
    pub name: String,
    /// The section that the field holds, or a list of which it holds.
    pub section: Option<String>,
}

/// The way from the root to one value.
pub struct Setting {
    /// The sections on the way, the root first, and the field of each.
    pub steps: Vec<(String, String)>,
}

impl Setting {
    pub fn name(&self) -> String {
        self.steps.iter().map(|(_, field)| field.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// Everything that a `section!` declares.
pub fn sections(sources: &[Source]) -> Sections {
    let mut declared = Declared::default();
    for source in sources.iter().filter(|source| !is_test_file(&source.path)) {
        declared.visit_file(&source.code);
    }
    let names: Vec<String> = declared.0.iter().map(|section| section.name.clone()).collect();
    let mut sections = Sections::new();
    for section in declared.0 {
        let fields = section.fields.into_iter().map(|(name, inner)| {
            assert!(
                inner.iter().all(|inner| names.contains(inner)),
                "{}.{name} is of {inner:?}",
                section.name
            );
            Field { name, section: inner }
        });
        let before = sections.insert(section.name.clone(), fields.collect());
        assert!(before.is_none(), "two sections have the name {}", section.name);
    }
    sections
}

/// Every value, and every list, below the root.
pub fn settings(sections: &Sections) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut open = vec![(ROOT.to_owned(), Vec::new())];
    while let Some((section, before)) = open.pop() {
        for field in &sections[&section] {
            let steps = [before.as_slice(), &[(section.clone(), field.name.clone())]].concat();
            match &field.section {
                Some(inner) => open.push((inner.clone(), steps)),
                None => settings.push(Setting { steps }),
            }
        }
    }
    settings.sort_by_key(Setting::name);
    settings
}

/// The names of a type and of those between its angle brackets.
pub fn names_in(of_type: &Type) -> Vec<String> {
    let mut names = Vec::new();
    match of_type {
        Type::Path(path) => {
            for segment in &path.path.segments {
                names.push(segment.ident.to_string());
                if let PathArguments::AngleBracketed(arguments) = &segment.arguments {
                    for argument in &arguments.args {
                        if let GenericArgument::Type(inner) = argument {
                            names.extend(names_in(inner));
                        }
                    }
                }
            }
        }
        Type::Reference(reference) => names.extend(names_in(&reference.elem)),
        Type::Slice(slice) => names.extend(names_in(&slice.elem)),
        _ => {}
    }
    names
}

#[derive(Default)]
struct Declared(Vec<Declaration>);

impl<'ast> Visit<'ast> for Declared {
    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        if of.path.is_ident("section") {
            self.0.push(of.parse_body().expect("a section"));
        }
        visit::visit_macro(self, of);
    }
}

struct Declaration {
    name: String,
    /// With the section that each holds.
    fields: Vec<(String, Option<String>)>,
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<Token![struct]>()?;
        let name = input.parse::<Ident>()?.to_string();
        let content;
        braced!(content in input);
        let mut fields = Vec::new();
        while !content.is_empty() {
            content.call(Attribute::parse_outer)?;
            if content.peek(Ident) {
                // `ignored "key";`
                content.parse::<Ident>()?;
                content.parse::<LitStr>()?;
            } else {
                while !content.peek(Token![=>]) {
                    // The key, and what else it is or was called.
                    content.step(|cursor| {
                        Ok(((), cursor.token_tree().ok_or_else(|| cursor.error("a key"))?.1))
                    })?;
                }
                content.parse::<Token![=>]>()?;
                let field = content.parse::<Ident>()?.to_string();
                content.parse::<Token![:]>()?;
                content.parse::<Type>()?;
                content.parse::<Token![=]>()?;
                fields.push((field, inner(&content.parse()?)));
            }
            content.parse::<Token![;]>()?;
        }
        Ok(Self { name, fields })
    }
}

/// The section of a shape such as `group::<Section>()`.
fn inner(shape: &Expr) -> Option<String> {
    let Expr::Call(call) = shape else { return None };
    let Expr::Path(function) = &*call.func else { return None };
    match &function.path.segments.last()?.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(section) => names_in(section).pop(),
            _ => None,
        },
        _ => None,
    }
}
