//! Streams against plain sockets of the standard library, on both drivers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use ringway_runtime::{
    Address, Choice, Gauges, Lease, Listener, Options, Runtime, SendList, SocketOptions, Stream, bind,
    mailbox, now, sleep, spawn,
};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 64, receive_buffer: None, send_buffer: None, shared: true };

fn on_both(options: Options, test: impl Fn(Runtime, Arc<Gauges>)) {
    for choice in [Choice::Auto, Choice::Epoll] {
        let gauges = Arc::new(Gauges::default());
        let runtime = Runtime::new(&Options { choice, ..options }, gauges.clone()).expect("a loop");
        eprintln!("on {:?}", runtime.picked());
        test(runtime, gauges);
    }
}

fn listen() -> (Address, impl FnOnce() -> Listener + Send) {
    let bound = bind(&Address::Ip("127.0.0.1:0".parse().unwrap()), &SOCKET, false).unwrap();
    let address = bound.local().unwrap();
    (address, move || Listener::new(bound).unwrap())
}

fn ip(address: &Address) -> SocketAddr {
    let Address::Ip(ip) = address else { panic!("an IP address") };
    *ip
}

async fn echo(stream: Stream) {
    loop {
        let lease = match stream.recv().await {
            Ok(lease) if !lease.is_end() => lease,
            _ => return,
        };
        stream.send(lease);
        if stream.flushed().await.is_err() {
            return;
        }
    }
}

fn serve_echo(runtime: Runtime, clients: impl FnOnce(SocketAddr) + Send + 'static) {
    let (address, listener) = listen();
    let (done, ended) = mailbox::mailbox(1);
    let thread = std::thread::spawn(move || {
        clients(ip(&address));
        let _ = done.send(());
    });
    runtime
        .block_on(async move {
            let listener = listener();
            spawn(async move {
                while let Ok(stream) = listener.accept().await {
                    spawn(echo(stream));
                }
            });
            ended.recv().await;
        })
        .unwrap();
    thread.join().unwrap();
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn what_is_sent_comes_back_whole_and_in_order() {
    on_both(Options::default(), |runtime, _| {
        serve_echo(runtime, |address| {
            let mut stream = TcpStream::connect(address).unwrap();
            let sent = pattern(8 << 20);
            let mut writer = stream.try_clone().unwrap();
            let copy = sent.clone();
            let writing = std::thread::spawn(move || {
                writer.write_all(&copy).unwrap();
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            writing.join().unwrap();
            assert!(got == sent);
        });
    });
}

#[test]
fn a_reader_that_stops_does_not_fill_memory_and_others_go_on() {
    let options = Options { buffer_count: 64, buffer_size: 4096, ..Options::default() };
    on_both(options, |runtime, gauges| {
        serve_echo(runtime, move |address| {
            let mut slow = TcpStream::connect(address).unwrap();
            slow.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let chunk = pattern(64 << 10);
            while slow.write_all(&chunk).is_ok() {}
            assert!(gauges.buffers_in_use.load(Relaxed) <= 64);
            let mut quick = TcpStream::connect(address).unwrap();
            quick.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            quick.write_all(b"hello").unwrap();
            let mut got = [0; 5];
            quick.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hello");
        });
    });
}

#[test]
fn more_connections_than_buffers_are_all_served() {
    let options = Options { buffer_count: 32, buffer_size: 4096, ..Options::default() };
    on_both(options, |runtime, _| {
        serve_echo(runtime, |address| {
            let streams: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
            for (i, mut stream) in streams.iter().enumerate() {
                stream.write_all(format!("{i:0>3000}").as_bytes()).unwrap();
            }
            for (i, mut stream) in streams.iter().enumerate() {
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut got = [0; 3000];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(got, format!("{i:0>3000}").as_bytes());
            }
        });
    });
}

#[test]
fn a_deadline_ends_a_receive_and_a_stalled_send() {
    on_both(Options::default(), |runtime, gauges| {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(origin.local_addr().unwrap());
        runtime
            .block_on(async move {
                let stream = Stream::connect(&address, now().after(Duration::from_secs(5))).await.unwrap();
                stream.set_deadline(now().after(Duration::from_millis(50)));
                let error = stream.recv().await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
                let (taken, _) = origin.accept().unwrap();
                stream.set_deadline(now().after(Duration::from_millis(50)));
                let big: Lease = Lease::copy_of(&vec![7; 64 << 20]);
                stream.send(big);
                assert_eq!(stream.flushed().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
                assert!(stream.sent() > 0 && stream.unsent() > 0);
                drop((taken, stream));
            })
            .unwrap();
        assert_eq!(gauges.buffers_in_use.load(Relaxed), 0);
    });
}

#[test]
fn a_refused_connect_says_so() {
    on_both(Options::default(), |runtime, _| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        runtime
            .block_on(async move {
                let refused = Stream::connect(&Address::Ip(free), now().after(Duration::from_secs(5))).await;
                assert_eq!(refused.err().unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
            })
            .unwrap();
    });
}

#[test]
fn an_idle_watched_connection_notices_its_end() {
    on_both(Options::default(), |runtime, gauges| {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(origin.local_addr().unwrap());
        runtime
            .block_on(async move {
                let stream = Stream::connect(&address, now().after(Duration::from_secs(5))).await.unwrap();
                stream.watch();
                let (taken, _) = origin.accept().unwrap();
                assert!(stream.is_quiet());
                drop(taken);
                while stream.is_quiet() {
                    sleep(Duration::from_millis(5)).await;
                }
                assert!(stream.has_ended());
            })
            .unwrap();
        assert_eq!(gauges.connections.load(Relaxed), 1);
    });
}

#[test]
fn lists_of_many_runs_arrive_in_order() {
    on_both(Options::default(), |runtime, _| {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(origin.local_addr().unwrap());
        let (heard, hears) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            origin.accept().unwrap().0.read_to_end(&mut got).unwrap();
            heard.send(got).unwrap();
        });
        let expected: Vec<u8> = (0..100u32).flat_map(|i| format!("run {i};").into_bytes()).collect();
        runtime
            .block_on(async move {
                let stream = Stream::connect(&address, now().after(Duration::from_secs(5))).await.unwrap();
                for tens in 0..2u32 {
                    let mut list = SendList::new();
                    for i in tens * 50..tens * 50 + 50 {
                        list.push(Lease::copy_of(format!("run {i};").as_bytes()));
                    }
                    stream.send(list);
                }
                stream.flushed().await.unwrap();
            })
            .unwrap();
        assert_eq!(hears.recv().unwrap(), expected);
        reading.join().unwrap();
    });
}

#[test]
fn closing_a_listener_serves_its_backlog_first() {
    on_both(Options::default(), |runtime, _| {
        let (address, listener) = listen();
        let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(ip(&address)).unwrap()).collect();
        runtime
            .block_on(async move {
                let listener = listener();
                let first = listener.accept().await.unwrap();
                let rest = listener.close().await;
                assert_eq!(rest.len(), 19);
                drop((first, rest));
            })
            .unwrap();
        assert!(TcpStream::connect(ip(&address)).is_err());
        drop(clients);
    });
}

#[test]
fn a_second_process_may_not_share_the_port() {
    let held = bind(&Address::Ip("127.0.0.1:0".parse().unwrap()), &SOCKET, false).unwrap();
    let address = held.local().unwrap();
    assert_eq!(bind(&address, &SOCKET, false).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert!(bind(&address, &SOCKET, true).is_ok());
}

#[test]
fn a_reset_is_told_from_an_end() {
    on_both(Options::default(), |runtime, _| {
        let (address, listener) = listen();
        let client = TcpStream::connect(ip(&address)).unwrap();
        runtime
            .block_on(async move {
                let stream = listener().accept().await.unwrap();
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                drop(client);
                std::future::poll_fn(|cx| stream.poll_broken(cx)).await;
                assert!(stream.recv().await.is_err());
            })
            .unwrap();
    });
}
