//! The servers of a case, by name.

use serde_json::Value;

use crate::backend::http::HttpBackend;
use crate::backend::reply::Reply;
use crate::backend::tcp::{Blackhole, Refusing, TcpBackend};

/// One server of a case.
#[derive(Debug)]
pub(super) enum Server {
    Http(HttpBackend),
    Refusing(Refusing),
    Silent(TcpBackend),
    Blackhole(Blackhole),
}

impl Server {
    /// From what the case says: a reply (with `paths` for some of them), or the name of a sort of bad server.
    pub(super) fn start(name: &str, value: &Value) -> Result<Self, String> {
        if let Some(sort) = value.as_str() {
            return match sort {
                "refuse" => Ok(Self::Refusing(Refusing::new())),
                "silent" => Ok(Self::Silent(TcpBackend::silent())),
                "blackhole" => Ok(Self::Blackhole(Blackhole::new())),
                other => Err(format!("backend `{name}`: no such sort: {other}")),
            };
        }
        let backend = HttpBackend::replying(Reply::ok(name));
        let mut value = value.clone();
        let paths = value.as_object_mut().and_then(|map| map.shift_remove("paths"));
        let in_backend = |e: String| format!("backend `{name}`: {e}");
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            backend.otherwise(Reply::from_value(&value).map_err(in_backend)?);
        }
        for (path, reply) in paths.as_ref().and_then(Value::as_object).into_iter().flatten() {
            backend.on(path, Reply::from_value(reply).map_err(in_backend)?);
        }
        Ok(Self::Http(backend))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Http(b) => b.url(),
            Self::Refusing(b) => b.url(),
            Self::Silent(b) => b.url(),
            Self::Blackhole(b) => b.url(),
        }
    }

    /// How many requests reached it; those that cannot answer never count.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Http(b) => b.count(),
            _ => 0,
        }
    }
}
