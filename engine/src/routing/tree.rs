//! Paths by segment: a trie whose edges live in one hash table, walked up and down without recursion.
//!
//! A walk enters each node at most once, and only nodes whose segments fit the path, so its work is bounded by the
//! smaller of 2^depth and the number of nodes, where depth is that of the deepest template that fits; without
//! parameters it is the number of segments in common. It needs no stack: nodes know their parents, and the path says
//! where the earlier segment began.

use std::ops::{ControlFlow, Range};

use memchr::memchr;
use rustc_hash::FxHashMap;

use super::table::{Table, segment_and_hash};
use super::{NONE, Segment};

/// All templates and prefixes of a router: one root for each kind in each host.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Box<[Node]>,
    edges: Table<false>,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    /// Child for a parameter, or `NONE`.
    parameter: u32,
    /// Place in `Router::places`, or `NONE`.
    place: u32,
    /// It has children with literal segments.
    has_literals: bool,
    /// It is its parent's child for a parameter.
    is_parameter: bool,
}

/// Which nodes on a path count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Those where the path ends: templates.
    Whole,
    /// All: prefixes.
    Anywhere,
}

impl Tree {
    /// Calls `visit` with the place of each node that fits `path` and the offset at which the rest of it begins, the
    /// most specific first.
    pub(super) fn walk<B>(
        &self,
        root: u32,
        path: &[u8],
        ends: Ends,
        mut visit: impl FnMut(u32, usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut id = root;
        let mut at = 0;
        'down: loop {
            if path.get(at) == Some(&b'/') {
                let node = &self.nodes[id as usize];
                if node.has_literals || node.parameter != NONE {
                    let (end, hash) = segment_and_hash(path, at + 1);
                    if node.has_literals
                        && let Some(child) = self.edges.get_hashed(id, &path[at + 1..end], hash)
                    {
                        (id, at) = (child, end);
                        continue 'down;
                    }
                    if node.parameter != NONE && end > at + 1 {
                        (id, at) = (node.parameter, end);
                        continue 'down;
                    }
                }
            }
            loop {
                let node = &self.nodes[id as usize];
                if node.place != NONE && (ends == Ends::Anywhere || at == path.len()) {
                    visit(node.place, at)?;
                }
                if id == root {
                    return ControlFlow::Continue(());
                }
                let start = path[..at].iter().rposition(|&b| b == b'/').unwrap_or(0);
                let sibling = self.nodes[node.parent as usize].parameter;
                if !node.is_parameter && sibling != NONE && start + 1 < at {
                    id = sibling;
                    continue 'down;
                }
                (id, at) = (node.parent, start);
            }
        }
    }
}

/// The segment after the slash at `at`.
#[inline]
pub(super) fn segment_at(path: &[u8], at: usize) -> Range<usize> {
    let start = at + 1;
    start..memchr(b'/', &path[start..]).map_or(path.len(), |length| start + length)
}

/// A tree being made.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    nodes: Vec<Node>,
    edges: FxHashMap<(u32, String), u32>,
}

impl TreeBuilder {
    pub(super) fn root(&mut self) -> u32 {
        self.node(NONE, false)
    }

    /// The node for these segments; [`Segment::Rest`] adds nothing.
    pub(super) fn insert(&mut self, root: u32, segments: &[Segment]) -> u32 {
        segments.iter().fold(root, |parent, segment| match segment {
            Segment::Rest => parent,
            Segment::Parameter(_) if self.nodes[parent as usize].parameter != NONE => {
                self.nodes[parent as usize].parameter
            }
            Segment::Parameter(_) => {
                let child = self.node(parent, true);
                self.nodes[parent as usize].parameter = child;
                child
            }
            Segment::Literal(text) => {
                if let Some(&child) = self.edges.get(&(parent, text.clone())) {
                    return child;
                }
                let child = self.node(parent, false);
                self.nodes[parent as usize].has_literals = true;
                self.edges.insert((parent, text.clone()), child);
                child
            }
        })
    }

    /// Where the place of a node is kept; `NONE` at first.
    pub(super) fn place(&mut self, node: u32) -> &mut u32 {
        &mut self.nodes[node as usize].place
    }

    pub(super) fn finish(self) -> Tree {
        let edges = self.edges.iter().map(|((parent, text), child)| (*parent, text.as_bytes(), *child));
        Tree { edges: Table::build(edges), nodes: self.nodes.into_boxed_slice() }
    }

    fn node(&mut self, parent: u32, is_parameter: bool) -> u32 {
        self.nodes.push(Node { parent, parameter: NONE, place: NONE, has_literals: false, is_parameter });
        self.nodes.len() as u32 - 1
    }
}
