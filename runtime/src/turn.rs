//! The loop: run what is ready, fire what is due, hand operations to the kernel and wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use crate::buffers::{Draft, Region};
use crate::clock::Nanos;
use crate::conn::{Conn, Side};
use crate::driver::{self, Choice, Driver, Picked};
use crate::gauges::Gauges;
use crate::listener::Listening;
use crate::pipes::Pipes;
use crate::precise::Precise;
use crate::sending::SendOp;
use crate::sys::EventFd;
use crate::task::{self, Remote, Tasks};
use crate::udp::Watched;
use crate::wheel::{Owner, TimerId, Wheel};

/// Send operations kept for reuse.
const SPARE_OPS_MAX: usize = 512;
/// Timers that may fire at once before the list of them grows.
const FIRED_ROOM: usize = 64;
/// How often the gauges are told that take a look at the pools.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// How long a stopping loop waits for the kernel to return what is in flight.
const RETURN_MAX: Duration = Duration::from_secs(2);

/// How a loop is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which driver.
    pub choice: Choice,
    /// Bytes of a receive buffer.
    pub buffer_size: u32,
    /// Buffers in all: half for what clients send, half for what upstreams answer and heads made here. 32 to 32768.
    pub buffer_count: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options { choice: Choice::Auto, buffer_size: 16 << 10, buffer_count: 640 }
    }
}

/// One event loop, on the thread that made it.
pub struct Runtime {
    core: Rc<Core>,
    picked: Picked,
}

pub(crate) struct Core {
    pub worker: u16,
    pub tasks: RefCell<Tasks>,
    pub wheel: RefCell<Wheel>,
    pub precise: RefCell<Precise>,
    sleepers: RefCell<Vec<Option<Waker>>>,
    pub driver: RefCell<Driver>,
    pub conns: RefCell<Places<Conn>>,
    pub listeners: RefCell<Places<Listening>>,
    pub watched: RefCell<Places<Watched>>,
    pub regions: [Rc<Region>; 2],
    pub starved: [RefCell<VecDeque<Rc<Conn>>>; 2],
    /// Boxed, since the kernel knows their addresses.
    #[allow(clippy::vec_box)]
    pub spare_ops: RefCell<Vec<Box<SendOp>>>,
    pub pipes: RefCell<Pipes>,
    pub remote: Arc<Remote>,
    pub gauges: Arc<Gauges>,
    fired: RefCell<Vec<Owner>>,
    by_polling: bool,
    /// When the gauges that cost a look were last told.
    told: Cell<Nanos>,
}

impl Runtime {
    /// Makes a loop for this thread. `gauges` is where it tells about itself.
    pub fn new(options: &Options, gauges: Arc<Gauges>) -> io::Result<Runtime> {
        let half = (options.buffer_count / 2).max(16);
        let regions = [Region::pool(options.buffer_size, half), Region::pool(options.buffer_size, half)];
        let (worker, remote) = Remote::register(EventFd::new()?)?;
        let (driver, picked) = driver::open(options.choice, remote.event(), &regions)?;
        let now = Nanos::precise();
        let by_polling = matches!(driver, Driver::Epoll(_));
        let core = Rc::new(Core {
            worker,
            tasks: RefCell::default(),
            wheel: RefCell::new(Wheel::new(now)),
            precise: RefCell::default(),
            sleepers: RefCell::default(),
            driver: RefCell::new(driver),
            conns: RefCell::default(),
            listeners: RefCell::default(),
            watched: RefCell::default(),
            regions,
            starved: [RefCell::default(), RefCell::default()],
            spare_ops: RefCell::new(Vec::with_capacity(SPARE_OPS_MAX)),
            pipes: RefCell::default(),
            remote,
            gauges,
            fired: RefCell::new(Vec::with_capacity(FIRED_ROOM)),
            by_polling,
            told: Cell::new(Nanos(0)),
        });
        Ok(Runtime { core, picked })
    }

    /// Which driver it runs on.
    pub fn picked(&self) -> &Picked {
        &self.picked
    }

    /// Runs `main`, and what it spawns, until `main` ends; tasks that are left are dropped then.
    pub fn block_on(&self, main: impl Future<Output = ()> + 'static) -> io::Result<()> {
        let core = &self.core;
        let _entered = task::enter(core.clone());
        task::set_now(Nanos::precise());
        let done = Rc::new(Cell::new(false));
        let flag = done.clone();
        core.tasks.borrow_mut().add(Box::pin(async move {
            main.await;
            flag.set(true);
        }));
        loop {
            core.precise.borrow_mut().fire(task::now());
            task::run_ready(core);
            if done.get() {
                break;
            }
            core.fire_due();
            if let Err(error) = self.turn() {
                let left = core.tasks.borrow_mut().take_all();
                drop(left);
                return Err(error);
            }
        }
        self.wind_up()
    }

    fn turn(&self) -> io::Result<()> {
        let core = &self.core;
        core.feed_starved();
        let ended = Nanos::precise();
        let (mut spins, mut never_late) = (false, false);
        let until = match core.tasks.borrow().any_ready() {
            true => Some(Nanos(0)),
            false => {
                let precise = core.precise.borrow().wake_at();
                // Also where the wheel's time comes first: the precise one may be within the same millisecond.
                never_late = precise.is_some();
                spins = precise.is_some_and(|wake_at| wake_at.spins && wake_at.time <= ended);
                let next = earlier(core.wheel.borrow_mut().next(), precise.map(|wake_at| wake_at.time));
                if spins { Some(Nanos(0)) } else { next }
            }
        };
        core.note_busy(ended);
        driver::turn(core, ended, until, never_late)?;
        if spins && !core.tasks.borrow().any_ready() {
            Gauges::add(&core.gauges.spun_ns, task::now().since(ended).as_nanos() as u64);
        }
        Ok(())
    }

    /// Drops what is left and waits until the kernel has returned every operation.
    fn wind_up(&self) -> io::Result<()> {
        let core = &self.core;
        let left = core.tasks.borrow_mut().take_all();
        drop(left);
        core.starved.iter().for_each(|line| line.borrow_mut().clear());
        let deadline = Nanos::precise().after(RETURN_MAX);
        // At least once: the last closes may not have been handed over yet.
        driver::turn(core, Nanos(0), Some(Nanos(0)), false)?;
        let in_flight = || {
            !core.conns.borrow().is_empty()
                || !core.listeners.borrow().is_empty()
                || !core.watched.borrow().is_empty()
        };
        while in_flight() && Nanos::precise() < deadline {
            let now = Nanos::precise();
            driver::turn(core, now, Some(now.after(Duration::from_millis(20))), false)?;
        }
        // Once more for the closes that the last completions led to.
        driver::turn(core, Nanos(0), Some(Nanos(0)), false)
    }
}

impl Core {
    /// The number of this turn.
    pub fn turn(&self) -> u64 {
        self.gauges.turns.load(Relaxed)
    }

    /// The wait is over: reads the clock once for the whole turn.
    pub fn turn_begins(&self) {
        let now = Nanos::precise();
        task::set_now(now);
        Gauges::add(&self.gauges.turns, 1);
        Gauges::set(&self.gauges.last_turn_ns, now.0);
    }

    fn note_busy(&self, ended: Nanos) {
        let busy = ended.since(task::now()).as_nanos() as u64;
        let gauges = &self.gauges;
        Gauges::add(&gauges.busy_ns, busy);
        if busy > gauges.turn_max_ns.load(Relaxed) {
            Gauges::set(&gauges.turn_max_ns, busy);
        }
        if ended.since(self.told.get()) < TELL_EVERY {
            return;
        }
        self.told.set(ended);
        Gauges::set(&gauges.connections, self.conns.borrow().len() as u64);
        Gauges::set(&gauges.tasks, self.tasks.borrow().live() as u64);
        let taken = self.regions.iter().map(|r| r.count() - r.free()).sum::<usize>();
        Gauges::set(
            &gauges.buffers_in_use,
            (taken - self.driver.borrow().provided().iter().sum::<usize>()) as u64,
        );
    }

    /// Wakes as many connections of the lines as there are buffers for, in order.
    fn feed_starved(&self) {
        for (side, line) in self.starved.iter().enumerate() {
            if line.borrow().is_empty() {
                continue;
            }
            let buffers = self.regions[side].free() + self.driver.borrow().provided()[side];
            for _ in 0..buffers {
                // Those that went away in the line leave their turn to the next.
                let next = || line.borrow_mut().pop_front();
                let Some(conn) = std::iter::from_fn(next).find(|conn| !conn.dropped.get()) else { break };
                conn.rx.borrow_mut().starved = false;
                // Whoever is not asking just now (a pooled connection, for one) goes on watching too; but who has as
                // much as may wait goes on when some of it was taken.
                let may_arm = conn.rx.borrow().may_arm(&self.regions[side]);
                if may_arm {
                    driver::arm(self, &conn);
                }
                conn.rx.borrow_mut().wake();
            }
        }
    }

    fn fire_due(&self) {
        let mut fired = self.fired.borrow_mut();
        self.wheel.borrow_mut().advance(task::now(), &mut fired);
        for owner in fired.drain(..) {
            match owner {
                Owner::Conn(place) => {
                    let conn = self.conns.borrow().get(place).cloned();
                    if let Some(conn) = conn {
                        conn.fire();
                    }
                }
                Owner::Sleep(number) => {
                    let waker = self.sleepers.borrow_mut().get_mut(number as usize).and_then(Option::take);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
        }
    }

    pub fn set_sleeper(&self, timer: TimerId, waker: Waker) {
        let mut sleepers = self.sleepers.borrow_mut();
        let place = timer.number() as usize;
        if sleepers.len() <= place {
            sleepers.resize(place + 1, None);
        }
        sleepers[place] = Some(waker);
    }

    pub fn recycle(&self, mut op: Box<SendOp>) {
        op.begin_list();
        op.more.clear();
        let mut spare = self.spare_ops.borrow_mut();
        if spare.len() < SPARE_OPS_MAX {
            spare.push(op);
        }
    }

    pub fn draft(&self) -> Draft {
        Draft::from_pool(&self.regions[Side::Upstream as usize])
    }

    /// The pool that connections of this side receive into.
    #[inline]
    pub fn region(&self, side: Side) -> &Region {
        &self.regions[side as usize]
    }

    pub fn scarce(&self) -> bool {
        self.regions.iter().any(|region| region.is_scarce())
    }

    pub fn polls_itself(&self) -> bool {
        self.by_polling
    }
}

impl Drop for Core {
    /// What the kernel has not returned in time stays allocated for good: it may still be read or written.
    #[expect(clippy::disallowed_methods, reason = "the kernel is the owner that cannot be named")]
    fn drop(&mut self) {
        let conns = self.conns.get_mut();
        if !conns.is_empty() {
            std::mem::forget(std::mem::take(conns));
            self.regions.iter().for_each(|region| std::mem::forget(region.clone()));
        }
    }
}

/// Things kept at numbered places.
pub(crate) struct Places<T> {
    all: Vec<Option<Rc<T>>>,
    spare: Vec<u32>,
    live: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Places<T> {
        Places { all: Vec::new(), spare: Vec::new(), live: 0 }
    }
}

impl<T> Places<T> {
    /// A free place, the caller's to fill.
    pub fn vacant(&mut self) -> u32 {
        self.live += 1;
        self.spare.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() as u32 - 1
        })
    }

    pub fn fill(&mut self, place: u32, value: Rc<T>) {
        self.all[place as usize] = Some(value);
    }

    #[inline]
    pub fn get(&self, place: u32) -> Option<&Rc<T>> {
        self.all.get(place as usize)?.as_ref()
    }

    pub fn remove(&mut self, place: u32) {
        if self.all[place as usize].take().is_some() {
            self.live -= 1;
            self.spare.push(place);
        }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

fn earlier(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Pins the calling thread to the `n`th core that the process may use. Returns the core's number.
pub fn pin_to_core(n: usize) -> Option<usize> {
    let cores = core_affinity::get_core_ids()?;
    let core = *cores.get(n % cores.len().max(1))?;
    core_affinity::set_for_current(core).then_some(core.id)
}

/// Pins the calling thread to the CPU of this number; false if it may not use it (see [`usable_cpus`]).
pub fn pin_to_cpu(cpu: usize) -> bool {
    usable_cpus().contains(&cpu) && core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// Numbers of the CPUs that the calling thread may use: those of the process, or the one it is pinned to.
pub fn usable_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// How many cores the process may use; at least one.
pub fn usable_cores() -> usize {
    core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_the_cpu_that_was_named_and_to_no_other() {
        let all = usable_cpus();
        assert!(!all.is_empty());
        for cpu in all {
            // Threads of their own: being pinned stays with a thread.
            let pinned = std::thread::spawn(move || (pin_to_cpu(cpu), usable_cpus()));
            assert_eq!(pinned.join().unwrap(), (true, vec![cpu]));
        }
        let nowhere = std::thread::spawn(|| (pin_to_cpu(1 << 20), usable_cpus()));
        assert_eq!(nowhere.join().unwrap(), (false, usable_cpus()));
    }
}
