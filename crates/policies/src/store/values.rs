//! Values by key, for policies that remember something for a while and share it between gateways.

use std::time::Duration;

use redis::Value;

use super::{Call, Redis, Unavailable};

impl Redis {
    /// The value of a key, if it has one.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut command = redis::cmd("GET");
        command.arg(self.name(key));
        bytes(self.ask(Call::Command(command)).await?)
    }

    /// Gives a key a value that is forgotten after `lasts`.
    pub async fn set(&self, key: &str, value: &[u8], lasts: Duration) -> Result<(), Unavailable> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.name(key))
            .arg(value)
            .arg("PX")
            .arg(millis(lasts));
        self.ask(Call::Command(command)).await.map(drop)
    }

    /// The same if the key has no value yet; else returns the one it has. One step: of two at once, one gets the other's.
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

    /// Forgets the value of a key.
    pub async fn remove(&self, key: &str) -> Result<(), Unavailable> {
        let mut command = redis::cmd("DEL");
        command.arg(self.name(key));
        self.ask(Call::Command(command)).await.map(drop)
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
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
