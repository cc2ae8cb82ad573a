//! The tables of `acme`.

use crate::describe::Absent::{Default, Means, Required};
use crate::describe::{Field, Kind, Object};

const FILE: Kind = Kind::Text("a file's path, from the configuration's folder");

/// One of `acme`
pub static ACME_ACCOUNT: Object = Object {
    name: "acme_account",
    about: "An account at an authority that issues certificates by ACME (RFC 8555). It is made when a certificate is \
            first asked for.",
    later: &[],
    fields: &[
        Field {
            name: "directory",
            kind: Kind::Text("a URL that begins with `https://`"),
            absent: Required,
            about: "Where the authority tells what it has.",
        },
        Field {
            name: "folder",
            kind: Kind::Text("a folder's path, from the configuration's folder"),
            absent: Required,
            about: "Where account key, certificates and their keys are kept, in a folder for each directory. Made, with \
                    access for its owner only, if it is not there. One gateway writes to it.",
        },
        Field {
            name: "terms_agreed",
            kind: Kind::Boolean,
            absent: Required,
            about: "That you agree to the authority's terms; `true` is the only answer with which certificates are \
                    issued.",
        },
        Field {
            name: "email",
            kind: Kind::Text("an e-mail address"),
            absent: Means("none is told"),
            about: "Whom the authority may write to. It is told when the account is made.",
        },
        Field {
            name: "challenge",
            kind: Kind::Choice { now: &["tls-alpn-01", "http-01"], later: &[] },
            absent: Default("tls-alpn-01"),
            about: "How names are proven: `tls-alpn-01` by listeners with TLS, which the authority must reach on port \
                    443 of each name; `http-01` by listeners with plain HTTP, on port 80.",
        },
        Field {
            name: "ca",
            kind: FILE,
            absent: Means("whom the system trusts"),
            about: "Who may have signed the certificate of the authority's own server, in PEM.",
        },
        Field {
            name: "external_account",
            kind: Kind::Object(&EXTERNAL_ACCOUNT),
            absent: Means("none"),
            about: "Binds the account to one that the authority keeps elsewhere, where it asks for that.",
        },
        Field {
            name: "retry",
            kind: Kind::Duration,
            absent: Default("2m"),
            about: "From a failure to the next try; doubled with each failure in a row, up to 64 times as long.",
        },
    ],
};

/// `acme.X.external_account`
pub static EXTERNAL_ACCOUNT: Object = Object {
    name: "external_account",
    about: "An account that the authority keeps elsewhere (RFC 8555 §7.3.4).",
    later: &[],
    fields: &[
        Field {
            name: "id",
            kind: Kind::Text("the key's id as the authority gave it"),
            absent: Required,
            about: "Which.",
        },
        Field {
            name: "key",
            kind: FILE,
            absent: Required,
            about: "A file with the key in base64url, as the authority gave it.",
        },
    ],
};
