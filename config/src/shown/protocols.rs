//! TLS, HTTP/2 and bytes that are not HTTP, as they are shown.

use serde_json::{Map, Value, json};

use super::arrivals;
use crate::decode::HTTP_ONLY;
use crate::model::{
    AcmeAccount, AcmeChallenge, Certificate, ClientCertificates, Config, Http2, Listener,
    ListenerCertificate, ListenerHttp2, ListenerProtocol, ListenerTls, ProxyProtocol, ServiceTls, Tls,
    TlsVersion,
};
use crate::units::{duration_text, size_text};

/// What a listener speaks, as far as it is not told of every listener.
pub(super) fn listener(listener: &Listener, config: &Config, shown: &mut Map<String, Value>) {
    match &listener.tls {
        None => {}
        Some(Tls::Passthrough) => drop(shown.insert("tls".into(), json!("passthrough"))),
        Some(Tls::Terminate(tls)) => drop(shown.insert("tls".into(), listener_tls(tls, config))),
    }
    if let Some(tcp) = &listener.tcp {
        let proxy_protocol = match tcp.proxy_protocol {
            ProxyProtocol::None => "none",
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
        };
        let to = super::balancing::split(&tcp.split, config);
        shown.insert("tcp".into(), json!({ "to": to, "proxy_protocol": proxy_protocol }));
    }
    if let Some(udp) = &listener.udp {
        let to = super::balancing::split(&udp.split, config);
        let mut told = json!({ "to": to, "idle": duration_text(udp.idle), "sessions": udp.sessions });
        if let Some(rate) = &udp.rate {
            told["rate"] = arrivals::rate(rate);
        }
        if let Some(rate) = &udp.client_rate {
            told["client_rate"] = arrivals::client_rate(rate);
        }
        shown.retain(|name, _| matches!(name.as_str(), "name" | "address" | "socket"));
        shown.insert("udp".into(), told);
        return;
    }
    if listener.protocol == ListenerProtocol::Auto {
        let detect = &listener.detect;
        shown.insert("protocol".into(), json!("auto"));
        shown.insert(
            "detect".into(),
            json!({ "timeout": duration_text(detect.timeout), "opaque_ports": detect.opaque_ports }),
        );
    } else if listener.tcp.is_some() {
        // What means nothing beside it can't be written beside it.
        for name in HTTP_ONLY {
            shown.remove(*name);
        }
    }
}

/// One of `acme`. Of an external account's key only where it lies.
pub(super) fn acme(account: &AcmeAccount) -> Value {
    let mut shown = Map::new();
    shown.insert("directory".into(), json!(account.directory));
    shown.insert("folder".into(), json!(account.folder));
    shown.insert("terms_agreed".into(), json!(true));
    if let Some(email) = &account.email {
        shown.insert("email".into(), json!(email));
    }
    let challenge = match account.challenge {
        AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
        AcmeChallenge::Http01 => "http-01",
    };
    shown.insert("challenge".into(), json!(challenge));
    if let Some(ca) = &account.ca {
        shown.insert("ca".into(), json!(ca.file));
    }
    if let Some(external) = &account.external {
        shown.insert("external_account".into(), json!({ "id": external.id, "key": external.file }));
    }
    shown.insert("retry".into(), json!(duration_text(account.retry)));
    Value::Object(shown)
}

fn listener_tls(tls: &ListenerTls, config: &Config) -> Value {
    let mut shown = Map::new();
    let certificates = tls.certificates.iter().map(|one| match one {
        ListenerCertificate::Files(one) => certificate(one),
        ListenerCertificate::Acme(one) => {
            let account = config.acme.get(one.account.0 as usize).map(|account| &account.name);
            json!({ "acme": account, "names": one.names })
        }
    });
    shown.insert("certificates".into(), certificates.collect());
    shown.insert("min_version".into(), json!(version(tls.min_version)));
    let clients = match &tls.clients {
        ClientCertificates::NotAsked => None,
        ClientCertificates::Optional(ca) => Some(("optional", ca)),
        ClientCertificates::Required(ca) => Some(("required", ca)),
    };
    if let Some((verify, ca)) = clients {
        let header = tls.client_cert_header;
        shown.insert("clients".into(), json!({ "verify": verify, "ca": ca.file, "header": header }));
    }
    shown.insert("tickets".into(), json!(tls.tickets));
    shown.insert("handshakes".into(), json!(tls.handshakes));
    if let Some(path) = &tls.key_log {
        shown.insert("key_log".into(), json!(path));
    }
    Value::Object(shown)
}

/// `services.X.tls`
pub(super) fn service_tls(tls: &ServiceTls) -> Value {
    let mut shown = Map::new();
    if let Some(ca) = &tls.ca {
        shown.insert("ca".into(), json!(ca.file));
    }
    if let Some(name) = &tls.name {
        shown.insert("name".into(), json!(name));
    }
    shown.insert("insecure_skip_verify".into(), json!(tls.insecure_skip_verify));
    if let Some(one) = &tls.certificate {
        shown.insert("certificate".into(), certificate(one));
    }
    shown.insert("min_version".into(), json!(version(tls.min_version)));
    Value::Object(shown)
}

fn certificate(certificate: &Certificate) -> Value {
    let mut shown = Map::new();
    shown.insert("cert".into(), json!(certificate.cert));
    shown.insert("key".into(), json!(certificate.key));
    if let Some(path) = &certificate.ocsp {
        shown.insert("ocsp".into(), json!(path));
    }
    Value::Object(shown)
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

/// Streams and windows.
pub(super) fn bounds(http2: &Http2) -> Value {
    json!({
        "streams": http2.streams,
        "window": size_text(u64::from(http2.window)),
        "connection_window": size_text(u64::from(http2.connection_window)),
    })
}

/// `listeners[].http2`
pub(super) fn listener_http2(http2: &ListenerHttp2) -> Value {
    let mut shown = bounds(&http2.bounds);
    if let Value::Object(shown) = &mut shown {
        shown.insert("unsent".into(), json!(size_text(u64::from(http2.unsent))));
        for (name, rate) in [
            ("resets", http2.resets),
            ("control_frames", http2.control_frames),
            ("empty_frames", http2.empty_frames),
        ] {
            shown.insert(name.into(), json!(format!("{rate}/s")));
        }
        shown.insert("continuations".into(), json!(http2.continuations));
        shown.insert("stream_errors".into(), json!(http2.stream_errors));
        shown.insert("keep_alive".into(), json!(http2.keep_alive.map_or("none".to_owned(), duration_text)));
    }
    shown
}
