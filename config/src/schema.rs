//! The JSON Schema (draft 2020-12) of what may be written, printed from the description the decoder works by.
//!
//! Editors take it for completion and early checks. What a schema can't say (references, overlaps, units' bounds) only
//! `ringway check` says.

use serde_json::{Map, Value, json};

use crate::describe::{Absent, Kind, Object, tables};

/// The schema.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "variable".to_owned(),
        json!({ "type": "string", "pattern": r"\$\{", "description": "`${VAR}` or `${VAR:-default}` in it" }),
    );
    for object in tables::ALL.iter().filter(|object| object.name != tables::CONFIG.name) {
        definitions.insert(object.name.to_owned(), object_schema(object));
    }
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Ringway configuration"));
    if let Value::Object(config) = object_schema(&tables::CONFIG) {
        root.extend(config);
    }
    root.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

fn object_schema(object: &Object) -> Value {
    let mut properties = Map::new();
    for field in object.fields {
        let mut schema = kind_schema(&field.kind);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), json!(field.about));
            if let Absent::Default(text) = field.absent {
                schema.insert("default".to_owned(), default(&field.kind, text));
            }
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = object
        .fields
        .iter()
        .filter(|field| matches!(field.absent, Absent::Required))
        .map(|field| field.name)
        .collect();
    let mut schema = Map::new();
    schema.insert("description".to_owned(), json!(object.about));
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), json!(false));
    if object.name == tables::ROUTE.name {
        let one = ["to", "respond", "redirect"].map(|name| json!({ "required": [name] }));
        schema.insert("oneOf".to_owned(), json!(one));
    }
    Value::Object(schema)
}

fn kind_schema(kind: &Kind) -> Value {
    let variable = json!({ "$ref": "#/$defs/variable" });
    let text = |pattern: &str| json!({ "anyOf": [{ "type": "string", "pattern": pattern }, variable] });
    match kind {
        // Unquoted numbers and words are text to the decoder, and something else to a schema.
        Kind::Text(_) => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Boolean => json!({ "anyOf": [{ "type": "boolean" }, variable] }),
        Kind::Integer(min, max) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": min, "maximum": max }, variable] })
        }
        Kind::Duration => text("^[1-9][0-9]*(ms|s|m|h)$"),
        Kind::Size(..) => text("^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|TiB)$"),
        Kind::Rate => text("^[1-9][0-9]*/(s|min|h)$"),
        Kind::Quota => text("^[1-9][0-9]*/(s|min|h|day)$"),
        Kind::ByteRate => text("^(0|[1-9][0-9]*)(B|KiB|MiB|GiB|TiB)/s$"),
        Kind::Share => text("^[0-9]+(\\.[0-9]{1,4})?%$"),
        Kind::Choice { now, .. } => {
            let values: Vec<Value> = now.iter().map(|word| word_value(word)).collect();
            json!({ "anyOf": [{ "enum": values }, variable] })
        }
        Kind::Or(word, kind) => {
            let mut options = vec![json!({ "const": word })];
            // One flat choice reads better than a choice in a choice.
            match kind_schema(kind) {
                Value::Object(mut inner) if inner.contains_key("anyOf") => match inner.remove("anyOf") {
                    Some(Value::Array(inner)) => options.extend(inner),
                    _ => options.push(variable),
                },
                inner => options.push(inner),
            }
            json!({ "anyOf": options })
        }
        Kind::List(kind) => json!({ "type": "array", "items": kind_schema(kind) }),
        Kind::Map(kind) => json!({ "type": "object", "additionalProperties": kind_schema(kind) }),
        Kind::Object(object) => json!({ "$ref": format!("#/$defs/{}", object.name) }),
        Kind::Either(one, other) => json!({ "anyOf": [kind_schema(one), kind_schema(other)] }),
    }
}

/// `301` is a number to a schema, `http` a word.
fn word_value(word: &str) -> Value {
    word.parse::<u64>().map_or_else(|_| json!(word), |number| json!(number))
}

fn default(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Boolean => json!(text == "true"),
        Kind::Integer(..) | Kind::Or(_, Kind::Integer(..)) | Kind::Choice { .. } => word_value(text),
        _ => json!(text),
    }
}

/// Every field as Markdown: path, type, default, meaning.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration reference\n\n\
         Generated by `cargo xtask docs` from the description that the decoder works by; don't edit.\n\n\
         One YAML file. Unknown fields, repeated keys and wrong units are errors, all told at once. Durations are a\n\
         whole number and `ms`, `s`, `m` or `h`; sizes `B`, `KiB`, `MiB` or `GiB`; rates `/s`, `/min` or `/h`. In values\n\
         `${VAR}` stands for a variable of the environment, `${VAR:-default}` has a default, `$${` is a literal `${`.\n\
         Anchors (`&name`), aliases (`*name`) and merges (`<<: *name`) work.\n",
    );
    for object in tables::ALL {
        let path = path_of(object);
        let heading = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
        out.push_str(&format!("\n## {heading}\n\n{}\n\n", object.about));
        out.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
        for field in object.fields {
            let full = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            let default = match field.absent {
                Absent::Required => "**required**".to_owned(),
                Absent::Default("") => "empty".to_owned(),
                Absent::Default(text) => format!("`{text}`"),
                Absent::Means(words) => words.to_owned(),
            };
            let row = [format!("`{full}`"), field.kind.words(), default, field.about.to_owned()];
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        if !object.later.is_empty() {
            let names: Vec<String> = object.later.iter().map(|name| format!("`{name}`")).collect();
            out.push_str(&format!("\nNot available in this version: {}.\n", names.join(", ")));
        }
    }
    out.push_str("\n## Diagnostics\n\n`ringway check --json` gives each problem a code.\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in crate::diagnostic::CODES {
        out.push_str(&format!("| `{code}` | {meaning} |\n"));
    }
    out
}

/// Where an object stands in the file: `listeners[].limits`.
pub fn path_of(object: &Object) -> String {
    fn find(at: &'static Object, wanted: &str, path: &str) -> Option<String> {
        for field in at.fields {
            let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            if let Some((inner, suffix)) = object_of(&field.kind) {
                let path = format!("{path}{suffix}");
                if inner.name == wanted {
                    return Some(path);
                }
                if let Some(found) = find(inner, wanted, &path) {
                    return Some(found);
                }
            }
        }
        None
    }
    find(&tables::CONFIG, object.name, "").unwrap_or_default()
}

/// The object within a kind, and what stands for the way to it.
fn object_of(kind: &'static Kind) -> Option<(&'static Object, String)> {
    match kind {
        Kind::Object(object) => Some((object, String::new())),
        Kind::Or(_, kind) | Kind::Either(_, kind) => object_of(kind),
        Kind::List(kind) => object_of(kind).map(|(object, rest)| (object, format!("[]{rest}"))),
        Kind::Map(kind) => object_of(kind).map(|(object, rest)| (object, format!(".<name>{rest}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_place_and_a_definition() {
        let schema = schema();
        for object in tables::ALL.iter().skip(1) {
            assert!(!path_of(object).is_empty(), "{}", object.name);
            assert!(schema["$defs"][object.name].is_object(), "{}", object.name);
        }
        assert_eq!(path_of(&tables::LIMITS), "listeners[].limits");
        assert_eq!(path_of(&tables::POOL), "services.<name>.pool");
    }

    #[test]
    fn every_field_is_in_the_reference() {
        let reference = reference();
        for object in tables::ALL {
            for field in object.fields {
                let path = path_of(object);
                let full =
                    if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
                assert!(reference.contains(&format!("| `{full}` |")), "{full}");
            }
        }
    }

    #[test]
    fn every_reference_within_the_schema_resolves() {
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(path)) = map.get("$ref") {
                        assert!(root.pointer(&path[1..]).is_some(), "{path}");
                    }
                    map.values().for_each(|value| walk(value, root));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        let schema = schema();
        walk(&schema, &schema);
    }
}
