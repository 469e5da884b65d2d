//! What ARCHITECTURE.md says of the house, held against the code.

mod imports;
mod source;
mod words;
