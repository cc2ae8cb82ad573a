//! Against a name server of the test's own on loopback.

use super::*;
use hickory_resolver::config::ConnectionConfig;
use std::net::UdpSocket;
use std::thread;

const PATIENCE: Duration = Duration::from_secs(10);

/// What the server answers, for both families alike.
#[derive(Clone, Copy)]
enum Answers {
    /// These A records with a TTL of one second, no AAAA.
    V4(&'static [[u8; 4]]),
    /// NXDOMAIN
    NoSuchName,
    /// SERVFAIL
    Failure,
}

/// A server of one thread on loopback, which ends with the test process.
struct Server {
    port: u16,
    answers: Arc<Mutex<Answers>>,
}

impl Server {
    fn start(answers: Answers) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let answers = Arc::new(Mutex::new(answers));
        let current = Arc::clone(&answers);
        thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                let answers = *current.lock().expect("answers");
                let _ = socket.send_to(&reply(&query[..length], answers), peer);
            }
        });
        Server { port, answers }
    }

    fn answer(&self, answers: Answers) {
        *self.answers.lock().expect("answers") = answers;
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.port;
        let server = NameServerConfig::new([127, 0, 0, 1].into(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        uncached(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }
}

/// RFC 1035 §4.1: the question is copied, each answer points back to its name.
fn reply(query: &[u8], answers: Answers) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 1;
    let question = &query[12..name_end + 4];
    let is_a = question[question.len() - 4..][..2] == [0, 1];
    let (code, records) = match answers {
        Answers::V4(records) if is_a => (0, records),
        Answers::V4(_) => (0, &[][..]),
        Answers::NoSuchName => (3, &[][..]),
        Answers::Failure => (2, &[][..]),
    };
    let mut reply = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    reply.extend_from_slice(question);
    for record in records {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend_from_slice(record);
    }
    reply
}

/// The names resolved against a server, and all that was told.
struct Bench {
    dns: Dns,
    told: Arc<Mutex<Vec<Vec<IpAddr>>>>,
}

impl Bench {
    fn start(server: &Arc<Server>) -> Bench {
        let (dns, told) = (Dns::new(), Arc::new(Mutex::new(Vec::new())));
        let record = Arc::clone(&told);
        let sink: Sink =
            Arc::new(move |_, addresses| record.lock().expect("a record").push(addresses.to_vec()));
        let (run, server) = (dns.clone(), Arc::clone(server));
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run.run(move || server.resolver(), sink));
        });
        Bench { dns, told }
    }

    fn told(&self) -> Vec<Vec<IpAddr>> {
        self.told.lock().expect("a record").clone()
    }

    fn wait(&self, what: &str, until: impl Fn(&Bench) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn failures(&self) -> u64 {
        self.dns.known.failures.load(Relaxed)
    }
}

fn orders() -> BTreeSet<String> {
    BTreeSet::from(["orders.test".to_owned()])
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

#[test]
fn a_change_is_told_after_its_ttl_and_the_order_of_records_is_no_change() {
    let server = Arc::new(Server::start(Answers::V4(&[[127, 0, 0, 2], [127, 0, 0, 1]])));
    let bench = Bench::start(&server);
    bench.dns.want(orders());
    assert_eq!(bench.dns.wait(&orders(), PATIENCE), Vec::<String>::new());
    assert_eq!(bench.told(), [[v4(1), v4(2)]]);
    server.answer(Answers::V4(&[[127, 0, 0, 1], [127, 0, 0, 2]]));
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(bench.told().len(), 1);
    server.answer(Answers::V4(&[[127, 0, 0, 3]]));
    bench.wait("the new address", |bench| bench.told().len() == 2);
    assert_eq!(bench.told()[1], [v4(3)]);
}

#[test]
fn the_last_good_answer_stays_through_failures_and_a_name_that_is_gone() {
    let server = Arc::new(Server::start(Answers::V4(&[[127, 0, 0, 1]])));
    let bench = Bench::start(&server);
    bench.dns.want(orders());
    bench.dns.wait(&orders(), PATIENCE);
    for bad in [Answers::Failure, Answers::NoSuchName, Answers::V4(&[])] {
        let before = bench.failures();
        server.answer(bad);
        bench.wait("a failure", |bench| bench.failures() > before);
        assert_eq!(bench.told(), [[v4(1)]]);
        assert_eq!(bench.dns.wait(&orders(), PATIENCE), Vec::<String>::new());
    }
}

#[test]
fn a_name_without_an_address_is_reported_and_one_no_longer_wanted_is_forgotten() {
    let server = Arc::new(Server::start(Answers::NoSuchName));
    let bench = Bench::start(&server);
    bench.dns.want(orders());
    assert_eq!(bench.dns.wait(&orders(), PATIENCE), ["orders.test"]);
    assert_eq!(bench.told(), Vec::<Vec<IpAddr>>::new());
    bench.dns.want(BTreeSet::new());
    bench.wait("no names", |bench| bench.dns.known.names().is_empty());
}

#[test]
fn every_answer_is_told_again_after_a_reload() {
    let server = Arc::new(Server::start(Answers::V4(&[[127, 0, 0, 1]])));
    let bench = Bench::start(&server);
    bench.dns.want(orders());
    bench.dns.wait(&orders(), PATIENCE);
    let again = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&again);
    let sink: Sink = Arc::new(move |name, _| record.lock().expect("a record").push(name.to_owned()));
    bench.dns.tell_all(&sink);
    assert_eq!(*again.lock().expect("a record"), ["orders.test"]);
}

#[test]
fn one_family_failing_keeps_its_addresses_while_the_other_moves_on() {
    let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    let mut answer = Answer { tried: true, v4: vec![v4(1)], v6: vec![v6] };
    let ttl = Duration::from_secs(7);
    let failed = Round { v4: Reply::Addresses(vec![v4(2)], ttl), v6: Reply::Failed("timeout".into()) };
    failed.update(&mut answer);
    assert_eq!(answer.addresses(), [v4(2), v6]);
    assert!(failed.verdict().is_err(), "asked again soon");
    let gone = Round { v4: Reply::Addresses(vec![v4(2)], ttl), v6: Reply::Nothing };
    gone.update(&mut answer);
    assert_eq!(answer.addresses(), [v4(2)]);
    assert_eq!(gone.verdict(), Ok(ttl));
}

#[test]
fn waits_double_to_a_bound_and_jitter_adds_at_most_half() {
    assert_eq!(backoff(1, 0.0), BACKOFF_MIN);
    assert_eq!(backoff(3, 0.0), BACKOFF_MIN * 4);
    assert_eq!(backoff(40, 0.0), BACKOFF_MAX);
    assert_eq!(backoff(40, 1.0), BACKOFF_MAX * 3 / 2);
    assert!((0.0..1.0).contains(&jitter()));
}
