//! Standing: what is thought of each endpoint, by all who have an opinion, merged into one word.
//!
//! Made on the background thread, which hears checks, ejection and what is said by hand; handed to every worker whole.
//! What it means for who is picked is [`crate::balance`]'s to know. Invariant: an endpoint that is not in the map is
//! [`Stand::Admitting`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::balance::Address;

/// By service and address. Of endpoints that are nobody's nothing comes.
pub type Standings = BTreeMap<Arc<str>, BTreeMap<Address, Standing>>;

/// What is thought of an endpoint, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// In a word.
    pub stand: Stand,
    /// For a person.
    pub why: Arc<str>,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stand {
    /// Nothing speaks against it.
    #[default]
    Admitting,
    /// By hand: admitting, whatever checks and ejection say.
    Pinned,
    /// It was ejected: one request of each worker goes there, and what comes of it decides. The number is the round: a
    /// new one lets a request through again.
    Probing(u32),
    /// It fails its checks: gets nothing, unless too many are like that.
    Unhealthy,
    /// Its exchanges failed: gets nothing, unless too many are like that.
    Ejected,
    /// By hand: gets no new exchanges while others are there.
    Draining,
    /// By hand: gets nothing.
    Barred,
}

impl Stand {
    /// In logs, metrics and the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Stand::Admitting => "admitting",
            Stand::Pinned => "pinned",
            Stand::Probing(_) => "probing",
            Stand::Unhealthy => "unhealthy",
            Stand::Ejected => "ejected",
            Stand::Draining => "draining",
            Stand::Barred => "ejected_by_hand",
        }
    }

    /// It is out for how it behaves: where too many are, the fault is likelier elsewhere.
    pub fn is_doubted(self) -> bool {
        matches!(self, Stand::Unhealthy | Stand::Ejected)
    }

    /// It gets requests as others do, or a first one.
    pub fn is_admitted(self) -> bool {
        matches!(self, Stand::Admitting | Stand::Pinned | Stand::Probing(_))
    }
}
