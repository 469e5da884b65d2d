//! What ARCHITECTURE.md says of the house, held against the code.

mod imports;
mod pages;
mod platform;
mod settings;
mod source;
mod tests_in;
mod words;
