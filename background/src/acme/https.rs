//! Requests to an authority: HTTP/1.1 over TLS, a connection for each, since they are few and far between. Bounded in time
//! and size, whatever is at the other end.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ringway_config::model::Authorities;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// A request from its first step to the answer's last byte.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer's body; a chain of certificates is the longest there is.
const ANSWER_BYTES_MAX: usize = 1 << 20;

type Failure = Box<dyn StdError + Send + Sync>;

/// Speaks to authorities whose own certificate is signed by whom it trusts.
pub(crate) struct Https {
    connector: TlsConnector,
}

impl Https {
    /// Trusts `ca`, or whom the system trusts.
    ///
    /// # Errors
    /// There is nobody to trust.
    pub fn new(ca: Option<&Authorities>) -> Result<Https, String> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(ca) => {
                for der in &ca.certificates {
                    let added = roots.add(CertificateDer::from(der.clone()));
                    added.map_err(|error| format!("{}: {error}", ca.file.display()))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err("the system trusts no authority; name one with `ca`".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Https { connector: TlsConnector::from(Arc::new(config)) })
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let connector = self.connector.clone();
        Box::pin(async move {
            match tokio::time::timeout(REQUEST_MAX, ask(connector, request)).await {
                Ok(answer) => answer.map_err(Error::Other),
                Err(_) => Err(Error::Other(format!("no answer within {} s", REQUEST_MAX.as_secs()).into())),
            }
        })
    }
}

async fn ask(
    connector: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Failure> {
    let uri = request.uri().clone();
    if uri.scheme_str() != Some("https") {
        return Err(format!("{uri} is not asked: it is not https").into());
    }
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err(format!("{uri} names no host").into());
    };
    let host = host.trim_matches(['[', ']']);
    let failed = |what: &str, error: std::io::Error| format!("{authority}: {what}: {error}");
    let socket = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await;
    let socket = socket.map_err(|error| failed("no connection", error))?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = connector.connect(name, socket).await.map_err(|error| failed("no TLS", error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this request, however it does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    *request.uri_mut() =
        uri.path_and_query().map_or(Ok(Uri::from_static("/")), |path| path.as_str().parse())?;
    let is_directory = request.method() == Method::GET;
    let (mut parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    // What is asked next is built of these without a further look, and a wait is added to the time.
    if is_directory && parts.status.is_success() {
        check_directory(&body)?;
    }
    if parts.headers.get(RETRY_AFTER).is_some_and(|value| !is_short(value)) {
        parts.headers.remove(RETRY_AFTER);
    }
    Ok(BytesResponse { parts, body: Box::new(body) })
}

/// Every URL of a directory is one.
fn check_directory(body: &[u8]) -> Result<(), Failure> {
    let directory: serde_json::Value = serde_json::from_slice(body)?;
    let places = directory.as_object().into_iter().flatten();
    for (name, place) in places.filter_map(|(name, place)| Some((name, place.as_str()?))) {
        if let Err(error) = place.parse::<Uri>() {
            return Err(format!("the directory's {name} is no URL: {error}").into());
        }
    }
    Ok(())
}

/// Seconds that can be waited for.
fn is_short(value: &HeaderValue) -> bool {
    const WAIT_MAX_S: u64 = 86_400;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    seconds.is_some_and(|seconds| seconds <= WAIT_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_cannot_have_us_build_what_is_no_url_or_wait_for_ever() {
        let good = br#"{ "newNonce": "https://a.example/nonce", "meta": { "website": "<" } }"#;
        assert!(check_directory(good).is_ok());
        assert!(check_directory(br#"{ "newNonce": "https://a.example/a b" }"#).is_err());
        assert!(check_directory(b"<html>").is_err());
        for (text, short) in [("5", true), ("86400", true), ("18446744073709551615", false), ("-1", false)] {
            assert_eq!(is_short(&HeaderValue::from_static(text)), short, "{text}");
        }
    }
}
