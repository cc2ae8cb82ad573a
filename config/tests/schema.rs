//! The schema accepts what the decoder accepts and refuses what it can see is wrong.

use std::path::Path;

use ringway_config::{load_str, schema};
use serde_json::{Value, json};

/// Checks the keywords that our schema has (patterns of units aside, which are told by hand).
fn accepts(schema: &Value, value: &Value, root: &Value) -> bool {
    let Value::Object(keywords) = schema else { return schema != &json!(false) };
    keywords.iter().all(|(keyword, wanted)| match (keyword.as_str(), value) {
        ("$ref", _) => accepts(root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), value, root),
        ("type", _) => match wanted {
            Value::Array(types) => types.iter().any(|one| is_type(value, one)),
            one => is_type(value, one),
        },
        ("const", _) => wanted == value,
        ("enum", _) => wanted.as_array().unwrap().contains(value),
        ("anyOf", _) => wanted.as_array().unwrap().iter().any(|one| accepts(one, value, root)),
        ("oneOf", _) => {
            wanted.as_array().unwrap().iter().filter(|one| accepts(one, value, root)).count() == 1
        }
        ("required", Value::Object(map)) => {
            wanted.as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))
        }
        ("properties", Value::Object(map)) => {
            map.iter().all(|(name, value)| wanted.get(name).is_none_or(|schema| accepts(schema, value, root)))
        }
        ("additionalProperties", Value::Object(map)) => {
            let known = keywords.get("properties");
            map.iter()
                .filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()))
                .all(|(_, value)| accepts(wanted, value, root))
        }
        ("items", Value::Array(items)) => items.iter().all(|item| accepts(wanted, item, root)),
        ("minimum", Value::Number(number)) => number.as_f64() >= wanted.as_f64(),
        ("maximum", Value::Number(number)) => number.as_f64() <= wanted.as_f64(),
        ("pattern", Value::String(text)) => matches(wanted.as_str().unwrap(), text),
        _ => true,
    })
}

fn is_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other}"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    use ringway_config::units;
    if pattern == r"\$\{" {
        text.contains("${")
    } else if pattern.ends_with("(ms|s|m|h)$") {
        units::duration(text).is_ok()
    } else if pattern.ends_with("/s$") {
        units::byte_rate(text).is_ok()
    } else if pattern.ends_with("%$") {
        units::share(text).is_ok()
    } else if pattern.ends_with("(s|min|h|day)$") {
        units::quota(text).is_ok()
    } else if pattern.ends_with("(s|min|h)$") {
        units::rate(text).is_ok()
    } else {
        units::size(text, 0, u64::MAX).is_ok()
    }
}

fn schema_accepts(text: &str) -> bool {
    let value: Value = serde_saphyr::from_str(text).unwrap();
    let schema = schema();
    accepts(&schema, &value, &schema)
}

#[test]
fn examples_and_what_is_shown_of_them_fit_the_schema() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(schema_accepts(&text), "{}", path.display());
        let config = load_str("example", &text, &|_| None).unwrap().config;
        assert!(schema_accepts(&ringway_config::config_as_json(&config).to_string()), "{}", path.display());
    }
}

#[test]
fn golden_cases_that_run_fit_the_schema() {
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if yaml && load_str("case", &text, &|name| (name == "PORT").then(|| "8080".into())).is_ok() {
            assert!(schema_accepts(&text), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 3);
}

#[test]
fn what_a_schema_can_see_is_refused() {
    let right = "listeners: [ { name: a, address: 127.0.0.1:1 } ]\n";
    assert!(schema_accepts(right));
    for wrong in [
        "{}".to_owned(),
        "listeners: {}\n".to_owned(),
        format!("{right}zebra: 1\n"),
        format!("{right}role: both\n"),
        format!("{right}drain_timeout: 5\n"),
        format!("{right}runtime: {{ workers: 0 }}\n"),
        format!("{right}routes: [ {{ to: a, respond: {{}} }} ]\n"),
        format!("{right}services: {{ a: {{ endpoints: x }} }}\n"),
    ] {
        assert!(!schema_accepts(&wrong), "{wrong}");
        assert!(load_str("case", &wrong, &|_| None).is_err(), "{wrong}");
    }
}
