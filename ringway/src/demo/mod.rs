//! `ringway demo`: three small services, a gateway in front of them, and requests to try.
//!
//! The configuration is `config/examples/demo.yaml` as it stood when the binary was built, copied to a folder of its
//! own so that it can be edited while the demo runs. With `--for` the demo checks everything it advertises.

mod checks;
mod client;
mod origin;

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli;
use crate::end::{Code, Ended, Failure, print};
use crate::files;
use crate::serve::Gateway;
use crate::signals::{self, Event};

const CONFIG: &str = include_str!("../../../config/examples/demo.yaml");
/// Names tried for the folder.
const FOLDER_ATTEMPTS_MAX: u32 = 100;
const ORIGINS: [&str; 3] = ["hello", "orders", "orders-next"];

/// Runs until stopped, or for as long as asked.
pub fn demo(args: &cli::Demo) -> Ended {
    let events = signals::listen().map_err(|error| Failure::system("cannot listen to signals", &error))?;
    let ports = Ports::new(args.port);
    for (name, port) in ORIGINS.iter().zip(ports.origins) {
        origin::start(name, port).map_err(|error| taken(port, &error))?;
    }
    let folder =
        Folder::create().map_err(|error| Failure::system("cannot make a temporary folder", &error))?;
    let path = folder.path.join("demo.yaml");
    fs::write(&path, ports.apply(CONFIG))
        .map_err(|error| Failure::system("cannot write demo.yaml", &error))?;

    let loaded = files::load(&path)?;
    let gateway = Gateway::start(&path, loaded, Vec::new()).map_err(with_port_advice)?;
    print(&invitation(&ports, &path))?;
    let checked = args.how_long.map(|how_long| check_then_stop(how_long, ports, path, events.sender.clone()));
    gateway.serve(&events)?;
    checked.map_or(Ok(()), verdict)
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    gateway: u16,
    admin: u16,
    origins: [u16; 3],
}

impl Ports {
    /// Those of the file, or five in a row.
    fn new(first: Option<u16>) -> Ports {
        match first {
            None => Ports { gateway: 8080, admin: 9901, origins: [9101, 9102, 9103] },
            Some(first) => {
                Ports { gateway: first, admin: first + 1, origins: [first + 2, first + 3, first + 4] }
            }
        }
    }

    /// The file with these ports in it.
    fn apply(&self, config: &str) -> String {
        let before = Ports::new(None);
        let mut text = config.to_owned();
        let olds = [before.gateway, before.origins[0], before.origins[1], before.origins[2]];
        let news = [self.gateway, self.origins[0], self.origins[1], self.origins[2]];
        // By way of a word that no port is, for a new port may be another's old one.
        for (index, old) in olds.iter().enumerate() {
            text = text.replace(&format!("127.0.0.1:{old}"), &format!("127.0.0.1:@{index}@"));
        }
        for (index, new) in news.iter().enumerate() {
            text = text.replace(&format!("127.0.0.1:@{index}@"), &format!("127.0.0.1:{new}"));
        }
        let _ = write!(text, "\nadmin:\n  address: 127.0.0.1:{}\n", self.admin);
        text
    }
}

/// A folder for the copy, removed when the demo ends.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> io::Result<Folder> {
        let name = |attempt| format!("ringway-demo-{}-{attempt}", std::process::id());
        let mut attempts = (1..=FOLDER_ATTEMPTS_MAX).map(|attempt| std::env::temp_dir().join(name(attempt)));
        // What exists is left alone: it may be another's, or a link that leads elsewhere.
        let taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        let made = attempts.find_map(|path| match fs::create_dir(&path) {
            Err(error) if taken(&error) => None,
            made => Some(made.map(|()| Folder { path })),
        });
        made.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn invitation(ports: &Ports, path: &Path) -> String {
    let (gateway, admin, path) = (ports.gateway, ports.admin, path.display());
    // From `cargo run` it is not in the shell's PATH.
    let ringway = std::env::args().next().unwrap_or_else(|| "ringway".into());
    format!(
        "\
A gateway on 127.0.0.1:{gateway} with three services behind it. In another terminal:

  a routed request
    curl -i http://127.0.0.1:{gateway}/v1/orders/7

  a weighted split: nine of ten go to orders, one to orders-next
    for i in $(seq 20); do curl -s http://127.0.0.1:{gateway}/split; done

  a redirect
    curl -i http://127.0.0.1:{gateway}/old/page

  a smuggling attempt, two lengths for one body: refused, the connection closed
    curl -i -H 'Content-Length: 4' -H 'Transfer-Encoding: chunked' -d 0 http://127.0.0.1:{gateway}/v1/orders/7

  a live reload: no connection is lost
    sed -i 's/body: ok/body: reloaded/' {path}; sleep 1
    curl http://127.0.0.1:{gateway}/healthz

  a bad reload: what runs stays, and /readyz says what is wrong
    echo 'ruotes: []' >> {path}; sleep 1
    curl http://127.0.0.1:{admin}/readyz

  the next good file clears it
    sed -i '/ruotes/d' {path}; sleep 1
    curl http://127.0.0.1:{admin}/readyz

  what each core is doing, and what it counted
    curl http://127.0.0.1:{admin}/workers
    curl http://127.0.0.1:{admin}/metrics

  why a request goes where it goes
    {ringway} explain -c {path} 'GET http://127.0.0.1:{gateway}/v1/orders/7'

Ctrl-C ends it.

"
    )
}

/// What the checks found, once they are made.
type Checked = Receiver<Result<(), String>>;

/// On a thread beside the gateway's: checks, waits for the rest of the time, stops.
fn check_then_stop(
    how_long: Duration,
    ports: Ports,
    path: PathBuf,
    stop: Sender<Event>,
) -> io::Result<Checked> {
    let end = Instant::now() + how_long;
    let (found, checked) = channel();
    thread::Builder::new().name("ringway-checks".into()).spawn(move || {
        // Nobody listens once the demo was stopped by hand.
        let _ = found.send(checks::all(&ports, &path));
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let _ = stop.send(Event::Stop);
    })?;
    Ok(checked)
}

fn verdict(checked: io::Result<Checked>) -> Ended {
    let checked = checked.map_err(|error| Failure::system("cannot start a thread", &error))?;
    match checked.try_recv() {
        Ok(Ok(())) => print("Everything the demo offers was checked and works.\n"),
        Ok(Err(failed)) => Err(Failure::new(Code::CheckFailed, failed)),
        Err(TryRecvError::Empty) => print("Stopped before everything was checked.\n"),
        Err(TryRecvError::Disconnected) => {
            Err(Failure::new(Code::CheckFailed, "the demo's checks broke off"))
        }
    }
}

fn taken(port: u16, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::AddrInUse {
        return Failure::system(&format!("cannot listen on 127.0.0.1:{port}"), error);
    }
    let message = format!(
        "a service of the demo cannot listen on 127.0.0.1:{port}: another process does\n  \
         To see which: ss -ltnp 'sport = :{port}'"
    );
    with_port_advice(Failure::new(Code::Unavailable, message))
}

fn with_port_advice(mut failure: Failure) -> Failure {
    if failure.code == Code::Unavailable {
        failure
            .message
            .push_str("\n  To use other ports: ringway demo --port 18080 (that one and the four after it)");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_is_valid_on_any_ports() {
        for first in [None, Some(9100), Some(8079), Some(18080)] {
            let text = Ports::new(first).apply(CONFIG);
            let loaded = ringway_config::load_str("demo.yaml", &text, &|_| None);
            let loaded = loaded.unwrap_or_else(|report| panic!("{first:?}: {report}"));
            assert!(loaded.warnings.is_empty(), "{first:?}: {}", loaded.report());
        }
    }

    #[test]
    fn ports_move_even_where_old_and_new_overlap() {
        let text = Ports::new(Some(9101)).apply("a 127.0.0.1:8080 b 127.0.0.1:9101 c 127.0.0.1:9103");
        assert!(text.starts_with("a 127.0.0.1:9101 b 127.0.0.1:9103 c 127.0.0.1:9105\n"), "{text}");
        assert!(text.contains("127.0.0.1:9102"), "{text}");
    }

    #[test]
    fn what_the_invitation_edits_is_in_the_configuration() {
        assert!(CONFIG.contains("body: ok"));
        assert!(!CONFIG.contains("\nadmin:"));
    }
}
