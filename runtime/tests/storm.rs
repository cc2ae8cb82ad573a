//! Many connections doing random things at once: bytes stay whole and in order, nobody stalls, all comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_runtime::{
    Address, Choice, Gauges, Lease, Listener, Options, Runtime, SendList, SocketOptions, Stream, bind,
    mailbox, now, sleep, spawn,
};

const SOCKET: SocketOptions =
    SocketOptions { backlog: 4096, receive_buffer: None, send_buffer: None, shared: true };

/// A small generator of its own: the same storm every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Descriptors are counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn on_both(options: Options, test: impl Fn(&Runtime, Arc<Gauges>)) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for choice in [Choice::Auto, Choice::Epoll] {
        let gauges = Arc::new(Gauges::default());
        let runtime = Runtime::new(&Options { choice, ..options }, gauges.clone()).expect("a loop");
        eprintln!("on {:?}", runtime.picked());
        test(&runtime, gauges);
    }
}

fn listen() -> (SocketAddr, impl FnOnce() -> Listener + Send) {
    let bound = bind(&Address::Ip("127.0.0.1:0".parse().unwrap()), &SOCKET, false).unwrap();
    let Address::Ip(address) = bound.local().unwrap() else { unreachable!() };
    (address, move || Listener::new(bound).unwrap())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Byte `at` of what connection `n` sends.
fn byte(n: u64, at: u64) -> u8 {
    (n.wrapping_mul(131) ^ at.wrapping_mul(31) ^ (at >> 8)) as u8
}

fn bytes(n: u64, from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(|at| byte(n, at)).collect()
}

/// Sends `total` bytes in random pieces, now and then waiting, then half closes.
async fn talk(stream: &Stream, n: u64, total: u64, mut dice: Dice) -> std::io::Result<()> {
    let mut at = 0;
    while at < total {
        let mut list = SendList::new();
        for _ in 0..=dice.roll(24) {
            let len = (1 + dice.roll(3000)).min(total - at);
            list.push(Lease::copy_of(&bytes(n, at, len)));
            at += len;
        }
        stream.send(list);
        match dice.roll(4) {
            0 => stream.flushed().await?,
            1 => sleep(Duration::from_millis(dice.roll(20))).await,
            _ => stream.flushed_to(8000).await?,
        }
    }
    stream.flushed().await?;
    stream.shutdown_write();
    Ok(())
}

/// Takes bytes, now and then pausing, until the end or, for some, until it loses interest. Whether it came to the end.
async fn hear(stream: &Stream, n: u64, total: u64, mut dice: Dice, fickle: bool) -> bool {
    let mut at = 0;
    loop {
        stream.set_deadline(now().after(Duration::from_secs(20)));
        let lease = match stream.recv().await {
            Ok(lease) => lease,
            Err(error) if fickle => {
                assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "connection {n} stalled at {at}");
                return false;
            }
            Err(error) => panic!("connection {n} at {at} of {total}: {error}"),
        };
        if lease.is_end() {
            assert!(fickle || at == total, "connection {n} ended at {at} of {total}");
            return at == total;
        }
        for (i, b) in lease.iter().enumerate() {
            assert_eq!(*b, byte(n, at + i as u64), "connection {n} at {}", at + i as u64);
        }
        at += lease.len() as u64;
        if dice.roll(8) == 0 {
            sleep(Duration::from_millis(dice.roll(10))).await;
        }
        if fickle && dice.roll(6) == 0 {
            return false;
        }
    }
}

#[test]
fn a_storm_of_connections_keeps_every_byte_and_gives_everything_back() {
    const WAVES: u64 = 4;
    const WAVE: u64 = 400;
    for buffer_count in [64, 1024] {
        let options = Options { buffer_count, buffer_size: 4096, ..Options::default() };
        on_both(options, |runtime, gauges| {
            let before = descriptors();
            runtime
                .block_on(async move {
                    let (address, listener) = listen();
                    let listener = listener();
                    for wave in 0..WAVES {
                        let (done, ended) = mailbox::mailbox(WAVE as usize * 2);
                        for n in wave * WAVE..(wave + 1) * WAVE {
                            let client =
                                Stream::connect(&Address::Ip(address), now().after(Duration::from_secs(5)))
                                    .await
                                    .unwrap();
                            let server = listener.accept().await.unwrap();
                            let mut dice = Dice(0x9e37_79b9 + n * 7919);
                            let (total, fickle) = (dice.roll(60_000), dice.roll(4) == 0);
                            let finished = done.clone();
                            spawn(async move {
                                let told = talk(&client, n, total, Dice(n + 1)).await;
                                assert!(fickle || told.is_ok(), "connection {n}: {told:?}");
                                let _ = finished.send(());
                            });
                            let finished = done.clone();
                            spawn(async move {
                                hear(&server, n, total, Dice(n + 77), fickle).await;
                                let _ = finished.send(());
                            });
                        }
                        for _ in 0..WAVE * 2 {
                            ended.recv().await;
                        }
                    }
                    for _ in 0..200 {
                        sleep(Duration::from_millis(10)).await;
                        if gauges.connections.load(Relaxed) == 0 {
                            break;
                        }
                    }
                    assert_eq!(gauges.connections.load(Relaxed), 0);
                    assert_eq!(gauges.buffers_in_use.load(Relaxed), 0);
                })
                .unwrap();
            assert_eq!(descriptors(), before);
        });
    }
}

#[test]
fn thousands_that_speak_at_once_are_all_answered_while_one_never_stops() {
    let (_, limit) = ringway_runtime::raise_fd_limit().unwrap();
    let count = 2500.min(limit as usize / 2 - 100);
    let options = Options { buffer_count: 256, buffer_size: 4096, ..Options::default() };
    on_both(options, |runtime, _| {
        let (address, listener) = listen();
        let (done, ended) = mailbox::mailbox(1);
        let clients = std::thread::spawn(move || {
            let noisy = TcpStream::connect(address).unwrap();
            noisy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            let mut writer = noisy.try_clone().unwrap();
            let noise = std::thread::spawn(move || while writer.write_all(&[0; 64 << 10]).is_ok() {});
            let mut reader = noisy.try_clone().unwrap();
            let draining = std::thread::spawn(move || {
                let mut scratch = vec![0; 256 << 10];
                while matches!(reader.read(&mut scratch), Ok(n) if n > 0) {}
            });
            let streams: Vec<_> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
            for round in 0..3 {
                for (i, mut stream) in streams.iter().enumerate() {
                    stream.write_all(format!("{round}:{i:0>60}").as_bytes()).unwrap();
                }
                for (i, mut stream) in streams.iter().enumerate() {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let mut got = [0; 62];
                    stream.read_exact(&mut got).unwrap();
                    assert_eq!(got, format!("{round}:{i:0>60}").as_bytes());
                }
            }
            let _ = noisy.shutdown(std::net::Shutdown::Both);
            let _ = done.send(());
            noise.join().unwrap();
            draining.join().unwrap();
        });
        runtime
            .block_on(async move {
                let listener = listener();
                spawn(async move {
                    while let Ok(stream) = listener.accept().await {
                        spawn(async move {
                            while let Ok(lease) = stream.recv().await {
                                if lease.is_end() {
                                    return;
                                }
                                stream.send(lease);
                                if stream.flushed().await.is_err() {
                                    return;
                                }
                            }
                        });
                    }
                });
                ended.recv().await;
            })
            .unwrap();
        clients.join().unwrap();
    });
}
