//! Secrets: written in place, or in a file of their own.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Reader;

/// A secret. Better in a file (`{ file: PATH }`) or from the environment (`"${env:NAME}"`) than in the document.
///
/// It never shows up in logs, and not where the configuration is shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// The file it is in; a line end at the end does not belong to it. It is read anew when it changes.
    File(SecretFile),
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// The path, relative to the document.
    pub file: PathBuf,
}

impl Secret {
    /// The bytes; if it is in a file, that is read and watched.
    ///
    /// # Errors
    /// Says in a few words why the file cannot be read, or that there is nothing in it.
    pub fn read(&self, reader: &Reader) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::File(SecretFile { file }) => {
                let mut bytes = reader
                    .file(file)
                    .map_err(|why| format!("cannot read `{}`: {why}", file.display()))?;
                bytes.truncate(bytes.trim_ascii_end().len());
                bytes
            }
        };
        if bytes.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        Ok(bytes)
    }

    /// The file it is in, if it is in one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(SecretFile { file }) => Some(file),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Secret"),
            Self::File(file) => file.fmt(f),
        }
    }
}

/// Shows of a secret in place only whether it is another than before, and that to nobody outside this process.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        match self {
            Self::Text(text) => {
                let print = KEY.get_or_init(RandomState::new).hash_one(text);
                serializer.serialize_str(&format!("(hidden {print:016x})"))
            }
            Self::File(file) => file.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_shown() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.read(&Reader::default()).unwrap(), b"hunter2");
    }

    #[test]
    fn the_empty_secret_is_none() {
        assert!(Secret::Text(String::new()).read(&Reader::default()).is_err());
    }
}
