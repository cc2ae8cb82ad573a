//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Options;
use crate::load::Sample;
use crate::peers::Peer;
use crate::scenarios::SCENARIOS;
use crate::targets;

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
    /// Headers each proxy added to what the origin saw.
    pub headers: Vec<(&'static str, Vec<&'static str>)>,
    /// Scenario, proxy, and a sample of each round.
    samples: Vec<(&'static str, &'static str, Vec<Sample>)>,
    /// Bytes resident when the rounds were over.
    pub resident: Vec<(&'static str, u64)>,
    /// Bytes resident for each idle connection.
    pub idle: Vec<(&'static str, f64)>,
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

    /// Prints the report and writes it to each file.
    pub fn print_and_write(&self, files: &[PathBuf]) -> Result<(), String> {
        let text = self.markdown();
        println!("{text}");
        for file in files {
            let written = match file.extension().and_then(|extension| extension.to_str()) {
                Some("json") => format!("{:#}\n", self.json()),
                Some("html") => crate::page::page(&text),
                _ => text.clone(),
            };
            std::fs::write(file, written).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = format!("# Cost per request\n\n{}\n\n", self.machine);
        self.versions.iter().for_each(|(name, version)| line(&mut text, &format!("- {name}: {version}")));
        self.missing.iter().for_each(|why| line(&mut text, &format!("- skipped: {why}")));
        for (name, headers) in &self.headers {
            line(&mut text, &format!("- {name} adds {}", headers.join(", ")));
        }
        if !self.hardware {
            line(
                &mut text,
                "- no hardware counters on this machine: CPU time stands for instructions and cycles",
            );
        }
        self.costs(&mut text);
        text.push_str(&crate::latency::table(&self.latency));
        text.push_str(&crate::generator::table(&self.generator));
        self.memory(&mut text);
        line(&mut text, "\n## Targets\n\n| what | at most | measured | |\n|---|---|---|---|");
        for target in targets::judge(self) {
            let (what, bound, measured, verdict) =
                (target.what, target.bound, target.measured, target.verdict);
            line(&mut text, &format!("| {what} | {bound} | {measured} | {verdict} |"));
        }
        text
    }

    fn costs(&self, text: &mut String) {
        line(
            text,
            "\n| scenario | proxy | requests/s | CPU us/request (min-max) | user | kernel | kinstructions user + kernel | kcycles | CPU in parts of Ringway's |",
        );
        line(text, "|---|---|---:|---:|---:|---:|---:|---:|---:|");
        for (scenario, proxy, samples) in SCENARIOS.iter().flat_map(|s| self.of_scenario(s.name)) {
            let of = |cost: Cost| median(samples.iter().filter_map(|sample| cost.of(sample)).collect());
            let (cpu, user) = (of(Cost::Cpu).unwrap_or(0.0), of(Cost::CpuUser).unwrap_or(0.0));
            let each: Vec<f64> = samples.iter().filter_map(|sample| Cost::Cpu.of(sample)).collect();
            let (low, high) =
                (each.iter().copied().fold(f64::MAX, f64::min), each.iter().copied().fold(0.0, f64::max));
            let rate = median(samples.iter().map(|s| s.requests as f64 / s.seconds).collect()).unwrap_or(0.0);
            let instructions = match (of(Cost::InstructionsUser), of(Cost::Instructions)) {
                (Some(user), Some(all)) => format!("{:.1} + {:.1}", user / 1000.0, (all - user) / 1000.0),
                _ => self
                    .by_valgrind(scenario, proxy)
                    .map_or("-".into(), |user| format!("{:.1} + ?", user / 1000.0)),
            };
            let cycles = of(Cost::Cycles).map_or("-".into(), |cycles| format!("{:.1}", cycles / 1000.0));
            let ratio = self.ratio(Cost::Cpu, (scenario, proxy), (scenario, "ringway"));
            let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
            let errors: u64 = samples.iter().map(|sample| sample.errors).sum();
            let failed = if errors == 0 { String::new() } else { format!(" ({errors} ERRORS)") };
            line(
                text,
                &format!(
                    "| {scenario} | {proxy}{failed} | {rate:.0} | {cpu:.2} ({low:.2}-{high:.2}) | {user:.2} | {:.2} | \
                     {instructions} | {cycles} | {ratio} |",
                    cpu - user
                ),
            );
        }
    }

    fn of_scenario(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = (&'static str, &'static str, &Vec<Sample>)> {
        self.samples.iter().filter(move |(s, _, _)| *s == name).map(|(s, p, samples)| (*s, *p, samples))
    }

    /// User-space instructions for each request where valgrind counted them.
    pub fn by_valgrind(&self, scenario: &str, proxy: &str) -> Option<f64> {
        self.instructions.iter().find(|(s, p, _)| (*s, *p) == (scenario, proxy)).map(|(_, _, each)| *each)
    }

    fn memory(&self, text: &mut String) {
        line(
            text,
            "\n| proxy | resident after the run | resident for each idle connection | user-space instructions by valgrind: \
             1k-bare | 1k-browser |\n|---|---:|---:|---:|---:|",
        );
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        for (name, _) in &self.versions {
            let resident = self.resident.iter().find(|(n, _)| n == name);
            let resident = shown(resident.map(|(_, bytes)| format!("{:.1} MiB", *bytes as f64 / 1048576.0)));
            let idle = self.idle.iter().find(|(n, _)| n == name);
            let idle = shown(idle.map(|(_, bytes)| format!("{:.2} KiB", bytes / 1024.0)));
            let counted = |scenario| shown(self.by_valgrind(scenario, name).map(|each| format!("{each:.0}")));
            let (bare, browser) = (counted("1k-bare"), counted("1k-browser"));
            line(text, &format!("| {name} | {resident} | {idle} | {bare} | {browser} |"));
        }
    }

    fn json(&self) -> Value {
        let sample = |sample: &Sample| {
            json!({
                "requests": sample.requests, "errors": sample.errors, "seconds": sample.seconds,
                "cpu_ns": sample.cpu.total_ns, "cpu_user_ns": sample.cpu.user_ns(),
                "instructions_user": sample.events.map(|e| e.instructions_user),
                "instructions_kernel": sample.events.map(|e| e.instructions_kernel),
                "cycles_user": sample.events.map(|e| e.cycles_user),
                "cycles_kernel": sample.events.map(|e| e.cycles_kernel),
            })
        };
        let turns = self.samples.iter().map(|(scenario, proxy, samples)| {
            let samples: Vec<Value> = samples.iter().map(sample).collect();
            json!({ "scenario": scenario, "proxy": proxy, "samples": samples })
        });
        let targets = targets::judge(self).into_iter().map(|target| {
            json!({ "what": target.what, "bound": target.bound, "measured": target.measured, "verdict": target.verdict })
        });
        json!({
            "machine": self.machine,
            "hardware_counters": self.hardware,
            "versions": self.versions.iter().map(|(name, version)| json!([name, version])).collect::<Vec<_>>(),
            "missing": self.missing,
            "headers_added": self.headers.iter().map(|(name, headers)| json!([name, headers])).collect::<Vec<_>>(),
            "turns": turns.collect::<Vec<_>>(),
            "latency": self.latency.iter().map(crate::latency::Row::json).collect::<Vec<_>>(),
            "generator": self.generator.iter().map(crate::generator::Row::json).collect::<Vec<_>>(),
            "resident_bytes": self.resident.iter().map(|(name, bytes)| json!([name, bytes])).collect::<Vec<_>>(),
            "idle_connection_bytes": self.idle.iter().map(|(name, bytes)| json!([name, bytes])).collect::<Vec<_>>(),
            "user_instructions_by_valgrind":
                self.instructions.iter().map(|(s, p, each)| json!([s, p, each])).collect::<Vec<_>>(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}

fn line(text: &mut String, words: &str) {
    let _ = writeln!(text, "{words}");
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
