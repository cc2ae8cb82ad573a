//! How things end: descriptors, buffers and places come back whatever state a stream or listener is dropped in.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::{
    Address, Choice, Gauges, Lease, Listener, Options, Runtime, SocketOptions, Stream, bind, now, sleep,
    spawn,
};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 4096, receive_buffer: None, send_buffer: None, shared: true };

/// Descriptors are counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn on_both(options: Options, test: impl Fn(Runtime, Arc<Gauges>)) {
    let _alone = alone();
    for choice in [Choice::Auto, Choice::Epoll] {
        let before = descriptors();
        let gauges = Arc::new(Gauges::default());
        let runtime = Runtime::new(&Options { choice, ..options }, gauges.clone()).expect("a loop");
        let picked = runtime.picked().driver;
        test(runtime, gauges);
        for _ in 0..100 {
            if descriptors() <= before {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(descriptors(), before, "descriptors on {picked}");
    }
}

fn tcp() -> Address {
    Address::Ip("127.0.0.1:0".parse().unwrap())
}

fn listen() -> (Address, impl FnOnce() -> Listener + Send) {
    let bound = bind(&tcp(), &SOCKET, false).unwrap();
    let address = bound.local().unwrap();
    (address, move || Listener::new(bound).unwrap())
}

fn ip(address: &Address) -> SocketAddr {
    let Address::Ip(ip) = address else { panic!("an IP address") };
    *ip
}

fn soon() -> ringway_runtime::Nanos {
    now().after(Duration::from_secs(5))
}

async fn until(mut ready: impl FnMut() -> bool) {
    for _ in 0..500 {
        if ready() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

#[test]
fn streams_dropped_in_any_state_give_their_descriptors_back_while_the_loop_runs() {
    on_both(Options::default(), |runtime, gauges| {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(origin.local_addr().unwrap());
        runtime
            .block_on(async move {
                let mut peers = Vec::new();
                let mut before = descriptors();
                for round in 0..60 {
                    let stream = Stream::connect(&address, soon()).await.unwrap();
                    let mut peer = origin.accept().unwrap().0;
                    match round % 6 {
                        // Idle; armed and not yet handed over; armed.
                        0 => {}
                        1 => stream.watch(),
                        2 => {
                            stream.watch();
                            sleep(Duration::from_millis(1)).await;
                        }
                        // A queue that fills: pausing or paused.
                        3 => {
                            peer.set_nonblocking(true).unwrap();
                            while peer.write(&[1; 1 << 20]).is_ok() {}
                            stream.watch();
                            sleep(Duration::from_millis(1)).await;
                        }
                        // A send that stalls; armed besides.
                        4 => {
                            stream.watch();
                            stream.send(Lease::copy_of(&vec![7; 16 << 20]));
                            sleep(Duration::from_millis(1)).await;
                        }
                        // A send and a receive not yet handed over.
                        _ => {
                            stream.send(Lease::copy_of(b"lost"));
                            stream.watch();
                        }
                    }
                    drop(stream);
                    // The peer stays open: only our own end may be what gives things back.
                    peers.push(peer);
                    before += 1;
                }
                until(|| descriptors() <= before).await;
                until(|| gauges.connections.load(Relaxed) == 0).await;
                assert_eq!(gauges.buffers_in_use.load(Relaxed), 0);
            })
            .unwrap();
    });
}

#[test]
fn a_reset_in_the_middle_of_a_send_never_looks_like_an_end() {
    on_both(Options::default(), |runtime, _| {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(origin.local_addr().unwrap());
        let reading = std::thread::spawn(move || {
            for _ in 0..30 {
                let mut got = Vec::new();
                let ended = origin.accept().unwrap().0.read_to_end(&mut got);
                assert!(ended.is_err(), "took {} bytes for whole", got.len());
            }
        });
        runtime
            .block_on(async move {
                for round in 0..30u64 {
                    let stream = Stream::connect(&address, soon()).await.unwrap();
                    stream.send(Lease::copy_of(&vec![7; 8 << 20]));
                    sleep(Duration::from_millis(round % 3)).await;
                    stream.reset_on_close();
                    drop(stream);
                }
                sleep(Duration::from_millis(20)).await;
            })
            .unwrap();
        reading.join().unwrap();
    });
}

#[test]
fn a_connect_that_nobody_answers_ends_at_its_deadline() {
    on_both(Options::default(), |runtime, gauges| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let filling = TcpStream::connect(address).unwrap();
        let path = std::env::temp_dir().join(format!("ringway-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        unix.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        unix.listen(0).unwrap();
        let unix_filling = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let full = Address::Unix(path.clone());
        runtime
            .block_on(async move {
                for _ in 0..2 {
                    let began = now();
                    let silent = Address::Ip(address);
                    let connected = Stream::connect(&silent, now().after(Duration::from_millis(100))).await;
                    assert_eq!(connected.err().unwrap().kind(), std::io::ErrorKind::TimedOut);
                    assert!(now().since(began) < Duration::from_secs(1));
                }
                // Where the kernel does not wait for a Unix-domain backlog, it says so at once.
                let began = now();
                assert!(Stream::connect(&full, now().after(Duration::from_millis(100))).await.is_err());
                assert!(now().since(began) < Duration::from_secs(1));
                until(|| gauges.connections.load(Relaxed) == 0).await;
            })
            .unwrap();
        drop((filling, unix_filling));
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_dropped_listener_hands_no_connection_to_the_next_one() {
    on_both(Options::default(), |runtime, _| {
        runtime
            .block_on(async move {
                for round in 0..40 {
                    let (first_address, first) = listen();
                    let (second_address, second) = listen();
                    let first = first();
                    let asked = poll_fn(|cx| Poll::Ready(first.poll_accept(cx).is_ready())).await;
                    assert!(!asked);
                    if round % 2 == 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                    let lost: Vec<_> =
                        (0..4).map(|_| TcpStream::connect(ip(&first_address)).unwrap()).collect();
                    drop(first);
                    let second = second();
                    let client = TcpStream::connect(ip(&second_address)).unwrap();
                    let got = second.accept().await.unwrap();
                    assert_eq!(got.peer().unwrap(), Address::Ip(client.local_addr().unwrap()));
                    assert_eq!(got.local().unwrap(), second_address);
                    let none = poll_fn(|cx| Poll::Ready(second.poll_accept(cx).is_pending())).await;
                    assert!(none);
                    drop(lost);
                }
            })
            .unwrap();
    });
}

#[test]
fn a_dropped_listener_frees_its_port() {
    on_both(Options::default(), |runtime, _| {
        runtime
            .block_on(async move {
                let (address, listener) = listen();
                let listener = listener();
                let client = TcpStream::connect(ip(&address)).unwrap();
                drop(listener.accept().await.unwrap());
                let asked = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx).is_ready())).await;
                assert!(!asked);
                drop(listener);
                until(|| TcpStream::connect(ip(&address)).is_err()).await;
                drop(client);
            })
            .unwrap();
    });
}

#[test]
fn closing_one_handle_of_a_shared_listener_leaves_the_other_accepting() {
    on_both(Options::default(), |runtime, _| {
        let path = std::env::temp_dir().join(format!("ringway-two-{}", std::process::id()));
        let one = bind(&Address::Unix(path.clone()), &SOCKET, false).unwrap();
        let two = one.duplicate().unwrap();
        let connecting = path.clone();
        runtime
            .block_on(async move {
                let (one, two) = (Listener::new(one).unwrap(), Listener::new(two).unwrap());
                assert!(one.close().await.is_empty());
                for _ in 0..3 {
                    let began = now();
                    let waiting = poll_fn(|cx| Poll::Ready(two.poll_accept(cx).is_pending())).await;
                    assert!(waiting);
                    sleep(Duration::from_millis(5)).await;
                    let client = std::os::unix::net::UnixStream::connect(&connecting).unwrap();
                    assert!(two.accept().await.is_ok());
                    assert!(now().since(began) < Duration::from_secs(1));
                    drop(client);
                }
            })
            .unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn what_was_in_flight_when_the_loop_ended_is_closed() {
    on_both(Options::default(), |runtime, gauges| {
        let (address, listener) = listen();
        let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(ip(&address)).unwrap()).collect();
        runtime
            .block_on(async move {
                let listener = listener();
                for n in 0..50 {
                    let stream = listener.accept().await.unwrap();
                    spawn(async move {
                        if n % 2 == 0 {
                            stream.send(Lease::copy_of(&vec![7; 8 << 20]));
                        }
                        let _ = stream.recv().await;
                    });
                }
                sleep(Duration::from_millis(10)).await;
            })
            .unwrap();
        drop((runtime, gauges));
        for mut client in clients {
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut scratch = vec![0; 1 << 20];
            loop {
                match client.read(&mut scratch) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                        break;
                    }
                }
            }
        }
    });
}

#[test]
fn dropped_streams_with_more_waiting_than_there_are_buffers_hold_up_nobody() {
    let options = Options { buffer_count: 32, buffer_size: 1024, ..Options::default() };
    on_both(options, |runtime, _| {
        let (address, listener) = listen();
        runtime
            .block_on(async move {
                let listener = listener();
                let (mut clients, mut streams) = (Vec::new(), Vec::new());
                for _ in 0..40 {
                    let mut client = TcpStream::connect(ip(&address)).unwrap();
                    client.write_all(&[1; 700]).unwrap();
                    clients.push(client);
                    let stream = listener.accept().await.unwrap();
                    stream.watch();
                    streams.push(stream);
                }
                sleep(Duration::from_millis(10)).await;
                // The last one comes behind others whose bytes nobody took, and who go away.
                let last = streams.pop().unwrap();
                let holders = streams.drain(..16).collect::<Vec<_>>();
                drop(streams);
                drop(holders);
                last.set_deadline(soon());
                assert_eq!(last.recv().await.unwrap().len(), 700);
            })
            .unwrap();
    });
}

#[test]
fn unix_listeners_and_streams_end_like_tcp_ones() {
    on_both(Options::default(), |runtime, _| {
        let path = std::env::temp_dir().join(format!("ringway-ends-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let origin = UnixListener::bind(&path).unwrap();
        let address = Address::Unix(path.clone());
        runtime
            .block_on(async move {
                let stream = Stream::connect(&address, soon()).await.unwrap();
                let mut peer = origin.accept().unwrap().0;
                stream.send(Lease::copy_of(b"ask"));
                stream.flushed().await.unwrap();
                stream.shutdown_write();
                let mut asked = Vec::new();
                peer.read_to_end(&mut asked).unwrap();
                assert_eq!(asked, b"ask");
                // Half closed: the other way still works.
                peer.write_all(b"answer").unwrap();
                assert_eq!(&*stream.recv().await.unwrap(), b"answer");
                drop(peer);
                assert!(stream.recv().await.unwrap().is_end());
                assert!(stream.recv().await.unwrap().is_end());
                stream.send(Lease::copy_of(b"into the void"));
                assert!(stream.flushed().await.is_err());
            })
            .unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn accepting_goes_on_once_descriptors_are_free_again() {
    on_both(Options::default(), |runtime, gauges| {
        let (address, listener) = listen();
        runtime
            .block_on(async move {
                let listener = listener();
                let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(ip(&address)).unwrap()).collect();
                let mut hoard = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    hoard.push(file);
                }
                for _ in 0..2 {
                    let refused = listener.accept().await.err().expect("no descriptor is left");
                    assert_eq!(refused.raw_os_error(), Some(24), "EMFILE");
                    assert!(Stream::connect(&address, soon()).await.is_err());
                }
                assert!(gauges.fd_limit_hits.load(Relaxed) >= 2);
                drop(hoard);
                let mut taken = Vec::new();
                while taken.len() < clients.len() {
                    // What was refused before is told first.
                    taken.extend(listener.accept().await);
                }
            })
            .unwrap();
    });
}
