//! `ringway explain`: what would happen to a request, and why.

use ringway_engine::explain::{Request, explain as decide};
use ringway_engine::path::{PathOptions, canonical_of};
use ringway_engine::snapshot::Snapshot;

use crate::cli;
use crate::end::{Code, Ended, Failure, print};
use crate::files;

/// A request that would be refused is explained like any other: exit code 0.
pub fn explain(args: &cli::Explain) -> Ended {
    let headers = args.headers.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let request = Request::parse(&args.request.join(" "), headers).map_err(|error| {
        Failure::new(Code::Usage, format!("{error}; example: 'GET http://api.example.com/v1'"))
    })?;
    let loaded = files::load(&args.config)?;
    let snapshot = Snapshot::compile(&loaded.config, 1).map_err(|error| Failure::new(Code::Config, error))?;
    let explanation = decide(&snapshot, &request, &canonical_path);
    if args.json { print(&format!("{:#}\n", explanation.to_json())) } else { print(&explanation.to_string()) }
}

/// `name: value`
pub fn header(text: &str) -> Result<(String, String), Failure> {
    let parts = text.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    match parts {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(Code::Usage, format!("-H wants `name: value`, found `{text}`"))),
    }
}

/// As workers make it. Encoded slashes pass here: whether they may is the route's to say, which comes later.
fn canonical_path(raw: &[u8], merge_slashes: bool, out: &mut Vec<u8>) -> Result<(), String> {
    let options = PathOptions { merge_slashes, encoded_slashes: true };
    let mut rewritten = Vec::new();
    let path = canonical_of(raw, options, &mut rewritten).map_err(|refusal| refusal.detail().to_owned())?;
    out.extend_from_slice(path);
    Ok(())
}
