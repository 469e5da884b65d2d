//! What the pages of the dashboard list, held against the lists of the code.

use std::fs;
use std::path::Path;

use butler_sos_domain::streams::Stream;

use super::source::ROOT;

#[test]
fn the_dashboard_has_columns_for_every_stream_that_people_look_at() {
    let lists =
        fs::read_to_string(Path::new(ROOT).join("src/operations/dashboard/lists.js")).expect("a page");
    let columns = lists.split("const COLUMNS = {").nth(1).and_then(|rest| rest.split("\n};").next());
    let columns = columns.expect("the columns of the events table");
    for stream in Stream::of_events() {
        assert!(
            columns.contains(&format!("'{}': [", stream.name())),
            "lists.js: COLUMNS of {}",
            stream.name()
        );
    }
}
