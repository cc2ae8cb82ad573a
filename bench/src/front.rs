//! What a proxy is set up to speak, to clients and to the origin.

use clap::ValueEnum;

/// Both sides of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Front {
    /// HTTP/1.1, to HTTP/1.1
    Http1,
    /// HTTP/1.1 under TLS, to HTTP/1.1 without
    Tls,
    /// HTTP/2 by prior knowledge, to HTTP/1.1
    Http2,
    /// HTTP/2 by prior knowledge, to the same
    Grpc,
    /// Bytes
    Tcp,
}

impl Front {
    /// For the report.
    pub fn name(self) -> &'static str {
        match self {
            Front::Http1 => "HTTP/1.1",
            Front::Tls => "TLS",
            Front::Http2 => "HTTP/2",
            Front::Grpc => "gRPC",
            Front::Tcp => "TCP",
        }
    }
}
