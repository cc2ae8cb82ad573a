//! Tasks of one worker: a table, a ready queue, wakers that are numbers, and sleeping.
//!
//! A waker holds no reference: it names a worker, a task and the task's generation. Waking from the worker's own
//! thread marks the task ready; from another thread it goes through the worker's [`Remote`] and its event
//! descriptor. A waker of a task that has ended does nothing.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use crate::buffers::Draft;
use crate::clock::Nanos;
use crate::sys::EventFd;
use crate::turn::Core;
use crate::wheel::TimerId;

/// A future as the table holds it.
type Boxed = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    spare: Vec<u32>,
    ready: VecDeque<u32>,
    live: usize,
}

struct Slot {
    generation: u16,
    queued: bool,
    /// Absent while it is being polled, or when the slot is spare.
    future: Option<Boxed>,
}

/// Which task of which worker; what a waker carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(u64);

impl TaskId {
    fn new(worker: u16, generation: u16, index: u32) -> TaskId {
        TaskId(u64::from(worker) << 48 | u64::from(generation) << 32 | u64::from(index))
    }

    fn worker(self) -> u16 {
        (self.0 >> 48) as u16
    }

    fn generation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    fn index(self) -> u32 {
        self.0 as u32
    }
}

impl Tasks {
    pub fn add(&mut self, future: Boxed) {
        self.live += 1;
        let index = match self.spare.pop() {
            Some(index) => {
                self.slots[index as usize].future = Some(future);
                index
            }
            None => {
                self.slots.push(Slot { generation: 0, queued: false, future: Some(future) });
                self.slots.len() as u32 - 1
            }
        };
        self.slots[index as usize].queued = true;
        self.ready.push_back(index);
    }

    pub fn live(&self) -> usize {
        self.live
    }

    pub fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The next ready task, out of its slot while it is polled.
    fn next(&mut self, worker: u16) -> Option<(TaskId, Option<Boxed>)> {
        let index = self.ready.pop_front()?;
        let slot = &mut self.slots[index as usize];
        slot.queued = false;
        Some((TaskId::new(worker, slot.generation, index), slot.future.take()))
    }

    fn put_back(&mut self, id: TaskId, future: Boxed) {
        self.slots[id.index() as usize].future = Some(future);
    }

    fn end(&mut self, id: TaskId) {
        let slot = &mut self.slots[id.index() as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.live -= 1;
        self.spare.push(id.index());
    }

    #[inline]
    pub fn wake(&mut self, id: TaskId) {
        if let Some(slot) = self.slots.get_mut(id.index() as usize)
            && slot.generation == id.generation()
            && !slot.queued
        {
            slot.queued = true;
            self.ready.push_back(id.index());
        }
    }

    /// Every future, to be dropped by the caller while no borrow is held.
    pub fn take_all(&mut self) -> Vec<Boxed> {
        self.slots.iter_mut().filter_map(|slot| slot.future.take()).collect()
    }
}

/// Polls the tasks that are ready now; those woken meanwhile have their turn after the next look at the kernel.
pub(crate) fn run_ready(core: &Core) {
    let count = core.tasks.borrow().ready_count();
    for _ in 0..count {
        let next = core.tasks.borrow_mut().next(core.worker);
        let Some((id, future)) = next else { break };
        let Some(mut future) = future else { continue };
        let waker = std::mem::ManuallyDrop::new(waker(id));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => core.tasks.borrow_mut().put_back(id, future),
            Poll::Ready(()) => {
                drop(future);
                core.tasks.borrow_mut().end(id);
            }
        }
    }
}

const VTABLE: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake_raw, wake_raw, |_| {});

fn waker(id: TaskId) -> Waker {
    const { assert!(size_of::<usize>() == 8, "a waker's number needs 64 bits") };
    let data = std::ptr::without_provenance(id.0 as usize);
    // SAFETY: the table's functions treat the data as a number only, so they may be called on any thread, any number
    // of times; there is nothing to own or free.
    unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
}

fn wake_raw(data: *const ()) {
    let id = TaskId(data.addr() as u64);
    if !with_core(|core| core.worker == id.worker() && core.wake(id)) {
        wake_remote(id);
    }
}

impl Core {
    #[inline]
    fn wake(&self, id: TaskId) -> bool {
        self.tasks.borrow_mut().wake(id);
        true
    }
}

/// What other threads reach of a worker.
pub(crate) struct Remote {
    woken: Mutex<Vec<TaskId>>,
    event: EventFd,
}

static REMOTES: RwLock<Vec<Weak<Remote>>> = RwLock::new(Vec::new());

impl Remote {
    /// Registers a new worker; its number is unique in the process.
    pub fn register(event: EventFd) -> std::io::Result<(u16, Arc<Remote>)> {
        let remote = Arc::new(Remote { woken: Mutex::new(Vec::new()), event });
        let mut all = REMOTES.write().unwrap_or_else(|e| e.into_inner());
        let number = match all.iter().position(|r| r.strong_count() == 0) {
            Some(place) => {
                all[place] = Arc::downgrade(&remote);
                place
            }
            None => {
                all.push(Arc::downgrade(&remote));
                all.len() - 1
            }
        };
        let number = u16::try_from(number).map_err(|_| std::io::Error::other("too many event loops"))?;
        Ok((number, remote))
    }

    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Moves what other threads woke to the ready queue. The bell falls silent before the list is emptied: what is
    /// added to an empty list after that rings anew.
    pub fn drain(&self, tasks: &mut Tasks) {
        self.event.drain();
        let mut woken = self.woken.lock().unwrap_or_else(|e| e.into_inner());
        for id in woken.drain(..) {
            tasks.wake(id);
        }
    }
}

fn wake_remote(id: TaskId) {
    let all = REMOTES.read().unwrap_or_else(|e| e.into_inner());
    let Some(remote) = all.get(id.worker() as usize).and_then(Weak::upgrade) else { return };
    let mut woken = remote.woken.lock().unwrap_or_else(|e| e.into_inner());
    woken.push(id);
    if woken.len() == 1 {
        remote.event.ring();
    }
}

thread_local! {
    static NOW: Cell<Nanos> = const { Cell::new(Nanos(0)) };
    static CURRENT: Cell<Option<Rc<Core>>> = const { Cell::new(None) };
}

/// Makes `core` the one of this thread until the guard is dropped.
pub(crate) fn enter(core: Rc<Core>) -> Entered {
    let earlier = CURRENT.replace(Some(core));
    assert!(earlier.is_none(), "one event loop a thread");
    Entered
}

pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Whether `f` ran on this thread's core and said yes.
fn with_core(f: impl FnOnce(&Core) -> bool) -> bool {
    CURRENT
        .try_with(|current| {
            let core = current.take();
            let answer = core.as_deref().is_some_and(f);
            current.set(core);
            answer
        })
        .unwrap_or(false)
}

/// This thread's core. Panics outside of [`crate::Runtime::block_on`].
pub(crate) fn current() -> Rc<Core> {
    CURRENT.with(|current| {
        let core = current.take();
        let clone = core.clone();
        current.set(core);
        clone.expect("called within an event loop")
    })
}

/// Starts a task on this worker. Panics outside of an event loop.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    current().tasks.borrow_mut().add(Box::pin(future));
}

/// The time this turn of the loop began; zero on a thread without an event loop.
#[inline]
pub fn now() -> Nanos {
    NOW.get()
}

/// The loop's time moves on.
pub(crate) fn set_now(now: Nanos) {
    NOW.set(now);
}

/// Whether fewer than an eighth of a pool's buffers are free. What arrives is moved to memory of its own then; a
/// connection should not have much of it waiting.
pub fn scarce() -> bool {
    with_core(|core| core.scarce())
}

/// Waits coarsely (in steps of about 8 ms, never less than `duration`).
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now().after(duration))
}

/// Waits until `deadline`; may be moved. Coarse, as [`sleep`].
pub fn sleep_until(deadline: Nanos) -> Sleep {
    let core = current();
    let timer = core.wheel.borrow_mut().add_sleep();
    Sleep { core, timer, deadline }
}

/// A buffer of this worker's to write a head into.
pub fn draft() -> Draft {
    current().draft()
}

/// See [`sleep`].
pub struct Sleep {
    core: Rc<Core>,
    timer: TimerId,
    deadline: Nanos,
}

impl Sleep {
    /// Waits until `deadline` instead, for whoever polled it last.
    pub fn move_to(&mut self, deadline: Nanos) {
        self.deadline = deadline;
        self.core.wheel.borrow_mut().set(self.timer, deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        self.core.wheel.borrow_mut().set(self.timer, self.deadline);
        self.core.set_sleeper(self.timer, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.core.wheel.borrow_mut().remove(self.timer);
    }
}
