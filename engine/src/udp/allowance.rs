//! Which datagrams of a batch may pass the rates of their listener and of their clients.
//!
//! Invariant: what a client may not send costs the others nothing: all together are counted after each by itself.

use super::BATCH;
use crate::arrivals::Arrivals;
use crate::observe::{Dropped, WorkerStats};
use crate::snapshot::UdpPlan;
use ringway_runtime::{Batch, Datagram, now};

/// How many of each of a batch's datagrams may pass; several can have come together as one.
pub(super) struct Allowance {
    /// `None`: there is no rate, and all may.
    each: Option<[u16; BATCH]>,
    at: usize,
}

impl Allowance {
    /// Decides for a whole batch, and counts what is dropped.
    pub fn of(batch: &Batch, plan: &UdpPlan, arrivals: &Arrivals, stats: &WorkerStats) -> Allowance {
        if plan.rate.is_none() && plan.client_rate.is_none() {
            return Allowance { each: None, at: 0 };
        }
        let now = now().0;
        let mut each = [0; BATCH];
        let mut passing = 0;
        for (allowed, datagram) in each.iter_mut().zip(batch.iter()) {
            let count = u16::try_from(datagram.count()).unwrap_or(u16::MAX);
            *allowed = match (plan.client_rate, datagram.from) {
                (Some(rate), Some(client)) => {
                    arrivals.of_client(now, rate, client.ip(), u32::from(count)) as u16
                }
                _ => count,
            };
            stats.udp_dropped.add(Dropped::ClientRate, usize::from(count - *allowed));
            passing += u32::from(*allowed);
        }
        if let Some(pace) = plan.rate {
            let mut left = arrivals.of_all(now, pace, passing);
            stats.udp_dropped.add(Dropped::Rate, (passing - left) as usize);
            for allowed in &mut each {
                *allowed = (*allowed).min(u16::try_from(left).unwrap_or(u16::MAX));
                left -= u32::from(*allowed);
            }
        }
        Allowance { each: Some(each), at: 0 }
    }

    /// What of the batch's next datagram may pass.
    pub fn next<'a>(&mut self, datagram: Datagram<'a>) -> Option<Datagram<'a>> {
        let Some(each) = &self.each else { return Some(datagram) };
        let allowed = usize::from(each.get(self.at).copied().unwrap_or(0));
        self.at += 1;
        if allowed == 0 {
            return None;
        }
        if allowed >= datagram.count() {
            return Some(datagram);
        }
        let segment = usize::from(datagram.segment?);
        Some(Datagram { bytes: &datagram.bytes[..allowed * segment], ..datagram })
    }
}
