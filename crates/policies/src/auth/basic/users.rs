//! Who has a password: consumers, and the lines of an htpasswd file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use gatehouse_core::config::{CredentialSort, Diagnostic, Password, PasswordHash};
use gatehouse_core::consumer::Consumer;
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::Compile;

use crate::auth::directory::Directory;

/// A name and what belongs to it.
pub struct User {
    /// The hash of the password.
    pub hash: Arc<PasswordHash>,
    /// Who it is.
    pub identity: Identity,
}

impl User {
    fn new(name: &str, hash: PasswordHash, consumer: Option<&Arc<Consumer>>) -> Self {
        Self {
            hash: Arc::new(hash),
            identity: Identity {
                method: "basic_auth",
                proof: Arc::new(Proof {
                    subject: name.into(),
                    credential: Some(name.into()),
                    ..Proof::default()
                }),
                consumer: consumer.cloned(),
            },
        }
    }
}

/// Users by name.
#[derive(Default)]
pub struct Users(HashMap<Box<str>, User>);

impl Users {
    /// The consumers of the document that have a password.
    pub fn of_consumers(cx: &Compile<'_>) -> Self {
        let users = cx.consumers.credentials().flat_map(|(consumer, credentials)| {
            credentials.passwords.iter().map(move |password| {
                let name = password.username.as_deref().unwrap_or(&consumer.name);
                let user = User::new(name, password.hash.clone(), Some(consumer));
                (name.into(), user)
            })
        });
        Self(users.collect())
    }

    /// Consumers in a store that have a password.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn in_store(cx: &Compile<'_>) -> Result<Option<Arc<Directory<User>>>, Diagnostic> {
        Directory::of(
            cx,
            CredentialSort::Passwords,
            |consumer, credentials, wanted: &str| {
                let mut passwords = credentials.passwords.iter();
                let name =
                    |password: &Password| password.username.as_deref().unwrap_or(&consumer.name) == wanted;
                let password = passwords.find(|password| name(password))?;
                Some(User::new(wanted, password.hash.clone(), Some(consumer)))
            },
        )
    }

    /// Those of an htpasswd file, none of which may be among `others`. Who is called as a consumer is that consumer.
    ///
    /// # Errors
    /// Says what is wrong, and with which line.
    pub fn of_file(path: &Path, others: &Self, cx: &mut Compile<'_>) -> Result<Self, String> {
        let bytes = cx
            .read(path)
            .map_err(|why| format!("cannot read `{}`: {why}", path.display()))?;
        let mut users = HashMap::new();
        for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let wrong = |why: &str| format!("line {} of `{}`: {why}", i + 1, path.display());
            let line = std::str::from_utf8(line)
                .map_err(|_| wrong("it is not UTF-8"))?
                .trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line
                .split_once(':')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| wrong("it is not `NAME:HASH`"))?;
            let hash = hash.parse().map_err(|why: String| wrong(&why))?;
            if others.find(name).is_some() {
                return Err(wrong(&format!("a consumer has the name `{name}` to log in with")));
            }
            match users.entry(Box::from(name)) {
                Entry::Occupied(_) => return Err(wrong(&format!("`{name}` is there twice"))),
                Entry::Vacant(entry) => entry.insert(User::new(name, hash, cx.consumers.named(name))),
            };
        }
        Ok(Self(users))
    }

    /// The user of this name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// Anybody.
    pub fn any(&self) -> Option<&User> {
        self.0.values().next()
    }
}
