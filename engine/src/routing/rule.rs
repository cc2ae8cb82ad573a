//! What a route asks of a request: as given to the router, and in the form in which it is checked.

use std::fmt;

use super::query::has_parameter;
use super::{Headers, RouteId, RouteQuery};

/// One route as the router takes it in.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// What a match says.
    pub route: RouteId,
    /// Empty: any host.
    pub hosts: Vec<HostRule>,
    /// What paths.
    pub path: PathRule,
    /// Empty: any method.
    pub methods: Vec<String>,
    /// All must hold. Names in lower case.
    pub headers: Vec<Condition>,
    /// All must hold. Names and values decoded.
    pub query: Vec<Condition>,
}

/// A host a route is for, without port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    /// `api.example.com`
    Exact(String),
    /// `*.example.org`: holds `example.org`.
    Suffix(String),
}

/// The paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// This path only.
    Exact(String),
    /// Segment by segment; [`Segment::Rest`] only last.
    Segments(Vec<Segment>),
}

/// What stands after one slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This.
    Literal(String),
    /// Any one segment that is not empty.
    Parameter(String),
    /// Whatever is left, none included.
    Rest,
}

/// A header or query parameter that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name.
    pub name: String,
    /// Its value; `None`: any.
    pub value: Option<String>,
}

/// Kinds of path, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// `/healthz`
    Exact,
    /// `/orders/{id}`
    Template,
    /// `/orders/**`
    Prefix,
}

impl PathRule {
    /// How it ranks.
    pub fn kind(&self) -> PathKind {
        match self {
            PathRule::Exact(_) => PathKind::Exact,
            PathRule::Segments(segments) if segments.last() == Some(&Segment::Rest) => PathKind::Prefix,
            PathRule::Segments(_) => PathKind::Template,
        }
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathRule::Exact(path) => f.write_str(path),
            PathRule::Segments(segments) if segments.is_empty() => f.write_str("/"),
            PathRule::Segments(segments) => segments.iter().try_for_each(|segment| match segment {
                Segment::Literal(text) => write!(f, "/{text}"),
                Segment::Parameter(name) => write!(f, "/{{{name}}}"),
                Segment::Rest => f.write_str("/**"),
            }),
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostRule::Exact(host) => f.write_str(host),
            HostRule::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// What is left to ask once host and path fit: method, headers, query.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The route it admits to.
    pub route: RouteId,
    /// Well-known methods, one bit each; meaningful together with `other_methods`, both empty: any method.
    methods: u16,
    other_methods: Box<[Box<[u8]>]>,
    headers: Box<[Condition]>,
    query: Box<[Condition]>,
}

/// One reason why an [`Admission`] did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request's method is none of these.
    Method(Vec<String>),
    /// This header is missing or has another value.
    Header(Condition),
    /// This query parameter is missing or has another value.
    Query(Condition),
}

impl Admission {
    pub(super) fn new(rule: &RouteRule) -> Admission {
        let methods = rule.methods.iter().fold(0, |bits, m| bits | method_bit(m.as_bytes()));
        let others = rule.methods.iter().filter(|m| method_bit(m.as_bytes()) == 0);
        Admission {
            route: rule.route,
            methods,
            other_methods: others.map(|m| m.as_bytes().into()).collect(),
            headers: rule.headers.clone().into_boxed_slice(),
            query: rule.query.clone().into_boxed_slice(),
        }
    }

    /// Sorts the more specific first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let count = |conditions: &[Condition]| {
            std::cmp::Reverse((conditions.len(), conditions.iter().filter(|c| c.value.is_some()).count()))
        };
        (self.any_method(), count(&self.headers), count(&self.query))
    }

    /// Methods are not restricted.
    pub(super) fn any_method(&self) -> bool {
        self.methods == 0 && self.other_methods.is_empty()
    }

    #[inline]
    pub(super) fn admits_method(&self, method: &[u8]) -> bool {
        self.any_method()
            || self.methods & method_bit(method) != 0
            || self.other_methods.iter().any(|m| **m == *method)
    }

    #[inline]
    pub(super) fn conditions_hold<H: Headers + ?Sized>(&self, request: &RouteQuery<'_>, headers: &H) -> bool {
        (self.headers.is_empty() && self.query.is_empty()) || self.each_holds(request, headers)
    }

    fn each_holds<H: Headers + ?Sized>(&self, request: &RouteQuery<'_>, headers: &H) -> bool {
        self.headers.iter().all(|c| header_holds(c, headers))
            && self.query.iter().all(|c| query_holds(c, request.query))
    }

    /// The methods it admits; empty: any.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let known =
            METHODS.iter().enumerate().filter(|(bit, _)| self.methods & 1 << bit != 0).map(|(_, name)| *name);
        known.chain(self.other_methods.iter().filter_map(|m| std::str::from_utf8(m).ok()))
    }

    /// Everything about the request that it does not admit, for explanations.
    pub fn failures<H: Headers + ?Sized>(&self, request: &RouteQuery<'_>, headers: &H) -> Vec<Failure> {
        let mut failures = Vec::new();
        if !self.admits_method(request.method) {
            failures.push(Failure::Method(self.methods().map(str::to_owned).collect()));
        }
        let missing = self.headers.iter().filter(|c| !header_holds(c, headers));
        failures.extend(missing.cloned().map(Failure::Header));
        let missing = self.query.iter().filter(|c| !query_holds(c, request.query));
        failures.extend(missing.cloned().map(Failure::Query));
        failures
    }
}

fn header_holds<H: Headers + ?Sized>(condition: &Condition, headers: &H) -> bool {
    headers.any_value(&condition.name, |v| condition.value.as_ref().is_none_or(|want| want.as_bytes() == v))
}

fn query_holds(condition: &Condition, query: &[u8]) -> bool {
    has_parameter(query, condition.name.as_bytes(), condition.value.as_ref().map(String::as_bytes))
}

/// In the order of their bits, which is the order of `Allow`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// Zero for a method that is not well known. Methods are case-sensitive (RFC 9110 §9.1).
#[inline]
fn method_bit(method: &[u8]) -> u16 {
    match method {
        b"GET" => 1,
        b"HEAD" => 1 << 1,
        b"POST" => 1 << 2,
        b"PUT" => 1 << 3,
        b"PATCH" => 1 << 4,
        b"DELETE" => 1 << 5,
        b"OPTIONS" => 1 << 6,
        b"CONNECT" => 1 << 7,
        b"TRACE" => 1 << 8,
        _ => 0,
    }
}
