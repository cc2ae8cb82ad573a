//! Certificates of a test's own, and a client and an origin that speak TLS with them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::wait::PATIENCE;

/// A certificate authority with a folder to put files in.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Writes `NAME.crt` of its own into the folder.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(folder.join(format!("{name}.crt")), issuer.pem()).expect("written");
        Authority { folder: folder.to_owned(), issuer }
    }

    /// Writes `NAME.crt` and `NAME.key` for these names; `spiffe://..` are URIs.
    pub fn issue(&self, file: &str, names: &[&str]) {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
        }
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).expect("written");
        std::fs::write(self.folder.join(format!("{file}.crt")), certificate.pem()).expect("written");
    }

    /// Signs a request (PKCS#10, in DER) that is for these names: the chain, in PEM.
    pub fn sign(&self, request: &[u8], names: &[String], life: Duration) -> Result<String, String> {
        let request = CertificateSigningRequestParams::from_der(&request.into());
        let mut request = request.map_err(|error| error.to_string())?;
        let mut asked: Vec<String> = Vec::new();
        for name in &request.params.subject_alt_names {
            match name {
                SanType::DnsName(name) => asked.push(name.as_str().to_owned()),
                other => return Err(format!("{other:?} is no host's name")),
            }
        }
        if asked != names {
            return Err(format!("asked for {asked:?}, proven are {names:?}"));
        }
        let now = SystemTime::now();
        request.params.not_before = now.into();
        request.params.not_after = (now + life).into();
        let signed = request.signed_by(&self.issuer).map_err(|error| error.to_string())?;
        Ok(signed.pem() + &self.issuer.pem())
    }

    /// A client that trusts it. It shows the certificate of this name, if one is given.
    pub fn client(&self, alpn: &[&str], shows: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec())).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let (chain, key) = self.read(file);
                builder.with_client_auth_cert(chain, key).expect("a certificate")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A server with the certificate of this name.
    pub fn server(&self, file: &str, alpn: &[&str]) -> Arc<ServerConfig> {
        let (chain, key) = self.read(file);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn read(&self, file: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain =
            CertificateDer::from_pem_file(self.folder.join(format!("{file}.crt"))).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(self.folder.join(format!("{file}.key"))).expect("a key");
        (vec![chain], key)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A connection under TLS.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects and shakes hands. What rustls or the socket objects to is the error.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Stream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// One GET over HTTP/1.1: all that comes until the connection ends.
pub fn get(stream: &mut Stream, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An origin under TLS that answers each connection's first request with this head and body and ends it politely.
pub fn origin(config: Arc<ServerConfig>, answer: &'static str) -> SocketAddr {
    origin_in_turn(vec![config], answer)
}

/// The same, where each of the first connections meets a server of its own, and all others the last one.
pub fn origin_in_turn(configs: Vec<Arc<ServerConfig>>, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut next = 0;
        while let Ok((mut socket, _)) = listener.accept() {
            let config = configs[next].clone();
            next = (next + 1).min(configs.len() - 1);
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut session = ServerConnection::new(config).map_err(std::io::Error::other)?;
                let mut stream = rustls::Stream::new(&mut session, &mut socket);
                let mut seen = Vec::new();
                let mut piece = [0; 4096];
                while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = stream.read(&mut piece)?;
                    if read == 0 {
                        return Ok(());
                    }
                    seen.extend_from_slice(&piece[..read]);
                }
                stream.write_all(answer.as_bytes())?;
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    address
}
