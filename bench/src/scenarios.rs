//! What is asked of every proxy, and who asks.

use crate::front::Front;
use crate::origin::Kind;

/// One kind of request, repeated.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For `--only` and the table.
    pub name: &'static str,
    /// For who reads the table.
    pub what: &'static str,
    /// What the proxy speaks.
    pub front: Front,
    /// Who answers behind it.
    pub origin: Kind,
    /// What the load asks for; the origin has a body of that size.
    pub path: &'static str,
    /// Headers beyond Host.
    pub headers: &'static [&'static str],
    /// Routes of the configuration, asked for in turn; `None`: a single one that matches everything.
    pub routes: Option<u32>,
    /// Who asks.
    pub load: Load,
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum Load {
    /// wrk, in HTTP/1.1 without TLS, on 64 connections.
    Wrk,
    /// ringway-load, in a closed loop, with these words beside those that every run has.
    RingwayLoad(&'static [&'static str]),
}

/// In the order they are measured; those with front and origin alike stand together.
pub const SCENARIOS: [Scenario; 15] = [
    Scenario { name: "1k-bare", what: "1 KiB, bare", ..PLAIN },
    Scenario { name: "1k-browser", what: "1 KiB, a dozen headers", headers: &BROWSER, ..PLAIN },
    Scenario { name: "64k", what: "64 KiB", path: "/64k", ..PLAIN },
    Scenario { name: "1m", what: "1 MiB", path: "/1m", ..PLAIN },
    Scenario {
        name: "1k-connection-each",
        what: "1 KiB, a new connection for each request",
        headers: &["Connection: close"],
        ..PLAIN
    },
    Scenario { name: "routes-10", routes: Some(10), ..ROUTED },
    Scenario { name: "routes-1000", routes: Some(1_000), ..ROUTED },
    Scenario { name: "routes-10000", routes: Some(10_000), ..ROUTED },
    Scenario { name: "tls-1k", what: "TLS 1.3, kept alive, 64 connections, 1 KiB", ..SECURE },
    Scenario {
        name: "tls-1k-connection-each",
        what: "TLS 1.3, 64 at once, a new connection with a full handshake for each request, 1 KiB",
        load: Load::RingwayLoad(&[
            "--connections",
            "64",
            "--connection-per-request",
            "--body-length",
            "1KiB",
        ]),
        ..SECURE
    },
    Scenario {
        name: "tls-64k",
        what: "TLS 1.3, kept alive, 64 connections, 64 KiB",
        path: "/64k",
        load: Load::RingwayLoad(&["--connections", "64", "--body-length", "64KiB"]),
        ..SECURE
    },
    Scenario {
        name: "h2-1k",
        what: "HTTP/2 by prior knowledge to HTTP/1.1, 8 connections of 32 streams, 1 KiB",
        front: Front::Http2,
        load: Load::RingwayLoad(&["--h2", "--connections", "8", "--streams", "32", "--body-length", "1KiB"]),
        ..PLAIN
    },
    Scenario {
        name: "grpc-unary",
        what: "gRPC unary, HTTP/2 to HTTP/2 without TLS, 8 connections of 32 streams, messages of 100 bytes both ways",
        front: Front::Grpc,
        origin: Kind::Calls,
        path: "/bench.Echo/Say",
        load: Load::RingwayLoad(&["--connections", "8", "--streams", "32", "--data", MESSAGE]),
        ..PLAIN
    },
    Scenario {
        name: "tcp-pingpong",
        what: "TCP, 64 connections, 1 KiB there and back",
        front: Front::Tcp,
        origin: Kind::Echo,
        path: "",
        load: Load::RingwayLoad(&["--connections", "64", "--payload", "1KiB", "--echo"]),
        ..PLAIN
    },
    Scenario {
        name: "tcp-64k",
        what: "TCP, 64 connections, answers of 64 KiB",
        front: Front::Tcp,
        path: "/64k",
        ..PLAIN
    },
];

const PLAIN: Scenario = Scenario {
    name: "",
    what: "",
    front: Front::Http1,
    origin: Kind::Bodies,
    path: "/1k",
    headers: &[],
    routes: None,
    load: Load::Wrk,
};

const ROUTED: Scenario = Scenario { what: "1 KiB, each of so many routes in turn", path: "/", ..PLAIN };

const SECURE: Scenario = Scenario {
    front: Front::Tls,
    load: Load::RingwayLoad(&["--connections", "64", "--body-length", "1KiB"]),
    ..PLAIN
};

/// 98 letters and what frames a string in protobuf are 100 bytes.
const MESSAGE: &str = "{\"text\":\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\
                       abcdefghijklmnopqrst\"}";

/// A dozen of the headers a browser sends with every request.
const BROWSER: [&str; 12] = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://shop.example.com/orders?page=2",
    "Cookie: sid=7f3a9c2e51d84b60a1f7; theme=dark; consent=necessary; cart=3",
    "Cache-Control: no-cache",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
];

impl Scenario {
    /// Whether the proxies that run for one serve the other too.
    pub fn runs_with(&self, other: &Scenario) -> bool {
        (self.front, self.origin, self.routes) == (other.front, other.origin, other.routes)
    }

    /// What is asked for at a port of this machine.
    pub fn url(&self, port: u16) -> String {
        let scheme = match (self.front, self.origin) {
            (Front::Tls, _) => "https",
            (Front::Grpc, _) => "grpc",
            (Front::Tcp, Kind::Echo) => "tcp",
            _ => "http",
        };
        format!("{scheme}://127.0.0.1:{port}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_those_that_run_together_stand_together() {
        let names: std::collections::HashSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let groups: Vec<&[Scenario]> = SCENARIOS.chunk_by(Scenario::runs_with).collect();
        let apart = |(n, group): (usize, &&[Scenario])| {
            !groups[..n].iter().any(|before| before[0].runs_with(&group[0]))
        };
        assert!(groups.iter().enumerate().all(apart));
        assert!(SCENARIOS.iter().all(|scenario| !scenario.what.is_empty()));
    }

    #[test]
    fn the_message_of_a_call_has_a_hundred_bytes() {
        let text = MESSAGE.strip_prefix("{\"text\":\"").and_then(|rest| rest.strip_suffix("\"}"));
        // A field's number and a length are a byte each.
        assert_eq!(text.map(|text| text.len() + 2), Some(100));
    }
}
