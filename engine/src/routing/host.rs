//! Hosts: exact names in a table, `*.x` in a trie of labels read from the right.

use std::ops::ControlFlow;

use memchr::memrchr;
use rustc_hash::FxHashMap;

use super::table::Table;
use super::{HostRank, HostRule, NONE};

/// A longer name is no host that DNS could know (RFC 1035 §2.3.4), and fits only routes for any host.
pub const HOST_BYTES_MAX: usize = 255;

/// From a host to the scopes (sets of paths) that are for it.
#[derive(Debug)]
pub(super) struct Hosts {
    exact: Table<true>,
    has_exact: bool,
    labels: Table<true>,
    /// Node 0 is the root, where every name ends.
    suffixes: Box<[Suffix]>,
    any: u32,
}

#[derive(Debug)]
struct Suffix {
    parent: u32,
    /// Labels down from the root.
    labels: u32,
    /// Scope, or `NONE`.
    scope: u32,
}

impl Hosts {
    /// Calls `visit` with each scope for `authority`, the most specific first.
    #[inline]
    pub(super) fn walk<B>(
        &self,
        authority: &[u8],
        mut visit: impl FnMut(HostRank, u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.has_exact || self.suffixes.len() > 1 {
            let host = bare_host(authority);
            if host.len() <= HOST_BYTES_MAX {
                if self.has_exact
                    && let Some(scope) = self.exact.get(0, host)
                {
                    visit(HostRank::Exact, scope)?;
                }
                if self.suffixes.len() > 1 {
                    self.walk_suffixes(host, &mut visit)?;
                }
            }
        }
        if self.any == NONE { ControlFlow::Continue(()) } else { visit(HostRank::Any, self.any) }
    }

    fn walk_suffixes<B>(
        &self,
        host: &[u8],
        visit: &mut impl FnMut(HostRank, u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut id = 0;
        let mut left = host.len();
        while left > 0 {
            let start = memrchr(b'.', &host[..left]).map_or(0, |dot| dot + 1);
            let Some(child) = self.labels.get(id, &host[start..left]) else { break };
            id = child;
            left = start.saturating_sub(1);
        }
        if left == 0 && id != 0 {
            // `*.x` is not for `x` itself: something must stand before the dot.
            id = self.suffixes[id as usize].parent;
        }
        while id != 0 {
            let suffix = &self.suffixes[id as usize];
            if suffix.scope != NONE {
                visit(HostRank::Suffix { labels: suffix.labels }, suffix.scope)?;
            }
            id = suffix.parent;
        }
        ControlFlow::Continue(())
    }
}

/// The host of an authority: without port and final dot; an address in brackets keeps them.
#[inline]
pub fn bare_host(authority: &[u8]) -> &[u8] {
    let before_digits = authority.iter().rposition(|b| !b.is_ascii_digit());
    let end = before_digits.filter(|&at| authority[at] == b':');
    let host = &authority[..end.unwrap_or(authority.len())];
    host.strip_suffix(b".").unwrap_or(host)
}

/// Hosts being collected.
#[derive(Debug, Default)]
pub(super) struct HostsBuilder {
    exact: FxHashMap<String, u32>,
    labels: FxHashMap<(u32, String), u32>,
    suffixes: Vec<Suffix>,
    any: Option<u32>,
    scopes: u32,
}

impl HostsBuilder {
    /// The scope for this host (`None`: any), made if it is new.
    pub(super) fn scope(&mut self, host: Option<&HostRule>) -> u32 {
        let next = self.scopes;
        let scope = match host {
            None => *self.any.get_or_insert(next),
            Some(HostRule::Exact(name)) => *self.exact.entry(name.to_ascii_lowercase()).or_insert(next),
            Some(HostRule::Suffix(name)) => {
                let node = self.suffix_node(&name.to_ascii_lowercase());
                let scope = &mut self.suffixes[node as usize].scope;
                if *scope == NONE {
                    *scope = next;
                }
                *scope
            }
        };
        self.scopes = self.scopes.max(scope + 1);
        scope
    }

    pub(super) fn finish(mut self) -> Hosts {
        self.ensure_root();
        Hosts {
            exact: Table::build(self.exact.iter().map(|(name, scope)| (0, name.as_bytes(), *scope))),
            has_exact: !self.exact.is_empty(),
            labels: Table::build(self.labels.iter().map(|((node, l), child)| (*node, l.as_bytes(), *child))),
            suffixes: self.suffixes.into_boxed_slice(),
            any: self.any.unwrap_or(NONE),
        }
    }

    fn suffix_node(&mut self, name: &str) -> u32 {
        self.ensure_root();
        name.rsplit('.').fold(0, |parent, label| {
            let next = self.suffixes.len() as u32;
            let child = *self.labels.entry((parent, label.to_owned())).or_insert(next);
            if child == next {
                let labels = self.suffixes[parent as usize].labels + 1;
                self.suffixes.push(Suffix { parent, labels, scope: NONE });
            }
            child
        })
    }

    fn ensure_root(&mut self) {
        if self.suffixes.is_empty() {
            self.suffixes.push(Suffix { parent: 0, labels: 0, scope: NONE });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bare_host;

    #[test]
    fn a_host_is_bare_without_port_and_final_dot() {
        for (authority, host) in [
            ("a.b", "a.b"),
            ("a.b:80", "a.b"),
            ("a.b.:80", "a.b"),
            ("a.b.", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("a.b:", "a.b"),
            ("10.0.0.1", "10.0.0.1"),
            (":80", ""),
            ("", ""),
            (".", ""),
        ] {
            assert_eq!(bare_host(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }
}
