//! A worker's pipes for [`crate::splice`]: a bounded number, kept while empty.
//!
//! A pipe is two descriptors and room for a piece. It is there to save work, never to be had at the cost of others: the upper
//! half of the descriptors is left to connections, and who finds no pipe goes through leases.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::gauges::Gauges;
use crate::net::fd_limit;
use crate::splice::PIECE_MAX;
use crate::sys;

/// Pipes of a worker in all: as many as ways whose receiver is slow, since only they hold one.
const PIPES_MAX: usize = 256;
/// Empty pipes that are kept for whoever comes next.
const SPARE_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Pipes {
    spare: Vec<Pipe>,
    /// Those taken and the spare ones.
    open: usize,
}

pub(crate) struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

impl Pipes {
    /// An empty pipe, if one is to be had.
    pub fn take(&mut self, gauges: &Gauges) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.open == PIPES_MAX {
            return None;
        }
        let pipe = Pipe::open(fd_limit().unwrap_or(0)).ok()?;
        self.count(self.open + 1, gauges);
        Some(pipe)
    }

    /// Gives back a pipe that is empty.
    pub fn put_back(&mut self, pipe: Pipe, gauges: &Gauges) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(pipe);
        } else {
            self.close(pipe, gauges);
        }
    }

    /// Closes a pipe with all that is in it.
    pub fn close(&mut self, pipe: Pipe, gauges: &Gauges) {
        drop(pipe);
        self.count(self.open - 1, gauges);
    }

    fn count(&mut self, open: usize, gauges: &Gauges) {
        self.open = open;
        Gauges::set(&gauges.pipes, open as u64);
    }
}

impl Pipe {
    /// New descriptors get the lowest numbers that are free, so a high one tells that many are in use.
    fn open(fds_max: u64) -> io::Result<Pipe> {
        let (read, write) = sys::pipe()?;
        if write.as_raw_fd() as u64 >= fds_max / 2 {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        // Refused beyond what the kernel lets a user have in pipes.
        sys::set_pipe_size(&write, PIECE_MAX)?;
        Ok(Pipe { read, write })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_only_a_few_empty_ones_are_kept() {
        let (mut pipes, gauges) = (Pipes::default(), Gauges::default());
        let open = || gauges.pipes.load(std::sync::atomic::Ordering::Relaxed) as usize;
        let taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take(&gauges)).collect();
        // As many as the bound, or as this user may have.
        assert!((1..=PIPES_MAX).contains(&taken.len()) && open() == taken.len(), "{}", taken.len());
        let mut taken = taken.into_iter();
        pipes.close(taken.next().unwrap(), &gauges);
        let left = open();
        for pipe in taken {
            pipes.put_back(pipe, &gauges);
        }
        assert_eq!(open(), SPARE_MAX.min(left));
        let again = pipes.take(&gauges).unwrap();
        pipes.put_back(again, &gauges);
        assert_eq!(open(), SPARE_MAX.min(left), "an empty one is used again");
    }

    #[test]
    fn connections_come_before_pipes_where_descriptors_are_few() {
        assert!(Pipe::open(u64::MAX).is_ok());
        assert!(Pipe::open(2).is_err(), "its number is in the upper half");
    }
}
