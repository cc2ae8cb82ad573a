//! What the load generator itself costs, beside wrk and h2load against the same server, each on the load's core.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::process::{Process, free_port, pinned, program};
use crate::report::{Report, median};

/// One generator on one protocol.
pub struct Row {
    protocol: &'static str,
    generator: &'static str,
    /// Requests, CPU seconds in user space and in the kernel, of each round.
    samples: Vec<[f64; 3]>,
}

impl Row {
    /// Median CPU microseconds a request: user space, kernel, both.
    fn cost(&self) -> [f64; 3] {
        let of = |pick: &dyn Fn(&[f64; 3]) -> f64| {
            median(self.samples.iter().map(|sample| pick(sample) * 1e6 / sample[0].max(1.0)).collect())
                .unwrap_or(0.0)
        };
        [of(&|sample| sample[1]), of(&|sample| sample[2]), of(&|sample| sample[1] + sample[2])]
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let [user, kernel, all] = self.cost();
        json!({ "protocol": self.protocol, "generator": self.generator,
            "cpu_user_us": user, "cpu_kernel_us": kernel, "cpu_us": all })
    }
}

/// Runs each generator against nginx, in turn.
pub fn measure(options: &Options, folder: &Path, report: &mut Report) -> Result<(), String> {
    let binary = crate::load::ringway_load()?.display().to_string();
    let (plain, http2) = (free_port()?, free_port()?);
    let text = format!(
        "{}\nhttp {{ access_log off; keepalive_requests 1000000000; default_type text/plain;\n\
         server {{ listen 127.0.0.1:{plain}; location / {{ return 200 '{body}'; }} }}\n\
         server {{ listen 127.0.0.1:{http2} http2; location / {{ return 200 '{body}'; }} }} }}\n",
        crate::configurations::nginx_head(folder, "generator"),
        body = "x".repeat(1024)
    );
    let file = folder.join("generator.conf");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let nginx = program("nginx").ok_or("nginx is needed: apt-get install nginx-light")?;
    let words = [nginx.display().to_string(), "-c".to_owned(), file.display().to_string()];
    let mut server = Process::start(options.proxy_core, "generator", folder, &words)?;
    server.wait_for(plain, Duration::from_secs(10))?;

    let seconds = options.turn_s().max(2).to_string();
    let (one, two) = (format!("http://127.0.0.1:{plain}/"), format!("http://127.0.0.1:{http2}/"));
    let commands = [
        ("HTTP/1.1, 64 connections", "wrk -t1", format!("wrk -t1 -c64 -d{seconds} {one}")),
        (
            "HTTP/1.1, 64 connections",
            "ringway-load",
            format!("{binary} saturate {one} --connections 64 --duration {seconds}s --warmup 0s"),
        ),
        ("HTTP/2, 8 x 32", "h2load -t1", format!("h2load -t1 -c8 -m32 -D{seconds} {two}")),
        (
            "HTTP/2, 8 x 32",
            "ringway-load",
            format!(
                "{binary} saturate {two} --h2 --connections 8 --streams 32 --duration {seconds}s --warmup 0s"
            ),
        ),
    ];
    let mut rows: Vec<Row> = commands
        .iter()
        .map(|(protocol, generator, _)| Row { protocol, generator, samples: Vec::new() })
        .collect();
    for _ in 0..options.rounds {
        for (row, (_, name, command)) in rows.iter_mut().zip(&commands) {
            match sample(options.load_core, command) {
                Ok(sample) => row.samples.push(sample),
                Err(why) => eprintln!("skipped: {name}: {why}"),
            }
        }
    }
    rows.retain(|row| !row.samples.is_empty());
    report.generator = rows;
    Ok(())
}

/// Runs a command in a shell that tells what its children used.
fn sample(core: u32, command: &str) -> Result<[f64; 3], String> {
    let script = format!("{command} && times");
    let output = pinned(core, &["bash".to_owned(), "-c".to_owned(), script]).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let requests = requests(&said).ok_or_else(|| format!("it said: {said}"))?;
    let times = said.lines().last().and_then(children).ok_or("no times")?;
    Ok([requests, times[0], times[1]])
}

/// Of `123 requests in ...` or `requests: 123 total, ...`.
fn requests(said: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        let line = line.trim();
        let first = line.strip_prefix("requests: ").unwrap_or(line).split_ascii_whitespace().next()?;
        let is_it = line.contains(" requests in ") || line.starts_with("requests: ");
        is_it.then(|| first.parse().ok()).flatten()
    })
}

/// Of `0m1.234s 0m5.678s`, as bash prints them.
fn children(line: &str) -> Option<[f64; 2]> {
    let seconds = |text: &str| {
        let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    let (user, kernel) = line.split_once(' ')?;
    Some([seconds(user)?, seconds(kernel)?])
}

/// The table, in Markdown.
pub fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## What a request costs the load generator\n\nClosed loop against nginx, 1 KiB answers, one thread on the load's \
         core; medians of the rounds.\n\n| protocol | generator | CPU us/request | user | kernel | in parts of the \
         other's |\n|---|---|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let [user, kernel, all] = row.cost();
        let other =
            rows.iter().find(|other| other.protocol == row.protocol && other.generator != row.generator);
        let ratio = other.map_or("-".to_owned(), |other| format!("{:.2}", all / other.cost()[2]));
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "| {} | {} | {all:.2} | {user:.2} | {kernel:.2} | {ratio} |",
            row.protocol, row.generator
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_generators_and_the_shell_say_is_read() {
        assert_eq!(requests("  4242 requests in 5.10s, 4.96MB read"), Some(4242.0));
        assert_eq!(requests("x\nrequests: 77 total, 77 started"), Some(77.0));
        assert_eq!(children("0m1.500s 1m2.250s"), Some([1.5, 62.25]));
    }
}
