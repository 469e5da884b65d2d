//! InfluxQL: quotes names for statements, and reads names and cells from answers. Pure.

use serde_json::Value;

/// Quotes a name for a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The first column of the first series.
pub(crate) fn first_column(answer: &Value) -> impl Iterator<Item = &str> {
    let rows = answer.pointer("/results/0/series/0/values").and_then(Value::as_array);
    rows.into_iter().flatten().filter_map(|row| row.get(0)?.as_str())
}

/// The cell of this column in the first row of the named series.
pub(crate) fn cell<'a>(answer: &'a Value, series: &str, column: &str) -> Option<&'a Value> {
    let all = answer.pointer("/results/0/series")?.as_array()?;
    let found = all.iter().find(|of| of.get("name").and_then(Value::as_str) == Some(series))?;
    let at = found.get("columns")?.as_array()?.iter().position(|name| name.as_str() == Some(column))?;
    found.pointer("/values/0")?.get(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_names_from_an_answer() {
        let answer = json!({"results":[{"series":[{"columns":["name"],"values":[["_internal"],["a b"]]}]}]});
        assert_eq!(first_column(&answer).collect::<Vec<_>>(), ["_internal", "a b"]);
        assert_eq!(first_column(&Value::Null).count(), 0);
        assert_eq!(quoted("a\"b\\\n"), r#""a\"b\\\n""#);
    }

    #[test]
    fn reads_cells_from_an_answer() {
        let answer = json!({"results":[{"series":[
            {"name":"build","columns":["Version"],"values":[["1.6.7"]]},
            {"name":"config-data","columns":["dir","max-values-per-tag"],"values":[["/x", 100]]},
        ]}]});
        assert_eq!(cell(&answer, "config-data", "max-values-per-tag"), Some(&json!(100)));
        assert_eq!(cell(&answer, "config-data", "nothing"), None);
        assert_eq!(cell(&answer, "nothing", "dir"), None);
        assert_eq!(cell(&Value::Null, "build", "Version"), None);
    }
}
