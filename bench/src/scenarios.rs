//! What is asked of every proxy.

/// One kind of request, repeated.
pub struct Scenario {
    /// For `--only` and the table.
    pub name: &'static str,
    /// What the load asks for; the origin has a body of that size.
    pub path: &'static str,
    /// Headers beyond Host.
    pub headers: &'static [&'static str],
    /// Routes of the configuration, asked for in turn; `None`: a single one that matches everything.
    pub routes: Option<u32>,
}

/// In the order they are measured.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "1k-bare", path: "/1k", headers: &[], routes: None },
    Scenario { name: "1k-browser", path: "/1k", headers: &BROWSER, routes: None },
    Scenario { name: "64k", path: "/64k", headers: &[], routes: None },
    Scenario { name: "1m", path: "/1m", headers: &[], routes: None },
    Scenario { name: "1k-connection-each", path: "/1k", headers: &["Connection: close"], routes: None },
    Scenario { name: "routes-10", path: "/", headers: &[], routes: Some(10) },
    Scenario { name: "routes-1000", path: "/", headers: &[], routes: Some(1_000) },
    Scenario { name: "routes-10000", path: "/", headers: &[], routes: Some(10_000) },
];

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
