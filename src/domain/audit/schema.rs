//! Applies a JSON Schema to a part of a body.
//!
//! Errors have Ajv's format, which the clients of Butler SOS know: `instancePath`, `schemaPath`, `keyword`,
//! `params`, `message`.

use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Value, json};

use super::instance::Outlined;
use super::outline::Part;
use super::time::is_date_time;
use crate::uuid::is_uuid;

/// A schema, compiled once.
pub struct Schema {
    source: Value,
    validator: Validator<Outlined>,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// JSON pointer to the value.
    pub instance_path: String,
    /// `#` and the JSON pointer to the rule.
    pub schema_path: String,
    pub keyword: String,
    pub params: Value,
    pub message: String,
}

/// A schema that does not compile. The schemas are part of the program, so only a test can see this.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("schema is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("schema does not compile: {0}")]
    Compile(String),
}

impl Schema {
    pub fn compile(source: &str) -> Result<Self, SchemaError> {
        let source: Value = serde_json::from_str(source)?;
        let validator = jsonschema::options_for::<Outlined>()
            .with_draft(Draft::Draft7)
            .should_validate_formats(true)
            .with_format("date-time", is_date_time)
            .with_format("uuid", is_uuid)
            .build(&source)
            .map_err(|error| SchemaError::Compile(error.to_string()))?;
        Ok(Self { source, validator })
    }

    /// The schema itself.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// The rules that `part` breaks; none when it is valid. Missing members come first, then errors in
    /// members, by name.
    pub fn broken_by(&self, part: Part<'_>) -> Vec<Broken> {
        if self.validator.is_valid(part) {
            return Vec::new();
        }
        self.validator.iter_errors(part).map(|error| self.describe(&error)).collect()
    }

    fn describe(&self, error: &ValidationError<'_>) -> Broken {
        let path = error.schema_path().as_str();
        let keyword = error.kind().keyword().to_owned();
        let rule = self.source.pointer(path).cloned().unwrap_or(Value::Null);
        let (params, message) = match keyword.as_str() {
            "required" => {
                let missing = match error.kind() {
                    jsonschema::error::ValidationErrorKind::Required { property } => property.clone(),
                    _ => Value::Null,
                };
                let message =
                    format!("must have required property '{}'", missing.as_str().unwrap_or_default());
                (json!({ "missingProperty": missing }), message)
            }
            "type" => {
                let message = format!("must be {}", listed(&rule));
                (json!({ "type": rule }), message)
            }
            "enum" => {
                (json!({ "allowedValues": rule }), "must be equal to one of the allowed values".to_owned())
            }
            "format" => {
                let message = format!("must match format {rule}");
                (json!({ "format": rule }), message)
            }
            "pattern" => {
                let message = format!("must match pattern {rule}");
                (json!({ "pattern": rule }), message)
            }
            "maxLength" | "minLength" | "maxItems" | "minItems" => {
                let bound = if keyword.starts_with("max") { "more" } else { "fewer" };
                let unit = if keyword.ends_with("Length") { "characters" } else { "items" };
                let message = format!("must NOT have {bound} than {rule} {unit}");
                (json!({ "limit": rule }), message)
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                let comparison = match keyword.as_str() {
                    "minimum" => ">=",
                    "maximum" => "<=",
                    "exclusiveMinimum" => ">",
                    _ => "<",
                };
                let message = format!("must be {comparison} {rule}");
                (json!({ "comparison": comparison, "limit": rule }), message)
            }
            "anyOf" => (json!({}), "must match a schema in anyOf".to_owned()),
            _ => (json!({}), format!("must pass \"{keyword}\" keyword validation")),
        };
        Broken {
            instance_path: error.instance_path().as_str().to_owned(),
            schema_path: format!("#{path}"),
            keyword,
            params,
            message,
        }
    }
}

/// `string,null` for a list of types, `string` for one.
fn listed(rule: &Value) -> String {
    match rule {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        one => one.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::outline::{Names, Outline, Shape};

    #[test]
    fn errors_have_the_format_of_ajv() {
        let check = |rule: Value, text: &str, params: Value, message: &str| {
            let schema = json!({ "type": "object", "properties": { "a": rule } }).to_string();
            let schema = Schema::compile(&schema).expect("compiles");
            let body = format!("{{\"a\":{text}}}");
            let mut names = Names::default();
            names.add(schema.source());
            let shape = Shape::of(&names);
            let outline = Outline::of(&shape, body.as_bytes()).expect("JSON");
            let broken = schema.broken_by(outline.whole());
            let [broken] = broken.as_slice() else { panic!("{text}: {broken:?}") };
            assert_eq!((&broken.params, broken.message.as_str()), (&params, message), "{text}");
            assert_eq!(broken.instance_path, "/a");
            assert_eq!(broken.schema_path, format!("#/properties/a/{}", broken.keyword));
        };
        check(json!({"type": "string"}), "1", json!({"type": "string"}), "must be string");
        let types = json!(["string", "null"]);
        check(json!({"type": types.clone()}), "1", json!({"type": types}), "must be string,null");
        check(json!({"format": "uri"}), "\"a b\"", json!({"format": "uri"}), "must match format \"uri\"");
        check(
            json!({"pattern": "^[1-9]$"}),
            "\"0\"",
            json!({"pattern": "^[1-9]$"}),
            "must match pattern \"^[1-9]$\"",
        );
        check(json!({"minLength": 1}), "\"\"", json!({"limit": 1}), "must NOT have fewer than 1 characters");
        check(json!({"maxLength": 1}), "\"åå\"", json!({"limit": 1}), "must NOT have more than 1 characters");
        check(json!({"maxItems": 1}), "[1,2,3]", json!({"limit": 1}), "must NOT have more than 1 items");
        check(json!({"minimum": 0}), "-1", json!({"comparison": ">=", "limit": 0}), "must be >= 0");
        check(json!({"exclusiveMinimum": 0}), "0", json!({"comparison": ">", "limit": 0}), "must be > 0");
        check(json!({"maximum": 5}), "1e400", json!({"comparison": "<=", "limit": 5}), "must be <= 5");
    }
}
