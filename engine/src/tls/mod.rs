//! TLS on connections, on rustls: what listeners show and ask for, what endpoints are asked for. Nothing outside of this
//! folder and `snapshot` names a type of rustls, so that its version can change.
//!
//! ```text
//! stream.rs   a session on a connection     server.rs   what a listener shows      client.rs   what is asked of endpoints
//! proof.rs    what an authority is shown
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ringway_config::model::TlsVersion;
use rustls::crypto::CryptoProvider;
use rustls::{KeyLog, SupportedProtocolVersion};

mod client;
mod identity;
mod proof;
mod server;
pub(crate) mod stream;
mod turns;

pub use client::ClientPlan;
pub use identity::ClientIdentity;
pub(crate) use proof::{ALPN_PROOF, ProofPlan};
pub use server::ServerPlan;
pub(crate) use stream::{Failed, Stream};
pub(crate) use turns::Turns;

/// One provider for all: its tables are large.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEW: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match min {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => &NEW,
    }
}

/// Appends secrets to a file that only its owner reads, in the form that captures are decrypted by.
fn key_log(path: &Path) -> Result<Arc<dyn KeyLog>, String> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    match file {
        Ok(file) => Ok(Arc::new(Secrets(Mutex::new(file)))),
        Err(error) => Err(format!("{}: the key log can't be opened: {error}", path.display())),
    }
}

#[derive(Debug)]
struct Secrets(Mutex<File>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // Asked for to look into captures: one that can't be written is only that.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// HTTP/2 in ALPN (RFC 9113 §3.1).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What is offered to an endpoint by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: what follows is not HTTP.
    None,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// Either.
    Both,
}
