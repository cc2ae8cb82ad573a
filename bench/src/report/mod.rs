//! What was measured, as tables for people and as JSON for programs.

mod json;
mod tables;

use std::path::PathBuf;

use crate::Options;
use crate::ask::Agreed;
use crate::front::Front;
use crate::load::Sample;
use crate::peers::Peer;

/// A run's results.
pub struct Report {
    /// Processor, kernel, cores.
    machine: String,
    /// Whether the processor's counters were there.
    pub hardware: bool,
    /// Each proxy and what it says it is.
    versions: Vec<(&'static str, String)>,
    /// Why a proxy is not in the table.
    pub missing: Vec<String>,
    /// Front, proxy, and the headers it added to what the origin saw.
    pub headers: Vec<(Front, &'static str, Vec<&'static str>)>,
    /// What each proxy agrees on with the load under TLS.
    pub sessions: Vec<(&'static str, Agreed)>,
    /// Scenario, proxy, and a sample of each round.
    samples: Vec<(&'static str, &'static str, Vec<Sample>)>,
    /// Bytes resident when the rounds were over.
    pub resident: Vec<(&'static str, u64)>,
    /// Front, proxy, and bytes resident for each idle connection.
    pub idle: Vec<(Front, &'static str, f64)>,
    /// Latency at fixed rates.
    pub latency: Vec<crate::latency::Row>,
    /// The generator beside others.
    pub generator: Vec<crate::generator::Row>,
    /// Scenario, proxy, and user-space instructions for each request, counted by valgrind.
    pub instructions: Vec<(&'static str, &'static str, f64)>,
}

/// Something counted for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// CPU time, microseconds.
    Cpu,
    /// Of that, user space.
    CpuUser,
    /// Instructions, user space and kernel.
    Instructions,
    /// Of those, user space.
    InstructionsUser,
    /// Cycles, user space and kernel.
    Cycles,
}

impl Cost {
    /// Of one sample; `None` where the processor did not count.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let whole = match self {
            Cost::Cpu => sample.cpu.total_ns as f64 / 1000.0,
            Cost::CpuUser => sample.cpu.user_ns() / 1000.0,
            Cost::Instructions => {
                sample.events.map(|e| (e.instructions_user + e.instructions_kernel) as f64)?
            }
            Cost::InstructionsUser => sample.events.map(|e| e.instructions_user as f64)?,
            Cost::Cycles => sample.events.map(|e| (e.cycles_user + e.cycles_kernel) as f64)?,
        };
        Some(whole / (sample.requests.max(1)) as f64)
    }
}

impl Report {
    /// An empty one.
    pub fn begin(options: &Options, peers: &[Peer], missing: Vec<String>, hardware: bool) -> Report {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!(
            "{}, {cores} cores, Linux {}; proxy on core {}, origin and load on core {}; {} rounds of {} s",
            model.trim_start_matches([' ', '\t', ':']),
            read("/proc/sys/kernel/osrelease").trim(),
            options.proxy_core,
            options.load_core,
            options.rounds,
            options.turn_s(),
        );
        Report {
            machine,
            hardware,
            versions: peers.iter().map(|peer| (peer.name, peer.version.clone())).collect(),
            missing,
            headers: Vec::new(),
            sessions: Vec::new(),
            samples: Vec::new(),
            resident: Vec::new(),
            idle: Vec::new(),
            latency: Vec::new(),
            generator: Vec::new(),
            instructions: Vec::new(),
        }
    }

    /// One more sample.
    pub fn add(&mut self, scenario: &'static str, proxy: &'static str, sample: Sample) {
        match self.samples.iter_mut().find(|(s, p, _)| (*s, *p) == (scenario, proxy)) {
            Some((_, _, samples)) => samples.push(sample),
            None => self.samples.push((scenario, proxy, vec![sample])),
        }
    }

    /// Samples of a proxy in a scenario, in the order of the rounds.
    pub fn samples(&self, scenario: &str, proxy: &str) -> &[Sample] {
        let found = self.samples.iter().find(|(s, p, _)| (*s, *p) == (scenario, proxy));
        found.map_or(&[], |(_, _, samples)| samples.as_slice())
    }

    /// The median over the rounds of what `one` costs in parts of what `other` does, each round by itself.
    pub fn ratio(&self, cost: Cost, one: (&str, &str), other: (&str, &str)) -> Option<f64> {
        let rounds = self.samples(one.0, one.1).iter().zip(self.samples(other.0, other.1));
        median(rounds.filter_map(|(one, other)| Some(cost.of(one)? / cost.of(other)?)).collect())
    }

    /// The median over the rounds.
    pub fn median(&self, cost: Cost, scenario: &str, proxy: &str) -> Option<f64> {
        median(self.samples(scenario, proxy).iter().filter_map(|sample| cost.of(sample)).collect())
    }

    /// User-space instructions for each request where valgrind counted them.
    pub fn by_valgrind(&self, scenario: &str, proxy: &str) -> Option<f64> {
        self.instructions.iter().find(|(s, p, _)| (*s, *p) == (scenario, proxy)).map(|(_, _, each)| *each)
    }

    /// Bytes resident for each idle connection.
    pub fn idle(&self, front: Front, proxy: &str) -> Option<f64> {
        self.idle.iter().find(|(f, p, _)| (*f, *p) == (front, proxy)).map(|(_, _, bytes)| *bytes)
    }

    /// Prints the report and writes it to each file.
    pub fn print_and_write(&self, files: &[PathBuf]) -> Result<(), String> {
        let text = tables::markdown(self);
        println!("{text}");
        for file in files {
            let written = match file.extension().and_then(|extension| extension.to_str()) {
                Some("json") => format!("{:#}\n", json::json(self)),
                Some("html") => crate::page::page(&text),
                _ => text.clone(),
            };
            std::fs::write(file, written).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }
}

/// The median; none of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(vec![9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![]), None);
    }
}
