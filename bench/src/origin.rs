//! The origins, the same for every proxy: nginx with bodies in memory or by sendfile; `ringway-load serve` for gRPC and
//! for bytes.

use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::load;
use crate::process::{Process, free_port, program};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1
    Bodies,
    /// gRPC: a call's message comes back
    Calls,
    /// What comes goes back
    Echo,
}

/// The running origin.
pub struct Origin {
    /// Where it serves.
    pub port: u16,
    _process: Process,
}

/// Headers whose presence the origin reports at `/echo`, to show that the work is the same.
pub const REPORTED: [&str; 6] =
    ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Via", "Forwarded"];

/// Bodies in files; every other path answers with 1 KiB.
const FILES: [(&str, usize); 2] = [("64k", 64 << 10), ("1m", 1 << 20)];

/// Bytes of the answer to a path.
pub fn length(path: &str) -> usize {
    FILES.iter().find(|(name, _)| path.strip_prefix('/') == Some(name)).map_or(1024, |(_, size)| *size)
}

/// Starts one on the load's core.
pub fn start(kind: Kind, options: &Options, folder: &Path) -> Result<Origin, String> {
    let port = free_port()?;
    let words = match kind {
        Kind::Bodies => bodies(folder, port)?,
        Kind::Calls => serve(port, &[])?,
        Kind::Echo => serve(port, &["--tcp-echo"])?,
    };
    let mut process = Process::start(options.load_core, &format!("origin-{port}"), folder, &words)?;
    process.wait_for(port, Duration::from_secs(10)).map_err(|error| format!("origin: {error}"))?;
    Ok(Origin { port, _process: process })
}

fn serve(port: u16, more: &[&str]) -> Result<Vec<String>, String> {
    let binary = load::ringway_load()?.display().to_string();
    let port = port.to_string();
    let words = [&["serve", "--port", &port], more].concat();
    Ok(std::iter::once(binary).chain(words.into_iter().map(str::to_owned)).collect())
}

fn bodies(folder: &Path, port: u16) -> Result<Vec<String>, String> {
    let files = folder.join("files");
    std::fs::create_dir_all(&files).map_err(|error| error.to_string())?;
    for (name, size) in FILES {
        std::fs::write(files.join(name), vec![b'x'; size]).map_err(|error| error.to_string())?;
    }
    let file = folder.join("origin.conf");
    std::fs::write(&file, configuration(folder, &files, port)).map_err(|error| error.to_string())?;
    let nginx = program("nginx").ok_or("the origin is nginx: apt-get install nginx-light")?;
    Ok(vec![nginx.display().to_string(), "-c".to_owned(), file.display().to_string()])
}

fn configuration(folder: &Path, files: &Path, port: u16) -> String {
    let (head, files, body) =
        (crate::configurations::nginx_head(folder, "origin"), files.display(), "x".repeat(1024));
    let present: String = REPORTED
        .iter()
        .map(|name| format!("{name}=$http_{}\\n", name.to_lowercase().replace('-', "_")))
        .collect();
    format!(
        "{head}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {files};
        location / {{ return 200 '{body}'; }}
        location = /echo {{ return 200 '{present}'; }}
        location = /64k {{ }}
        location = /1m {{ }}
    }}
}}
"
    )
}
