//! Destinations that write files.

pub mod columnar;
#[cfg(test)]
mod crash_tests;
pub mod csv_sink;
pub(crate) mod file_target;
pub mod json_sink;
pub mod parquet_sink;
pub(crate) mod part_numbers;
pub mod qvd_sink;
