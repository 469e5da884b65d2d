//! What a section of settings is: declared once, beside the code that it configures.
//!
//! Where a file, the environment or a flag sets a value is not known here: `src/config` reads them.

pub mod coerce;
pub mod schema;
pub mod secret;
