//! Steady load from several threads, which counts every exchange that fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::client::{Client, To};
use crate::wire::Broken;

/// How a client treats its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Kept as long as the proxy keeps it; `Connection: close` in a response is obeyed.
    KeepAlive,
    /// One request on each.
    Fresh,
    /// As `KeepAlive`, with a chunked upload.
    Upload,
}

/// Threads that send requests until they are told to stop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    failures: Mutex<Vec<String>>,
    // The proxy may refuse connections now, and close idle ones: it drains.
    draining: AtomicBool,
}

impl Load {
    /// Starts one thread for each mode given.
    pub fn start(address: SocketAddr, modes: &[Mode]) -> Load {
        let shared = Arc::new(Shared::default());
        let spawn = |&mode: &Mode| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(address, mode, &shared))
        };
        let threads = modes.iter().map(spawn).collect();
        Load { shared, threads }
    }

    /// Exchanges that went well so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// From now on a refused connection is no failure but the end of that thread.
    pub fn expect_drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
    }

    /// Stops, and returns the exchanges that went well and those that did not.
    pub fn stop(self) -> (u64, Vec<String>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits for the threads to end by themselves.
    pub fn join(self) -> (u64, Vec<String>) {
        for thread in self.threads {
            thread.join().expect("a load thread");
        }
        let failures = self.shared.failures.lock().map_or_else(|p| p.into_inner().clone(), |f| f.clone());
        (self.shared.done.load(Ordering::Relaxed), failures)
    }
}

fn run(address: SocketAddr, mode: Mode, shared: &Shared) {
    let mut kept: Option<Client> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let reused = kept.is_some();
        let mut client = match kept.take() {
            Some(client) => client,
            None => match Client::try_connect(address) {
                Ok(client) => client,
                Err(_) if shared.draining.load(Ordering::SeqCst) => return,
                Err(error) => return fail(shared, format!("{mode:?}: connecting: {error}")),
            },
        };
        match exchange(&mut client, mode) {
            Ok(keep) => {
                shared.done.fetch_add(1, Ordering::Relaxed);
                kept = keep.then_some(client);
            }
            // A drain may close a kept connection just as the next request sets out; clients try again
            // (RFC 9112 §9.3.1). At any other time nothing is closed.
            Err((Broken::Ended | Broken::Reset, _)) if reused && shared.draining.load(Ordering::SeqCst) => {}
            Err((broken, why)) => fail(shared, format!("{mode:?} reused={reused}: {broken} {why}")),
        }
    }
}

fn fail(shared: &Shared, why: String) {
    if let Ok(mut failures) = shared.failures.lock() {
        failures.push(why);
    }
}

/// One request. Returns whether the connection may be used again.
fn exchange(client: &mut Client, mode: Mode) -> Result<bool, (Broken, String)> {
    let request = match mode {
        Mode::KeepAlive => "GET /load HTTP/1.1\r\nHost: a.example\r\n\r\n",
        Mode::Fresh => "GET /load HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        Mode::Upload => {
            "POST /load HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        }
    };
    client.try_send(request).map_err(|broken| (broken, "while sending".into()))?;
    let response = client.try_response(To::Get).map_err(|broken| (broken, "instead of a response".into()))?;
    if response.status != 200 {
        return Err((Broken::Malformed(response.text()), format!("status {}", response.status)));
    }
    if let Some(broken) = response.broken {
        return Err((broken, "within a response".into()));
    }
    Ok(mode != Mode::Fresh && !response.head.lists("connection", "close"))
}
