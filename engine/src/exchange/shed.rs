//! Before a route's action: whether there is too much to do for a request of its priority.

use super::{Exchange, Stop};
use crate::reason::Reason;
use crate::snapshot::RoutePlan;

impl Exchange<'_> {
    /// Turns the request away where the worker is under such a pressure.
    #[inline]
    pub(super) fn shed_by(&self, route: &RoutePlan) -> Result<(), Stop> {
        if !self.worker.pressure().sheds(route.priority) {
            return Ok(());
        }
        self.worker.stats.shed(route.priority).increment();
        self.current.route_counters(self.seen.route, None).shed.increment();
        Err(Reason::Overloaded.into())
    }
}
