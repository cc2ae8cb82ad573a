//! Letters from other threads to a worker: a bounded queue and a wake of its loop.
//!
//! The rule when a queue is full: [`Sender::send`] gives the letter back at once; nobody ever waits to send.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use crossbeam_queue::ArrayQueue;

struct Shared<T> {
    queue: ArrayQueue<T>,
    waker: Mutex<Option<Waker>>,
}

/// The sending end; clone it freely.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving end, used by one task.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A mailbox for at most `capacity` letters.
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue: ArrayQueue::new(capacity), waker: Mutex::new(None) });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Posts a letter and wakes the receiving loop; gives it back if the box is full.
    pub fn send(&self, letter: T) -> Result<(), T> {
        self.0.queue.push(letter)?;
        let waker = lock(&self.0.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The next letter, if one is there.
    pub fn try_recv(&self) -> Option<T> {
        self.0.queue.pop()
    }

    /// The next letter. Waits for ever once every sender is gone.
    pub async fn recv(&self) -> T {
        poll_fn(|cx| {
            if let Some(letter) = self.0.queue.pop() {
                return Poll::Ready(letter);
            }
            *lock(&self.0.waker) = Some(cx.waker().clone());
            // A letter posted between the look and the waker's arrival would be slept over.
            match self.0.queue.pop() {
                Some(letter) => Poll::Ready(letter),
                None => Poll::Pending,
            }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Gauges, Options, Runtime};

    #[test]
    fn a_full_mailbox_gives_the_letter_back() {
        let (sender, _receiver) = mailbox(1);
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Err(2));
    }

    #[test]
    fn letters_from_another_thread_wake_a_sleeping_loop_in_order() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let (sender, receiver) = mailbox(8);
            let posting = std::thread::spawn(move || {
                for n in 0..1000u32 {
                    let mut letter = n;
                    while let Err(back) = sender.send(letter) {
                        letter = back;
                        std::thread::yield_now();
                    }
                }
            });
            let options = Options { choice, ..Options::default() };
            let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
            runtime
                .block_on(async move {
                    for n in 0..1000 {
                        assert_eq!(receiver.recv().await, n);
                    }
                })
                .unwrap();
            posting.join().unwrap();
        }
    }

    #[test]
    fn a_wake_that_meets_the_loop_draining_its_bell_is_not_lost() {
        for choice in [Choice::Auto, Choice::Epoll] {
            let options = Options { choice, ..Options::default() };
            let runtime = Runtime::new(&options, Arc::new(Gauges::default())).unwrap();
            let (mut posting, mut asked_and_answered) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let (there, asked) = mailbox(1);
                let (back, answers) = std::sync::mpsc::channel();
                asked_and_answered.push((asked, back));
                // Each letter is answered before the next, so one lost wake stops its thread.
                posting.push(std::thread::spawn(move || {
                    for n in 0..10_000u32 {
                        assert_eq!(there.send(n), Ok(()));
                        assert_eq!(answers.recv_timeout(std::time::Duration::from_secs(5)), Ok(n));
                    }
                }));
            }
            runtime
                .block_on(async move {
                    let (done, ended) = mailbox(3);
                    for (asked, back) in asked_and_answered {
                        let done = done.clone();
                        crate::spawn(async move {
                            for _ in 0..10_000 {
                                let _ = back.send(asked.recv().await);
                            }
                            let _ = done.send(());
                        });
                    }
                    for _ in 0..3 {
                        ended.recv().await;
                    }
                })
                .unwrap();
            posting.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}
