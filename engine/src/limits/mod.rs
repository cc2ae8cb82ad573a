//! Rate limits and concurrency limits: a limit of R for a key means R on the node, on however many cores it is asked.
//!
//! Each key has a home core, by its hash, and there a bucket ([`gcra`], [`home`]) in a bounded table ([`shard`]). Other
//! cores lease batches of its tokens ([`lease`]), so that a warm key is decided where the request is, without a lock or a
//! letter; small bursts are always decided at home and so are exact. [`limiter`] is all of that for one worker, pure;
//! `node` carries its letters and has requests wait for answers. [`fleet`] is the way to buckets beyond this node. On
//! the line: `exchange/limits.rs`.
//!
//! **How much may pass.** For a key with rate R and burst B, on `w` workers, within any time `x`:
//!
//! ```text
//! passed <= B + R * (x + wait) + (w - 1) * b + u       b = B / 8 / (w - 1), or 0 where that is less than 4
//! ```
//!
//! `b` is what a core may have on lease, so all leases together are at most an eighth of the burst. `wait` is the 1 ms that a
//! request waits for an answer at most: what was taken for it passes as much later. `u` are the tokens of requests that home
//! did not answer for in time. They are counted. What `when_unsure: allow` let through is owed by the key; what was taken for
//! one that was refused is given back, while its bucket may have filled again. A letter takes microseconds, so `u` is
//! nothing but where a core stalls. With leases off (small bursts) it is `B + R * (x + wait) + u`: 5 a minute are 5.

pub mod counts;
pub mod fields;
pub mod fleet;
pub mod gcra;
pub mod home;
pub mod lease;
pub mod limiter;
pub(crate) mod node;
pub mod shard;
mod waits;
#[cfg(test)]
mod world;
