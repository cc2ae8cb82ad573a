//! The tables of TLS, at listeners and services.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

use super::NAME;

const FILE: Kind = Kind::Text("a file's path, from the configuration's folder");
const VERSION: Kind = Kind::Choice { now: &["1.2", "1.3"], later: &[] };

/// `listeners[].tls`
pub static LISTENER_TLS: Object = Object {
    name: "tls",
    about: "TLS ends at this listener. Files that change are read again, and the certificates in them shown to new \
            connections.",
    later: &["identity"],
    fields: &[
        Field {
            name: "certificates",
            kind: Kind::List(&Kind::Object(&LISTENER_CERTIFICATE)),
            absent: Required,
            about: "Chosen by the name a client asks for (SNI): exact names first, then wildcards; the first one for all \
                    others.",
        },
        Field {
            name: "min_version",
            kind: VERSION,
            absent: Default("1.2"),
            about: "The oldest version spoken.",
        },
        Field {
            name: "clients",
            kind: Kind::Object(&CLIENT_CERTIFICATES),
            absent: Means("certificates are not asked for"),
            about: "Certificates of clients.",
        },
        Field {
            name: "tickets",
            kind: Kind::Boolean,
            absent: Default("true"),
            about: "Give session tickets, which any worker takes, so that clients that come back save a handshake.",
        },
        Field {
            name: "handshakes",
            kind: Kind::Integer(1, 100_000),
            absent: Default("256"),
            about: "Handshakes of this listener under way at once on one worker. Beyond it they wait, within `timeouts.handshake`.",
        },
        Field {
            name: "key_log",
            kind: FILE,
            absent: Means("off"),
            about: "Appends the secrets of every session to this file, for tools that decrypt captures. Whoever reads it \
                    reads the traffic.",
        },
    ],
};

/// One of `listeners[].tls.certificates`
pub static LISTENER_CERTIFICATE: Object = Object {
    name: "listener_certificate",
    about: "A certificate and its key: from files in PEM, or from an ACME authority.",
    later: &[],
    fields: &[
        Field {
            name: "cert",
            kind: FILE,
            absent: Means("needed unless `acme` is there"),
            about: "The certificate, then those that lead to its root.",
        },
        Field {
            name: "key",
            kind: FILE,
            absent: Means("needed unless `acme` is there"),
            about: "Its private key: PKCS#8, PKCS#1 or SEC1.",
        },
        Field {
            name: "ocsp",
            kind: FILE,
            absent: Means("none is stapled"),
            about: "An OCSP response in DER, stapled to handshakes.",
        },
        Field {
            name: "acme",
            kind: NAME,
            absent: Means("`cert` and `key` are needed"),
            about: "One of `acme`, of whom the certificate is asked. It is renewed at two thirds of its life.",
        },
        Field {
            name: "names",
            kind: Kind::List(&Kind::Text("a host name (`a.example.com`)")),
            absent: Means("needed where `acme` is"),
            about: "With `acme`: the names the certificate is for. It is kept in a file named after the first.",
        },
    ],
};

/// `services.X.tls.certificate`
pub static CERTIFICATE: Object = Object {
    name: "certificate",
    about: "A certificate and its key, in PEM.",
    later: &[],
    fields: &[
        Field {
            name: "cert",
            kind: FILE,
            absent: Required,
            about: "The certificate, then those that lead to its root.",
        },
        Field {
            name: "key",
            kind: FILE,
            absent: Required,
            about: "Its private key: PKCS#8, PKCS#1 or SEC1.",
        },
        Field {
            name: "ocsp",
            kind: FILE,
            absent: Means("none is stapled"),
            about: "An OCSP response in DER, stapled to handshakes.",
        },
    ],
};

/// `listeners[].tls.clients`
pub static CLIENT_CERTIFICATES: Object = Object {
    name: "clients",
    about: "Certificates of clients.",
    later: &["crl"],
    fields: &[
        Field {
            name: "verify",
            kind: Kind::Choice { now: &["required", "optional"], later: &[] },
            absent: Default("required"),
            about: "Whether a client without a certificate is served. One with a wrong certificate never is.",
        },
        Field { name: "ca", kind: FILE, absent: Required, about: "Who may have signed them, in PEM." },
        Field {
            name: "header",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Tell the verified certificate upstream in X-Forwarded-Client-Cert: fingerprint, subject, names. \
                    What a client itself says there is always taken out.",
        },
    ],
};

/// `services.X.tls`
pub static SERVICE_TLS: Object = Object {
    name: "service_tls",
    about: "TLS towards endpoints. Their certificates are verified.",
    later: &["identity"],
    fields: &[
        Field {
            name: "ca",
            kind: FILE,
            absent: Means("whom the system trusts"),
            about: "Who may have signed endpoints' certificates, in PEM.",
        },
        Field {
            name: "name",
            kind: Kind::Text("a host name or an IP address"),
            absent: Means("the host of `authority`"),
            about: "Whom certificates must name, and what is asked for (SNI).",
        },
        Field {
            name: "insecure_skip_verify",
            kind: Kind::Boolean,
            absent: Default("false"),
            about: "Take any certificate: whoever is in between reads and changes everything.",
        },
        Field {
            name: "certificate",
            kind: Kind::Object(&CERTIFICATE),
            absent: Means("none"),
            about: "Shown to endpoints that ask for one.",
        },
        Field {
            name: "min_version",
            kind: VERSION,
            absent: Default("1.2"),
            about: "The oldest version spoken.",
        },
    ],
};
