//! How a Redis is reached: one server, one that sentinels name, or a cluster.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use futures_util::future::join_all;
use gatehouse_core::config::{self, Diagnostic, RedisMode};
use gatehouse_core::policy::Compile;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};

/// Where a Redis is and how to log in.
#[derive(Clone)]
pub(super) struct Target {
    addresses: Vec<(String, u16)>,
    mode: RedisMode,
    master: String,
    database: u16,
    username: Option<String>,
    password: Option<String>,
    tls: Option<Certificates>,
    timeout: Duration,
}

#[derive(Clone, Hash)]
struct Certificates {
    ca: Option<Vec<u8>>,
    /// The chain and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A connection that many may use at once.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Target {
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn of(settings: &config::Redis, path: &str, cx: &Compile<'_>) -> Result<Self, Diagnostic> {
        let error = |field: &str, message: String| Diagnostic::error(format!("{path}.{field}"), message);
        let mut addresses = Vec::with_capacity(settings.addresses.len());
        for (i, address) in settings.addresses.iter().enumerate() {
            let place = address_of(address).ok_or_else(|| {
                let message = format!("`{address}` is no address; expected such as `10.0.0.5:6379`");
                error(&format!("addresses[{i}]"), message)
            })?;
            addresses.push(place);
        }
        let master = settings.master.clone().unwrap_or_default();
        match (settings.mode, addresses.len()) {
            (_, 0) => return Err(error("addresses", "there is no address".to_owned())),
            (RedisMode::Single, 2..) => {
                let message =
                    "one server has one address; write `mode: sentinel` or `mode: cluster` for several";
                return Err(error("addresses", message.to_owned()));
            }
            (RedisMode::Sentinel, _) if master.is_empty() => {
                let message = "sentinels need to be asked for somebody; write what they call the set";
                return Err(error("master", message.to_owned()));
            }
            (RedisMode::Cluster, _) if settings.database != 0 => {
                return Err(error("database", "a cluster has only database 0".to_owned()));
            }
            _ => {}
        }
        if settings.timeout.is_zero() {
            return Err(error(
                "timeout",
                "no time at all is too short for any answer".to_owned(),
            ));
        }
        let password = match &settings.password {
            None => None,
            Some(secret) => {
                let read = secret
                    .read(cx.reader)
                    .map_err(|reason| error("password", reason))?;
                let text = String::from_utf8(read);
                Some(text.map_err(|_| error("password", "the password is not UTF-8".to_owned()))?)
            }
        };
        Ok(Self {
            addresses,
            mode: settings.mode,
            master,
            database: settings.database,
            username: settings.username.clone(),
            password,
            tls: settings
                .tls
                .as_ref()
                .map(|tls| certificates(tls, path, cx))
                .transpose()?,
            timeout: settings.timeout.get(),
        })
    }

    /// Tells apart what the settings do not show: secrets and the contents of files.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.password, &self.tls).hash(&mut hasher);
        hasher.finish()
    }

    /// Connects and asks for a sign of life.
    pub async fn connect(&self) -> RedisResult<Connection> {
        let mut connection = match self.mode {
            RedisMode::Single => Connection::One(self.single().await?),
            RedisMode::Sentinel => Connection::One(self.sentinel().await?),
            RedisMode::Cluster => Connection::Cluster(self.cluster().await?),
        };
        match connection.all(vec![redis::cmd("PING")]).await?.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            _ => Ok(connection),
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.timeout))
            .set_connection_timeout(Some(CONNECT.max(self.timeout)))
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(i64::from(self.database));
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        info
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let tls = self.tls.as_ref()?;
        Some(TlsCertificates {
            client_tls: tls
                .identity
                .clone()
                .map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
            root_cert: tls.ca.clone(),
        })
    }

    fn infos(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let infos = self.places().into_iter();
        infos
            .map(|place| Ok(place.into_connection_info()?.set_redis_settings(self.login())))
            .collect()
    }

    fn places(&self) -> Vec<ConnectionAddr> {
        let places = self.addresses.iter().cloned();
        let place = |(host, port)| match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        places.map(place).collect()
    }

    async fn single(&self) -> RedisResult<MultiplexedConnection> {
        let info = self.infos()?.into_iter().next();
        let info = info.ok_or(RedisError::from((
            redis::ErrorKind::InvalidClientConfig,
            "no address",
        )))?;
        let client = match self.certificates() {
            None => Client::open(info)?,
            Some(certificates) => Client::build_with_tls(info, certificates)?,
        };
        client
            .get_multiplexed_async_connection_with_config(&self.config())
            .await
    }

    async fn sentinel(&self) -> RedisResult<MultiplexedConnection> {
        let places = self.places();
        let mut builder = SentinelClientBuilder::new(places, &self.master, SentinelServerType::Master)?
            .set_client_to_redis_db(i64::from(self.database));
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates);
        }
        builder
            .build()?
            .get_async_connection_with_config(&self.config())
            .await
    }

    async fn cluster(&self) -> RedisResult<ClusterConnection> {
        let mut builder: ClusterClientBuilder = ClusterClient::builder(self.infos()?)
            .connection_timeout(CONNECT.max(self.timeout))
            .response_timeout(self.timeout)
            .retries(1);
        if let Some(certificates) = self.certificates() {
            builder = builder.tls(TlsMode::Secure).certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }
}

/// How long a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

impl Connection {
    /// Sends commands together; their answers, in order. Errors of single commands are among the answers.
    pub async fn all(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(one) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                let count = commands.len();
                for command in commands {
                    pipeline.add_command(command);
                }
                one.send_packed_commands(&pipeline, 0, count).await
            }
            Self::Cluster(cluster) => {
                // Keys are on different nodes: each goes its own way.
                let sent = commands.iter().map(|command| {
                    let mut cluster = cluster.clone();
                    async move { cluster.req_packed_command(command).await }
                });
                join_all(sent).await.into_iter().collect()
            }
        }
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn certificates(tls: &config::RedisTls, path: &str, cx: &Compile<'_>) -> Result<Certificates, Diagnostic> {
    let read = |field: &str, file: Option<&std::path::PathBuf>| {
        let Some(file) = file else { return Ok(None) };
        cx.reader.file(file).map(Some).map_err(|reason| {
            let message = format!("`{}` cannot be read: {reason}", file.display());
            Diagnostic::error(format!("{path}.tls.{field}"), message)
        })
    };
    let certificate = read("certificate", tls.certificate.as_ref())?;
    let key = read("key", tls.key.as_ref())?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let message = "`certificate` and `key` belong together; one of them is missing";
            return Err(Diagnostic::error(format!("{path}.tls"), message));
        }
    };
    Ok(Certificates {
        ca: read("ca", tls.ca.as_ref())?,
        identity,
    })
}

fn address_of(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
    is_host.then(|| (host.to_owned(), port))
}
