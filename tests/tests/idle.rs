//! Ten thousand idle keep-alive connections, and what each costs.

use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::{Client, Gateway, Origin, binary, process};

const FEW: usize = 100;
const MANY: usize = 10_000;
const BYTES_EACH_MAX: usize = 2048;

#[test]
fn ten_thousand_idle_connections_are_small_and_alive() {
    let limit = process::raise_descriptor_limit();
    if limit < MANY as u64 + 500 {
        eprintln!("skipped: {limit} files may be open, {MANY} connections need more");
        return;
    }
    let origin = Origin::start(parts::says("ok"));
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}{PLAIN}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut clients: Vec<Client> = Vec::with_capacity(MANY);
    let fill = |clients: &mut Vec<Client>, count: usize| {
        while clients.len() < count {
            let mut client = gateway.connect();
            client.get("/").expect(200);
            clients.push(client);
        }
        process::resident(gateway.pid()) as usize
    };
    let few = fill(&mut clients, FEW);
    let many = fill(&mut clients, MANY);
    let each = many.saturating_sub(few) / (MANY - FEW);
    eprintln!("resident: {few} bytes with {FEW} connections, {many} with {MANY}: {each} each");
    for client in clients.iter_mut().step_by(97) {
        client.get("/").expect(200);
    }
    if binary::is_release() {
        assert!(each <= BYTES_EACH_MAX, "{each} bytes for each idle connection");
    }
}

const TLS_BYTES_EACH_MAX: usize = 24 << 10;
const HTTP2_BYTES_EACH_MAX: usize = 32 << 10;
const SOME: usize = 1_000;

#[test]
fn idle_connections_under_tls_and_of_http2_are_bounded() {
    use ringway_tests::http2::{GET, Raw, kind};
    use ringway_tests::tls::{self, Authority};
    if process::raise_descriptor_limit() < 2 * SOME as u64 + 500 {
        eprintln!("skipped: too few files may be open");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    ca.issue("site", &["a.example"]);
    let path = folder.path().display().to_string();
    let origin = Origin::start(parts::says("ok"));
    let text = "runtime: { workers: 1, backend: {{backend}}, pin: false }\nlisteners:\n  \
         - { name: web, address: \"127.0.0.1:{{web}}\", routes: all }\n  \
         - { name: tls, address: \"127.0.0.1:{{tls}}\", routes: all, tls: { certificates: [ { cert: \"{{files}}/site.crt\", key: \"{{files}}/site.key\" } ] } }\n\
         services:\n  app: { endpoints: [ \"{{origin}}\" ] }\nroutes:\n  - { name: all, path: /**, to: app }\n";
    let gateway = Gateway::start_with(text, &[("origin", &origin.endpoint()), ("files", &path)]);
    let client = ca.client(&[], None);
    let resident = || process::resident(gateway.pid()) as usize;
    let measure = |what: &str, max: usize, open: &mut dyn FnMut()| {
        (0..FEW).for_each(|_| open());
        let few = resident();
        (FEW..SOME).for_each(|_| open());
        let each = resident().saturating_sub(few) / (SOME - FEW);
        eprintln!("{each} bytes for each idle connection {what}");
        assert!(each <= max, "{each} bytes for each idle connection {what}");
    };
    let mut secure = Vec::new();
    measure("under TLS", TLS_BYTES_EACH_MAX, &mut || {
        let mut stream = tls::connect(gateway.address("tls"), &client, "a.example").unwrap();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        secure.push(stream);
    });
    let mut raws = Vec::new();
    measure("of HTTP/2", HTTP2_BYTES_EACH_MAX, &mut || {
        let mut raw = Raw::connect(gateway.address("web"), &[]);
        raw.headers(1, &GET, true);
        raw.expect(kind::DATA, 1);
        raws.push(raw);
    });
}
