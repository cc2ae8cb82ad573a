//! A mix of requests and the rates at which they are due, read from a YAML file.
//!
//! Invariant: a [`Scenario`] is legal as it stands. Which request is due and with which values follows from the seed and
//! the request's index alone, so a run can be repeated, and threads need not agree on anything. After
//! [`Scenario::load`] nothing here does I/O or, but for the caller's buffer, allocates.

mod check;
mod form;
mod text;
mod variables;

use std::path::Path;
use std::time::Duration;

pub use text::Text;
pub use variables::Values;
use variables::Variables;

/// What a scenario file says.
#[derive(Debug)]
pub struct Scenario {
    /// The URL, without a path.
    pub target: String,
    /// Connections in all, where the file says so.
    pub connections: Option<u32>,
    /// One after the other; never empty.
    pub phases: Vec<Phase>,
    /// How requests are spread over time.
    pub arrivals: Arrivals,
    /// The kinds of request; never empty, names are unique.
    pub requests: Vec<Template>,
    variables: Variables,
    /// The sum of weights up to and with each template.
    weights: Vec<f64>,
}

/// A stretch of time with one law for the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// By which name it was asked for.
    pub kind: PhaseKind,
    /// Requests a second at its begin.
    pub from_rate: f64,
    /// Requests a second at its end; in between the rate is linear.
    pub to_rate: f64,
    /// How long it lasts; never 0.
    pub duration: Duration,
}

/// The name of a phase in the file. A spike is a steady phase; the report calls it by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseKind {
    /// From one rate to another.
    Ramp,
    /// One rate.
    Steady,
    /// One rate, above the others.
    Spike,
}

/// How the requests of a second are spread over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// Each by itself, at random.
    Poisson,
}

/// One kind of request.
#[derive(Debug)]
pub struct Template {
    /// Under which it stands in the report.
    pub name: String,
    /// Its share is this by the sum of all weights.
    pub weight: f64,
    /// A token of HTTP.
    pub method: String,
    /// Begins with `/`, with the query if there is one.
    pub path: Text,
    /// Names are lower case. Those for all requests included, unless the request has its own of that name. Never
    /// `content-length`, `transfer-encoding` or `connection`; may be `host`.
    pub headers: Vec<(String, Text)>,
    /// May be empty.
    pub body: Text,
    /// Statuses that are good answers, if the file says so.
    pub statuses: Option<Vec<u16>>,
}

impl Scenario {
    /// Reads a scenario and the files it names, which are relative to it. The error has a line for each problem, with
    /// its place and what would be right.
    pub fn load(path: &Path) -> Result<Scenario, String> {
        let name = path.display();
        let bytes =
            read_file(path, form::INPUT_BYTES_MAX as u64).map_err(|error| format!("{name}: {error}"))?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8, which YAML has to be"))?;
        let base = path.parent().unwrap_or(Path::new(""));
        Scenario::read(&text, &mut |file, limit| read_file(&base.join(file), limit)).map_err(|problems| {
            problems.iter().map(|problem| format!("{name}:{problem}")).collect::<Vec<_>>().join("\n")
        })
    }

    /// Reads the text of a scenario. `file` reads a file it names, of at most that many bytes. Problems begin with
    /// `line:column: `.
    pub fn read(text: &str, file: &mut ReadFile<'_>) -> Result<Scenario, Vec<String>> {
        check::scenario(form::parse(text).map_err(|problem| vec![problem])?, file)
    }

    /// Which of [`Scenario::requests`] is due as the request with that index, counted over the whole run.
    pub fn pick(&self, seed: u64, request_index: u64) -> usize {
        let total = self.weights.last().copied().unwrap_or(0.0);
        let at = share(hash(seed, request_index, PICK_STREAM)) * total;
        self.weights.partition_point(|&until| until <= at).min(self.requests.len() - 1)
    }

    /// What the variables stand for in the request with that index. All columns of one variable are of the same row.
    pub fn values(&self, seed: u64, request_index: u64) -> Values<'_> {
        self.variables.values(seed, request_index)
    }
}

impl PhaseKind {
    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            PhaseKind::Ramp => "ramp",
            PhaseKind::Steady => "steady",
            PhaseKind::Spike => "spike",
        }
    }
}

/// Reads a file of at most so many bytes; the error says why that can't be.
pub type ReadFile<'a> = dyn FnMut(&str, u64) -> Result<Vec<u8>, String> + 'a;

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file =
        std::fs::File::open(path).map_err(|error| format!("can't open {}: {error}", path.display()))?;
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| format!("can't read {}: {error}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{} is too long: at most {limit} bytes are read here", path.display()));
    }
    Ok(bytes)
}

/// A number that looks random, for one purpose (`stream`) of one request.
fn hash(seed: u64, index: u64, stream: u64) -> u64 {
    mix(mix(mix(seed) ^ index) ^ stream)
}

/// Each bit of the result depends on each bit of `value` (the SplitMix64 step).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// From 0 to below 1, as fine as an `f64` can be.
fn share(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// The stream of [`Scenario::pick`]; variables have theirs from 0 on.
const PICK_STREAM: u64 = u64::MAX;

#[cfg(test)]
mod tests;
