//! Datagrams against plain sockets of the standard library, on both drivers.

use std::net::{SocketAddr, UdpSocket as Plain};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Batch, Choice, Gauges, Options, Runtime, SocketOptions, UdpSocket, bind_udp, sleep};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 0, receive_buffer: None, send_buffer: None, shared: true };

fn on_both(test: impl Fn(Runtime)) {
    for choice in [Choice::Auto, Choice::Epoll] {
        let options = Options { choice, ..Options::default() };
        test(Runtime::new(&options, Arc::new(Gauges::default())).expect("a loop"));
    }
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
                let mut batch = Batch::new(16);
                let mut seen = 0;
                while seen < 200 {
                    socket.recv(&mut batch).await.unwrap();
                    for datagram in batch.iter() {
                        assert!(!datagram.cut);
                        seen += 1;
                        assert!(
                            socket
                                .send(datagram.bytes, datagram.from, datagram.to, datagram.segment)
                                .unwrap()
                        );
                    }
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
                socket.send(b"anybody?", None, None, None).unwrap();
                let mut batch = Batch::new(1);
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
                assert!(socket.send(&[7; 2500], None, None, Some(1000)).unwrap());
                // Dropped while it is watched, more than once.
                for _ in 0..100 {
                    let socket = UdpSocket::connect(to).unwrap();
                    let mut batch = Batch::new(1);
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
    });
}
