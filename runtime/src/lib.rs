//! One event loop per core: the seam between Ringway and the kernel.
//!
//! The runtime owns receive buffers. A connection's receive stays armed with the kernel and takes a buffer of its
//! worker's pool only when bytes have arrived, so an idle connection holds none; what arrives is handed out as a
//! [`Lease`], and dropping it gives the buffer back. A send is started and forgotten: it keeps its leases until the
//! kernel is done with them, and wakes nobody unless someone waits in [`Stream::flushed`].
//!
//! Two drivers stand behind the seam, io_uring and epoll, chosen by a self-test at start ([`Choice`]). This is the
//! only crate of Ringway with `unsafe`; each use names the invariant it leans on.
//!
//! Everything but [`mailbox`], [`Waker`](std::task::Waker)s and [`Gauges`] belongs to one thread.

mod activation;
mod buffers;
mod clock;
mod conn;
#[doc(hidden)]
pub mod counting;
mod driver;
mod gauges;
mod listener;
pub mod mailbox;
mod net;
mod pipes;
mod precise;
mod segment;
mod sending;
mod slots;
mod splice;
mod sys;
mod task;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod turn;
mod udp;
mod wheel;
mod wire;

pub use activation::inherited_sockets;
pub use buffers::{Draft, Lease};
pub use clock::{Nanos, wall_epoch_micros};
pub use conn::{Address, Stream};
pub use driver::{Choice, Picked};
pub use gauges::Gauges;
pub use listener::{BoundSocket, Listener, SocketOptions, adopt, bind, bound_address};
pub use net::{fd_limit, raise_fd_limit};
pub use precise::PreciseTimer;
pub use segment::{Few, Segment, SendList};
pub use slots::Slots;
pub use splice::{Splice, Spliced};
pub use sys::thread_busy_ns;
pub use task::{Sleep, draft, now, scarce, sleep, sleep_until, spawn};
#[cfg(feature = "tokio-io")]
pub use tokio_io::TokioIo;
pub use turn::{Options, Runtime, pin_to_core, pin_to_cpu, usable_cores, usable_cpus};
pub use udp::{Batch, Datagram, Local, Outbox, Sent, UdpSocket, bind_udp};
pub use wire::Wire;
