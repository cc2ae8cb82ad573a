//! The router of one listener: hosts lead to scopes, scopes to places, places to routes with their conditions.
//!
//! One walk yields candidates, the most specific first. Matching stops at the first that admits the request; what
//! explains a match looks at all of them.

use std::ops::{ControlFlow, Range};

use rustc_hash::FxHashMap;

use super::host::{Hosts, HostsBuilder};
use super::rule::{Admission, PathKind, PathRule, RouteRule};
use super::table::Table;
use super::tree::{Ends, Tree, TreeBuilder};
use super::{Headers, NONE, RouteId};

/// The compiled routes of one listener. `Send + Sync`, never changes.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    scopes: Box<[Scope]>,
    exact: Table<false>,
    tree: Tree,
    /// Ranges of `admissions`; what has the same host and path stands together, the most specific first.
    places: Box<[Range<u32>]>,
    admissions: Box<[Admission]>,
}

/// The paths of one host.
#[derive(Clone, Copy, Debug)]
struct Scope {
    has_exact: bool,
    /// Root in the tree, or `NONE`.
    templates: u32,
    /// Root in the tree, or `NONE`.
    prefixes: u32,
}

/// What a request is routed by, beside its headers.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// Authority, with or without port, in any case; may be empty.
    pub host: &'a [u8],
    /// Canonical. What does not begin with a slash (`*`, or nothing for CONNECT) fits only routes for any path.
    pub path: &'a [u8],
    /// Without the question mark.
    pub query: &'a [u8],
    /// As it was sent.
    pub method: &'a [u8],
}

/// The route that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Which.
    pub route: RouteId,
    /// Where in the path begins what the route's `**` matched, its slash included; the path's length if it has none.
    pub rest_at: u32,
}

impl Matched {
    /// What `**` matched: empty, or it begins with a slash.
    pub fn rest<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.get(self.rest_at as usize..).unwrap_or_default()
    }
}

/// No route won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// 404.
    NotFound,
    /// 405: there are routes that fail in nothing but the method.
    MethodNotAllowed {
        /// Value of the Allow header: their methods, each once.
        allow: String,
    },
}

/// How the host of a candidate fits, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRank {
    /// By name.
    Exact,
    /// By `*.suffix`.
    Suffix {
        /// Labels of the suffix.
        labels: u32,
    },
    /// It is for any.
    Any,
}

/// A route whose host and path fit.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'r> {
    /// How its host fits.
    pub host: HostRank,
    /// How its path fits.
    pub path: PathKind,
    /// As [`Matched::rest_at`].
    pub rest_at: u32,
    /// What else it asks.
    pub admission: &'r Admission,
}

impl Router {
    /// Compiles the routes of one listener, in the order in which they were written.
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a RouteRule>) -> Router {
        let mut builder = Builder::default();
        for rule in rules {
            builder.add(rule);
        }
        builder.finish()
    }

    /// The most specific route that admits the request. Allocates nothing when there is one.
    pub fn route<H: Headers + ?Sized>(
        &self,
        request: &RouteQuery<'_>,
        headers: &H,
    ) -> Result<Matched, NoMatch> {
        let mut method_failed = false;
        let found = self.walk(request, &mut |place: Place| {
            for admission in self.admissions_of(place.id) {
                if !admission.admits_method(request.method) {
                    method_failed = true;
                } else if admission.conditions_hold(request, headers) {
                    return ControlFlow::Break(Matched { route: admission.route, rest_at: place.rest_at });
                }
            }
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Break(matched) => Ok(matched),
            ControlFlow::Continue(()) if method_failed => Err(self.refusal(request, headers)),
            ControlFlow::Continue(()) => Err(NoMatch::NotFound),
        }
    }

    /// Every route whose host and path fit, in the order in which [`Router::route`] tries them.
    pub fn candidates(&self, request: &RouteQuery<'_>) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        let _ = self.walk(request, &mut |place: Place| {
            candidates.extend(self.candidates_at(place));
            ControlFlow::<()>::Continue(())
        });
        candidates
    }

    /// Every route whose path fits, whatever its host, in no useful order: for saying what came close.
    pub fn candidates_on_any_host(&self, path: &[u8]) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        for scope in 0..self.scopes.len() as u32 {
            let _ = self.walk_paths(HostRank::Any, scope, path, &mut |place: Place| {
                candidates.extend(self.candidates_at(place));
                ControlFlow::<()>::Continue(())
            });
        }
        candidates
    }

    fn candidates_at(&self, place: Place) -> impl Iterator<Item = Candidate<'_>> {
        let Place { host, path, rest_at, id } = place;
        self.admissions_of(id).iter().map(move |admission| Candidate { host, path, rest_at, admission })
    }

    #[cold]
    fn refusal<H: Headers + ?Sized>(&self, request: &RouteQuery<'_>, headers: &H) -> NoMatch {
        let mut allow: Vec<&str> = Vec::new();
        for candidate in self.candidates(request) {
            // None of them matched, so where the conditions hold only the method is left to have failed.
            if candidate.admission.conditions_hold(request, headers) {
                for method in candidate.admission.methods() {
                    if !allow.contains(&method) {
                        allow.push(method);
                    }
                }
            }
        }
        if allow.is_empty() {
            NoMatch::NotFound
        } else {
            NoMatch::MethodNotAllowed { allow: allow.join(", ") }
        }
    }

    fn admissions_of(&self, place: u32) -> &[Admission] {
        let range = &self.places[place as usize];
        &self.admissions[range.start as usize..range.end as usize]
    }

    #[inline]
    fn walk<B>(
        &self,
        request: &RouteQuery<'_>,
        visit: &mut impl FnMut(Place) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.hosts.walk(request.host, |host, scope| self.walk_paths(host, scope, request.path, visit))
    }

    fn walk_paths<B>(
        &self,
        host: HostRank,
        scope: u32,
        path: &[u8],
        visit: &mut impl FnMut(Place) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Scope { has_exact, templates, prefixes } = self.scopes[scope as usize];
        let end = path.len() as u32;
        if has_exact && let Some(id) = self.exact.get(scope, path) {
            visit(Place { host, path: PathKind::Exact, rest_at: end, id })?;
        }
        if templates != NONE {
            self.tree.walk(templates, path, Ends::Whole, |id, _| {
                visit(Place { host, path: PathKind::Template, rest_at: end, id })
            })?;
        }
        if prefixes != NONE {
            self.tree.walk(prefixes, path, Ends::Anywhere, |id, at| {
                visit(Place { host, path: PathKind::Prefix, rest_at: at as u32, id })
            })?;
        }
        ControlFlow::Continue(())
    }
}

/// Routes with the same host and path, met on a walk.
#[derive(Clone, Copy)]
struct Place {
    host: HostRank,
    path: PathKind,
    rest_at: u32,
    id: u32,
}

#[derive(Default)]
struct Builder {
    hosts: HostsBuilder,
    scopes: Vec<Scope>,
    exact: FxHashMap<(u32, String), u32>,
    tree: TreeBuilder,
    places: Vec<Vec<Admission>>,
}

impl Builder {
    fn add(&mut self, rule: &RouteRule) {
        let hosts = rule.hosts.iter().map(Some);
        let any = rule.hosts.is_empty().then_some(None);
        for host in hosts.chain(any) {
            let scope = self.hosts.scope(host);
            if scope as usize == self.scopes.len() {
                self.scopes.push(Scope { has_exact: false, templates: NONE, prefixes: NONE });
            }
            let place = self.place(scope, &rule.path);
            let admissions = &mut self.places[place as usize];
            if admissions.last().is_none_or(|last| last.route != rule.route) {
                admissions.push(Admission::new(rule));
            }
        }
    }

    fn place(&mut self, scope: u32, path: &PathRule) -> u32 {
        let new = self.places.len() as u32;
        let place = match path {
            PathRule::Exact(path) => {
                self.scopes[scope as usize].has_exact = true;
                *self.exact.entry((scope, path.clone())).or_insert(new)
            }
            PathRule::Segments(segments) => {
                let entry = &mut self.scopes[scope as usize];
                let root = match path.kind() {
                    PathKind::Prefix => &mut entry.prefixes,
                    _ => &mut entry.templates,
                };
                if *root == NONE {
                    *root = self.tree.root();
                }
                let node = self.tree.insert(*root, segments);
                let place = self.tree.place(node);
                if *place == NONE {
                    *place = new;
                }
                *place
            }
        };
        if place == new {
            self.places.push(Vec::new());
        }
        place
    }

    fn finish(self) -> Router {
        let mut places = Vec::with_capacity(self.places.len());
        let mut admissions = Vec::new();
        for mut together in self.places {
            together.sort_by_key(Admission::rank);
            let start = admissions.len() as u32;
            admissions.append(&mut together);
            places.push(start..admissions.len() as u32);
        }
        let exact = self.exact.iter().map(|((scope, path), place)| (*scope, path.as_bytes(), *place));
        Router {
            hosts: self.hosts.finish(),
            exact: Table::build(exact),
            scopes: self.scopes.into_boxed_slice(),
            tree: self.tree.finish(),
            places: places.into_boxed_slice(),
            admissions: admissions.into_boxed_slice(),
        }
    }
}
