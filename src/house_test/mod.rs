//! What ARCHITECTURE.md says of the house, held against the code.

mod imports;
mod settings;
mod source;
mod words;
