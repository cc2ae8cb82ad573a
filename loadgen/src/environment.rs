//! Where a run ran. What a command line may hold in secret is not written down.

use crate::report::model::Environment;

/// This machine and program, for the report.
pub fn environment(pinned_to: &[u32], driver: &str) -> Environment {
    let release = first_line("/proc/sys/kernel/osrelease");
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Environment {
        kernel: format!("Linux {release} {}", std::env::consts::ARCH),
        cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
        cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32,
        pinned_to: pinned_to.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        driver: driver.to_owned(),
        command: without_secrets(std::env::args()),
    }
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Header values that authenticate, credentials in URLs and bodies' text don't belong in a report.
fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for argument in arguments {
        let before = shown.last().map(String::as_str);
        let joined = argument.strip_prefix("--header=").or_else(|| argument.strip_prefix("-H"));
        let header = match joined {
            Some(value) if !value.is_empty() => Some(value),
            _ if matches!(before, Some("-H" | "--header")) => Some(argument.as_str()),
            _ => None,
        };
        shown.push(match header.and_then(|value| value.split_once(':')) {
            Some((name, _)) if is_secret(name) => {
                let head = argument.find(name).unwrap_or(0) + name.len();
                format!("{}: ***", &argument[..head])
            }
            _ => without_userinfo(&argument),
        });
    }
    shown
}

fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 5] = ["auth", "cookie", "key", "token", "secret"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part))
}

fn without_userinfo(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***@{}", &rest[at + 1..]),
        None => argument.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_command_line_stay_out_of_reports() {
        let line = [
            "load",
            "-H",
            "Authorization: Bearer abc",
            "--header=X-Api-Key: k",
            "-Hcookie:a=b",
            "-H",
            "x: y",
            "http://u:p@h/a@b",
        ];
        let shown = without_secrets(line.iter().map(|word| (*word).to_owned()));
        assert_eq!(
            shown,
            [
                "load",
                "-H",
                "Authorization: ***",
                "--header=X-Api-Key: ***",
                "-Hcookie: ***",
                "-H",
                "x: y",
                "http://***@h/a@b"
            ]
        );
    }

    #[test]
    fn this_machine_is_described() {
        let here = environment(&[1], "epoll");
        assert!(here.kernel.starts_with("Linux ") && here.cores > 0 && !here.cpu.is_empty());
    }
}
