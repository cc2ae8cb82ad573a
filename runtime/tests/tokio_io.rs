//! A stream as tokio's traits see it, against plain sockets of the standard library, on both drivers.

use std::future::poll_fn;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;

use ringway_runtime::{Address, Choice, Gauges, Nanos, Options, Runtime, Stream, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Runs `ours` on a stream whose other end is `theirs`, on both drivers.
fn between<F: Future<Output = ()> + 'static>(
    theirs: impl Fn(TcpStream) + Clone + Send + 'static,
    ours: impl Fn(TokioIo<Stream>) -> F + Clone + 'static,
) {
    for choice in [Choice::Auto, Choice::Epoll] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(socket.local_addr().unwrap());
        let theirs = theirs.clone();
        let thread = std::thread::spawn(move || theirs(socket.accept().unwrap().0));
        let options = Options { choice, ..Options::default() };
        let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
        let ours = ours.clone();
        let run = runtime.block_on(async move {
            let stream = Stream::connect(&address, Nanos::NEVER).await.unwrap();
            ours(TokioIo::new(stream)).await;
        });
        run.unwrap();
        thread.join().unwrap();
    }
}

async fn write_all(io: &mut TokioIo<Stream>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[taken..];
    }
}

async fn read_some(io: &mut TokioIo<Stream>, room: usize) -> Vec<u8> {
    let mut bytes = vec![0; room];
    let mut buffer = ReadBuf::new(&mut bytes);
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buffer)).await.unwrap();
    let len = buffer.filled().len();
    bytes.truncate(len);
    bytes
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

#[test]
fn what_is_written_in_pieces_arrives_whole_and_comes_back_in_small_reads() {
    const LEN: usize = 700_000;
    let echo = |mut stream: TcpStream| {
        let mut seen = vec![0; LEN];
        stream.read_exact(&mut seen).unwrap();
        assert!(seen == pattern(LEN));
        stream.write_all(&seen).unwrap();
    };
    between(echo, |mut io| async move {
        let bytes = pattern(LEN);
        let (first, rest) = bytes.split_at(5);
        let runs = [IoSlice::new(&first[..2]), IoSlice::new(&first[2..])];
        let taken = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &runs)).await.unwrap();
        assert_eq!(taken, 5);
        for (n, piece) in rest.chunks(997).enumerate() {
            write_all(&mut io, piece).await;
            if n % 50 == 0 {
                poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
            }
        }
        poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
        let mut back = Vec::new();
        loop {
            let some = read_some(&mut io, 313).await;
            if some.is_empty() {
                break;
            }
            back.extend_from_slice(&some);
        }
        assert!(back == bytes);
        // An end stays an end.
        assert!(read_some(&mut io, 1).await.is_empty());
    });
}

#[test]
fn writing_waits_for_a_peer_that_does_not_read_and_goes_on_when_it_does() {
    const LEN: usize = 32 << 20;
    let late = |mut stream: TcpStream| {
        let mut seen = 0;
        let mut room = vec![0; 1 << 16];
        std::thread::sleep(std::time::Duration::from_millis(200));
        loop {
            match stream.read(&mut room).unwrap() {
                0 => break,
                n => seen += n,
            }
        }
        assert_eq!(seen, LEN);
    };
    between(late, |mut io| async move {
        let piece = vec![7; 1 << 16];
        let (mut left, mut waited) = (LEN, false);
        while left > 0 {
            let taken = poll_fn(|cx| {
                let polled = Pin::new(&mut io).poll_write(cx, &piece[..piece.len().min(left)]);
                waited |= polled.is_pending();
                polled
            });
            left -= taken.await.unwrap();
            // Bounded: what may wait, and one more draft.
            assert!(io.get_ref().unsent() <= (256 << 10) + (1 << 16), "{}", io.get_ref().unsent());
        }
        assert!(waited, "a peer that does not read must make the writer wait");
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
    });
}
