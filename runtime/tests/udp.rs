//! Datagrams against plain sockets of the standard library, on both drivers.

use std::net::{SocketAddr, UdpSocket as Plain};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{
    Batch, Choice, Datagram, Gauges, Options, Outbox, Runtime, Sent, SocketOptions, UdpSocket, bind_udp,
    sleep,
};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 0, receive_buffer: None, send_buffer: None, shared: true };

fn on_both(test: impl Fn(Runtime)) {
    for choice in [Choice::Auto, Choice::Epoll] {
        let options = Options { choice, ..Options::default() };
        test(Runtime::new(&options, Arc::new(Gauges::default())).expect("a loop"));
    }
}

/// Sends one to whom the socket is connected to.
fn send(socket: &UdpSocket, bytes: &[u8], segment: Option<u16>) -> Sent {
    let mut outbox = Outbox::default();
    assert!(outbox.push(&Datagram { bytes, from: None, to: None, segment }, None, None));
    socket.send(&mut outbox, |error, count| panic!("{count} are lost: {error}"))
}

fn plain() -> Plain {
    let socket = Plain::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

#[test]
fn datagrams_come_and_answers_leave_from_where_they_were_sent_to() {
    on_both(|runtime| {
        let bound = bind_udp("0.0.0.0:0".parse().unwrap(), &SOCKET, false).unwrap();
        let port = match bound.local().unwrap() {
            ringway_runtime::Address::Ip(ip) => ip.port(),
            other => panic!("{other:?}"),
        };
        let client = std::thread::spawn(move || {
            let socket = plain();
            for host in [[127, 0, 0, 1], [127, 0, 0, 2]] {
                let to = SocketAddr::from((host, port));
                for n in 0..100u8 {
                    socket.send_to(&vec![n; 1 + usize::from(n) * 300], to).unwrap();
                    let mut answer = vec![0; 65536];
                    let (len, from) = socket.recv_from(&mut answer).unwrap();
                    assert_eq!((len, from), (1 + usize::from(n) * 300, to));
                }
            }
        });
        runtime
            .block_on(async move {
                let socket = UdpSocket::new(bound);
                let mut batch = Batch::new(16, 65536);
                let mut outbox = Outbox::default();
                let mut seen = 0;
                while seen < 200 {
                    socket.recv(&mut batch).await.unwrap();
                    for datagram in batch.iter() {
                        seen += 1;
                        assert!(outbox.push(&datagram, datagram.from, datagram.to));
                    }
                    socket.send(&mut outbox, |error, count| panic!("{count} are lost: {error}"));
                }
            })
            .unwrap();
        client.join().unwrap();
    });
}

#[test]
fn a_peer_that_is_not_there_is_told_and_strangers_are_not_heard() {
    on_both(|runtime| {
        runtime
            .block_on(async {
                let gone = plain().local_addr().unwrap();
                let socket = UdpSocket::connect(gone).unwrap();
                send(&socket, b"anybody?", None);
                let mut batch = Batch::new(1, 1000);
                let error = socket.recv(&mut batch).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                let peer = plain();
                let socket = UdpSocket::connect(peer.local_addr().unwrap()).unwrap();
                let local = socket.local().unwrap();
                plain().send_to(b"stranger", local).unwrap();
                peer.send_to(b"friend", local).unwrap();
                socket.recv(&mut batch).await.unwrap();
                let got: Vec<Vec<u8>> = batch.iter().map(|datagram| datagram.bytes.to_vec()).collect();
                assert_eq!(got, [b"friend"]);
            })
            .unwrap();
    });
}

#[test]
fn segments_go_out_as_datagrams() {
    on_both(|runtime| {
        let peer = plain();
        let to = peer.local_addr().unwrap();
        runtime
            .block_on(async move {
                let socket = UdpSocket::connect(to).unwrap();
                let sent = send(&socket, &[7; 2500], Some(1000));
                assert_eq!((sent.datagrams, sent.bytes), (3, 2500));
                // More than the kernel takes at once: one by one.
                assert_eq!(send(&socket, &[8; 1495], Some(10)).datagrams, 150);
                // Dropped while it is watched, more than once.
                for _ in 0..100 {
                    let socket = UdpSocket::connect(to).unwrap();
                    let mut batch = Batch::new(1, 1000);
                    let waited = std::future::poll_fn(|cx| {
                        std::task::Poll::Ready(socket.poll_recv(cx, &mut batch).is_pending())
                    });
                    assert!(waited.await);
                }
                sleep(Duration::from_millis(20)).await;
            })
            .unwrap();
        let mut piece = [0; 4096];
        let sizes: Vec<usize> = (0..3).map(|_| peer.recv(&mut piece).unwrap()).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
        let sizes: Vec<usize> = (0..150).map(|_| peer.recv(&mut piece).unwrap()).collect();
        assert!(sizes[..149].iter().all(|size| *size == 10) && sizes[149] == 5, "{sizes:?}");
    });
}

#[test]
fn what_waits_leaves_in_its_order_with_its_borders() {
    on_both(|runtime| {
        let peers = [plain(), plain()];
        let sent: Vec<(usize, usize)> = (0..100)
            .map(|n| (n / 7 % 2, [64, 64, 64, 64, 30, 0, 64, 1452, 1452, 1453, 1453, 9000][n % 12]))
            .collect();
        let (to, said) = (peers.each_ref().map(|peer| peer.local_addr().unwrap()), sent.clone());
        runtime
            .block_on(async move {
                let socket =
                    UdpSocket::new(bind_udp("127.0.0.1:0".parse().unwrap(), &SOCKET, false).unwrap());
                let mut outbox = Outbox::default();
                let mut left = 0;
                for (n, (place, len)) in said.iter().enumerate() {
                    let bytes = vec![n as u8; *len];
                    let datagram = Datagram { bytes: &bytes, from: None, to: None, segment: None };
                    if !outbox.push(&datagram, Some(to[*place]), None) {
                        left += socket.send(&mut outbox, |error, _| panic!("{error}")).datagrams;
                        assert!(outbox.is_empty() && outbox.push(&datagram, Some(to[*place]), None));
                    }
                }
                left += socket.send(&mut outbox, |error, _| panic!("{error}")).datagrams;
                assert_eq!(left, said.len());
            })
            .unwrap();
        let mut piece = [0; 65536];
        for (n, (place, len)) in sent.iter().enumerate() {
            assert_eq!(peers[*place].recv(&mut piece).unwrap(), *len, "datagram {n}");
            assert!(piece[..*len].iter().all(|byte| *byte == n as u8));
        }
    });
}

#[test]
fn what_is_longer_than_its_room_is_counted_and_never_handed_out() {
    on_both(|runtime| {
        runtime
            .block_on(async {
                let socket =
                    UdpSocket::new(bind_udp("127.0.0.1:0".parse().unwrap(), &SOCKET, false).unwrap());
                let peer = plain();
                for len in [1000, 1001, 3000, 1] {
                    peer.send_to(&vec![7; len], socket.local().unwrap()).unwrap();
                }
                let mut batch = Batch::new(8, 1000);
                socket.recv(&mut batch).await.unwrap();
                let sizes: Vec<usize> = batch.iter().map(|datagram| datagram.bytes.len()).collect();
                assert_eq!((&sizes[..], batch.cut()), (&[1000, 1][..], 2));
            })
            .unwrap();
    });
}

#[test]
fn who_has_stopped_to_hear_takes_nothing_from_others_and_still_answers() {
    on_both(|runtime| {
        for host in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
            runtime
                .block_on(async move {
                    let bind =
                        |port, ours| bind_udp(format!("{host}:{port}").parse().unwrap(), &SOCKET, ours);
                    let old = UdpSocket::new(bind(0, false).unwrap());
                    let port = old.local().unwrap().port();
                    let loopback = if host.contains(':') { "[::1]" } else { "127.0.0.1" };
                    let client = || {
                        let client = Plain::bind(format!("{loopback}:0")).unwrap();
                        client.connect(format!("{loopback}:{port}")).unwrap();
                        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                        client
                    };
                    let early = client();
                    early.send(b"early").unwrap();
                    old.stop_hearing().unwrap();
                    let mut batch = Batch::new(8, 1000);
                    old.recv(&mut batch).await.unwrap();
                    assert_eq!(batch.iter().next().unwrap().bytes, b"early");
                    let late = client();
                    late.send(b"nobody?").unwrap();
                    let error = late.recv(&mut [0; 9]).unwrap_err();
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                    let new = UdpSocket::new(bind(port, true).unwrap());
                    for n in 0..50u8 {
                        client().send(&[n]).unwrap();
                        let mut batch = Batch::new(8, 1000);
                        new.recv(&mut batch).await.unwrap();
                        assert_eq!(batch.iter().next().unwrap().bytes, [n]);
                    }
                    let mut outbox = Outbox::default();
                    let asked = batch.iter().next().unwrap();
                    outbox.push(&asked, asked.from, asked.to);
                    old.send(&mut outbox, |error, _| panic!("{error}"));
                    let mut answer = [0; 9];
                    assert_eq!(early.recv(&mut answer).unwrap(), 5);
                })
                .unwrap();
        }
    });
}
