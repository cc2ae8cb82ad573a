//! What the user writes: parsed, validated, explained.
//!
//! Two passes: [`tree`] turns YAML into a tree with places, `decode` turns the tree into the validated [`model`] and
//! collects every problem on the way. [`load`] is the way in. [`describe`] is the one description of the fields, from
//! which the decoder, the JSON Schema and the reference come. Nothing here is on the request path.

mod decode;
pub mod describe;
pub mod descriptor;
pub mod diagnostic;
pub mod diff;
pub mod edit;
mod expand;
mod files;
mod load;
pub mod model;
mod schema;
mod shown;
pub mod time;
pub mod tree;
pub mod units;

pub use diagnostic::{Diagnostic, Place, Report, Severity, Source};
pub use diff::{Diff, diff};
pub use expand::Env;
pub use load::{Loaded, load, load_str};
pub use schema::{reference, schema};
pub use shown::config_as_json;
