//! Values by key, for policies that remember something for a while and share it between gateways.

use std::time::Duration;

use redis::Value;

use super::{Call, Redis, Unavailable};

/// The script behind changes of a value that is known.
pub(super) const SWAP: &str = include_str!("swap.lua");

impl Redis {
    /// The first bytes of a key's value, at most so many; none if it has no value, or an empty one.
    pub async fn start_of(&self, key: &str, most: usize) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.name(key)).arg(0).arg(most.saturating_sub(1));
        let start = bytes(self.ask(Call::Command(command)).await?)?;
        Ok(start.filter(|start| !start.is_empty()))
    }

    /// Entries of a stream behind the one of this id, at most so many: their ids, fields and values. `0` is before all.
    pub async fn entries(&self, key: &str, after: &str, most: usize) -> Result<Vec<Entry>, Unavailable> {
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.name(key))
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(most);
        let Value::Array(entries) = self.ask(Call::Command(command)).await? else {
            return Err(Unavailable::Refused);
        };
        let entries = entries.into_iter().map(entry).collect::<Option<_>>();
        entries.ok_or(Unavailable::Refused)
    }

    /// Gives a key a value that is forgotten after `lasts`, if it has none yet; else returns the one it has. One step: of
    /// two at once, one gets the other's. Takes Redis 7.
    pub async fn set_if_absent(
        &self,
        key: &str,
        value: &[u8],
        lasts: Duration,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.name(key))
            .arg(value)
            .arg("PX")
            .arg(millis(lasts))
            .arg("NX")
            .arg("GET");
        bytes(self.ask(Call::Command(command)).await?)
    }

    /// Gives a key another value if it still has this one; whether it had.
    pub async fn replace(
        &self,
        key: &str,
        from: &[u8],
        to: &[u8],
        lasts: Duration,
    ) -> Result<bool, Unavailable> {
        self.swap(key, from, to, millis(lasts)).await
    }

    /// Keeps this value of a key for `lasts` from now on, if it still has it; whether it had.
    pub async fn extend(&self, key: &str, value: &[u8], lasts: Duration) -> Result<bool, Unavailable> {
        self.swap(key, value, b"", millis(lasts)).await
    }

    /// Forgets this value of a key, if it still has it; whether it had.
    pub async fn release(&self, key: &str, value: &[u8]) -> Result<bool, Unavailable> {
        self.swap(key, value, b"", 0).await
    }

    async fn swap(&self, key: &str, from: &[u8], to: &[u8], millis: u64) -> Result<bool, Unavailable> {
        let call = Call::Script {
            script: self.swapper.clone(),
            key: self.name(key).into_bytes(),
            arguments: vec![from.to_vec(), to.to_vec(), millis.to_string().into_bytes()],
        };
        match self.ask(call).await? {
            Value::Int(changed) => Ok(changed == 1),
            _ => Err(Unavailable::Refused),
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// The id of an entry of a stream, and its fields with their values.
pub type Entry = (String, Vec<(String, String)>);

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let Ok([id, Value::Array(fields)]) = <[Value; 2]>::try_from(parts) else {
        return None;
    };
    let mut texts = fields.into_iter().map(text);
    let mut pairs = Vec::new();
    while let Some(name) = texts.next() {
        pairs.push((name?, texts.next()??));
    }
    Some((text(id)?, pairs))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn bytes(value: Value) -> Result<Option<Vec<u8>>, Unavailable> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(Unavailable::Refused),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
