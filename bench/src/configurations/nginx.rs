//! nginx, buffering as it does by default but never to disk.

use std::path::Path;
use std::process::Command;

use crate::front::Front;
use crate::peers::Place;
use crate::process::program;

use super::IDLE_KEPT;

/// The start of an nginx configuration that runs in the foreground as one process and writes only to `folder`.
pub fn head(folder: &Path, label: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/{label}.pid;
error_log {folder}/{label}.error.log warn;
events {{ worker_connections 16384; }}"
    )
}

/// A whole configuration.
pub fn nginx(place: &Place<'_>, label: &str, port: u16) -> Result<String, String> {
    let (head, origin) = (head(place.folder, label), place.origin);
    if place.front == Front::Tcp {
        let module = stream_module()?;
        return Ok(format!(
            "{module}{head}
stream {{
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_pass 127.0.0.1:{origin};
    }}
}}
"
        ));
    }
    let (listen, more) = match place.front {
        Front::Tls => ("ssl ", secured(place)),
        Front::Http2 | Front::Grpc => ("http2 ", String::new()),
        _ => ("", String::new()),
    };
    // What passes requests on, and how its directives begin.
    let (pass, by) = match place.front {
        Front::Grpc => ("grpc_pass grpc://origin;", "grpc"),
        _ => (
            "proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection \"\";",
            "proxy",
        ),
    };
    Ok(format!(
        "{head}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive {IDLE_KEPT};
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} {listen}backlog=4096;
        {more}
        location / {{
            {pass}
            {by}_set_header Host $http_host;
            {by}_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            {by}_set_header X-Forwarded-Proto $scheme;
            {by}_set_header X-Forwarded-Host $http_host;
            {by}_set_header Forwarded 'for=$remote_addr;proto=$scheme;host=\"$http_host\"';
            {by}_set_header X-Request-Id $request_id;
            {by}_set_header Via \"1.1 nginx\";
        }}
    }}
}}
"
    ))
}

fn secured(place: &Place<'_>) -> String {
    let (certificate, key) = (place.identity.certificate.display(), place.identity.key.display());
    // Before 1.23.4 it leaves TLS 1.3 out unless it is told.
    format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};")
}

/// What loads the stream module, where it is a file of its own.
fn stream_module() -> Result<String, String> {
    let nginx = program("nginx").ok_or("apt-get install nginx-light")?;
    let said = Command::new(nginx).arg("-V").output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let mut words = said.split_whitespace();
    if words.clone().any(|word| word == "--with-stream") {
        return Ok(String::new());
    }
    let folder =
        words.find_map(|word| word.strip_prefix("--modules-path=")).unwrap_or("/usr/lib/nginx/modules");
    let module = Path::new(folder).join("ngx_stream_module.so");
    if !module.is_file() {
        return Err("its stream module is missing: apt-get install libnginx-mod-stream".into());
    }
    Ok(format!("load_module {};\n", module.display()))
}
