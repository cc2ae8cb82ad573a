//! What goes wrong is told apart by kind, checked where it was asked to be, and says so in the exit code.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use common::{load, number, report, serve, words};

/// Serves each connection with `answer`, which is given the socket.
fn origin(answer: impl Fn(&mut std::net::TcpStream, u64) + Send + Sync + 'static) -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let port = socket.local_addr().expect("an address").port();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for (number, stream) in socket.incoming().flatten().enumerate() {
            let (answer, mut stream) = (answer.clone(), stream);
            std::thread::spawn(move || answer(&mut stream, number as u64));
        }
    });
    port
}

/// Reads a request's head; false at the end.
fn head(stream: &mut std::net::TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn errors(found: &serde_json::Value, kind: &str) -> f64 {
    number(found, &format!("errors.{kind}"))
}

const SHORT: &str = "--rate 50 --duration 1s --warmup 0s --connections 16";

#[test]
fn each_kind_of_failure_is_counted_as_what_it_is_and_never_as_a_fast_answer() {
    let silent = serve("--fail 100% --fail-with hang");
    let cut = serve("--fail 100% --fail-with truncate");
    let reset = serve("--fail 100% --fail-with reset");
    let status = serve("--fail 100% --fail-status 503");
    let plain = serve("--size 100B");
    let babble = origin(|stream, _| {
        while head(stream) && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_ok() {}
    });
    for (port, more, kind) in [
        (silent.port, "--timeout 100ms", "timeout"),
        (cut.port, "", "reset"),
        (reset.port, "", "reset"),
        (status.port, "", "status"),
        (babble, "", "protocol"),
        (plain.port, "--body-length 99B", "body"),
        (plain.port, "--status 204", "status"),
    ] {
        let (_, found) = report(&format!("run http://127.0.0.1:{port}/ {SHORT} {more}"));
        assert_eq!(errors(&found, kind), 50.0, "{kind}: {}", found["errors"]);
        assert_eq!((number(&found, "ok"), number(&found, "response_time_us.count")), (0.0, 0.0));
    }
    let (_, found) =
        report(&format!("run http://127.0.0.1:{}/ {SHORT} --body-length 100B --status 200", plain.port));
    assert_eq!(number(&found, "ok"), 50.0);
}

#[test]
fn a_target_that_goes_away_is_a_connect_failure_of_each_request_after_that() {
    let mut origin = serve("");
    let port = origin.port;
    let run = std::thread::spawn(move || {
        report(&format!("run http://127.0.0.1:{port}/ --rate 100 --duration 2s --warmup 0s --connections 4"))
    });
    std::thread::sleep(Duration::from_millis(1000));
    origin.child.kill().expect("killed");
    let (_, found) = run.join().expect("a report");
    assert_eq!(number(&found, "requests"), 200.0);
    assert!(errors(&found, "connect") > 20.0 && number(&found, "ok") > 20.0, "{}", found["errors"]);
    assert_eq!(errors(&found, "connect") + errors(&found, "reset") + number(&found, "ok"), 200.0);
}

#[test]
fn what_would_smuggle_or_confuse_is_a_protocol_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "\0\0\0",
    ] {
        let port =
            origin(move |stream, _| while head(stream) && stream.write_all(answer.as_bytes()).is_ok() {});
        let (_, found) = report(&format!("run http://127.0.0.1:{port}/ {SHORT}"));
        let odd = errors(&found, "protocol") + errors(&found, "reset");
        assert!(
            errors(&found, "protocol") > 0.0 || answer.contains("okHTTP"),
            "{answer:?}: {}",
            found["errors"]
        );
        assert_eq!(odd + number(&found, "ok"), 50.0, "{answer:?}");
    }
}

#[test]
fn answers_in_every_legal_framing_are_good() {
    let port = origin(|stream, _| {
        for number in 0.. {
            if !head(stream) {
                return;
            }
            let answer: &[u8] = match number % 3 {
                0 => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
                1 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nt: u\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\n\r\nabc",
            };
            // In two pieces, so that heads arrive cut.
            let (first, second) = answer.split_at(answer.len() / 3);
            if stream.write_all(first).and_then(|()| stream.flush()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
            if stream.write_all(second).is_err() || number % 3 == 2 {
                return;
            }
        }
    });
    let (_, found) = report(&format!(
        "run http://127.0.0.1:{port}/ {SHORT} --body-length 3B \
        --body-sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ));
    assert_eq!(number(&found, "ok"), 50.0, "{}", found["errors"]);
}

#[test]
fn thresholds_and_bad_input_have_exit_codes_of_their_own() {
    let origin = serve("--delay 60ms");
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let code = |line: &str| load(line).status.code().expect("a code");
    assert_eq!(code(&format!("run {url} {SHORT} --expect p50<1s,errors<1%")), 0);
    assert_eq!(code(&format!("run {url} {SHORT} --expect p50<10ms")), 3);
    assert_eq!(code(&format!("run {url} --rate 0")), 2);
    assert_eq!(code("run http://127.0.0.1:1/ --rate 1"), 1);
    // More than one connection can carry, and no time for what is left: it was dropped, and so the run is invalid.
    let late = load(&format!("run {url} --rate 5k --duration 1s --warmup 0s --connections 1 --timeout 50ms"));
    assert_eq!(late.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&late.stdout).contains("INVALID"));
}

#[test]
fn ctrl_c_writes_a_partial_report() {
    let origin = serve("");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("a.json");
    let line = format!(
        "run http://127.0.0.1:{}/ --rate 100 --duration 60s --warmup 0s --out {}",
        origin.port,
        out.display()
    );
    let mut child = std::process::Command::new(common::BINARY)
        .args(words(&line))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    std::thread::sleep(Duration::from_millis(1500));
    let begun = Instant::now();
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let found: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out).expect("a report")).expect("JSON");
    assert_eq!(found["partial"], true);
    assert!((50.0..300.0).contains(&number(&found, "requests")), "{}", found["requests"]);
}

#[test]
fn unix_sockets_pipelining_new_connections_and_other_addresses_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let child = std::process::Command::new(common::BINARY)
        .args(["serve", "--unix"])
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("serve");
    let _unix = common::Peer { child, port: 0 };
    while std::os::unix::net::UnixStream::connect(&path).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (_, found) = report(&format!("run http://any.invalid/ {SHORT} --unix {}", path.display()));
    assert_eq!(number(&found, "ok"), 50.0);

    let origin = serve("");
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let (_, found) =
        report(&format!("saturate {url} --duration 1s --warmup 0s --connections 2 --pipeline 16"));
    assert!(number(&found, "ok") > 1000.0 && number(&found, "ok") == number(&found, "requests"));
    let (_, found) = report(&format!("run {url} {SHORT} --connection-per-request"));
    assert_eq!((number(&found, "ok"), number(&found, "connect_time_us.count")), (50.0, 50.0));
    let (_, found) =
        report(&format!("run http://127.0.0.1:1/ {SHORT} --connect-to 127.0.0.1:{}", origin.port));
    assert_eq!(number(&found, "ok"), 50.0);
}

#[test]
fn a_proxy_header_begins_each_connection() {
    for (version, expected) in
        [("1", &b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 "[..]), ("2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11")]
    {
        let port = origin(move |stream, _| {
            let mut begin = vec![0; expected.len()];
            if stream.read_exact(&mut begin).is_err() || begin != expected {
                return;
            }
            while head(stream) && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok() {
                if version == "1" {
                    continue;
                }
            }
        });
        // The text version's line ends like a head: it is read as one, so the first request is answered by the second.
        let more = if version == "1" { "--connection-per-request" } else { "" };
        let (_, found) = report(&format!(
            "run http://127.0.0.1:{port}/ {SHORT} {more} --proxy-protocol {version} --proxy-source 203.0.113.7:5555"
        ));
        assert_eq!(number(&found, "ok"), 50.0, "version {version}: {}", found["errors"]);
    }
}

#[test]
fn bytes_over_tcp_come_back_the_same_or_are_a_body_error() {
    let echo = serve("--tcp-echo");
    let (_, found) = report(&format!("run tcp://127.0.0.1:{}/ {SHORT} --payload 20KiB --echo", echo.port));
    assert_eq!(number(&found, "ok"), 50.0, "{}", found["errors"]);
    let wrong = origin(|stream, _| {
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            bytes[63] = b'!';
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let (_, found) = report(&format!("run tcp://127.0.0.1:{wrong}/ {SHORT} --payload 64B --echo"));
    assert_eq!(errors(&found, "body"), 50.0);
}

#[test]
fn an_answer_that_pours_without_end_is_a_timeout() {
    let body = origin(|stream, _| {
        if head(stream) && stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_ok()
        {
            let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
        }
    });
    let interim = origin(|stream, _| {
        if head(stream) {
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
        }
    });
    let bytes = origin(|stream, _| {
        let mut begin = [0; 64];
        if stream.read_exact(&mut begin).is_ok() {
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }
    });
    for (url, more) in [
        (format!("http://127.0.0.1:{body}/"), ""),
        (format!("http://127.0.0.1:{interim}/"), ""),
        (format!("tcp://127.0.0.1:{bytes}/"), "--payload 64B --body-length 4GiB"),
    ] {
        let line =
            format!("run {url} --rate 4 --duration 1s --warmup 0s --connections 2 --timeout 200ms {more}");
        let begun = Instant::now();
        let (_, found) = report(&line.replace("4GiB", "3GiB"));
        assert_eq!(errors(&found, "timeout"), 4.0, "{url}: {} dropped {}", found["errors"], found["dropped"]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{url} took {:?}", begun.elapsed());
    }
}

#[test]
fn lanes_that_wait_for_one_handshake_fail_as_it_does() {
    // Other lanes have jobs while it is still under way.
    let plain = origin(|stream, _| {
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let line = format!("run https://127.0.0.1:{plain}/ {SHORT} -k --h2 --streams 32");
    let (_, found) = report(&line.replace("--connections 16", "--connections 1"));
    assert_eq!(errors(&found, "tls"), 50.0, "{}", found["errors"]);
}

#[test]
fn http2_can_have_a_connection_for_each_request_too() {
    let origin = serve("");
    let (_, found) =
        report(&format!("run http://127.0.0.1:{}/ {SHORT} --h2 --connection-per-request", origin.port));
    assert_eq!(
        (number(&found, "ok"), number(&found, "connect_time_us.count")),
        (50.0, 50.0),
        "{}",
        found["errors"]
    );
}

#[test]
fn ctrl_c_does_not_wait_out_the_time_limit() {
    // One answer never comes; one port takes connections and never shakes hands.
    let silent = serve("--fail 100% --fail-with hang");
    let deaf = origin(|stream, _| {
        let _ = stream.read_exact(&mut vec![0; 1 << 20]);
    });
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("a.json");
    for (url, wait, written) in [
        (format!("http://127.0.0.1:{}/", silent.port), 2000, true),
        (format!("https://127.0.0.1:{deaf}/"), 500, false),
    ] {
        let line = format!(
            "run {url} --rate 2 --duration 1s --warmup 0s --timeout 60s -c 4 -k --out {}",
            out.display()
        );
        let mut child = std::process::Command::new(common::BINARY)
            .args(words(&line))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(Duration::from_millis(wait));
        let begun = Instant::now();
        let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.expect("kill").success());
        while child.try_wait().expect("its state").is_none() && begun.elapsed() < Duration::from_secs(8) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = child.try_wait().expect("its state");
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert_eq!(ended.and_then(|status| status.code()), Some(130), "{url}");
        assert_eq!(out.exists(), written, "{url}");
        let _ = std::fs::remove_file(&out);
    }
}

#[test]
fn a_connection_outlives_the_time_limit_of_one_answer() {
    let (origin, echo) = (serve(""), serve("--tcp-echo"));
    for (target, port, more) in
        [("http", origin.port, ""), ("http", origin.port, "--h2"), ("tcp", echo.port, "--payload 64B --echo")]
    {
        // Some of the connections are idle for longer than the limit before their first request.
        let line = format!(
            "run {target}://127.0.0.1:{port}/ --rate 5 --duration 2s --warmup 0s --connections 8 --timeout 300ms {more}"
        );
        let (_, found) = report(&line);
        assert_eq!(
            (number(&found, "ok"), number(&found, "connect_time_us.count")),
            (10.0, 8.0),
            "{line}: {}",
            found["errors"]
        );
    }
}

#[test]
fn a_scenario_reports_each_request_by_its_name() {
    let origin = serve("");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ids.csv"), "id\n1\n2\n").expect("written");
    let mix = format!(
        "target: http://127.0.0.1:{}\nconnections: 4\nphases: [ {{ ramp: 50 to 150, for: 1s }}, {{ spike: 200, for: 1s }} ]\n\
         variables: {{ ids: {{ csv: ids.csv }} }}\nrequests:\n  \
         - {{ name: read, weight: 3, path: \"/a/${{ids.id}}\" }}\n  \
         - {{ name: gone, path: \"/b?status=404\", expect: {{ status: [404] }} }}\n  \
         - {{ name: write, method: POST, path: /w, body: '{{\"a\": ${{ids.id}}}}' }}\n",
        origin.port
    );
    let file = folder.path().join("mix.yaml");
    std::fs::write(&file, mix).expect("written");
    for more in ["", "--h2"] {
        let (_, found) = report(&format!("scenario {} --warmup 0s {more}", file.display()));
        assert_eq!(number(&found, "ok"), 300.0, "{} {}", found["errors"], found["invalid_because"]);
        let count = |name: &str| number(&found, &format!("parts.{name}.requests"));
        assert!(count("read") > count("gone") && count("write") > 20.0);
        assert_eq!(count("read") + count("gone") + count("write"), 300.0);
        assert_eq!(number(&found, "statuses.404"), count("gone"));
    }
}

#[test]
fn every_output_is_written_and_two_sides_are_compared() {
    // Slow enough for the run to be valid on a busy machine too: invalid ones are not compared.
    let origin = serve("--delay 50ms");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let outputs = load(&format!(
        "run http://127.0.0.1:{}/ {SHORT} --out {} --html {} --hgrm {} --hlog {} --watch-pid {} --progress=line",
        origin.port,
        at("a.json"),
        at("a.html"),
        at("a.hgrm"),
        at("a.hlog"),
        origin.child.id()
    ));
    assert!(matches!(outputs.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&outputs.stderr));
    let read = |name: &str| std::fs::read_to_string(at(name)).expect(name);
    assert!(read("a.html").contains("Time by percentile") && read("a.hgrm").contains("#[Mean"));
    assert!(read("a.hlog").contains("StartTimestamp") && read("a.json").contains("cpu_us_per_request"));

    let one = load(&format!("compare {0} {0} --html {1}", at("a.json"), at("c.html")));
    assert!(one.status.success());
    assert!(String::from_utf8_lossy(&one.stdout).contains("no verdict: "));
    let (quick, slow) = (serve("--delay 30ms"), serve("--delay 80ms"));
    let run = |port: u16| {
        format!(
            "{} run http://127.0.0.1:{port}/ --rate 100 --duration 300ms --warmup 0s -c 8",
            common::BINARY
        )
    };
    let pairs = format!("compare --pairs 11 --fail-if p50>2x -- {} -- {}", run(quick.port), run(slow.port));
    let found = load(&pairs);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&found.stderr));
    assert!(said.contains("B is worse") && said.contains("fails: p50>2x"), "{said}");
}
