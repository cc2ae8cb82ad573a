//! With a file in a folder of the test's own and a recorder in the engine's place.

use super::*;
use ringway_config::model::{
    AccessLog, Admin, AdminWrites, Backend, Buffers, LogFormat, Overload, Role, Runtime,
};
use serde_json::json;
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(10);

fn config(workers: u16, drain_s: u64) -> Config {
    Config {
        role: Role::Gateway,
        runtime: Runtime {
            workers: Some(workers),
            backend: Backend::Auto,
            pin: true,
            buffers: Buffers { size: 16384, count: 1024 },
            memory: None,
        },
        admin: Admin { address: ([127, 0, 0, 1], 9901).into(), writes: AdminWrites::Local },
        access_log: None,
        drain_timeout: Duration::from_secs(drain_s),
        overload: Overload { loop_lag: None, memory: None },
        zone: None,
        acme: Vec::new(),
        fleets: Vec::new(),
        rate_limits: Vec::new(),
        listeners: Vec::new(),
        services: Vec::new(),
        routes: Vec::new(),
        files: Vec::new(),
    }
}

/// A file that says `workers drain_s`, and what was applied of it.
struct Bench {
    folder: tempfile::TempDir,
    reloader: Reloader,
    status: Arc<Status>,
    applied: Arc<Mutex<Vec<Seen>>>,
}

/// Workers and seconds to drain.
type Seen = (Option<u16>, u64);

impl Bench {
    fn start() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, "1 1").expect("written");
        let status = Arc::new(Status::new(json!(1), Duration::ZERO));
        status.enter(Phase::Serving);
        let applied = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&applied);
        let reloader = Reloader::start(Parts {
            path,
            running: config(1, 1),
            text: b"1 1".to_vec(),
            load: Box::new(|path| {
                let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
                let numbers: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
                let numbers = numbers.ok_or("gateway.yaml:1:1: not a number".to_owned())?;
                let config = config(numbers[0] as u16, numbers[1]);
                Ok(Candidate {
                    config,
                    warnings: String::new(),
                    shown: |config| json!(config.drain_timeout.as_secs()),
                })
            }),
            apply: Box::new(move |config| {
                if config.drain_timeout.as_secs() == 13 {
                    return Err(ApplyError("13 cannot be applied".into()));
                }
                let mut record = record.lock().expect("a record");
                record.push((config.runtime.workers, config.drain_timeout.as_secs()));
                Ok(Applied::default())
            }),
            status: Arc::clone(&status),
            dns: Dns::new(),
            acme: Acme::new(Box::new(|_| Ok(()))),
            sink: Arc::new(|_, _| {}),
            log: None,
        });
        let reloader = reloader.expect("a reloader");
        Bench { folder, reloader, status, applied }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("gateway.yaml"), text).expect("written");
    }

    fn wait(&self, what: &str, until: impl Fn(&Bench) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn applied(&self) -> Vec<Seen> {
        self.applied.lock().expect("a record").clone()
    }
}

/// Asks again and again, for the watch may not be set up yet.
fn ask(bench: &Bench) {
    bench.reloader.reload();
}

#[test]
fn a_bad_file_keeps_what_runs_and_is_described_until_it_is_good_again() {
    let bench = Bench::start();
    bench.write("not good");
    ask(&bench);
    bench.wait("a failure", |bench| bench.status.failure().is_some());
    assert!(bench.status.describe().contains("gateway.yaml:1:1: not a number"));
    bench.write("1 1");
    bench.wait("no failure", |bench| bench.status.failure().is_none());
    assert_eq!(bench.applied(), [], "what runs is not applied again");
    bench.write("1 2");
    bench.wait("generation 2", |bench| bench.status.generation() == 2);
    assert_eq!(bench.status.config(), json!(2));
    bench.reloader.finish(PATIENCE);
}

#[test]
fn a_changed_file_is_applied_once_without_being_asked() {
    let bench = Bench::start();
    ask(&bench);
    thread::sleep(Duration::from_millis(100));
    bench.write("1 5");
    bench.wait("generation 2", |bench| bench.status.generation() == 2);
    bench.write("1 5");
    thread::sleep(Duration::from_millis(400));
    assert_eq!(bench.applied(), [(Some(1), 5)]);
    bench.reloader.finish(PATIENCE);
}

#[test]
fn what_takes_a_restart_keeps_its_running_value_and_the_rest_is_applied() {
    let bench = Bench::start();
    bench.write("4 7");
    ask(&bench);
    bench.wait("generation 2", |bench| bench.status.generation() == 2);
    assert_eq!(bench.applied(), [(Some(1), 7)]);
    bench.reloader.finish(PATIENCE);
}

#[test]
fn an_apply_that_fails_can_be_asked_for_again() {
    let bench = Bench::start();
    bench.write("1 13");
    ask(&bench);
    bench.wait("a failure", |bench| bench.status.failure().is_some());
    bench.write("1 14");
    ask(&bench);
    bench.wait("generation 2", |bench| bench.status.generation() == 2);
    assert!(bench.status.failure().is_none());
    bench.reloader.finish(PATIENCE);
}

#[test]
fn a_missing_file_is_a_failure_and_its_return_ends_it() {
    let bench = Bench::start();
    fs::remove_file(bench.folder.path().join("gateway.yaml")).expect("removed");
    ask(&bench);
    bench.wait("a failure", |bench| bench.status.failure().is_some());
    bench.write("1 1");
    ask(&bench);
    bench.wait("no failure", |bench| bench.status.failure().is_none());
    bench.reloader.finish(PATIENCE);
}

#[test]
fn an_access_log_can_move_but_not_begin_without_rings() {
    let log = |ring| Some(AccessLog { format: LogFormat::Json, to: LogTo::Stdout, ring });
    let (mut off, mut on) = (config(1, 1), config(1, 1));
    on.access_log = log(1024);
    assert_eq!(keep_running(&mut on, &off, false), ["access_log (off at the start)"]);
    assert_eq!(on.access_log, None);
    on.access_log = log(1024);
    assert!(keep_running(&mut on, &off, true).is_empty());
    off.access_log = log(2048);
    assert_eq!(keep_running(&mut on, &off, true), ["access_log.ring"]);
    assert_eq!(on, off);
}
