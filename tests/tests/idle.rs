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
