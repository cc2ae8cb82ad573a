//! HTTP/2 at both ends, translated to the form in which everything else here reads a message: the text of HTTP/1.1.
//!
//! A stream of HTTP/2 becomes a `Link` like a connection of HTTP/1.1, and its head a text that the
//! strict reader of HTTP/1.1 judges, so that there is one exchange, one set of rules, and nothing that would smuggle in
//! HTTP/1.1 survives the way down. Framing, HPACK and flow control are the `h2` crate's; no type of it leaves this
//! folder, so that a codec of our own may take its place.
//!
//! ```text
//! text.rs     heads and trailers between the two, pure       budget.rs   what a peer may cost, pure
//! stream.rs   one stream, as a link                          piece.rs    what is on its way out, and how much of it
//! alive.rs    whether an endpoint still answers
//! server.rs   a client's connection                          client.rs   a connection to an endpoint, shared by streams
//! ```

mod alive;
mod budget;
pub(crate) mod client;
mod piece;
pub(crate) mod server;
mod stream;
pub mod text;

pub use budget::{Budget, Exceeded, Frames, PREFACE};
pub(crate) use stream::{Stream, UNPROCESSED};
