//! Which listening sockets a snapshot needs, and which of them are open already.

use std::io::ErrorKind;
use std::sync::Arc;

use ringway_runtime::{Address as Bound, BoundSocket, SocketOptions, adopt, bind, bind_udp};

use super::{Inherited, OpenAddress, StartError, serves};
use crate::balance::Address;
use crate::snapshot::{ListenerPlan, Snapshot};

/// What is to be opened for a snapshot.
pub(super) struct SocketPlan {
    /// For each worker its new sockets, each with its listener's place.
    pub sockets: Vec<Vec<(usize, BoundSocket)>>,
    /// All listeners, in the snapshot's order.
    pub open: Vec<OpenAddress>,
    /// Names of those that are new.
    pub opened: Vec<String>,
}

/// Binds what is new. Nothing of what is open is touched; on an error nothing stays bound. `lingering` are closed, but
/// their sockets hold their addresses yet.
pub(super) fn plan(
    snapshot: &Snapshot,
    open: &[OpenAddress],
    lingering: &[OpenAddress],
    workers: usize,
    inherited: &mut Vec<Inherited>,
) -> Result<SocketPlan, StartError> {
    let mut result = SocketPlan {
        sockets: (0..workers).map(|_| Vec::new()).collect(),
        open: Vec::new(),
        opened: Vec::new(),
    };
    for (place, plan) in snapshot.listeners.iter().enumerate() {
        if let Some(same) = open.iter().find(|open| serves(open, plan)) {
            result.open.push(again(same));
            continue;
        }
        let is_there = |open: &OpenAddress| open.address == plan.address && open.udp == plan.is_udp();
        let ours = open.iter().chain(lingering).any(is_there);
        let sockets = open_listener(plan, workers, ours, inherited)?;
        let bound =
            sockets.first().map(BoundSocket::local).transpose().map_err(|error| failed(plan, &error))?;
        for (worker, socket) in sockets.into_iter().enumerate() {
            result.sockets[worker].push((place, socket));
        }
        result.opened.push(plan.name.to_string());
        result.open.push(OpenAddress {
            name: plan.name.clone(),
            address: plan.address.clone(),
            socket: plan.socket,
            udp: plan.is_udp(),
            bound: bound.unwrap_or_else(|| bind_address(&plan.address)),
            shared: Arc::default(),
        });
    }
    Ok(result)
}

/// Listeners that the snapshot does not have, or has opened anew.
pub(super) fn closed(snapshot: &Snapshot, open: Vec<OpenAddress>) -> Vec<OpenAddress> {
    open.into_iter().filter(|open| !snapshot.listeners.iter().any(|plan| serves(open, plan))).collect()
}

fn again(open: &OpenAddress) -> OpenAddress {
    OpenAddress {
        name: open.name.clone(),
        address: open.address.clone(),
        socket: open.socket,
        udp: open.udp,
        bound: open.bound.clone(),
        shared: open.shared.clone(),
    }
}

/// One socket for each worker: their own where the address can be shared, else handles on one.
fn open_listener(
    plan: &ListenerPlan,
    workers: usize,
    ours: bool,
    inherited: &mut Vec<Inherited>,
) -> Result<Vec<BoundSocket>, StartError> {
    let address = bind_address(&plan.address);
    let options = SocketOptions {
        backlog: plan.socket.backlog,
        receive_buffer: plan.socket.receive_buffer_bytes,
        send_buffer: plan.socket.send_buffer_bytes,
        shared: matches!(address, Bound::Ip(_)),
    };
    if let (true, Bound::Ip(ip)) = (plan.is_udp(), &address) {
        let bound = || -> std::io::Result<Vec<BoundSocket>> {
            let first = bind_udp(*ip, &options, ours)?;
            let Bound::Ip(ip) = first.local()? else { return Err(ErrorKind::InvalidInput.into()) };
            let others = (1..workers).map(|_| bind_udp(ip, &options, true));
            std::iter::once(Ok(first)).chain(others).collect()
        };
        return bound().map_err(|error| failed(plan, &error));
    }
    let first = match take_inherited(&address, inherited) {
        Some(inherited) => adopt(inherited.fd, &options).map(|first| (first, true)),
        None => bind(&address, &options, ours).map(|first| (first, matches!(address, Bound::Unix(_)))),
    };
    first
        .and_then(|(first, single)| with_others(first, single, workers, &options))
        .map_err(|error| failed(plan, &error))
}

/// Sockets for the other workers: handles on the same one where it is from a supervisor or of a kind that cannot be
/// shared, else their own.
fn with_others(
    first: BoundSocket,
    single: bool,
    workers: usize,
    options: &SocketOptions,
) -> std::io::Result<Vec<BoundSocket>> {
    let address = first.local()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let next = if single { sockets[0].duplicate()? } else { bind(&address, options, true)? };
        sockets.push(next);
    }
    Ok(sockets)
}

fn take_inherited(address: &Bound, inherited: &mut Vec<Inherited>) -> Option<Inherited> {
    let place = inherited.iter().position(|socket| is_bound_to(socket, address))?;
    Some(inherited.swap_remove(place))
}

fn is_bound_to(inherited: &Inherited, address: &Bound) -> bool {
    ringway_runtime::bound_address(&inherited.fd).is_ok_and(|bound| bound == *address)
}

fn failed(plan: &ListenerPlan, error: &std::io::Error) -> StartError {
    let (listener, address) = (plan.name.to_string(), shown(&plan.address));
    match error.kind() {
        ErrorKind::AddrInUse => StartError::InUse { listener, address },
        ErrorKind::PermissionDenied => StartError::Other(format!(
            "listener {listener}: {address} may not be bound: {error}; ports below 1024 need CAP_NET_BIND_SERVICE"
        )),
        ErrorKind::AddrNotAvailable => {
            StartError::Other(format!("listener {listener}: {address} is no address of this host"))
        }
        _ => StartError::Other(format!("listener {listener}: {address} cannot be bound: {error}")),
    }
}

fn shown(address: &Address) -> String {
    match address {
        Address::Ip(ip) => ip.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn bind_address(address: &Address) -> Bound {
    match address {
        Address::Ip(ip) => Bound::Ip(*ip),
        Address::Unix(path) => Bound::Unix(path.to_path_buf()),
    }
}
