//! An origin with known behaviour: to prove the load generator right, and to try things against.
//!
//! [`start`] binds, then runs one event loop on each of its threads until [`Running::stop`]. HTTP/1.1 and HTTP/2 share
//! the port: a connection that begins with HTTP/2's preface speaks that. Invariant: once `start` has returned, the port
//! accepts connections.

pub mod args;
pub mod behaviour;
pub mod clock;
pub mod delay;
mod echo;
mod http1;
mod http2;
mod origin;
mod request;
mod response;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_runtime::mailbox::{Receiver, Sender, mailbox};
use ringway_runtime::{
    Address, BoundSocket, Choice, Gauges, Listener, Nanos, Options, Runtime, SocketOptions, Stream, bind,
    pin_to_cpu, sleep, spawn,
};

pub use args::{ServeArgs, run};

use behaviour::Behaviour;
use http2::PREFACE;
use origin::{Origin, Tally};

/// What to serve, where.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where; port 0 is any free one.
    pub address: Address,
    /// How it answers.
    pub behaviour: Behaviour,
    /// In what protocol.
    pub protocol: Protocol,
    /// Bodies are sent in chunks, to those who know them.
    pub chunked: bool,
    /// Of the dice. Each loop has dice of its own.
    pub seed: u64,
    /// Event loops, each on a thread of its own; at least one.
    pub threads: usize,
    /// Pins the loops to the CPUs of these numbers in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// The runtime's driver.
    pub backend: Choice,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// Bytes back as they came.
    Echo,
}

impl Default for Server {
    /// One loop on a free port of the loopback, that answers 1 KiB at once.
    fn default() -> Server {
        Server {
            address: Address::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            behaviour: Behaviour::default(),
            protocol: Protocol::Http,
            chunked: false,
            seed: 1,
            threads: 1,
            cores: Vec::new(),
            backend: Choice::Auto,
        }
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that arrived whole; pieces, for an echo.
    pub requests: u64,
    /// Those that failed on purpose.
    pub failed: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// A server that serves. Dropping it stops it too.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, the port known.
    pub address: Address,
    /// The runtime's driver, as it calls itself.
    pub driver: &'static str,
    loops: Vec<Loop>,
}

struct Loop {
    tally: Arc<Tally>,
    stop: Sender<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Binds, and serves from now on.
pub fn start(server: &Server) -> io::Result<Running> {
    let threads = server.threads.max(1);
    let options =
        SocketOptions { backlog: BACKLOG, receive_buffer: None, send_buffer: None, shared: threads > 1 };
    let first = bind(&server.address, &options, false)?;
    let address = first.local()?;
    let mut running = Running { address: address.clone(), driver: "", loops: Vec::new() };
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(match address {
            Address::Ip(_) => bind(&address, &options, true)?,
            // A path has one socket.
            Address::Unix(_) => sockets[0].duplicate()?,
        });
    }
    let began = Nanos::precise();
    for (number, socket) in sockets.into_iter().enumerate() {
        let (one, driver) = Loop::start(server, number, socket, began)?;
        running.driver = driver;
        running.loops.push(one);
    }
    Ok(running)
}

impl Running {
    /// The socket address it listens on; `None` for a Unix-domain socket.
    #[cfg(test)]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for Loop { tally, .. } in &self.loops {
            counts.requests += tally.requests.get();
            counts.failed += tally.failed.get();
            counts.connections += tally.connections.get();
        }
        counts
    }

    /// A loop has ended without being asked to.
    pub fn is_broken(&self) -> bool {
        self.loops.iter().any(|one| one.thread.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// Stops: connections are closed as they stand. The counts are final; an error is the first loop's that had one.
    pub fn stop(mut self) -> io::Result<Counts> {
        self.end()?;
        Ok(self.counts())
    }

    fn end(&mut self) -> io::Result<()> {
        for one in &self.loops {
            // A full box says it already.
            let _ = one.stop.send(());
        }
        let mut result = Ok(());
        for thread in self.loops.iter_mut().filter_map(|one| one.thread.take()) {
            result = result.and(thread.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked"))));
        }
        if let Address::Unix(path) = &self.address {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.loops.iter().any(|one| one.thread.is_some()) {
            let _ = self.end();
        }
    }
}

impl Loop {
    /// Starts a loop and waits until it serves.
    fn start(
        server: &Server,
        number: usize,
        socket: BoundSocket,
        began: Nanos,
    ) -> io::Result<(Loop, &'static str)> {
        let tally = Arc::new(Tally::default());
        let (stop, stopped) = mailbox(1);
        let (ready, serves) = mpsc::channel();
        let (theirs, server) = (tally.clone(), server.clone());
        let thread = std::thread::Builder::new().name(format!("serve-{number}")).spawn(
            move || -> io::Result<()> {
                let runtime = prepare(&server, number);
                let told = runtime.as_ref().map(|runtime| runtime.picked().driver);
                let _ = ready.send(told.map_err(|error| io::Error::new(error.kind(), error.to_string())));
                // Dice that differ by loop, whatever the seed.
                let seed = server.seed.wrapping_add((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let result = Rc::new(RefCell::new(Ok(())));
                let told = result.clone();
                runtime?.block_on(async move {
                    let ran = serve_until(server, seed, socket, began, theirs, stopped).await;
                    *told.borrow_mut() = ran;
                })?;
                result.replace(Ok(()))
            },
        )?;
        let driver = serves.recv().map_err(|_| io::Error::other("the loop did not start"))??;
        Ok((Loop { tally, stop, thread: Some(thread) }, driver))
    }
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loop({:?})", self.tally)
    }
}

fn prepare(server: &Server, number: usize) -> io::Result<Runtime> {
    if !server.cores.is_empty() {
        let core = server.cores[number % server.cores.len()];
        if !pin_to_cpu(core) {
            return Err(io::Error::other(format!("no thread can be pinned to core {core}")));
        }
    }
    let options = Options { choice: server.backend, ..Options::default() };
    Runtime::new(&options, Arc::new(Gauges::default()))
}

async fn serve_until(
    server: Server,
    seed: u64,
    socket: BoundSocket,
    began: Nanos,
    tally: Arc<Tally>,
    stopped: Receiver<()>,
) -> io::Result<()> {
    let listener = Listener::new(socket)?;
    let origin = Origin::new(&server.behaviour, server.chunked, seed, began, tally);
    spawn(accept(listener, origin, server.protocol));
    stopped.recv().await;
    Ok(())
}

async fn accept(listener: Listener, origin: Rc<Origin>, protocol: Protocol) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                origin.tally.connections.add(1);
                spawn(welcome(stream, origin.clone(), protocol));
            }
            Err(_) => {
                // No descriptor is left. New connections wait in the backlog.
                listener.pause();
                sleep(REST).await;
            }
        }
    }
}

/// Tells by the first bytes what a connection speaks.
async fn welcome(stream: Stream, origin: Rc<Origin>, protocol: Protocol) {
    let Ok(mut first) = stream.recv().await else { return };
    if protocol == Protocol::Echo {
        return echo::serve(stream, origin, first).await;
    }
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        match stream.recv().await {
            Ok(more) if !more.is_end() => first = first.joined(&more),
            _ => return,
        }
    }
    if first.starts_with(PREFACE) {
        // Its state is large; in a box it costs connections that speak HTTP/1.1 nothing.
        Box::pin(http2::serve(stream, origin, first)).await;
    } else {
        http1::serve(stream, origin, first).await;
    }
}

const BACKLOG: u32 = 4096;
/// How long accepting rests when no descriptor is left.
const REST: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests;
