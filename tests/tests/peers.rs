//! Programs of others at both ends: curl, nghttp, h2load, nginx, nghttpd, openssl, PostgreSQL, MariaDB. A test whose peer
//! is not installed says so.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::peers::{has, run};
use ringway_tests::tls::Authority;
use ringway_tests::{Gateway, Origin, ports, wait};

const TLS: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all, tls: { certificates: [ { cert: "{{tls}}/site.crt", key: "{{tls}}/site.key" } ] } }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: all, path: /**, to: app }
"#;

fn certificates() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["localhost", "a.example"]);
    (folder, ca)
}

/// A program that listens, ended with the test.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command, address: SocketAddr) -> Daemon {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Daemon(child);
        wait::until_true("the program to listen", || TcpStream::connect(address).is_ok());
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Politely, since some have children of their own.
        ringway_tests::process::signal(self.0.id(), "TERM");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn curl_speaks_every_version() {
    if !has("curl") {
        return;
    }
    let (folder, _ca) = certificates();
    let origin = Origin::start(parts::echoes);
    let path = folder.path().display().to_string();
    let tls = Gateway::start_with(TLS, &[("origin", &origin.endpoint()), ("tls", &path)]);
    let plain = Gateway::in_front_of(&origin);
    let curl = |args: &[&str]| {
        run(Command::new("curl").args(["-sS", "--max-time", "10", "-w", " by %{http_version}"]).args(args))
    };
    let url = format!("http://{}/x", plain.address("web"));
    assert!(curl(&["--http2-prior-knowledge", &url]).ends_with(" by 2"));
    assert!(curl(&["--http1.1", &url]).ends_with(" by 1.1"));
    let ca = folder.path().join("ca.crt").display().to_string();
    let url = format!("https://localhost:{}/x", tls.address("web").port());
    assert!(curl(&["--cacert", &ca, "--http2", &url]).ends_with(" by 2"));
    assert!(curl(&["--cacert", &ca, "--http1.1", &url]).ends_with(" by 1.1"));
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let said = curl(&[version, &["--cacert", &ca, "--data", "hello", &url]].concat());
        assert!(
            said.contains("POST /x HTTP/1.1") && said.contains("hello") && said.ends_with(" by 2"),
            "{said}"
        );
    }
}

#[test]
fn nghttp_and_h2load_find_nothing_wrong() {
    if !has("nghttp") || !has("h2load") {
        return;
    }
    let origin = Origin::start(parts::says("ok"));
    let gateway = Gateway::in_front_of(&origin);
    let url = format!("http://{}/x", gateway.address("web"));
    let said = run(Command::new("nghttp").args(["-v", "--upgrade", &url]));
    assert!(!said.contains("101 Switching"), "h2c is not upgraded to: {said}");
    let said = run(Command::new("nghttp").args(["-v", &url]));
    assert!(said.contains(":status: 200") && said.contains("ok"), "{said}");
    let said = run(Command::new("h2load").args(["-n", "5000", "-c", "8", "-m", "32", &url]));
    assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 5000 2xx"), "{said}");
}

#[test]
fn nginx_answers_over_tls_and_http2() {
    if !has("nginx") {
        return;
    }
    let (folder, _ca) = certificates();
    let path = folder.path().display().to_string();
    let port = ports::free();
    let config = format!(
        "daemon off; pid {path}/nginx.pid; error_log {path}/error.log; worker_processes 1;\nevents {{}}\n\
         http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; \
         uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
         server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {path}/site.crt; ssl_certificate_key {path}/site.key;\n\
         location / {{ return 200 \"by $server_protocol for $ssl_server_name\"; }}\n\
         location /large {{ alias {path}/large; }} }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
    std::fs::write(folder.path().join("large"), vec![b'n'; 5 << 20]).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let _nginx = Daemon::start(
        Command::new("nginx").args(["-p", &path, "-c", &format!("{path}/nginx.conf")]),
        address,
    );
    for (protocol, expected) in [
        ("http1", "by HTTP/1.1 for a.example"),
        ("http2", "by HTTP/2.0 for a.example"),
        ("auto", "by HTTP/2.0 for a.example"),
    ] {
        let text = PLAIN.replace(
            "\"{{origin}}\" ]",
            &format!("\"{{{{origin}}}}\" ], protocol: {protocol}, tls: {{ ca: \"{path}/ca.crt\", name: a.example }}"),
        );
        let gateway = Gateway::start_with(&text, &[("origin", &address.to_string())]);
        for _ in 0..50 {
            assert_eq!(gateway.get("/").expect(200).text(), expected);
        }
        assert_eq!(gateway.get("/large").expect(200).body.len(), 5 << 20);
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 20));
        client.send(vec![b'u'; 1 << 20]);
        assert_eq!(client.response().expect(200).text(), expected);
    }
}

#[test]
fn nghttpd_answers_by_http2() {
    if !has("nghttpd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), vec![b'f'; 3 << 20]).unwrap();
    let port = ports::free();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let _nghttpd = Daemon::start(
        Command::new("nghttpd")
            .args(["--no-tls", "-a", "127.0.0.1", "-d"])
            .arg(folder.path())
            .arg(port.to_string()),
        address,
    );
    let text = PLAIN.replace("\"{{origin}}\" ]", "\"{{origin}}\" ], protocol: http2");
    let gateway = Gateway::start_with(&text, &[("origin", &address.to_string())]);
    for _ in 0..20 {
        assert_eq!(gateway.get("/file").expect(200).body.len(), 3 << 20);
    }
    assert_eq!(gateway.get("/nothing").status, 404);
}

#[test]
fn openssl_agrees_on_versions_groups_and_tickets() {
    if !has("openssl") {
        return;
    }
    let (folder, _ca) = certificates();
    let origin = Origin::start(parts::echoes);
    let path = folder.path().display().to_string();
    let text = TLS.replace("tls: {", "tls: { min_version: \"1.3\",");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint()), ("tls", &path)]);
    let address = gateway.address("web").to_string();
    let s_client = |args: &[&str]| {
        let mut command = Command::new("openssl");
        run(command
            .args(["s_client", "-connect", &address, "-servername", "a.example", "-CAfile"])
            .arg(folder.path().join("ca.crt"))
            .args(args))
    };
    let said = s_client(&["-alpn", "h2"]);
    assert!(
        said.contains("Verify return code: 0")
            && said.contains("ALPN protocol: h2")
            && said.contains("TLSv1.3"),
        "{said}"
    );
    assert!(s_client(&["-tls1_2"]).contains("alert protocol version"));
}

/// A server of PostgreSQL with its files in `folder`.
fn postgres(folder: &Path) -> Option<(Daemon, SocketAddr)> {
    let bin = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .max()?;
    let port = ports::free();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let data = folder.join("data");
    let as_postgres = |script: &str| {
        let mut command = Command::new("su");
        command.args(["-s", "/bin/sh", "postgres", "-c", script]);
        command
    };
    run(Command::new("chown").arg("postgres").arg(folder));
    run(&mut as_postgres(&format!("{}/initdb -A trust -N -D {}", bin.display(), data.display())));
    let serve = format!(
        "exec {}/postgres -D {} -p {port} -h 127.0.0.1 -k {} -c fsync=off",
        bin.display(),
        data.display(),
        folder.display()
    );
    Some((Daemon::start(&mut as_postgres(&serve), address), address))
}

const BYTES: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", tcp: { to: app } }
  - { name: auto, address: "127.0.0.1:{{auto}}", protocol: auto, tcp: { to: app }, routes: all }
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: all, path: /**, respond: { body: http } }
"#;

#[test]
fn psql_works_through_tcp_and_auto() {
    if !has("psql") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, address)) = postgres(folder.path()) else {
        has("/usr/lib/postgresql/bin/postgres");
        return;
    };
    let gateway = Gateway::start_with(BYTES, &[("origin", &address.to_string())]);
    for listener in ["web", "auto"] {
        let port = gateway.address(listener).port().to_string();
        let ask = |sql: &str| {
            let mut psql = Command::new("psql");
            psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-At", "-c", sql, "postgres"]);
            run(&mut psql).trim().to_owned()
        };
        let counted = ask("select count(*), sum(n) from generate_series(1, 100000) n");
        assert_eq!(counted, "100000|5000050000", "{listener}");
        assert_eq!(ask("select repeat('x', 3000000)").len(), 3_000_000, "{listener}");
    }
}

#[test]
fn mariadb_greets_first_through_tcp_and_auto() {
    if !has("mariadb") || !has("mariadbd") || !has("mariadb-install-db") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    run(Command::new("chown").arg("mysql").arg(folder.path()));
    run(Command::new("mariadb-install-db")
        .args(["--no-defaults", "--user=mysql", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={path}/data")));
    let port = ports::free();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let _server = Daemon::start(
        Command::new("mariadbd")
            .args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .arg(format!("--datadir={path}/data"))
            .arg(format!("--socket={path}/socket"))
            .arg(format!("--pid-file={path}/pid"))
            .arg(format!("--port={port}")),
        address,
    );
    let gateway = Gateway::start_with(BYTES, &[("origin", &address.to_string())]);
    for listener in ["web", "auto"] {
        let port = gateway.address(listener).port().to_string();
        let said = run(Command::new("mariadb").args([
            "--no-defaults",
            "--protocol=tcp",
            "-h",
            "127.0.0.1",
            "-P",
            &port,
            "-u",
            "root",
            "-N",
            "-B",
            "-e",
            "select length(repeat('y', 3000000)), 6 * 7",
        ]));
        assert_eq!(said.trim(), "3000000\t42", "{listener}");
    }
}
