//! wrk: its words, and what it says.

use super::Said;
use crate::scenarios::Scenario;

/// Keep-alive connections of the load.
const CONNECTIONS: &str = "64";

/// The command.
pub fn words(scenario: &Scenario, port: u16, seconds: u32) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
    say(&["wrk", "--threads", "1", "--connections", CONNECTIONS, "--duration", &seconds.to_string()]);
    scenario.headers.iter().for_each(|header| say(&["--header", header]));
    let url = scenario.url(port);
    match scenario.routes {
        Some(count) => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/routes.lua");
            say(&["--script", script, &url, "--", &count.to_string()]);
        }
        None => say(&[&url]),
    }
    words
}

/// Of its closing lines.
pub fn said(text: &str) -> Option<Said> {
    let (requests, seconds) = answered(text)?;
    Some(Said { requests, errors: errors(text), resumed: 0, seconds })
}

/// Requests and seconds, of `  123 requests in 5.00s, 1.20MB read`.
fn answered(said: &str) -> Option<(u64, f64)> {
    let line = said.lines().find(|line| line.contains(" requests in "))?;
    let (requests, rest) = line.trim().split_once(" requests in ")?;
    let (took, _) = rest.split_once(',')?;
    let seconds = match took.strip_suffix("ms") {
        Some(ms) => ms.parse::<f64>().ok()? / 1000.0,
        None => took.strip_suffix('s').map_or_else(|| minutes(took), |s| s.parse().ok())?,
    };
    Some((requests.parse().ok()?, seconds))
}

fn minutes(took: &str) -> Option<f64> {
    Some(took.strip_suffix('m')?.parse::<f64>().ok()? * 60.0)
}

/// Of `  Socket errors: connect 0, read 0, write 0, timeout 3` and `  Non-2xx or 3xx responses: 7`.
fn errors(said: &str) -> u64 {
    let lines =
        said.lines().filter(|line| line.contains("Socket errors:") || line.contains("Non-2xx or 3xx"));
    let words = lines.flat_map(|line| line.split(':').skip(1)).flat_map(|rest| rest.split([' ', ',']));
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_closing_lines_are_read() {
        let text = "  4242 requests in 5.10s, 4.96MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  \
                    Non-2xx or 3xx responses: 10\nRequests/sec: 831.76\n";
        assert_eq!(said(text), Some(Said { requests: 4242, errors: 16, resumed: 0, seconds: 5.1 }));
        assert_eq!(answered("  9 requests in 800.50ms, 1KB read"), Some((9, 0.8005)));
        assert_eq!(said("unable to connect"), None);
    }
}
