//! What a client or an origin might try in order to be mistaken for another, or to leave others without service.

use std::time::Duration;

use ringway_tests::client::To;
use ringway_tests::gateway::PLAIN;
use ringway_tests::origins::parts;
use ringway_tests::wait::until_true;
use ringway_tests::{Client, Gateway, Origin, process};

const ONE_WORKER: &str = "runtime: { workers: 1, backend: {{backend}}, pin: false }";

#[test]
fn slow_exchanges_of_some_leave_buffers_for_others() {
    let origin = Origin::start(parts::stalls);
    let small = ONE_WORKER.replace("pin: false", "pin: false, buffers: { size: 16KiB, count: 64 }");
    let gateway = Gateway::start_with(&format!("{small}{PLAIN}"), &[("origin", &origin.endpoint())]);
    let mut clients: Vec<Client> = (0..100).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for _ in 0..10 {
        gateway.get("/-/probe").expect(200);
    }
}

#[test]
fn a_protocol_switch_nobody_asked_for_loses_no_bytes_of_the_next_request() {
    let origin = Origin::start(|connection| {
        loop {
            let seen = connection.request()?;
            if seen.head.start.contains(" /switch ") {
                connection.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                )?;
            } else {
                connection.answer("ok")?;
            }
        }
    });
    let gateway = Gateway::in_front_of(&origin);
    let mut client = gateway.connect();
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!(
        "GET /switch HTTP/1.1\r\nHost: a\r\n\r\nPOST /next HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.response().expect(502);
    let _ = client.try_send(body);
    let _ = client.try_response(To::Get);
    assert!(origin.seen().iter().all(|seen| !seen.head.start.contains("smuggled")), "{:#?}", origin.seen());
}

#[test]
fn local_replies_nobody_reads_hold_back_further_requests() {
    let gateway = Gateway::start(
        "\nlisteners:\n  - { name: web, address: \"127.0.0.1:{{web}}\", routes: all }\nroutes:\n  \
         - { path: /ok, respond: { status: 200, body: ok } }\n",
    );
    gateway.get("/-/probe").expect(200);
    let before = process::resident(gateway.pid());
    let mut client = Client::connect_with_small_window(gateway.address("web"));
    let requests = "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    std::thread::spawn(move || {
        for _ in 0..2000 {
            if client.try_send(&requests).is_err() {
                return;
            }
        }
    });
    std::thread::sleep(Duration::from_secs(2));
    let grown = process::resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for a client that doesn't read");
}

#[test]
fn a_cut_response_nobody_reads_does_not_hold_its_connection() {
    let origin = Origin::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
        connection.send(vec![b'x'; 200_000])?;
        connection.until_ended()
    });
    let text = PLAIN
        .replace("routes: all }", "routes: all, socket: { send_buffer: 16KiB } }")
        .replace("[ \"{{origin}}\" ]", "[ \"{{origin}}\" ], timeouts: { idle: 300ms }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = Client::connect_with_small_window(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let open = || gateway.metrics().sum("ringway_worker_connections", &[]);
    until_true("the connection to be counted", || open() == 1.0);
    assert!(origin.wait(Duration::from_secs(5), |state| !state.ended.is_empty()));
    until_true("the connection to end", || open() == 0.0);
    drop(client);
}

/// Begins to answer, and then waits for the request's end.
fn answers_while_reading(
    connection: &mut ringway_tests::origins::Connection,
) -> Result<(), ringway_tests::wire::Broken> {
    connection.request_head()?;
    connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
    connection.until_ended()
}

#[test]
fn an_upload_that_breaks_off_during_the_response_does_not_hold_it_for_ever() {
    let text = PLAIN.replace(
        "endpoints: [ \"{{origin}}\" ]",
        "endpoints: [ \"{{origin}}\" ], timeouts: { idle: 300ms, response_head: 1s }",
    );
    for breaks in ["zz\r\n", ""] {
        let origin = Origin::start(answers_while_reading);
        let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
        let mut client = gateway.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        assert!(origin.wait(Duration::from_secs(5), |state| !state.seen.is_empty()));
        std::thread::sleep(Duration::from_millis(100));
        client.send(breaks);
        // Nothing more: it goes.
        let kept = (!breaks.is_empty()).then_some(client);
        let ended = origin.wait(Duration::from_secs(3), |state| !state.ended.is_empty());
        assert!(ended, "still open after {breaks:?}");
        drop(kept);
    }
}

#[test]
fn a_tunnel_with_one_side_ended_is_ended_when_it_is_silent() {
    let origin = Origin::start(|connection| {
        connection.request()?;
        connection
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        let _ = connection.until_ended();
        connection.stall();
        Ok(())
    });
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { tunnel_idle: 500ms } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client.half_close();
    client.patience(Duration::from_secs(4)).expect_closed();
}

#[test]
fn interim_responses_are_bounded() {
    let origin = Origin::start(|connection| {
        connection.request()?;
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(1000))?;
        connection.answer("at last")
    });
    Gateway::in_front_of(&origin).get("/").expect(502);
}

#[test]
fn a_reload_never_moves_a_connection_to_another_listener() {
    let text = |listeners: [&str; 2]| {
        let listeners = listeners.iter().filter(|name| !name.is_empty()).map(|name| {
            format!("  - {{ name: {name}, address: \"127.0.0.1:{{{{{name}}}}}\", routes: [ {name} ] }}\n")
        });
        format!(
            "\nlisteners:\n{}routes:\n  \
             - {{ name: web, path: /secret, respond: {{ status: 403, body: no }} }}\n  \
             - {{ name: inner, path: /secret, respond: {{ status: 200, body: secret }} }}\n",
            listeners.collect::<String>()
        )
    };
    let (both, swapped) = (text(["web", "inner"]), text(["inner", "web"]));
    let mut gateway = Gateway::start(&both);
    // Half a head is there when the listeners change their order, and when theirs is gone.
    for after in [swapped, text(["inner", ""])] {
        gateway.reload(&both);
        let mut idle = gateway.connect();
        assert_eq!(idle.get("/secret").status, 403);
        let mut half = gateway.connect();
        half.send("GET /secret HTTP/1.1\r\nHost: a\r\n");
        std::thread::sleep(Duration::from_millis(50));
        gateway.replace_config(&after);
        let _ = idle.patience(Duration::from_secs(1));
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(50));
            if idle.try_send("GET /secret HTTP/1.1\r\nHost: a\r\n\r\n").is_err() {
                break;
            }
            let Ok(response) = idle.try_response(To::Get) else { break };
            assert_eq!(response.status, 403, "{}", response.text());
        }
        half.send("\r\n");
        assert_eq!(half.response().status, 403);
    }
}

#[test]
fn an_untrusted_peer_is_served_however_its_request_is_cut() {
    let origin = Origin::start(parts::says("ok"));
    let text = PLAIN.replace("routes: all }", "routes: all, proxy_protocol: [ 10.0.0.0/8 ] }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut client = gateway.connect();
    let request = b"PRI / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send_in_pieces(request, 1, Duration::from_millis(2)).unwrap();
    client.response().expect(200);
}
