//! A scenario's file: parsed strictly, all problems at once, each with what would be right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::{Phase, Scenario, Template, Text, Variables};
use crate::units;

const REQUESTS_MAX: usize = 1000;
const PHASES_MAX: usize = 1000;
const BODY_MAX: u64 = 16 << 20;
const FILE_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    target: String,
    connections: Option<u32>,
    rate: Option<Number>,
    duration: Option<String>,
    arrivals: Option<String>,
    #[serde(default)]
    phases: Vec<WrittenPhase>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    variables: BTreeMap<String, WrittenVariable>,
    requests: Vec<WrittenRequest>,
}

/// A rate, with or without a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Float(f64),
    Text(String),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            Number::Float(number) => number.fmt(f),
            Number::Text(text) => text.fmt(f),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPhase {
    ramp: Option<String>,
    steady: Option<Number>,
    spike: Option<Number>,
    #[serde(rename = "for")]
    length: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenVariable {
    csv: Option<String>,
    range: Option<String>,
    order: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRequest {
    name: Option<String>,
    weight: Option<f64>,
    method: Option<String>,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_file: Option<String>,
    expect: Option<WrittenExpect>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExpect {
    status: Vec<u16>,
}

/// Reads a scenario's file.
pub fn read(file: &Path) -> Result<Scenario, String> {
    let shown = file.display().to_string();
    let size = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_MAX {
        return Err(format!("{shown}: larger than {} MiB", FILE_MAX >> 20));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    parse(&text, file.parent().unwrap_or(Path::new("."))).map_err(|problems| {
        problems.iter().map(|problem| format!("{shown}: {problem}")).collect::<Vec<_>>().join("\n")
    })
}

/// Reads a scenario; files it names are looked for in `folder`.
pub fn parse(text: &str, folder: &Path) -> Result<Scenario, Vec<String>> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| vec![error.to_string()])?;
    let mut problems = Vec::new();
    let variables = variables(&file, folder, &mut problems);
    let phases = phases(&file, &mut problems);
    let poisson = match file.arrivals.as_deref() {
        None | Some("constant") => false,
        Some("poisson") => true,
        Some(other) => {
            problems.push(format!("arrivals: `{other}` is neither constant nor poisson"));
            false
        }
    };
    if file.requests.is_empty() || file.requests.len() > REQUESTS_MAX {
        problems.push(format!("requests: from 1 to {REQUESTS_MAX}"));
    }
    let mut requests: Vec<Template> = Vec::new();
    let mut names = BTreeSet::new();
    for (number, written) in file.requests.iter().enumerate() {
        let place = written.name.clone().unwrap_or_else(|| format!("request {}", number + 1));
        if !names.insert(place.clone()) {
            problems.push(format!("{place}: another request has this name"));
        }
        let read = template(place.clone(), written, &file.headers, &variables, folder);
        match read {
            Ok(template) => requests.push(template),
            Err(more) => problems.extend(more.into_iter().map(|problem| format!("{place}: {problem}"))),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let sum: f64 = requests.iter().map(|request| request.weight).sum();
    let mut reached = 0.0;
    let upto = requests.iter().map(|request| {
        reached += request.weight / sum;
        reached
    });
    let upto = upto.collect();
    Ok(Scenario {
        target: file.target,
        connections: file.connections,
        phases,
        poisson,
        requests,
        variables,
        upto,
    })
}

fn variables(file: &File, folder: &Path, problems: &mut Vec<String>) -> Variables {
    let mut variables = Variables::default();
    for (name, written) in &file.variables {
        let random = match written.order.as_deref() {
            None | Some("sequential") => Ok(false),
            Some("random") => Ok(true),
            Some(other) => Err(format!("order: `{other}` is neither sequential nor random")),
        };
        let added = random.and_then(|random| match (&written.csv, &written.range) {
            (Some(csv), None) => variables.add_csv(name, &folder.join(csv), random),
            (None, Some(range)) => {
                let ends =
                    range.split_once(" to ").map(|(from, to)| (from.trim().parse(), to.trim().parse()));
                match ends {
                    Some((Ok(from), Ok(to))) => variables.add_range(name, from, to, random),
                    _ => Err(format!("`{range}` is no range: write 1 to 1000")),
                }
            }
            _ => Err("write either `csv: file` or `range: 1 to 1000`".into()),
        });
        if let Err(problem) = added {
            problems.push(format!("variable {name}: {problem}"));
        }
    }
    variables
}

fn phases(file: &File, problems: &mut Vec<String>) -> Vec<Phase> {
    let mut phases = Vec::new();
    match (&file.rate, &file.duration, file.phases.as_slice()) {
        (Some(rate), Some(length), []) => {
            let written = WrittenPhase {
                ramp: None,
                steady: Some(Number::Text(rate.to_string())),
                spike: None,
                length: length.clone(),
            };
            match phase(&written) {
                Ok(phase) => phases.push(phase),
                Err(problem) => problems.push(problem),
            }
        }
        (None, None, [_, ..]) if file.phases.len() <= PHASES_MAX => {
            for (number, written) in file.phases.iter().enumerate() {
                match phase(written) {
                    Ok(phase) => phases.push(phase),
                    Err(problem) => problems.push(format!("phase {}: {problem}", number + 1)),
                }
            }
        }
        _ => problems.push(format!("write either `rate` and `duration`, or from 1 to {PHASES_MAX} `phases`")),
    }
    phases
}

fn phase(written: &WrittenPhase) -> Result<Phase, String> {
    let length = units::duration(&written.length)?;
    if length.is_zero() {
        return Err("it has no length".into());
    }
    let (kind, from, to) = match (&written.ramp, &written.steady, &written.spike) {
        (Some(ramp), None, None) => {
            let Some((from, to)) = ramp.split_once(" to ") else {
                return Err(format!("`{ramp}` is no ramp: write 0 to 2k"));
            };
            ("ramp", rate_or_zero(from.trim())?, rate_or_zero(to.trim())?)
        }
        (None, Some(rate), None) => {
            ("steady", rate_or_zero(&rate.to_string())?, rate_or_zero(&rate.to_string())?)
        }
        (None, None, Some(rate)) => {
            ("spike", units::rate(&rate.to_string())?, units::rate(&rate.to_string())?)
        }
        _ => return Err("write one of `ramp: 0 to 2k`, `steady: 2k`, `spike: 10k`".into()),
    };
    Ok(Phase { kind, from, to, length })
}

fn rate_or_zero(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { units::rate(text) }
}

fn template(
    name: String,
    written: &WrittenRequest,
    shared: &BTreeMap<String, String>,
    variables: &Variables,
    folder: &Path,
) -> Result<Template, Vec<String>> {
    let mut problems = Vec::new();
    let weight = written.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight.is_finite()) {
        problems.push(format!("weight: {weight} is not above 0"));
    }
    let method = written.method.clone().unwrap_or_else(|| "GET".into());
    if let Err(problem) = check_method(&method) {
        problems.push(problem);
    }
    if !written.path.starts_with('/') || written.path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        problems.push(format!("path: `{}` does not begin with / or has a space in it", written.path));
    }
    let mut text = |what: &str, text: &str| {
        Text::parse(text, variables).unwrap_or_else(|problem| {
            problems.push(format!("{what}: {problem}"));
            Text::default()
        })
    };
    let path = text("path", &written.path);
    let own = |name: &str| written.headers.keys().any(|own| own.eq_ignore_ascii_case(name));
    let inherited = shared.iter().filter(|(name, _)| !own(name));
    let headers: Vec<(String, Text)> =
        inherited.chain(&written.headers).map(|(name, value)| (name.clone(), text(name, value))).collect();
    let body = match (&written.body, &written.body_file) {
        (None, None) => Text::default(),
        (Some(body), None) => text("body", body),
        (None, Some(file)) => match body_file(&folder.join(file)) {
            Ok(bytes) => Text::literal(bytes),
            Err(problem) => {
                problems.push(problem);
                Text::default()
            }
        },
        (Some(_), Some(_)) => {
            problems.push("write either `body` or `body_file`".into());
            Text::default()
        }
    };
    for (name, value) in shared.iter().chain(&written.headers) {
        if let Err(problem) = check_header(name, value) {
            problems.push(problem);
        }
    }
    for (name, value) in &headers {
        let unfit = value.uses().find_map(|(variable, column)| variables.unfit_for_headers(variable, column));
        if let Some(unfit) = unfit {
            problems.push(format!(
                "header {name}: the value \"{unfit}\" has a character that no header may hold"
            ));
        }
    }
    let statuses = written.expect.as_ref().map(|expect| expect.status.clone());
    match problems.is_empty() {
        true => Ok(Template { name, weight, method, path, headers, body, statuses }),
        false => Err(problems),
    }
}

fn body_file(file: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?.len();
    if size > BODY_MAX {
        return Err(format!("{}: larger than {} MiB", file.display(), BODY_MAX >> 20));
    }
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// A method is a token (RFC 9110 §9.1).
pub fn check_method(method: &str) -> Result<(), String> {
    if method.eq_ignore_ascii_case("CONNECT") || method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("method: `{method}` can't be sent"));
    }
    Ok(())
}

/// A field's name is a token, its value has no control characters (RFC 9110 §5); framing is the generator's.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("header: `{name}` is not a field name"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(format!("header {name}: its value has a control character"));
    }
    const OURS: [&str; 5] = ["content-length", "transfer-encoding", "connection", "upgrade", "te"];
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("header {name}: the generator sets it itself"));
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
