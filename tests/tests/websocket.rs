//! WebSocket by HTTP/1.1, by HTTP/2 (RFC 8441), and from the one to the other; Server-Sent Events.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request};
use ringway_tests::gateway::PLAIN;
use ringway_tests::http2::Session;
use ringway_tests::origins::{Connection, Seen, parts};
use ringway_tests::peers::{self, Peer};
use ringway_tests::wire::Broken;
use ringway_tests::{Gateway, Origin, wait};

fn open(path: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://a.example{path}"))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request
}

fn agree(connection: &mut Connection, seen: &Seen) -> Result<(), Broken> {
    let key = seen.head.get("sec-websocket-key").unwrap_or_default();
    let accept = peers::websocket_accept(&key);
    connection.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// Agrees to a WebSocket and sends back what comes, as bytes.
fn agrees(connection: &mut Connection) -> Result<(), Broken> {
    let seen = connection.request_head()?;
    agree(connection, &seen)?;
    loop {
        let bytes = connection.read_some()?;
        if bytes.is_empty() {
            return Ok(());
        }
        connection.send(bytes)?;
    }
}

#[test]
fn messages_go_through_with_websockets_from_pypi() {
    if !peers::has_python("websockets") {
        return;
    }
    let server = Peer::python("websocket_server.py");
    let gateway = Gateway::start_with(PLAIN, &[("origin", &format!("127.0.0.1:{}", server.port))]);
    let said = peers::python("websocket_client.py", &[&format!("ws://{}/chat", gateway.address("web"))]);
    assert_eq!(
        said.trim().lines().collect::<Vec<_>>(),
        ["text hello", "bytes True", "ping True", "closed 1000"],
        "{said}"
    );
}

#[test]
fn a_websocket_by_http2_reaches_an_http1_endpoint() {
    let origin = Origin::start(agrees);
    let gateway = Gateway::in_front_of(&origin);
    let session = Session::connect(gateway.address("web"));
    assert_eq!(session.get("/plain").status, 502, "the origin agrees to what nobody asked");
    assert!(session.allows_extended_connect());
    session.run(async |send| {
        let mut send = send.ready().await.unwrap();
        let (response, mut up) = send.send_request(open("/chat"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(name));
        }
        let mut down = response.into_body();
        for message in ["one", "two"] {
            up.send_data(Bytes::from(message), false).unwrap();
            let got = down.data().await.unwrap().unwrap();
            let _ = down.flow_control().release_capacity(got.len());
            assert_eq!(got, message);
        }
        up.send_data(Bytes::new(), true).unwrap();
        while let Some(rest) = down.data().await {
            assert!(rest.unwrap().is_empty());
        }
    });
    let seen = origin.seen();
    let head = &seen.iter().find(|seen| seen.head.start.contains("/chat")).unwrap().head;
    assert_eq!(head.start, "GET /chat HTTP/1.1");
    assert!(head.lists("connection", "upgrade") && head.get("upgrade").as_deref() == Some("websocket"));
    assert_eq!(head.get("sec-websocket-key").unwrap().len(), 24);
}

#[test]
fn a_wrong_answer_to_a_key_is_no_websocket() {
    let origin = Origin::start(parts::sends(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
    ));
    let gateway = Gateway::in_front_of(&origin);
    let session = Session::connect(gateway.address("web"));
    let status = session.run(async |send| {
        let (response, _up) = send.ready().await.unwrap().send_request(open("/chat"), false).unwrap();
        response.await.unwrap().status()
    });
    assert_eq!(status, 502);
}

#[test]
fn a_tunnel_that_nobody_agreed_to_is_refused() {
    let origin = Origin::start(parts::says("just a page"));
    let text = PLAIN.replace("routes:\n", "routes:\n  - { name: own, path: /own, respond: { body: hi } }\n");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let session = Session::connect(gateway.address("web"));
    let status = |path: &str, protocol: &'static str| {
        let mut request = open(path);
        request.extensions_mut().insert(Protocol::from_static(protocol));
        session.run(async move |send| {
            let (response, _up) = send.ready().await.unwrap().send_request(request, false).unwrap();
            response.await.unwrap().status().as_u16()
        })
    };
    assert_eq!(status("/page", "websocket"), 502, "200 is no agreement to switch");
    assert_eq!(status("/own", "websocket"), 501);
    assert_eq!(status("/page", "connect-udp"), 501);
    assert_eq!(session.get("/page").status, 200);
}

#[test]
fn an_endpoint_of_http2_without_websockets_loses_no_connection_by_being_asked() {
    let origin = ringway_tests::http2::Origin::start(|_| ringway_tests::http2::Reply::default());
    let text = PLAIN.replace("\"{{origin}}\" ]", "\"{{origin}}\" ], protocol: http2");
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}\n{text}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.address.to_string())]);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
        let mut client = gateway.connect();
        client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(client.response().status, 502);
    }
    assert!(origin.seen().iter().all(|asked| asked.connection == 0));
}

#[test]
fn a_websocket_by_http1_reaches_an_http2_endpoint() {
    // The endpoint is another gateway, which speaks RFC 8441 to us and HTTP/1.1 to the origin.
    let origin = Origin::start(agrees);
    let inner = Gateway::in_front_of(&origin);
    let text = PLAIN.replace("\"{{origin}}\" ]", "\"{{origin}}\" ], protocol: http2");
    let outer = Gateway::start_with(&text, &[("origin", &inner.address("web").to_string())]);
    let mut socket = TcpStream::connect(outer.address("web")).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        socket,
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    socket.write_all(b"hello").unwrap();
    let mut got = [0; 5];
    socket.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    if peers::has_python("websockets") {
        let server = Peer::python("websocket_server.py");
        let inner = Gateway::start_with(PLAIN, &[("origin", &format!("127.0.0.1:{}", server.port))]);
        let outer = Gateway::start_with(&text, &[("origin", &inner.address("web").to_string())]);
        let said = peers::python("websocket_client.py", &[&format!("ws://{}/chat", outer.address("web"))]);
        assert!(said.contains("bytes True") && said.contains("closed 1000"), "{said}");
    }
}

#[test]
fn events_flow_without_delay_and_outlive_reloads() {
    let origin = Origin::start(|connection: &mut Connection| {
        connection.request()?;
        connection.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for n in 0..20 {
            let event = format!("data: {n}\n\n");
            connection.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
            std::thread::sleep(Duration::from_millis(60));
        }
        connection.send("0\r\n\r\n")
    });
    let mut gateway = Gateway::in_front_of(&origin);
    let address = gateway.address("web");
    let reading = std::thread::spawn(move || {
        let session = Session::connect(address);
        session.run(async |send| {
            let request = Request::get("http://a.example/events").body(()).unwrap();
            let (response, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let (mut times, mut text) = (Vec::new(), String::new());
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                let _ = body.flow_control().release_capacity(piece.len());
                times.push(Instant::now());
                text.push_str(std::str::from_utf8(&piece).unwrap());
            }
            (times, text)
        })
    });
    wait::until_true("the request to arrive", || origin.seen().len() == 1);
    gateway.reload(&PLAIN.replace("routes: all }", "routes: all, trace: true }"));
    let (times, text) = reading.join().unwrap();
    assert_eq!(text.matches("data: ").count(), 20);
    assert!(times.len() >= 15, "events came in {} pieces", times.len());
}

/// At the end of a drain a WebSocket gets its close from the gateway on either side, and a stream of events an end after
/// which its reader comes again.
#[test]
fn what_has_no_end_of_its_own_is_ended_politely_by_a_drain() {
    let (heard, hears) = std::sync::mpsc::channel();
    let origin = Origin::start(move |connection: &mut Connection| {
        let seen = connection.request()?;
        if seen.head.start.contains("/events") {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                 9\r\ndata: 1\n\n\r\n",
            )?;
            return connection.until_ended();
        }
        agree(connection, &seen)?;
        connection.send(b"\x81\x05hello")?;
        let mut all = Vec::new();
        while let Ok(bytes) = connection.read_some() {
            all.extend(bytes);
        }
        let _ = heard.send(all);
        Ok(())
    });
    let text = format!("drain_timeout: 300ms\n{PLAIN}");
    let mut gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut socket = gateway.connect();
    socket.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    assert!(socket.response_to_head().head.start.contains(" 101 "));
    let session = Session::connect(gateway.address("web"));
    let by_http2 = std::thread::spawn(move || session.get("/events"));
    let mut events = gateway.connect();
    events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for(3);
    gateway.terminate();
    let (told, end) = socket.read_to_end();
    assert_eq!((&told[..], end), (&b"\x81\x05hello\x88\x02\x03\xe9"[..], Broken::Ended));
    assert_eq!(events.response().expect(200).text(), "data: 1\n\n");
    let by_http2 = by_http2.join().unwrap();
    assert_eq!((by_http2.status, by_http2.text().as_str()), (200, "data: 1\n\n"));
    let close = hears.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!((close.len(), &close[..2]), (8, &b"\x88\x82"[..]));
    let payload: Vec<u8> = close[6..].iter().zip(&close[2..6]).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(payload, 1001_u16.to_be_bytes());
    assert!(gateway.stderr().contains("3 connections and sessions were cut"), "{}", gateway.stderr());
}
