//! Origins: what answers behind the proxy, and how it misbehaves.
//!
//! An origin is a listening socket and a behaviour run on a thread for each connection. It keeps what it saw:
//! `Seen` is logged when a head is complete and filled in when its body is, so a request that was cut stays visible
//! as one that never became whole.

mod connection;
pub mod parts;

use std::collections::{BTreeSet, HashMap};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::wire::{Broken, Head};
pub use connection::Connection;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Request line and fields.
    pub head: Head,
    /// Decoded.
    pub body: Vec<u8>,
    /// After the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Read to the end its framing announced.
    pub whole: bool,
}

/// What an origin knows.
#[derive(Debug, Default)]
pub struct State {
    /// In the order their heads came.
    pub seen: Vec<Seen>,
    /// Connections accepted so far.
    pub accepted: usize,
    /// Connections that ended, from either side.
    pub ended: BTreeSet<usize>,
    /// What came that was not HTTP/1.1.
    pub malformed: Vec<String>,
    open: HashMap<usize, Socket>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }
}

/// What an origin does with each connection; an error ends it.
pub trait Behaviour: Fn(&mut Connection) -> Result<(), Broken> + Send + Sync + 'static {}
impl<F: Fn(&mut Connection) -> Result<(), Broken> + Send + Sync + 'static> Behaviour for F {}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A listening origin. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Origin {
    place: Place,
    shared: Arc<Shared>,
}

impl Origin {
    /// Listens on a port of its own.
    pub fn start(behaviour: impl Behaviour) -> Origin {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        Origin::listen(listener, behaviour)
    }

    /// Listens on a given address.
    pub fn start_at(address: SocketAddr, behaviour: impl Behaviour) -> Origin {
        Origin::listen(std::net::TcpListener::bind(address).expect("the address"), behaviour)
    }

    fn listen(listener: std::net::TcpListener, behaviour: impl Behaviour) -> Origin {
        let place = Place::Tcp(listener.local_addr().expect("an address"));
        Origin::run(place, behaviour, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(stream.into())
        })
    }

    /// Listens on a Unix-domain socket.
    pub fn start_unix(path: &Path, behaviour: impl Behaviour) -> Origin {
        let listener = UnixListener::bind(path).expect("a socket path");
        Origin::run(Place::Unix(path.to_owned()), behaviour, move || Ok(listener.accept()?.0.into()))
    }

    fn run(
        place: Place,
        behaviour: impl Behaviour,
        accept: impl Fn() -> std::io::Result<Socket> + Send + 'static,
    ) -> Origin {
        let shared = Arc::new(Shared::default());
        let behaviour = Arc::new(behaviour);
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok(socket) = accept() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(clone) = socket.try_clone() else { continue };
                let id = accepting.change(|state| {
                    let id = state.accepted;
                    state.accepted += 1;
                    state.open.insert(id, clone);
                    id
                });
                let (shared, behaviour) = (Arc::clone(&accepting), Arc::clone(&behaviour));
                let serve = move || Connection::serve(id, socket, shared, &*behaviour);
                std::thread::Builder::new().stack_size(256 * 1024).spawn(serve).expect("a thread");
            }
        });
        Origin { place, shared }
    }

    /// Where it listens, as an endpoint in a configuration.
    pub fn endpoint(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Where it listens over TCP.
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// What it saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Forgets what it saw.
    pub fn forget(&self) {
        self.shared.change(|state| {
            state.seen.clear();
            state.malformed.clear();
        });
    }

    /// Waits until `holds`, at most `bound`; says whether it came to hold.
    pub fn wait(&self, bound: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + bound;
        let mut state = self.shared.lock();
        while !holds(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Waits for `count` whole requests and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let came =
            self.wait(crate::wait::PATIENCE, |s| s.seen.iter().filter(|seen| seen.whole).count() >= count);
        assert!(came, "wanted {count} whole requests, saw {:#?}", self.seen());
        self.seen()
    }

    /// What came that was not HTTP/1.1.
    pub fn malformed(&self) -> Vec<String> {
        self.shared.lock().malformed.clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
        for socket in self.shared.lock().open.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}
