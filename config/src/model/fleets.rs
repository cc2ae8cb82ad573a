//! What several gateways count limits in together, as configured.

use std::time::Duration;

use super::tls::{Authorities, Secret};

/// One of `fleets`
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Unique.
    pub name: String,
    /// Who counts.
    pub store: FleetStore,
    /// How long an answer is waited for (default 50 ms); later the node decides by itself.
    pub timeout: Duration,
}

/// Who counts for a fleet.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetStore {
    /// Redis, Valkey or what speaks as they do.
    Redis(Redis),
    /// A rate limit service as Envoy asks it.
    Rls(Rls),
}

/// `fleets.X.redis` and what goes with it
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// Where it is.
    pub at: RedisAt,
    /// Who we are there; `None`: the default user.
    pub user: Option<String>,
    /// What is shown for that.
    pub password: Option<Secret>,
    /// Its number (default 0).
    pub database: u32,
    /// What the names of all keys begin with (default `ringway`).
    pub prefix: String,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisAt {
    /// `redis://` and `rediss://`
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// Default 6379.
        port: u16,
        /// `rediss://`: who may have signed its certificate; the inner `None` is whom the system trusts.
        tls: Option<Option<Authorities>>,
    },
    /// `unix:/run/redis.sock`
    Unix(std::path::PathBuf),
}

/// `fleets.X.rls` and what goes with it
#[derive(Clone, Debug, PartialEq)]
pub struct Rls {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Which of its domains is asked about.
    pub domain: String,
}

impl Redis {
    /// As a URL, without its password.
    pub fn url(&self) -> String {
        match &self.at {
            RedisAt::Unix(path) => format!("unix:{}", path.display()),
            RedisAt::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "rediss" } else { "redis" };
                let user = self.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
                format!("{scheme}://{user}{}/{}", authority(host, *port), self.database)
            }
        }
    }
}

impl Rls {
    /// `host:port`
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
