//! What the admin API says, as tables.

use serde_json::Value;

/// One line for each service.
pub fn services(services: &[Value]) -> String {
    let row = |service: &Value| {
        let endpoints = service["endpoints"].as_array().map_or(0, Vec::len);
        vec![
            text(&service["name"]),
            format!("{}/{endpoints}", text(&service["admitted"])),
            text(&service["active"]),
            text(&service["balance"]),
            text(&service["protocol"]),
        ]
    };
    let heads = ["SERVICE", "ADMITTED", "ACTIVE", "BALANCE", "PROTOCOL"];
    table(&heads, services.iter().map(row).collect())
}

/// One line for each endpoint.
pub fn endpoints(services: &[Value]) -> String {
    let row = |service: &Value, endpoint: &Value| {
        vec![
            text(&service["name"]),
            text(&endpoint["address"]),
            text(&endpoint["weight"]),
            text(&endpoint["active"]),
            text(&endpoint["state"]),
            text(&endpoint["why"]),
        ]
    };
    let of = |service: &Value| {
        let endpoints = service["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().map(|endpoint| row(service, endpoint)).collect::<Vec<_>>()
    };
    let heads = ["SERVICE", "ENDPOINT", "WEIGHT", "ACTIVE", "STATE", "WHY"];
    table(&heads, services.iter().flat_map(of).collect())
}

/// What differs.
pub fn drift(drift: &Value) -> String {
    let mut out = String::new();
    let overrides = drift["overrides"].as_array().cloned().unwrap_or_default();
    if !overrides.is_empty() {
        let row = |one: &Value| {
            vec![
                text(&one["id"]),
                text(&one["until"]),
                text(&one["since"]),
                text(&one["by"]),
                text(&one["what"]),
            ]
        };
        out.push_str("changed by hand:\n");
        let rows = overrides.iter().map(row).collect();
        for line in table(&["ID", "UNTIL", "SINCE", "BY", "WHAT"], rows).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    let file = &drift["file"];
    let path = text(&file["path"]);
    match file["state"].as_str() {
        Some("runs") => out.push_str(&format!("{path} is what runs\n")),
        Some("restart") => {
            out.push_str(&format!("{path} is what runs, but for what waits for a restart\n"));
        }
        Some("refused") => out.push_str(&format!("{path} has errors and does not run:\n")),
        _ => out.push_str(&format!("{path} is not what runs; from what runs to the file:\n")),
    }
    for name in ["differs", "diagnostics"] {
        let told = text(&file[name]);
        told.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    let failed = &file["reload_failed"];
    if !failed.is_null() {
        out.push_str(&format!("the reload at {} failed:\n", text(&failed["at"])));
        let told = text(&failed["diagnostics"]);
        told.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    out
}

/// As people read it: texts without quotes, nothing as nothing. What the API tells may be anybody's words.
pub fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(heads[column].len())
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&heads).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let service = json!({ "name": "orders", "endpoints": [
            { "address": "127.0.0.1:9001", "weight": 1, "active": 12, "state": "admitting", "why": "" },
            { "address": "127.0.0.1:9002", "weight": 20, "active": 0, "state": "draining", "why": "by\u{1b} hand" },
        ] });
        let expected = "SERVICE  ENDPOINT        WEIGHT  ACTIVE  STATE      WHY\n\
            orders   127.0.0.1:9001  1       12      admitting\n\
            orders   127.0.0.1:9002  20      0       draining   by\u{fffd} hand\n";
        assert_eq!(endpoints(&[service]), expected);
    }

    #[test]
    fn a_drift_tells_both_kinds() {
        let value = json!({ "overrides": [ { "id": 3, "what": "x", "by": "me", "since": "a", "until": "b" } ],
            "file": { "path": "g.yaml", "state": "differs", "differs": "route r: changed\n" } });
        let told = drift(&value);
        assert!(
            told.contains("ID  UNTIL  SINCE  BY  WHAT\n") && told.contains("3   b      a      me  x\n"),
            "{told}"
        );
        assert!(
            told.ends_with("g.yaml is not what runs; from what runs to the file:\n  route r: changed\n"),
            "{told}"
        );
    }
}
