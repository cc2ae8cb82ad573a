//! Certificates by ACME: from an authority of the tests' own, which looks for its proofs at the gateway's listeners.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringway_tests::acme::{AcmeServer, Behaviour, shows_proof};
use ringway_tests::origins::parts;
use ringway_tests::tls::{self, Authority};
use ringway_tests::{Client, Gateway, Origin, wait};
use tempfile::TempDir;

const ORDERS: &str = "ringway_acme_orders_total";
const EXPIRY: &str = "ringway_acme_certificate_expiry_timestamp_seconds";

/// A gateway with one certificate from an authority and one from files.
struct Case {
    folder: TempDir,
    authority: AcmeServer,
    files: Authority,
    origin: Origin,
    challenge: &'static str,
    names: &'static str,
    /// Further fields of the account.
    account: String,
}

impl Case {
    fn new(challenge: &'static str, names: &'static str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let files = Authority::new(folder.path(), "files");
        files.issue("other", &["other.example"]);
        let (authority, origin) = (AcmeServer::start(Behaviour::default()), Origin::start(parts::echoes));
        Case { folder, authority, files, origin, challenge, names, account: String::new() }
    }

    fn text(&self) -> String {
        let Case { challenge, names, account, .. } = self;
        format!(
            r#"
access_log: {{ to: stdout }}
acme:
  tests: {{ directory: "{{{{directory}}}}", ca: "{{{{ca}}}}", folder: "{{{{folder}}}}/acme", email: ops@example.com, terms_agreed: true, challenge: {challenge}, retry: 300ms{account} }}
listeners:
  - {{ name: web, address: "127.0.0.1:{{{{web}}}}", routes: all }}
  - name: secure
    address: "127.0.0.1:{{{{secure}}}}"
    routes: all
    tls:
      certificates:
        - {{ acme: tests, names: {names} }}
        - {{ cert: "{{{{folder}}}}/other.crt", key: "{{{{folder}}}}/other.key" }}
services:
  app: {{ endpoints: [ "{{{{origin}}}}" ] }}
routes:
  - {{ name: all, path: /**, to: app }}
"#
        )
    }

    /// Starts, and tells the authority where to look.
    fn start(&self) -> Gateway {
        let values = [
            ("directory", self.authority.directory()),
            ("ca", self.authority.ca().display().to_string()),
            ("folder", self.folder.path().display().to_string()),
            ("origin", self.origin.endpoint()),
            ("web", ringway_tests::ports::free().to_string()),
            ("secure", ringway_tests::ports::free().to_string()),
        ];
        let at = |name: &str| {
            let port = &values.iter().find(|(known, _)| *known == name).unwrap().1;
            format!("127.0.0.1:{port}").parse().unwrap()
        };
        self.authority.behave(|behaviour| {
            behaviour.http.get_or_insert(at("web"));
            behaviour.tls = Some(at("secure"));
        });
        Gateway::start_with(&self.text(), &values.each_ref().map(|(name, value)| (*name, value.as_str())))
    }

    fn connect(&self, gateway: &Gateway, name: &str) -> std::io::Result<tls::Stream> {
        tls::connect(gateway.address("secure"), &self.authority.client(&[]), name)
    }

    fn wait_until_served(&self, gateway: &Gateway, name: &str) -> tls::Stream {
        wait::until("the certificate to be served", wait::PATIENCE, || self.connect(gateway, name).ok())
    }

    fn store(&self) -> PathBuf {
        let mut folders = std::fs::read_dir(self.folder.path().join("acme")).unwrap();
        folders.next().unwrap().unwrap().path()
    }

    fn issued(&self) -> usize {
        self.authority.seen(|seen| seen.issued.len())
    }
}

fn shown(stream: &tls::Stream) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn seconds_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Nothing that only we and the authority may know stands where others read.
fn tells_no_secret(case: &Case, gateway: &Gateway) {
    let account = std::fs::read_to_string(case.store().join("account.json")).unwrap();
    let key = account.split("\"key_pkcs8\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(key.len() > 100, "{key}");
    let prints = case.authority.seen(|seen| seen.thumbprints.clone());
    let pages = ["/config", "/readyz", "/metrics", "/workers"].map(|path| gateway.admin(path).text());
    for place in pages.iter().chain([&gateway.stderr(), &gateway.stdout()]) {
        assert!(!place.contains(key), "{place}");
        assert!(!place.contains("PRIVATE KEY"), "{place}");
        assert!(prints.iter().all(|print| !place.contains(print)), "{place}");
    }
}

#[test]
fn a_certificate_comes_by_http_01_and_is_served() {
    let case = Case::new("http-01", "[ a.example, B.Example ]");
    case.authority.behave(|behaviour| behaviour.bad_nonces = 1);
    let gateway = case.start();
    let mut stream = case.wait_until_served(&gateway, "a.example");
    assert!(tls::get(&mut stream, "/x").unwrap().contains("X-Forwarded-Proto: https"));
    assert_eq!(shown(&stream), shown(&case.connect(&gateway, "b.example").unwrap()));
    // Others are shown what is for them.
    let other = case.files.client(&[], None);
    tls::connect(gateway.address("secure"), &other, "other.example").unwrap();
    case.authority.seen(|seen| {
        assert_eq!(seen.issued[0].0, ["a.example", "b.example"]);
        assert_eq!(seen.contacts, ["mailto:ops@example.com"]);
    });
    wait::until_true("it to be told", || gateway.admin("/readyz").text() == "ready, configuration 2\n");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum(ORDERS, &[("account", "tests"), ("result", "issued")]), 1.0);
    assert_eq!(metrics.sum(ORDERS, &[("result", "failed")]), 0.0);
    let days = (metrics.sum(EXPIRY, &[("certificate", "a.example")]) - seconds_now()) / 86_400.0;
    assert!((89.9..90.1).contains(&days), "{days}");
    wait::until_true("the answers to be logged", || {
        gateway.stdout().contains("\"reason\":\"challenge_answered\"")
    });
    // Nobody else reads what is kept.
    let store = case.store();
    assert_eq!((mode(store.parent().unwrap()), mode(&store)), (0o700, 0o700));
    let mut files: Vec<_> = std::fs::read_dir(&store).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, [store.join("a.example.pem"), store.join("account.json")]);
    assert!(files.iter().all(|file| mode(file) == 0o600));
    tells_no_secret(&case, &gateway);
}

#[test]
fn a_certificate_comes_by_tls_alpn_01_and_is_served() {
    let case = Case::new("tls-alpn-01", "[ a.example, b.example ]");
    let gateway = case.start();
    let mut stream = case.wait_until_served(&gateway, "b.example");
    assert!(tls::get(&mut stream, "/x").unwrap().contains("X-Forwarded-Proto: https"));
    // The authority has looked eight times for each.
    assert_eq!(gateway.metrics().sum("ringway_tls_proofs_total", &[]), 16.0);
    // And afterwards there is nothing to be seen.
    wait::until_true("the proof to be forgotten", || {
        shows_proof(gateway.address("secure"), "b.example").is_err()
    });
    tells_no_secret(&case, &gateway);
}

#[test]
fn nothing_is_answered_when_nothing_is_pending() {
    let case = Case::new("http-01", "[ a.example ]");
    let gateway = case.start();
    case.wait_until_served(&gateway, "a.example");
    let path = case.authority.seen(|seen| seen.looked_at[0].clone());
    // As any other request: to where its route leads.
    let before = case.origin.seen().len();
    for _ in 0..8 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        wait::until_true("the proof to be forgotten", || {
            let text = Client::connect(gateway.address("web")).send(&request).response().expect(200).text();
            text.contains(&format!("GET {path}"))
        });
    }
    assert!(case.origin.seen().len() >= before + 8);
    for _ in 0..8 {
        assert!(shows_proof(gateway.address("secure"), "a.example").is_err());
    }
    assert_eq!(gateway.metrics().sum("ringway_tls_proofs_total", &[]), 0.0);
}

#[test]
fn what_is_kept_is_served_after_a_restart_without_asking() {
    let case = Case::new("http-01", "[ a.example ]");
    let mut gateway = case.start();
    let before = shown(&case.wait_until_served(&gateway, "a.example"));
    gateway.terminate();
    let asked = case.authority.seen(|seen| seen.requests.len());
    case.authority.behave(|behaviour| behaviour.down = true);
    let gateway = case.start();
    assert_eq!(shown(&case.connect(&gateway, "a.example").unwrap()), before);
    assert_eq!(gateway.admin("/readyz").text(), "ready, configuration 1\n");
    assert_eq!(case.authority.seen(|seen| seen.requests.len()), asked);
    assert_eq!(gateway.metrics().sum(ORDERS, &[]), 0.0);
    // A file that holds nonsense is no reason not to start: another is asked for.
    drop(gateway);
    case.authority.behave(|behaviour| (behaviour.down, behaviour.http) = (false, None));
    std::fs::write(case.store().join("a.example.pem"), "nonsense").unwrap();
    let gateway = case.start();
    assert_ne!(shown(&case.wait_until_served(&gateway, "a.example")), before);
    // By the account there was.
    assert_eq!(case.authority.seen(|seen| seen.contacts.len()), 1);
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_connections_live_on() {
    const LIFE_S: u64 = 9;
    let case = Case::new("http-01", "[ a.example ]");
    case.authority.behave(|behaviour| behaviour.life_s = LIFE_S);
    let gateway = case.start();
    let mut old = case.wait_until_served(&gateway, "a.example");
    let before = shown(&old);
    let ask = |stream: &mut tls::Stream| {
        write!(stream, "GET /-/probe HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n0") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    };
    ask(&mut old);
    wait::until("another certificate", Duration::from_secs(2 * LIFE_S), || {
        case.connect(&gateway, "a.example").ok().filter(|stream| shown(stream) != before)
    });
    let issued: Vec<Instant> = case.authority.seen(|seen| seen.issued.iter().map(|(_, at)| *at).collect());
    let after = (issued[1] - issued[0]).as_secs_f64();
    // Certificates count whole seconds, and begin with the one in which they were made; the order takes its time, too.
    assert!((5.0..9.0).contains(&after), "renewed after {after} of {LIFE_S} s");
    ask(&mut old);
    assert_eq!(shown(&old), before);
}

#[test]
fn an_authority_that_is_down_is_asked_again_and_others_are_served_meanwhile() {
    let case = Case::new("tls-alpn-01", "[ a.example ]");
    case.authority.behave(|behaviour| behaviour.down = true);
    let gateway = case.start();
    wait::until_true("a few failures", || gateway.metrics().sum(ORDERS, &[("result", "failed")]) >= 2.0);
    // Nothing is shown in its place, and it is told why.
    assert!(case.connect(&gateway, "a.example").is_err());
    wait::until_true("the refusal to be counted", || {
        gateway.metrics().labelled("tls_certificate_pending") == 1.0
    });
    assert_eq!(gateway.metrics().sum(EXPIRY, &[("certificate", "a.example")]), 0.0);
    let other = case.files.client(&[], None);
    tls::connect(gateway.address("secure"), &other, "other.example").unwrap();
    let ready = gateway.admin("/readyz").expect(200).text();
    assert!(ready.contains("certificate a.example of acme tests has not come yet: try "), "{ready}");
    assert!(gateway.stderr().contains("acme tests did not issue it"), "{}", gateway.stderr());
    case.authority.behave(|behaviour| behaviour.down = false);
    case.wait_until_served(&gateway, "a.example");
    wait::until_true("the failure to be over", || !gateway.admin("/readyz").text().contains("a.example"));
}

#[test]
fn a_refusal_leaves_the_old_certificate_served() {
    const LIFE_S: u64 = 12;
    let case = Case::new("http-01", "[ a.example ]");
    case.authority.behave(|behaviour| behaviour.life_s = LIFE_S);
    let gateway = case.start();
    let before = shown(&case.wait_until_served(&gateway, "a.example"));
    case.authority.behave(|behaviour| behaviour.refuses_orders = true);
    wait::until("refusals", Duration::from_secs(2 * LIFE_S), || {
        (gateway.metrics().sum(ORDERS, &[("result", "failed")]) >= 2.0).then_some(())
    });
    let ready = gateway.admin("/readyz").expect(200).text();
    assert!(ready.contains("is served and could not be renewed"), "{ready}");
    // What it said, on one line.
    assert!(ready.contains("too many certificates for this week"), "{ready}");
    assert_eq!(shown(&case.connect(&gateway, "a.example").unwrap()), before);
    assert_eq!(case.issued(), 1);
    case.authority.behave(|behaviour| {
        behaviour.refuses_orders = false;
        behaviour.life_s = 3600;
    });
    wait::until_true("another certificate", || {
        case.connect(&gateway, "a.example").is_ok_and(|stream| shown(&stream) != before)
    });
}

#[test]
fn proofs_that_are_not_found_are_told_without_the_secret() {
    let case = Case::new("http-01", "[ a.example ]");
    let elsewhere = case.origin.endpoint().parse().unwrap();
    case.authority.behave(|behaviour| behaviour.http = Some(elsewhere));
    let gateway = case.start();
    wait::until_true("a failure", || gateway.metrics().sum(ORDERS, &[("result", "failed")]) >= 1.0);
    let ready = gateway.admin("/readyz").text();
    assert!(ready.contains("a.example: API error: a.example answered"), "{ready}");
    assert!(ready.contains("[redacted]"), "{ready}");
    assert_eq!(case.issued(), 0);
    tells_no_secret(&case, &gateway);
    case.authority.behave(|behaviour| behaviour.http = Some(gateway.address("web")));
    case.wait_until_served(&gateway, "a.example");
}

#[test]
fn an_account_can_be_bound_to_one_elsewhere() {
    let mut case = Case::new("http-01", "[ a.example ]");
    case.authority
        .behave(|behaviour| behaviour.external = Some(("kid-1".into(), b"0123456789abcdef".to_vec())));
    let mut gateway = case.start();
    wait::until_true("a refusal", || gateway.admin("/readyz").text().contains("bound to none of ours"));
    std::fs::write(case.folder.path().join("eab.key"), "MDEyMzQ1Njc4OWFiY2RlZg\n").unwrap();
    case.account = ", external_account: { id: kid-1, key: \"{{folder}}/eab.key\" }".into();
    gateway.reload(&case.text());
    case.wait_until_served(&gateway, "a.example");
    let config = gateway.admin("/config").text();
    assert!(config.contains("eab.key") && !config.contains("MDEyMzQ1Njc4OWFiY2RlZg"), "{config}");
}

#[test]
fn a_name_that_is_added_and_an_account_that_is_forgotten_are_asked_for_anew() {
    let mut case = Case::new("http-01", "[ a.example ]");
    let mut gateway = case.start();
    case.wait_until_served(&gateway, "a.example");
    case.authority.forget_accounts();
    case.names = "[ a.example, new.example ]";
    gateway.reload(&case.text());
    // What there is serves the name it is for.
    case.connect(&gateway, "a.example").unwrap();
    case.wait_until_served(&gateway, "new.example");
    assert!(gateway.stderr().contains("nobody we know"), "{}", gateway.stderr());
    assert_eq!(case.authority.seen(|seen| seen.contacts.len()), 2);
    assert!(case.store().join(".account.json.old").exists());
}
