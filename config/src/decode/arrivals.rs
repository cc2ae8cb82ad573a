//! How often connections and datagrams may come: `client_rate` of a listener's `limits`, `rate` and `client_rate` of `udp`.

use std::time::Duration;

use crate::model::{ArrivalRate, ClientRate, KeySource};
use crate::units::{Problem, integer, quoted};

use super::fields::Fields;
use super::{Sink, keys};

/// The most a second that is told apart from any rate.
const PER_SECOND_MAX: u64 = 1_000_000;

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
    let (count, period) = fields.parsed("rate", sink, |_, text| count_and_period(text))?;
    let burst = fields.integer_or("burst", sink).and_then(|burst| u32::try_from(burst).ok());
    Some(ArrivalRate { count, period, burst: burst.unwrap_or(count) })
}

/// `100/s`, `5/min`, `1000/h`
fn count_and_period(text: &str) -> Result<(u32, Duration), Problem> {
    let not = || {
        Problem::new("bad-rate", format!("{} is not a rate", quoted(text)))
            .help("write a whole number and a period: `100/s`, `5/min`, `1000/h`")
    };
    let (number, period) = text.split_once('/').ok_or_else(not)?;
    let seconds = match period {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return Err(not()),
    };
    let count = integer(number, 1, PER_SECOND_MAX).map_err(|problem| match problem.code {
        "out-of-range" => problem,
        _ => not(),
    })?;
    Ok((u32::try_from(count).map_err(|_| not())?, Duration::from_secs(seconds)))
}

/// As it is written.
pub(crate) fn rate_text(rate: &ArrivalRate) -> String {
    let period = match rate.period.as_secs() {
        1 => "s",
        60 => "min",
        _ => "h",
    };
    format!("{}/{period}", rate.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["1/s", "5/min", "1000/h", "1000000/s"] {
            let (count, period) = count_and_period(text).unwrap();
            assert_eq!(rate_text(&ArrivalRate { count, period, burst: 1 }), text);
        }
        for bad in ["", "5", "0/s", "5/sec", "/s", "1000001/s", "-1/s", "1.5/s"] {
            assert!(count_and_period(bad).is_err(), "{bad}");
        }
    }
}
