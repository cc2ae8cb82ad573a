//! A scenario: weighted requests with variables, and phases, read from YAML before any load. Pure after that.
//!
//! Which request goes, and with which values, depends on the seed and the request's number only: a run can be repeated,
//! and threads need not speak to each other. Invariant: a value never breaks out of its place: in a path it is
//! percent-encoded, and in a header it can't hold a line's end.

mod read;
mod text;
mod values;

use std::time::Duration;

use crate::plan::Request;
use crate::schedule::Stretch;

pub use read::{check_header, check_method, read};
pub use text::Text;
pub use values::Variables;

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// The target's URL.
    pub target: String,
    /// Connections, where the file says.
    pub connections: Option<u32>,
    /// Rates over time.
    pub phases: Vec<Phase>,
    /// Arrivals at random.
    pub poisson: bool,
    /// What is sent.
    pub requests: Vec<Template>,
    variables: Variables,
    /// Sums of weights up to each request, as parts of the whole.
    upto: Vec<f64>,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `ramp`, `steady` or `spike`.
    pub kind: &'static str,
    /// Requests a second at its begin.
    pub from: f64,
    /// Requests a second at its end.
    pub to: f64,
    /// How long.
    pub length: Duration,
}

/// One kind of request.
#[derive(Debug)]
pub struct Template {
    /// Its name in the report.
    pub name: String,
    /// Its share, beside the others'.
    pub weight: f64,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: Text,
    /// Fields.
    pub headers: Vec<(String, Text)>,
    /// Body.
    pub body: Text,
    /// Statuses of a good answer.
    pub statuses: Option<Vec<u16>>,
}

impl Scenario {
    /// Which request is number `index`.
    pub fn pick(&self, seed: u64, index: u64) -> usize {
        if self.requests.len() == 1 {
            return 0;
        }
        let share = (mixed(seed, index, 0) >> 11) as f64 / (1u64 << 53) as f64;
        self.upto.partition_point(|&upto| upto <= share).min(self.requests.len() - 1)
    }

    /// Whether a request is the same each time.
    pub fn is_constant(&self, part: usize) -> bool {
        let template = &self.requests[part];
        let headers = template.headers.iter().map(|(_, value)| value);
        headers.chain([&template.path, &template.body]).all(Text::is_constant)
    }

    /// Request number `index`, of this kind.
    pub fn render(&self, part: usize, seed: u64, index: u64) -> Request {
        let template = &self.requests[part];
        let values = self.variables.of(seed, index);
        let text = |text: &Text, encode: bool| {
            let mut bytes = Vec::new();
            text.render(&values, encode, &mut bytes);
            bytes
        };
        let string = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        Request {
            method: template.method.clone(),
            path: string(text(&template.path, true)),
            headers: template
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), string(text(value, false))))
                .collect(),
            body: text(&template.body, false),
        }
    }

    /// The phases as a schedule takes them.
    pub fn stretches(&self) -> Vec<Stretch> {
        let stretch = |phase: &Phase| Stretch { from: phase.from, to: phase.to, length: phase.length };
        self.phases.iter().map(stretch).collect()
    }
}

/// A number that looks random and is the same for the same three (the finaliser of splitmix64).
fn mixed(seed: u64, index: u64, salt: u64) -> u64 {
    let mut x = seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
