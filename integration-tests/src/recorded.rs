//! Recorded cases (`golden/*.jsonl`) as the contract wants them.
//!
//! Where the contract differs from what was recorded, `golden/<name>.differences.jsonl` says so, once for all
//! tests: one JSON object a line,
//!
//! ```json
//! {"name": "dur", "at": "/parquet_row/durationMs", "is": 1234.5, "why": "fractions are kept"}
//! ```
//!
//! `name` is the case's, or `*` for every case; `at` a JSON pointer into the case, whose last part need not be
//! there; `is` what stands there instead.

use serde_json::Value;

/// The cases of `recorded` with `differences` put in.
pub fn cases(recorded: &str, differences: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut cases: Vec<Value> = recorded.lines().map(read).collect();
    for difference in differences.lines().map(read) {
        let text = |key: &str| difference[key].as_str().unwrap_or_else(|| panic!("no {key}: {difference}"));
        assert!(!text("why").is_empty(), "no reason: {difference}");
        let mut applied = 0;
        for case in cases.iter_mut().filter(|case| text("name") == "*" || case["name"] == text("name")) {
            let (parent, key) = text("at").rsplit_once('/').expect("a pointer");
            let parent = case.pointer_mut(parent).unwrap_or_else(|| panic!("nothing there: {difference}"));
            assert_ne!(parent.get(key), Some(&difference["is"]), "no difference: {difference}");
            parent[key] = difference["is"].clone();
            applied += 1;
        }
        assert!(applied > 0, "no such case: {difference}");
    }
    cases
}
