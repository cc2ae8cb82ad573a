//! Ways that are spliced, between plain sockets of the standard library, on both drivers.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringway_runtime::{
    Address, Choice, Gauges, Listener, Options, Runtime, SocketOptions, Splice, Spliced, Stream, bind, now,
};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 64, receive_buffer: None, send_buffer: None, shared: true };
const PATIENCE: Duration = Duration::from_secs(20);
/// What the pipe of a way may hold.
const PIECE: usize = 256 << 10;

/// Descriptors are counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The two ends of a way that goes through us: what is written to the first can be read from the second.
struct Ends {
    client: TcpStream,
    endpoint: TcpStream,
}

/// Runs `way` between a client and an endpoint, which `peers` plays, on each driver.
fn between<W: Future<Output = ()>>(
    peers: impl Fn(Ends) + Send + Sync + 'static,
    way: impl Fn(Stream, Stream, Arc<Gauges>) -> W + Clone + 'static,
) {
    let _alone = alone();
    let peers = Arc::new(peers);
    for choice in [Choice::Auto, Choice::Epoll] {
        let before = descriptors();
        let gauges = Arc::new(Gauges::default());
        let runtime =
            Runtime::new(&Options { choice, ..Options::default() }, gauges.clone()).expect("a loop");
        let picked = runtime.picked().driver;
        eprintln!("on {picked}");
        let bound = bind(&Address::Ip("127.0.0.1:0".parse().unwrap()), &SOCKET, false).unwrap();
        let Address::Ip(address) = bound.local().unwrap() else { panic!("an IP address") };
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = upstream.local_addr().unwrap();
        let (peers, way, told) = (peers.clone(), way.clone(), gauges.clone());
        let thread = std::thread::spawn(move || {
            let client = TcpStream::connect(address).unwrap();
            let (endpoint, _) = upstream.accept().unwrap();
            for socket in [&client, &endpoint] {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            peers(Ends { client, endpoint });
        });
        runtime
            .block_on(async move {
                let from = Listener::new(bound).unwrap().accept().await.unwrap();
                let to = Stream::connect(&Address::Ip(endpoint), now().after(PATIENCE)).await.unwrap();
                for stream in [&from, &to] {
                    stream.set_deadline(now().after(PATIENCE));
                }
                way(from, to, told).await;
            })
            .unwrap();
        thread.join().unwrap();
        drop(runtime);
        // A ring's last closes come a little later.
        for _ in 0..100 {
            if descriptors() <= before {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(descriptors() <= before, "descriptors on {picked}");
    }
}

/// Sends on as leases what came before receiving stopped.
async fn stop(from: &Stream, to: &Stream) {
    from.stop_receiving();
    while !from.has_stopped() {
        let lease = poll_fn(|cx| match from.has_stopped() {
            true => std::task::Poll::Ready(None),
            false => from.poll_recv(cx).map(|lease| Some(lease.unwrap())),
        });
        if let Some(lease) = lease.await {
            to.send(lease);
        }
    }
    to.flushed().await.unwrap();
}

/// Moves all until the end; how many bytes.
async fn splice(from: &Stream, to: &Stream) -> io::Result<u64> {
    assert!(Splice::suits(from, to));
    stop(from, to).await;
    let mut splice = Splice::new(from, to)?;
    let mut total = 0;
    loop {
        match poll_fn(|cx| splice.poll(cx)).await? {
            Spliced::Sent(bytes) => total += bytes as u64,
            Spliced::End => {
                to.shutdown_write();
                return Ok(total);
            }
            Spliced::Refused => panic!("no pipe"),
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn read_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    socket.read_to_end(&mut got).unwrap();
    got
}

/// What one socket buffer grows to at most: kernels differ, 6.18 receives 32 MiB where others did 6.
fn buffer_max(setting: &str) -> usize {
    let values = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}")).unwrap();
    values.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn what_is_spliced_arrives_whole_in_order_and_with_its_end() {
    const BYTES: usize = 16 << 20;
    between(
        |Ends { client, endpoint }| {
            let writing = std::thread::spawn(move || {
                (&client).write_all(&pattern(BYTES)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                client
            });
            assert!(read_all(&endpoint) == pattern(BYTES));
            drop(writing.join().unwrap());
        },
        async |from, to, gauges| {
            assert_eq!(splice(&from, &to).await.unwrap(), BYTES as u64);
            assert_eq!(gauges.pipes.load(Relaxed), 1, "it is kept for the next");
            // Nobody is closed before all was read.
            assert!(to.recv().await.is_ok());
        },
    );
}

#[test]
fn the_other_way_may_go_through_leases_meanwhile() {
    const BYTES: usize = 4 << 20;
    between(
        |Ends { client, endpoint }| {
            let (writer, echo) = (client.try_clone().unwrap(), endpoint.try_clone().unwrap());
            let writing = std::thread::spawn(move || {
                (&writer).write_all(&pattern(BYTES)).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let echoing = std::thread::spawn(move || {
                io::copy(&mut &endpoint, &mut &echo).unwrap();
                echo.shutdown(Shutdown::Write).unwrap();
            });
            assert!(read_all(&client) == pattern(BYTES));
            writing.join().unwrap();
            echoing.join().unwrap();
        },
        async |from, to, _| {
            let streams = Rc::new((from, to));
            let back = streams.clone();
            let (done, ended) = ringway_runtime::mailbox::mailbox(1);
            ringway_runtime::spawn(async move {
                let (client, endpoint) = &*back;
                loop {
                    let lease = endpoint.recv().await.unwrap();
                    if lease.is_end() {
                        break;
                    }
                    client.send(lease);
                    client.flushed_to(64 << 10).await.unwrap();
                }
                client.flushed().await.unwrap();
                client.shutdown_write();
                let _ = done.send(());
            });
            assert_eq!(splice(&streams.0, &streams.1).await.unwrap(), BYTES as u64);
            ended.recv().await;
        },
    );
}

#[test]
fn leases_take_over_again_in_the_middle() {
    const BYTES: usize = 2 << 20;
    between(
        |Ends { client, endpoint }| {
            let writing = std::thread::spawn(move || {
                (&client).write_all(&pattern(BYTES)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                client
            });
            assert!(read_all(&endpoint) == pattern(BYTES));
            drop(writing.join().unwrap());
        },
        async |from, to, _| {
            // By turns: some pieces spliced, some leases, and so on to the end.
            'all: loop {
                let first = from.recv().await.unwrap();
                if first.is_end() {
                    break;
                }
                to.send(first);
                to.flushed().await.unwrap();
                from.stop_receiving();
                loop {
                    let next = poll_fn(|cx| match from.has_stopped() {
                        true => std::task::Poll::Ready(None),
                        false => from.poll_recv(cx).map(|lease| Some(lease.unwrap())),
                    });
                    match next.await {
                        Some(lease) if lease.is_end() => break 'all,
                        Some(lease) => to.send(lease),
                        None => break,
                    }
                }
                to.flushed().await.unwrap();
                let mut splice = Splice::new(&from, &to).unwrap();
                for _ in 0..3 {
                    if poll_fn(|cx| splice.poll(cx)).await.unwrap() == Spliced::End {
                        break 'all;
                    }
                }
                while !splice.is_empty() {
                    poll_fn(|cx| splice.poll(cx)).await.unwrap();
                }
                drop(splice);
                from.resume_receiving();
            }
            to.flushed().await.unwrap();
            to.shutdown_write();
            assert!(to.recv().await.is_ok());
        },
    );
}

#[test]
fn who_does_not_read_holds_no_more_than_a_piece_and_the_sockets() {
    between(
        |Ends { client, endpoint }| {
            client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut sent = 0;
            while let Ok(written) = (&client).write(&[7; 64 << 10]) {
                sent += written;
            }
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(&endpoint).len(), sent);
            // On each of the two ways a socket that sends and one that receives, as far as Linux grows them; and the pipe.
            let sockets = 2 * (buffer_max("tcp_wmem") + buffer_max("tcp_rmem"));
            assert!(sent <= sockets + PIECE, "{sent} bytes taken in, {sockets} by sockets");
        },
        async |from, to, _| {
            splice(&from, &to).await.unwrap();
            assert!(to.recv().await.is_ok());
        },
    );
}

#[test]
fn a_deadline_ends_the_wait_for_either_side() {
    for full in [false, true] {
        let (done, is_done) = mpsc::channel::<()>();
        let is_done = Mutex::new(is_done);
        between(
            move |Ends { client, endpoint }| {
                if full {
                    client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                    while (&client).write(&[7; 64 << 10]).is_ok() {}
                }
                let _ = is_done.lock().unwrap().recv_timeout(PATIENCE);
                drop(endpoint);
            },
            move |from, to, gauges| {
                let done: Sender<()> = done.clone();
                async move {
                    // Set anew as long as something moves, as a tunnel does.
                    stop(&from, &to).await;
                    let mut splice = Splice::new(&from, &to).unwrap();
                    let error = loop {
                        let deadline = now().after(Duration::from_millis(200));
                        from.set_deadline(deadline);
                        to.set_deadline(deadline);
                        match poll_fn(|cx| splice.poll(cx)).await {
                            Ok(Spliced::Sent(_)) => {}
                            Ok(other) => panic!("{other:?}"),
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    // With bytes in it a pipe is never used again.
                    assert_eq!(splice.is_empty(), !full);
                    drop(splice);
                    assert_eq!(gauges.pipes.load(Relaxed), u64::from(!full));
                    drop((from, to));
                    done.send(()).unwrap();
                }
            },
        );
    }
}

#[test]
fn a_reset_of_either_side_is_an_error_and_costs_no_descriptor() {
    for of_client in [true, false] {
        between(
            move |Ends { client, endpoint }| {
                let (goes, stays) = if of_client { (client, endpoint) } else { (endpoint, client) };
                // Bytes that are never read make the close a reset.
                (&stays).write_all(b"unread").unwrap();
                (&goes).write_all(&[7; 100]).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                drop(goes);
                let _ = (&stays).write_all(&[7; 100]);
                let _ = (&stays).read(&mut [0; 1000]);
                let _ = (&stays).read_to_end(&mut Vec::new());
            },
            async |from, to, _| {
                let streams = Rc::new((from, to));
                let back = streams.clone();
                ringway_runtime::spawn(async move { drop(splice(&back.1, &back.0).await) });
                let result = splice(&streams.0, &streams.1).await;
                assert!(result.is_err() || result.is_ok_and(|sent| sent <= 200));
            },
        );
    }
}

#[test]
fn ways_dropped_at_any_time_leave_nothing_behind() {
    for spins in [0, 1, 2, 5, 50] {
        between(
            |Ends { client, endpoint }| {
                client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                while (&client).write(&[7; 64 << 10]).is_ok() {}
                drop(endpoint);
            },
            move |from, to, gauges| async move {
                stop(&from, &to).await;
                let mut splice = Splice::new(&from, &to).unwrap();
                for _ in 0..spins {
                    let wait = ringway_runtime::sleep(Duration::from_millis(2));
                    let mut wait = std::pin::pin!(wait);
                    poll_fn(|cx| match splice.poll(cx) {
                        std::task::Poll::Ready(Ok(_)) => std::task::Poll::Ready(()),
                        _ => wait.as_mut().poll(cx),
                    })
                    .await;
                }
                drop(splice);
                assert!(gauges.pipes.load(Relaxed) <= 1);
            },
        );
    }
}

#[test]
fn unix_sockets_are_left_to_leases() {
    let _alone = alone();
    let folder = std::env::temp_dir().join(format!("ringway-splice-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&folder).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = tcp.local_addr().unwrap();
    let (unix, path) = (Address::Unix(folder.clone()), folder.clone());
    let runtime = Runtime::new(&Options::default(), Arc::default()).unwrap();
    runtime
        .block_on(async move {
            let unix = Stream::connect(&unix, now().after(PATIENCE)).await.unwrap();
            let ip = Stream::connect(&Address::Ip(address), now().after(PATIENCE)).await.unwrap();
            assert!(!Splice::suits(&unix, &ip) && !Splice::suits(&ip, &unix) && Splice::suits(&ip, &ip));
        })
        .unwrap();
    drop(listener);
    std::fs::remove_file(path).unwrap();
}
