//! A bucket in Redis or Valkey: one script, run there as one step by that server's clock.
//!
//! Asks of all limits share a connection; they are sent without waiting for one another. A key's name holds a digest of
//! what the limit is counted by, never the thing itself: it may be a credential.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    Script, TlsCertificates,
};
use ringway_config::model::{self, RedisAt};

use super::store::{Answer, Question, REFUSED_NS_MAX, hex};

static BUCKET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("bucket.lua")));

/// Asks that may wait for the socket, beyond those the store has already been sent.
const UNSENT_MAX: usize = 256;

/// A connection that has answered. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    connection: MultiplexedConnection,
    prefix: Arc<str>,
}

impl Connection {
    /// Connects, and asks for a token of a bucket of our own: so it is known that it may be written.
    ///
    /// # Errors
    /// There is none to ask, or it doesn't do what it is asked. For a person, without anything secret.
    pub async fn open(redis: &model::Redis, within: Duration) -> Result<Connection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(within))
            .set_pipeline_buffer_size(UNSENT_MAX);
        let client = client(redis).map_err(|error| error.to_string())?;
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = opened.map_err(|error| error.to_string())?;
        Ok(Connection { connection, prefix: redis.prefix.as_str().into() })
    }

    /// One ask, as long as it takes.
    ///
    /// # Errors
    /// As above.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, String> {
        let said = self.call(question, i64::from(question.want)).await?;
        Ok(answered(question, said))
    }

    /// Gives back as many tokens as are wanted.
    ///
    /// # Errors
    /// As above.
    pub async fn give_back(&mut self, question: &Question) -> Result<u32, String> {
        self.call(question, -i64::from(question.want)).await.map(|_| question.want)
    }

    /// Tokens granted and left, and microseconds until there are more.
    async fn call(&mut self, question: &Question, want: i64) -> Result<(i64, i64, i64), String> {
        let mut call = BUCKET.prepare_invoke();
        call.key(key(&self.prefix, question))
            .arg(format!("{:.3}", question.interval_ns as f64 / 1000.0))
            .arg(question.burst)
            .arg(question.least)
            .arg(want);
        call.invoke_async(&mut self.connection).await.map_err(|error| error.to_string())
    }
}

/// What is said is believed within bounds: no more is granted than was asked for.
fn answered(question: &Question, (granted, left, more_us): (i64, i64, i64)) -> Answer {
    match u32::try_from(granted).unwrap_or(0).min(question.want.max(question.least)) {
        0 => {
            let more_ns = u64::try_from(more_us).unwrap_or(0).saturating_mul(1000);
            Answer::Refused { more_ns: more_ns.min(REFUSED_NS_MAX) }
        }
        tokens => Answer::Granted { tokens, left: u32::try_from(left).unwrap_or(0) },
    }
}

fn client(redis: &model::Redis) -> Result<Client, RedisError> {
    let (address, ca) = match &redis.at {
        RedisAt::Unix(path) => (ConnectionAddr::Unix(path.clone()), None),
        RedisAt::Tcp { host, port, tls: None } => (ConnectionAddr::Tcp(host.clone(), *port), None),
        RedisAt::Tcp { host, port, tls: Some(ca) } => {
            let address =
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None };
            (address, ca.as_ref())
        }
    };
    let mut settings = RedisConnectionInfo::default()
        .set_db(i64::from(redis.database))
        .set_lib_name("ringway", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &redis.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &redis.password {
        settings = settings.set_password(String::from_utf8_lossy(password.bytes()));
    }
    let info = address.into_connection_info()?.set_redis_settings(settings);
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match ca {
        None => Client::open(info),
        Some(ca) => {
            let root_cert = Some(pem(&ca.certificates).into_bytes());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        }
    }
}

/// `ringway:orders:6f1e...`: a digest, so that no key says who called.
fn key(prefix: &str, question: &Question) -> String {
    format!("{prefix}:{}:{}", question.limit, hex(&question.bucket.digest()))
}

fn pem(certificates: &[Vec<u8>]) -> String {
    use base64::Engine as _;
    let mut out = String::new();
    for der in certificates {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        for line in text.as_bytes().chunks(64) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::store::{self, Bucket};
    use super::*;

    fn question(limit: &str, parts: &[(&str, &str)]) -> Question {
        let bucket =
            Bucket::Parts(parts.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        Question { limit: limit.into(), bucket, interval_ns: 1, burst: 1, least: 1, want: 1 }
    }

    #[test]
    fn keys_tell_limits_and_callers_apart_and_name_no_caller() {
        let one = key("ringway", &question("api", &[("header:key", "secret"), ("path", "/a")]));
        assert!(one.starts_with("ringway:api:") && !one.contains("secret"), "{one}");
        for other in [
            question("other", &[("header:key", "secret"), ("path", "/a")]),
            question("api", &[("header:key", "secre"), ("path", "t/a")]),
            question("api", &[("header:key", "secret")]),
        ] {
            assert_ne!(key("ringway", &other), one);
        }
        let digest = question("api", &[("header:key", "secret"), ("path", "/a")]).bucket.digest();
        let digested = Question { bucket: Bucket::Digest(digest), ..question("api", &[]) };
        assert_eq!(key("ringway", &digested), one);
    }

    #[test]
    fn no_limit_can_have_the_bucket_that_is_probed() {
        let probed = key("ringway", &store::probe());
        assert!(probed.starts_with("ringway:#probe:"), "names of limits have no #: {probed}");
    }

    #[test]
    fn what_is_said_is_believed_within_bounds() {
        let asked = Question { least: 2, want: 5, ..question("api", &[]) };
        let granted = |tokens, left| Answer::Granted { tokens, left };
        let refused = |more_ns| Answer::Refused { more_ns };
        for (said, answer) in [
            ((4, 9, 0), granted(4, 9)),
            ((i64::from(u32::MAX), -1, 0), granted(5, 0)),
            ((0, 0, 7), refused(7000)),
            ((-3, 0, -1), refused(0)),
            ((0, 0, i64::MAX), refused(REFUSED_NS_MAX)),
        ] {
            assert_eq!(answered(&asked, said), answer, "{said:?}");
        }
    }

    #[test]
    fn certificates_are_written_as_pem() {
        let text = pem(&[vec![0; 100]]);
        assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----END CERTIFICATE-----\n"));
    }
}
