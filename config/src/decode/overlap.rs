//! Listeners that would take each other's connections, and the admin API among them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::diagnostic::{Diagnostic, Place};
use crate::model::{Address, Admin, Listener};

use super::{Placed, Sink, address};

/// An address, whose it is, and where that is written.
type Taken = (SocketAddr, String, Place);

/// Reports each listener that overlaps one before it or the admin API.
pub(super) fn check(listeners: &[Placed<Listener>], admin: &Admin, admin_place: Place, sink: &mut Sink) {
    // Datagrams and connections don't meet.
    let mut by_port: HashMap<(u16, bool), Vec<Taken>> = HashMap::new();
    if admin.address.port() != 0 {
        by_port.entry((admin.address.port(), false)).or_default().push((
            admin.address,
            "the admin API".into(),
            admin_place,
        ));
    }
    let mut by_path = HashMap::new();
    for listener in listeners {
        let name = format!("the listener `{}`", listener.value.name);
        let other = match &listener.value.address {
            Address::Ip(address) if address.port() == 0 => None,
            Address::Ip(address) => {
                let same_port = by_port.entry((address.port(), listener.value.udp.is_some())).or_default();
                let other = same_port.iter().find(|(other, ..)| overlap(*address, *other)).cloned();
                same_port.push((*address, name, listener.place));
                other.map(|(other, name, place)| (other.to_string(), name, place))
            }
            Address::Unix(path) => by_path
                .insert(path.clone(), (name, listener.place))
                .map(|(name, place)| (format!("unix:{}", path.display()), name, place)),
        };
        if let Some((text, name, place)) = other {
            let own = address::text(&listener.value.address);
            let message = format!("`{own}` overlaps {name} on `{text}`");
            let mut diagnostic = Diagnostic::error("overlap", listener.place, message);
            if name != "the admin API" || place != Place::START {
                diagnostic = diagnostic.related(place, format!("{name} is here"));
            }
            sink.push(diagnostic);
        }
    }
}

/// Whether both get the same connections. `[::]` takes IPv4 too, as Linux binds it.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (one, other) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    one == other || covers(one, other) || covers(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_their_family_and_v6_covers_both() {
        let meets = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(meets("0.0.0.0:80", "127.0.0.1:80"));
        assert!(meets("127.0.0.1:80", "[::]:80"));
        assert!(meets("[::]:80", "0.0.0.0:80"));
        assert!(meets("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
        assert!(!meets("0.0.0.0:80", "[::1]:80"));
        assert!(!meets("127.0.0.2:80", "127.0.0.1:80"));
    }
}
