//! What of the code is a test.

/// A file that is compiled for tests alone, by its name.
pub fn is_test_file(path: &str) -> bool {
    let name = path.trim_end_matches(".rs");
    let is_named =
        ["_test", "_tests", "/tests", "/testing", "/harness"].iter().any(|end| name.ends_with(end));
    is_named || path.contains("_test/") || path.contains("/tests/")
}

/// Whether an item has `#[cfg(test)]`.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}
