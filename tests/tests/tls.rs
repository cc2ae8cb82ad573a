//! TLS at listeners, towards endpoints, and through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringway_tests::origins::parts;
use ringway_tests::tls::{self, Authority};
use ringway_tests::{Gateway, Origin, wait};
use tempfile::TempDir;

const LISTENER: &str = r#"
listeners:
  - name: web
    address: "127.0.0.1:{{web}}"
    routes: all
    tls:
      certificates: [ { cert: "{{tls}}/site.crt", key: "{{tls}}/site.key" }, { cert: "{{tls}}/wild.crt", key: "{{tls}}/wild.key" } ]
services:
  app: { endpoints: [ "{{origin}}" ] }
routes:
  - { name: all, path: /**, to: app }
"#;

struct Files {
    folder: TempDir,
    ca: Authority,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new(folder.path(), "ca");
        ca.issue("site", &["a.example", "localhost"]);
        ca.issue("wild", &["*.wild.example"]);
        Files { folder, ca }
    }

    fn path(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn start(&self, text: &str, origin: &str) -> Gateway {
        Gateway::start_with(text, &[("tls", &self.path()), ("origin", origin)])
    }
}

fn shown(stream: &tls::Stream) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let gateway = files.start(LISTENER, &origin.endpoint());
    let client = files.ca.client(&[], None);
    let connect = |name| tls::connect(gateway.address("web"), &client, name);
    let mut exact = connect("A.Example").unwrap();
    assert!(tls::get(&mut exact, "/x").unwrap().contains("X-Forwarded-Proto: https"));
    let wild = connect("x.wild.example").unwrap();
    assert_ne!(shown(&exact), shown(&wild));
    // A wildcard stands for one label; for all other names there is the first certificate.
    for other in ["x.y.wild.example", "wild.example", "other.example"] {
        let error = connect(other).unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{other}: {error}");
    }
    assert_eq!(gateway.metrics().sum("ringway_tls_handshakes_total", &[]), 2.0);
}

#[test]
fn both_versions_of_http_are_agreed_on() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let gateway = files.start(LISTENER, &origin.endpoint());
    for (alpn, expected) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = tls::connect(gateway.address("web"), &files.ca.client(alpn, None), "a.example").unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(expected.as_bytes()));
    }
    assert!(tls::connect(gateway.address("web"), &files.ca.client(&["spdy/1"], None), "a.example").is_err());
    // Large bodies both ways, in many records.
    let mut stream = tls::connect(gateway.address("web"), &files.ca.client(&[], None), "a.example").unwrap();
    let body = vec![b'z'; 3 << 20];
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&body[..1 << 20]) && answer.len() > body.len());
    assert_eq!(origin.wait_for(1)[0].body.len(), body.len());
}

#[test]
fn tickets_are_taken_by_every_worker_and_after_a_reload() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let mut gateway = files.start(LISTENER, &origin.endpoint());
    let client = files.ca.client(&[], None);
    let go = |gateway: &Gateway| {
        let mut stream = tls::connect(gateway.address("web"), &client, "a.example").unwrap();
        tls::get(&mut stream, "/").unwrap();
        stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    assert!(!go(&gateway));
    // Two workers: whichever takes the connection.
    assert_eq!((0..16).filter(|_| go(&gateway)).count(), 16);
    gateway.reload(&LISTENER.replace("routes: all\n", "routes: all\n    trace: true\n"));
    assert!(go(&gateway));
    assert_eq!(gateway.metrics().sum("ringway_tls_resumptions_total", &[]), 17.0);
}

#[test]
fn a_certificate_file_that_changes_is_shown_to_new_connections() {
    let (files, origin) = (Files::new(), Origin::start(parts::takes(Duration::from_millis(300), "late")));
    let gateway = files.start(LISTENER, &origin.endpoint());
    let client = files.ca.client(&[], None);
    let before = shown(&tls::connect(gateway.address("web"), &client, "a.example").unwrap());
    let mut under_way = tls::connect(gateway.address("web"), &client, "a.example").unwrap();
    write!(under_way, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    files.ca.issue("site", &["a.example"]);
    wait::until_true("the new certificate", || {
        shown(&tls::connect(gateway.address("web"), &client, "a.example").unwrap()) != before
    });
    wait::until_true("the file and the new end to be told", || {
        let told = gateway.stderr();
        told.lines().any(|line| {
            line.contains("certificate of listener web, ")
                && line.contains("/site.crt: ")
                && line.ends_with(" -> a.example until 4096-01-01")
        })
    });
    let mut answer = [0; 12];
    under_way.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // One that can't be used changes nothing, and is told.
    std::fs::write(files.folder.path().join("site.key"), "nonsense").unwrap();
    wait::until_true("the failure to be shown", || {
        gateway.admin("/readyz").text().contains("no private key")
    });
    assert!(tls::connect(gateway.address("web"), &client, "a.example").is_ok());
    files.ca.issue("site", &["a.example"]);
    wait::until_true("the failure to be over", || {
        !gateway.admin("/readyz").text().contains("no private key")
    });
}

#[test]
fn clients_show_certificates_and_upstreams_are_told() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    files.ca.issue("client", &["client.example", "spiffe://mesh/ns/a"]);
    let stranger = Authority::new(files.folder.path(), "stranger");
    stranger.issue("wrong", &["client.example"]);
    let text = |verify: &str| {
        LISTENER.replace(
            "    tls:\n",
            &format!(
                "    tls:\n      clients: {{ verify: {verify}, ca: \"{{{{tls}}}}/ca.crt\", header: true }}\n"
            ),
        )
    };
    let mut gateway = files.start(&text("optional"), &origin.endpoint());
    let ask = |gateway: &Gateway, shows: Option<&str>| {
        let mut stream = tls::connect(gateway.address("web"), &files.ca.client(&[], shows), "a.example")?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: Hash=forged\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let told = ask(&gateway, Some("client")).unwrap();
    let line = told.lines().find(|line| line.starts_with("X-Forwarded-Client-Cert: ")).unwrap();
    assert!(line.contains("Subject=\"CN=client\"") && line.contains("URI=spiffe://mesh/ns/a"), "{line}");
    assert!(line.contains("DNS=client.example") && !told.contains("forged"), "{told}");
    let untold = ask(&gateway, None).unwrap();
    assert!(!untold.to_lowercase().contains("x-forwarded-client-cert"), "{untold}");
    assert!(ask(&gateway, Some("wrong")).is_err());
    gateway.reload(&text("required"));
    assert!(ask(&gateway, None).is_err());
    assert!(ask(&gateway, Some("client")).is_ok());
    let cut = |gateway: &Gateway, reason: &str| {
        gateway.metrics().sum("ringway_exchanges_cut_total", &[("reason", reason)])
    };
    wait::until_true("it to be counted", || cut(&gateway, "tls_client_certificate_missing") == 1.0);
    assert_eq!(cut(&gateway, "tls_client_certificate_invalid"), 1.0);
    // In plain text nobody can say who they are by certificate either.
    let plain = Gateway::in_front_of(&origin);
    let mut client = plain.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-client-cert: Hash=forged\r\n\r\n");
    assert!(!client.response().expect(200).text().contains("forged"));
}

#[test]
fn who_does_not_speak_tls_is_told_or_closed_in_time() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let text =
        LISTENER.replace("    tls:\n", "    timeouts: { handshake: 300ms }\n    tls:\n      handshakes: 2\n");
    let gateway = files.start(&text, &origin.endpoint());
    let response = gateway.get("/").expect(400);
    assert!(response.text().contains("plain_http_on_tls"), "{}", response.text());
    // Silent ones and those that stop half-way are closed; more than two at once don't keep others out.
    let silent: Vec<TcpStream> = (0..20)
        .map(|n| {
            let mut socket = TcpStream::connect(gateway.address("web")).unwrap();
            socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
            if n % 2 == 0 {
                socket.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
            }
            socket
        })
        .collect();
    for mut socket in silent {
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert!(tls::connect(gateway.address("web"), &files.ca.client(&[], None), "a.example").is_ok());
    assert!(
        gateway.metrics().sum("ringway_exchanges_cut_total", &[("reason", "tls_handshake_timeout")]) >= 10.0
    );
    assert!(origin.seen().is_empty());
}

#[test]
fn endpoints_are_verified() {
    let files = Files::new();
    let stranger = Authority::new(files.folder.path(), "stranger");
    stranger.issue("forged", &["a.example"]);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let good = tls::origin(files.ca.server("site", &[]), answer);
    let forged = tls::origin(stranger.server("forged", &[]), answer);
    let text = |tls: &str| {
        format!(
            "listeners:\n  - {{ name: web, address: \"127.0.0.1:{{{{web}}}}\", routes: all }}\nservices:\n  \
             app: {{ endpoints: [ \"{{{{origin}}}}\" ], tls: {{ {tls} }} }}\nroutes:\n  \
             - {{ name: all, path: /**, to: app }}\n"
        )
    };
    let by_name = text("ca: \"{{tls}}/ca.crt\", name: a.example");
    assert_eq!(files.start(&by_name, &good.to_string()).get("/").expect(200).text(), "ok");
    for (text, origin) in [
        (by_name.clone(), forged),
        (text("ca: \"{{tls}}/ca.crt\", name: b.example"), good),
        (text("ca: \"{{tls}}/ca.crt\""), good),
    ] {
        let gateway = files.start(&text, &origin.to_string());
        assert_eq!(gateway.get("/").expect(502).reason(), "upstream_tls_failed");
    }
    let insecure = text("insecure_skip_verify: true");
    assert_eq!(files.start(&insecure, &forged.to_string()).get("/").expect(200).text(), "ok");
}

#[test]
fn alpn_decides_what_endpoints_speak() {
    let files = Files::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let text = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all }\nservices:\n  \
         app: { endpoints: [ \"{{origin}}\" ], protocol: auto, tls: { ca: \"{{tls}}/ca.crt\", name: a.example } }\nroutes:\n  \
         - { name: all, path: /**, to: app }\n";
    let one = tls::origin(files.ca.server("site", &["http/1.1"]), answer);
    assert_eq!(files.start(text, &one.to_string()).get("/").expect(200).text(), "ok");
    // A gateway under TLS in front of another: by HTTP/2 in between.
    let origin = Origin::start(parts::echoes);
    let inner = files.start(LISTENER, &origin.endpoint());
    let outer = files.start(text, &inner.address("web").to_string());
    for _ in 0..20 {
        assert!(outer.get("/x").expect(200).text().contains("Via: 2.0 ringway"));
    }
    assert!(inner.metrics().sum("ringway_tls_handshakes_total", &[]) <= 4.0);
    let demands = text.replace("protocol: auto", "protocol: http2");
    assert_eq!(files.start(&demands, &one.to_string()).get("/").expect(502).reason(), "upstream_tls_failed");
}

/// A service under TLS whose endpoints may speak either version, with two connections to each.
const EITHER: &str = "runtime: { workers: 1, backend: {{backend}}, pin: false }
listeners:
  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all }
services:
  app:
    endpoints: [ \"{{origin}}\" ]
    protocol: auto
    pool: { idle: 2 }
    breaker: { endpoint: { connections: 2 } }
    tls: { ca: \"{{tls}}/ca.crt\", name: a.example }
routes:
  - { name: all, path: /**, to: app }
";

#[test]
fn connections_that_agree_on_http2_and_do_not_speak_it_are_not_counted_for_ever() {
    let files = Files::new();
    let origin = tls::origin(files.ca.server("site", &["h2"]), "HTTP/1.1 200 OK\r\n\r\n");
    let gateway = files.start(EITHER, &origin.to_string());
    for _ in 0..6 {
        assert_eq!(gateway.get("/").expect(502).reason(), "upstream_connect_failed");
    }
    let open = gateway.metrics().sum("ringway_upstream_connections_active", &[]);
    assert_eq!(open, 0.0);
}

#[test]
fn an_endpoint_that_goes_back_to_http1_is_asked_by_it() {
    let files = Files::new();
    let (new, old) = (files.ca.server("site", &["h2"]), files.ca.server("site", &["http/1.1"]));
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let origin = tls::origin_in_turn(vec![new, old], answer);
    let gateway = files.start(EITHER, &origin.to_string());
    gateway.get("/").expect(502);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").expect(200).text(), "ok");
    }
}

#[test]
fn passthrough_goes_by_name_and_decrypts_nothing() {
    let files = Files::new();
    files.ca.issue("b", &["b.example"]);
    let says = |body: &'static str| body;
    let a = tls::origin(files.ca.server("site", &[]), says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"));
    let b = tls::origin(files.ca.server("b", &[]), says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"));
    let text = "listeners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", tls: passthrough, routes: [ a, b ], timeouts: { handshake: 500ms } }\n  \
         - { name: other, address: \"127.0.0.1:{{other}}\", routes: all }\nservices:\n  \
         a: { endpoints: [ \"{{a}}\" ] }\n  b: { endpoints: [ \"{{b}}\" ] }\nroutes:\n  \
         - { name: a, hosts: [ a.example ], to: a }\n  - { name: b, hosts: [ \"*.example\" ], to: b }\n";
    let gateway = Gateway::start_with(text, &[("a", &a.to_string()), ("b", &b.to_string())]);
    let client = files.ca.client(&[], None);
    for (name, body) in [("a.example", "a"), ("b.example", "b"), ("A.EXAMPLE", "a")] {
        let mut stream = tls::connect(gateway.address("web"), &client, name).unwrap();
        assert!(tls::get(&mut stream, "/").unwrap().ends_with(body), "{name}");
    }
    assert!(tls::connect(gateway.address("web"), &client, "a.other").is_err());
    let cut = |reason: &str| gateway.metrics().sum("ringway_exchanges_cut_total", &[("reason", reason)]);
    wait::until_true("it to be counted", || cut("tls_name_not_routed") == 1.0);
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "tls_hello_malformed"),
        (&[22, 3, 1, 2, 0, 1], "tls_hello_unfinished"),
    ] {
        let mut socket = TcpStream::connect(gateway.address("web")).unwrap();
        socket.write_all(bytes).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
        wait::until_true(reason, || cut(reason) == 1.0);
    }
}

#[test]
fn a_key_log_is_written_only_when_asked_for() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let path = files.folder.path().join("keys.log");
    let text = LISTENER.replace("    tls:\n", "    tls:\n      key_log: \"{{tls}}/keys.log\"\n");
    for (text, lines) in [(LISTENER.to_owned(), false), (text, true)] {
        let gateway = files.start(&text, &origin.endpoint());
        tls::connect(gateway.address("web"), &files.ca.client(&[], None), "a.example").unwrap();
        let logged = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(logged.contains("CLIENT_HANDSHAKE_TRAFFIC_SECRET "), lines);
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_ocsp_response_is_stapled() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    std::fs::write(files.folder.path().join("site.ocsp"), b"not looked into by us").unwrap();
    let text = LISTENER.replace("site.key\" }", "site.key\", ocsp: \"{{tls}}/site.ocsp\" }");
    let gateway = files.start(&text, &origin.endpoint());
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-status", "-servername", "a.example", "-connect"])
        .arg(gateway.address("web").to_string())
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(output) = output else { return skipped("openssl") };
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("OCSP response: no response sent"), "{text}");
}

#[expect(clippy::print_stderr, reason = "who runs the tests should know")]
fn skipped(peer: &str) {
    eprintln!("skipped: {peer} is not installed");
}

/// A listener that allows few handshakes at once holds up nobody else's, and who has not said all of a hello has no turn.
#[test]
fn turns_for_handshakes_are_a_listeners_own_and_begin_with_a_whole_hello() {
    let (files, origin) = (Files::new(), Origin::start(parts::echoes));
    let listener = |name: &str, more: &str| {
        format!(
            "  - {{ name: {name}, address: \"127.0.0.1:{{{{{name}}}}}\", routes: all, tls: {{ certificates: \
             [ {{ cert: \"{{{{tls}}}}/site.crt\", key: \"{{{{tls}}}}/site.key\" }} ]{more} }} }}\n"
        )
    };
    let text = format!(
        "runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}\nlisteners:\n{}{}services:\n  \
         app: {{ endpoints: [ \"{{{{origin}}}}\" ] }}\nroutes:\n  - {{ name: all, path: /**, to: app }}\n",
        listener("few", ", handshakes: 1"),
        listener("web", "")
    );
    let gateway = files.start(&text, &origin.endpoint());
    let client = files.ca.client(&[], None);
    let hello = || {
        let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
        let mut bytes = Vec::new();
        rustls::ClientConnection::new(client.clone(), name).unwrap().write_tls(&mut bytes).unwrap();
        bytes
    };
    let begins = |bytes: &[u8]| {
        let mut socket = TcpStream::connect(gateway.address("few")).unwrap();
        socket.write_all(bytes).unwrap();
        socket
    };
    let partial = begins(&hello()[..100]);
    let mut stream = tls::connect(gateway.address("few"), &client, "a.example").unwrap();
    assert!(tls::get(&mut stream, "/").unwrap().starts_with("HTTP/1.1 200"));
    // One has the turn and says no more, another waits for it.
    let mut first = begins(&hello());
    first.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    first.read_exact(&mut [0; 5]).unwrap();
    let second = begins(&hello());
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let mut stream = tls::connect(gateway.address("web"), &client, "a.example").unwrap();
        assert!(tls::get(&mut stream, "/").unwrap().starts_with("HTTP/1.1 200"));
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // Whoever goes gives the turn on.
    drop((partial, first, second));
    let mut stream = tls::connect(gateway.address("few"), &client, "a.example").unwrap();
    assert!(tls::get(&mut stream, "/").unwrap().starts_with("HTTP/1.1 200"));
}
