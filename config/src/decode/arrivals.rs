//! How often connections and datagrams may come: `client_rate` of a listener's `limits`, `rate` and `client_rate` of `udp`.

use std::time::Duration;

use crate::model::{ArrivalRate, ClientRate, KeySource};
use crate::units::{Problem, duration_text, quota, quoted};

use super::fields::Fields;
use super::{Sink, keys};

/// An empty bucket is full again within this.
const FILL_MAX: Duration = Duration::from_secs(12 * 3600);

/// A field that is an [`ArrivalRate`].
pub(super) fn rate(fields: &Fields<'_>, name: &str, sink: &mut Sink) -> Option<ArrivalRate> {
    arrival_rate(&fields.object(name, sink)?, sink)
}

/// A field that is a [`ClientRate`].
pub(super) fn client_rate(fields: &Fields<'_>, sink: &mut Sink) -> Option<ClientRate> {
    let fields = fields.object("client_rate", sink)?;
    let per = fields.parsed("per", sink, |_, text| match keys::key(text) {
        Ok(KeySource::ClientIp { v4_bits, v6_bits }) => Ok((v4_bits, v6_bits)),
        _ => Err(Problem::new("bad-key", format!("{} is no client's address", quoted(text)))
            .help("write `client_ip`, or with the bits that count `client_ip/24/56`")),
    });
    let (v4_bits, v6_bits) = per?;
    Some(ClientRate { rate: arrival_rate(&fields, sink)?, v4_bits, v6_bits })
}

fn arrival_rate(fields: &Fields<'_>, sink: &mut Sink) -> Option<ArrivalRate> {
    let rate = fields.parsed("rate", sink, |_, text| quota(text))?;
    let burst = fields.integer_or("burst", sink).and_then(|burst| u32::try_from(burst).ok());
    let burst = burst.unwrap_or(rate.count);
    if (rate.period / rate.count).saturating_mul(burst) > FILL_MAX {
        let message = format!("a burst of {burst} takes more than {} to come again", duration_text(FILL_MAX));
        let node = fields.node("burst").or(fields.node("rate"));
        let problem = Problem::new("out-of-range", message).help("write a smaller burst");
        node.into_iter().for_each(|node| sink.problem(node, problem.clone()));
    }
    Some(ArrivalRate { rate, burst })
}
