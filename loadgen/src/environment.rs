//! Where a run took place: kernel, processor, program, command line.
//!
//! Invariant: no secret of the command line is written down. Values of headers that carry credentials and the user and
//! password of URLs become `***`, however the argument was spelled.

use crate::report::model::Environment;

/// The machine and the program; `pinned` are the cores the generator's threads are pinned to, `driver` how it talks to
/// the kernel.
pub fn environment(pinned: &[u32], driver: &str) -> Environment {
    let proc = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = proc("/proc/cpuinfo");
    let system = [proc("/proc/sys/kernel/ostype"), proc("/proc/sys/kernel/osrelease")];
    let [name, release] = system.each_ref().map(|text| text.trim());
    Environment {
        kernel: format!("{name} {release} {}", std::env::consts::ARCH).trim().to_owned(),
        cpu: model_name(&cpuinfo).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: cores(&cpuinfo),
        pinned_to: pinned.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        driver: driver.to_owned(),
        command: std::env::args_os().map(|argument| without_secrets(&argument.to_string_lossy())).collect(),
    }
}

/// An argument as it may be shown: what follows the name of a header with credentials is `***`, and so is the
/// userinfo of each URL.
///
/// Headers are looked for in any argument, not only behind `-H`: `-H name:`, `-Hname:`, `--header=name:` and flags
/// yet to come are then all the same.
pub fn without_secrets(argument: &str) -> String {
    let lower = argument.to_ascii_lowercase();
    let value = SECRET_HEADERS.iter().filter_map(|name| value_of(&lower, name)).min();
    let shown = value.map_or(argument, |at| &argument[..at]);
    let shown = without_userinfo(shown);
    if value.is_some() { format!("{shown} ***") } else { shown }
}

/// A text with `***` for the user and password of each URL in it.
pub fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| "/\\?#".contains(c) || c.is_whitespace()).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str("***");
                &after[at..]
            }
            None => after,
        };
    }
    shown.push_str(rest);
    shown
}

/// Where the value of the header begins: behind the colon of the first `name:`.
fn value_of(lower: &str, name: &str) -> Option<usize> {
    lower.match_indices(name).find_map(|(at, _)| {
        let behind = &lower[at + name.len()..];
        let colon = behind.len() - behind.trim_start().len();
        behind[colon..].starts_with(':').then_some(at + name.len() + colon + 1)
    })
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned()).filter(|name| !name.is_empty())
}

/// What `/proc/cpuinfo` lists, as the generator's own affinity says nothing about the machine.
fn cores(cpuinfo: &str) -> u32 {
    let listed = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let allowed = || std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(if listed > 0 { listed } else { allowed() }).unwrap_or(u32::MAX)
}

/// Headers whose values are credentials. `proxy-authorization` and `set-cookie` end with one of these.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "x-api-key"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_kernel_cores_and_program() {
        let found = environment(&[1, 3], "epoll");
        assert!(found.kernel.starts_with("Linux "), "{}", found.kernel);
        assert!(found.kernel.ends_with(std::env::consts::ARCH));
        assert!(found.cores >= 1 && !found.cpu.is_empty() && !found.command.is_empty());
        assert_eq!((found.pinned_to, found.driver.as_str()), (vec![1, 3], "epoll"));
    }

    #[test]
    fn the_processor_is_read_from_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2GHz\n";
        assert_eq!(model_name(text).as_deref(), Some("Some CPU @ 2GHz"));
        assert_eq!(cores(text), 2);
        assert_eq!(model_name("processor : 0\nBogoMIPS : 50\n"), None);
        assert!(cores("") >= 1);
    }

    #[test]
    fn credentials_in_headers_never_show() {
        for argument in [
            "Authorization: Bearer hunter2",
            "-HAUTHORIZATION:hunter2",
            "--header=cookie: a=hunter2",
            "-kHProxy-Authorization : Basic hunter2",
            "x-api-KEY:hunter2",
            "x: y\r\ncookie: hunter2",
            "authorization-like: authorization: hunter2",
        ] {
            let shown = without_secrets(argument);
            assert!(!shown.contains("hunter2") && shown.ends_with("***"), "{argument} became {shown}");
        }
        assert_eq!(without_secrets("Authorization: Bearer hunter2"), "Authorization: ***");
    }

    #[test]
    fn the_userinfo_of_urls_never_shows() {
        for argument in [
            "http://me:hunter2@host:80/a",
            "--url=https://hunter2@host",
            "http://a b://x:hunter2@y/",
            "http://hunter2@also@host/",
        ] {
            let shown = without_secrets(argument);
            assert!(!shown.contains("hunter2") && shown.contains("***@"), "{argument} became {shown}");
        }
        assert_eq!(without_secrets("http://me:pw@host:80/a@b"), "http://***@host:80/a@b");
    }

    #[test]
    fn other_arguments_stay_as_they_are() {
        for argument in ["-H", "accept: text/html", "http://host/a@b?c=d@e", "--cookie-jar", "é://ü", "a: b"]
        {
            assert_eq!(without_secrets(argument), argument);
        }
    }
}
