//! The messages.
