//! From what a scenario file says to a [`Scenario`], or to all that is wrong with it.
//!
//! Invariant: each problem has its place and says what would be right; one problem does not hide another.

use std::collections::HashSet;
use std::time::Duration;

use super::form::{At, Form, Pairs, PhaseForm, RequestForm, VariableForm};
use super::text::{Place, Text};
use super::variables::{Order, Source, Table, Variable, Variables};
use super::{Arrivals, Phase, PhaseKind, ReadFile, Scenario, Template};
use crate::units;

pub(super) fn scenario(form: Form, file: &mut ReadFile<'_>) -> Result<Scenario, Vec<String>> {
    let mut check = Check { problems: Vec::new(), file, files_bytes: 0 };
    let target = check.target(form.target.as_ref());
    let connections = form.connections.as_ref().and_then(|at| {
        let bounds = format!("`connections` is a whole number from 1 to {CONNECTIONS_MAX}");
        check.good(
            at,
            at.value.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count)).ok_or(bounds),
        )
    });
    let arrivals = check.arrivals(form.arrivals.as_ref());
    let phases = check.phases(&form);
    let variables = check.variables(&form.variables);
    let requests = check.requests(form.requests.as_ref(), &form.headers, &variables);
    if !check.problems.is_empty() {
        return Err(check.in_order());
    }
    let mut sum = 0.0;
    let weights = requests.iter().map(|request| {
        sum += request.weight;
        sum
    });
    Ok(Scenario { target, connections, phases, arrivals, weights: weights.collect(), requests, variables })
}

struct Check<'a, 'b> {
    /// Line, column, message.
    problems: Vec<(u64, u64, String)>,
    file: &'a mut ReadFile<'b>,
    /// Bytes read from files so far.
    files_bytes: u64,
}

impl Check<'_, '_> {
    fn problem<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.problems.push((at.referenced.line().max(1), at.referenced.column().max(1), message.into()));
    }

    fn missing(&mut self, message: &str) {
        self.problems.push((1, 1, message.to_owned()));
    }

    /// The value, or a problem at its place.
    fn good<T, V>(&mut self, at: &At<T>, result: Result<V, String>) -> Option<V> {
        result.map_err(|message| self.problem(at, message)).ok()
    }

    fn in_order(mut self) -> Vec<String> {
        self.problems.sort_by_key(|&(line, column, _)| (line, column));
        let hidden = self.problems.len().saturating_sub(PROBLEMS_MAX);
        self.problems.truncate(PROBLEMS_MAX);
        let told = |(line, column, message)| format!("{line}:{column}: {message}");
        let mut told: Vec<String> = self.problems.into_iter().map(told).collect();
        if hidden > 0 {
            told.push(format!("1:1: {hidden} more problems are not shown"));
        }
        told
    }

    fn target(&mut self, target: Option<&At<String>>) -> String {
        let Some(at) = target else {
            self.missing("`target` is missing: write target: http://127.0.0.1:8080");
            return String::new();
        };
        match url::Url::parse(&at.value) {
            Err(error) => {
                self.problem(at, format!("`target` is not a URL ({error}): write http://127.0.0.1:8080"));
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
                    self.problem(at, "`target` has a path: it belongs into `path` of the requests");
                }
            }
            Ok(_) => {}
        }
        at.value.clone()
    }

    fn arrivals(&mut self, arrivals: Option<&At<String>>) -> Arrivals {
        match arrivals.map(|at| (at, at.value.as_str())) {
            None | Some((_, "constant")) => Arrivals::Constant,
            Some((_, "poisson")) => Arrivals::Poisson,
            Some((at, _)) => {
                self.problem(at, "`arrivals` is `constant` or `poisson`");
                Arrivals::Constant
            }
        }
    }

    fn phases(&mut self, form: &Form) -> Vec<Phase> {
        let Some(phases) = &form.phases else {
            let (Some(rate), Some(duration)) = (&form.rate, &form.duration) else {
                self.missing(
                    "`rate` and `duration`, or `phases`, are missing: write rate: 2k and duration: 30s",
                );
                return Vec::new();
            };
            let rate = self.good(rate, units::rate(&rate.value));
            let duration = self.duration(duration);
            let phase = rate.zip(duration).map(|(rate, duration)| steady(PhaseKind::Steady, rate, duration));
            return phase.into_iter().collect();
        };
        for (field, name) in [(&form.rate, "rate"), (&form.duration, "duration")] {
            if let Some(at) = field {
                self.problem(
                    at,
                    format!("`{name}` stands beside `phases`, which have their own: remove one of them"),
                );
            }
        }
        if phases.value.is_empty() || phases.value.len() > PHASES_MAX {
            self.problem(phases, format!("`phases` is a list of 1 to {PHASES_MAX}"));
        }
        let read: Vec<Phase> =
            phases.value.iter().take(PHASES_MAX).filter_map(|phase| self.phase(phase)).collect();
        if read.iter().map(|phase| phase.duration).sum::<Duration>() > DAY {
            self.problem(phases, "all `phases` together are longer than a day");
        }
        read
    }

    fn phase(&mut self, at: &At<PhaseForm>) -> Option<Phase> {
        let phase = &at.value;
        let duration = match &phase.r#for {
            Some(length) => self.duration(length),
            None => {
                self.problem(at, "a phase has no `for`: write { steady: 2k, for: 30s }");
                None
            }
        };
        let rates = match (&phase.ramp, &phase.steady, &phase.spike) {
            (Some(ramp), None, None) => self
                .good(ramp, ramp_rates(&ramp.value))
                .map(|(from_rate, to_rate)| (PhaseKind::Ramp, from_rate, to_rate)),
            (None, Some(rate), None) => {
                self.good(rate, units::rate(&rate.value)).map(|rate| (PhaseKind::Steady, rate, rate))
            }
            (None, None, Some(rate)) => {
                self.good(rate, units::rate(&rate.value)).map(|rate| (PhaseKind::Spike, rate, rate))
            }
            _ => {
                self.problem(at, "a phase is one of `ramp: 0 to 2k`, `steady: 2k` and `spike: 10k`");
                None
            }
        };
        let ((kind, from_rate, to_rate), duration) = rates.zip(duration)?;
        Some(Phase { kind, from_rate, to_rate, duration })
    }

    fn duration(&mut self, at: &At<String>) -> Option<Duration> {
        let duration = self.good(at, units::duration(&at.value))?;
        if duration.is_zero() {
            self.problem(at, format!("`{}` is no time at all: write a length such as 30s", at.value));
            return None;
        }
        Some(duration)
    }

    fn variables(&mut self, forms: &Pairs<At<VariableForm>>) -> Variables {
        let mut variables = Variables::default();
        for (name, form) in forms.0.iter().take(VARIABLES_MAX) {
            if !is_name(&name.value) {
                self.problem(
                    name,
                    "the name of a variable is of letters, digits, `_` and `-`: write users or n_1",
                );
            }
            let order = match form.value.order.as_ref().map(|at| (at, at.value.as_str())) {
                None | Some((_, "sequential")) => Order::Sequential,
                Some((_, "random")) => Order::Random,
                Some((at, _)) => {
                    self.problem(at, "`order` is `sequential` or `random`");
                    Order::Sequential
                }
            };
            let source = match (&form.value.csv, &form.value.range) {
                (Some(csv), None) => self.table(csv),
                (None, Some(range)) => self.good(range, read_range(&range.value)),
                _ => {
                    self.problem(form, "a variable is one of `csv: FILE` and `range: 1 to 1000`");
                    None
                }
            };
            let source = source.unwrap_or(Source::Unread);
            variables.add(Variable { name: name.value.clone(), order, source });
        }
        if let Some((name, _)) = forms.0.get(VARIABLES_MAX) {
            self.problem(name, format!("at most {VARIABLES_MAX} variables are read"));
        }
        variables
    }

    fn table(&mut self, csv: &At<String>) -> Option<Source> {
        let bytes = self.read(csv, FILES_BYTES_MAX)?;
        let table = Table::read(&bytes).map_err(|error| format!("{}: {error}", csv.value));
        self.good(csv, table).map(Source::Table)
    }

    /// A file's bytes: at most `limit`, and at most [`FILES_BYTES_MAX`] in all.
    fn read(&mut self, path: &At<String>, limit: u64) -> Option<Vec<u8>> {
        let result = (self.file)(&path.value, limit.min(FILES_BYTES_MAX - self.files_bytes));
        let bytes = self.good(path, result)?;
        self.files_bytes = FILES_BYTES_MAX.min(self.files_bytes + bytes.len() as u64);
        Some(bytes)
    }

    fn requests(
        &mut self,
        forms: Option<&At<Vec<At<RequestForm>>>>,
        shared: &Pairs<At<String>>,
        variables: &Variables,
    ) -> Vec<Template> {
        let Some(forms) = forms else {
            self.missing("`requests` is missing: write requests: [{ name: read, path: /orders }]");
            return Vec::new();
        };
        if forms.value.is_empty() || forms.value.len() > REQUESTS_MAX {
            self.problem(forms, format!("`requests` is a list of 1 to {REQUESTS_MAX}"));
        }
        // Told once, not for each request.
        self.headers(shared, variables);
        let mut names = HashSet::new();
        let mut requests = Vec::new();
        for form in forms.value.iter().take(REQUESTS_MAX) {
            let request = self.request(form, shared, variables);
            if !names.insert(request.name.clone()) {
                let at = form.value.name.as_ref().map(|name| name.referenced).unwrap_or(form.referenced);
                let message = format!("two requests are called `{}`: give one another `name`", request.name);
                self.problems.push((at.line().max(1), at.column().max(1), message));
            }
            requests.push(request);
        }
        requests
    }

    fn request(
        &mut self,
        at: &At<RequestForm>,
        shared: &Pairs<At<String>>,
        variables: &Variables,
    ) -> Template {
        let form = &at.value;
        let method = form.method.as_ref().map_or("GET", |method| method.value.as_str());
        if let Some(at) = &form.method {
            self.method(at);
        }
        let path_text = form.path.as_ref().map_or("", |path| path.value.as_str());
        let path = match &form.path {
            Some(path) => self.good(path, Text::compile(&path.value, Place::Path, variables)),
            None => {
                self.problem(at, "a request has no `path`: write path: /orders");
                None
            }
        };
        let weight = form.weight.as_ref().and_then(|at| {
            let bounds = format!("`weight` is a number above 0, from {WEIGHT_MIN} to {WEIGHT_MAX}");
            let legal = |weight: &f64| (WEIGHT_MIN..=WEIGHT_MAX).contains(weight);
            self.good(at, at.value.parse().ok().filter(legal).ok_or(bounds))
        });
        let own = self.headers(&form.headers, variables);
        let mut headers = silent_headers(shared, variables);
        headers.retain(|(name, _)| own.iter().all(|(own, _)| own != name));
        headers.extend(own);
        if headers.len() > HEADERS_MAX {
            self.problem(at, format!("a request has at most {HEADERS_MAX} headers"));
        }
        let name =
            form.name.as_ref().map_or_else(|| format!("{method} {path_text}"), |name| name.value.clone());
        if let Some(at) = &form.name
            && (name.trim().is_empty()
                || name.chars().count() > NAME_MAX
                || name.chars().any(char::is_control))
        {
            self.problem(at, format!("`name` is a line of 1 to {NAME_MAX} characters"));
        }
        Template {
            name,
            weight: weight.unwrap_or(1.0),
            method: method.to_owned(),
            path: path.unwrap_or_else(|| Text::literal(Vec::new(), Place::Path)),
            headers,
            body: self.body(form, variables),
            statuses: self.statuses(form),
        }
    }

    fn method(&mut self, at: &At<String>) {
        let legal = at.value.len() <= METHOD_MAX && http::Method::from_bytes(at.value.as_bytes()).is_ok();
        if !legal || at.value.eq_ignore_ascii_case("connect") {
            self.problem(at, "`method` is one of HTTP, but not CONNECT: write GET or POST");
        } else if at.value.bytes().any(|byte| byte.is_ascii_lowercase()) {
            self.problem(
                at,
                format!("methods are told apart by case: write {}", at.value.to_ascii_uppercase()),
            );
        }
    }

    fn headers(&mut self, headers: &Pairs<At<String>>, variables: &Variables) -> Vec<(String, Text)> {
        let mut read: Vec<(String, Text)> = Vec::new();
        for (name, value) in &headers.0 {
            let (Some(header), Some(text)) = (
                self.good(name, header_name(&name.value)),
                self.good(value, Text::compile(&value.value, Place::Header, variables)),
            ) else {
                continue;
            };
            if read.iter().any(|(other, _)| *other == header) {
                self.problem(
                    name,
                    format!("the header `{header}` stands here twice: join the values by a comma"),
                );
            }
            read.push((header, text));
        }
        read
    }

    fn body(&mut self, form: &RequestForm, variables: &Variables) -> Text {
        let body = match (&form.body, &form.body_file) {
            (None, None) => None,
            (Some(body), None) => self.good(body, Text::compile(&body.value, Place::Body, variables)),
            (None, Some(path)) => {
                self.read(path, Place::Body.bytes_max()).map(|bytes| Text::literal(bytes, Place::Body))
            }
            (Some(_), Some(path)) => {
                self.problem(path, "`body_file` stands beside `body`: remove one of them");
                None
            }
        };
        body.unwrap_or_else(|| Text::literal(Vec::new(), Place::Body))
    }

    fn statuses(&mut self, form: &RequestForm) -> Option<Vec<u16>> {
        let at = form.expect.as_ref()?.status.as_ref()?;
        let parsed = |status: &String| status.parse().ok().filter(|status| (200..600).contains(status));
        let statuses: Option<Vec<u16>> = at.value.0.iter().map(parsed).collect();
        let statuses = statuses.filter(|statuses| (1..=STATUSES_MAX).contains(&statuses.len()));
        let right = "`status` is from 200 to 599, or a list of such: write 200 or [200, 404]";
        self.good(at, statuses.ok_or_else(|| right.to_owned()))
    }
}

/// Headers of which the problems were told already.
fn silent_headers(headers: &Pairs<At<String>>, variables: &Variables) -> Vec<(String, Text)> {
    let read = |(name, value): &(At<String>, At<String>)| {
        Some((header_name(&name.value).ok()?, Text::compile(&value.value, Place::Header, variables).ok()?))
    };
    headers.0.iter().filter_map(read).collect()
}

fn header_name(name: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{}` is not the name of a header: write user-agent", name.escape_debug()))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(format!("`{name}` is set by the generator itself: remove it here"));
    }
    Ok(name.as_str().to_owned())
}

fn steady(kind: PhaseKind, rate: f64, duration: Duration) -> Phase {
    Phase { kind, from_rate: rate, to_rate: rate, duration }
}

/// `0 to 2k`.
fn ramp_rates(text: &str) -> Result<(f64, f64), String> {
    let (from, to) =
        text.split_once(" to ").ok_or_else(|| format!("`{text}` is not a ramp: write 0 to 2k"))?;
    let rate = |text: &str| match text.trim() {
        "0" => Ok(0.0),
        text => units::rate(text),
    };
    match (rate(from)?, rate(to)?) {
        (0.0, 0.0) => {
            Err(format!("`{text}`: nothing would be sent; a ramp is from one rate to another: 0 to 2k"))
        }
        rates => Ok(rates),
    }
}

/// `1 to 1000`.
fn read_range(text: &str) -> Result<Source, String> {
    let numbers = text.split_once(" to ").and_then(|(first, last)| {
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|&number| number <= RANGE_MAX);
        Some((number(first)?, number(last)?))
    });
    match numbers {
        Some((first, last)) if first <= last => Ok(Source::Range(first, last)),
        Some((first, last)) => Err(format!("`{text}` goes down: write {last} to {first}")),
        None => Err(format!(
            "`{text}` is not a range: write whole numbers such as 1 to 1000, at most {RANGE_MAX}"
        )),
    }
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(legal)
}

/// Headers that follow from the body, the protocol and the connection.
const OWN_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
const DAY: Duration = Duration::from_secs(86_400);
const CONNECTIONS_MAX: u32 = 1_000_000;
const REQUESTS_MAX: usize = 1000;
const PHASES_MAX: usize = 1000;
const VARIABLES_MAX: usize = 100;
const HEADERS_MAX: usize = 100;
const STATUSES_MAX: usize = 400;
const NAME_MAX: usize = 100;
const METHOD_MAX: usize = 32;
const WEIGHT_MIN: f64 = 1e-6;
const WEIGHT_MAX: f64 = 1e6;
const RANGE_MAX: u64 = 1_000_000_000_000_000_000;
/// Bytes of all files a scenario names.
const FILES_BYTES_MAX: u64 = 256 << 20;
const PROBLEMS_MAX: usize = 100;
