//! Where a run takes place: what all its measurements share.

use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::front::Front;
use crate::identity::Identity;
use crate::origin::Origin;
use crate::peers::{Peer, Place};

/// What all measurements share.
pub struct Site<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// For configurations, logs and what programs write.
    pub folder: &'a Path,
    /// What proxies show under TLS.
    pub identity: &'a Identity,
    /// The origin of HTTP/1.1.
    pub origin: &'a Origin,
    /// The proxies.
    pub peers: &'a [Peer],
}

impl Site<'_> {
    /// Where a proxy runs unless it is told otherwise: before the origin of HTTP/1.1, with one route.
    pub fn place(&self, front: Front) -> Place<'_> {
        Place {
            core: self.options.proxy_core,
            front,
            origin: self.origin.port,
            folder: self.folder,
            identity: self.identity,
            routes: None,
            patience: Duration::from_secs(20),
            on_epoll: false,
        }
    }
}
