//! What no two credentials may share: whoever shows it must be one consumer, and one only. And what any may show is
//! no credential.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use super::Consumer;
use crate::config::{CertificateSubject, Credentials, Diagnostic};

/// Tells of keys, names and ids that are there twice.
/// `tell` gets the number of the consumer that came second.
pub(super) fn check(consumers: &[(Arc<Consumer>, Credentials)], tell: &mut dyn FnMut(usize, Diagnostic)) {
    let mut keys = Seen::new("API key", "sha256");
    let mut names = Seen::new("name to log in with", "username");
    let mut secrets = Seen::new("id of a key to sign with", "id");
    for (at, (consumer, credentials)) in consumers.iter().enumerate() {
        let out = &mut |wrong| tell(at, wrong);
        for (i, key) in credentials.keys.iter().enumerate() {
            keys.note(*key.sha256.bytes(), consumer, "keys", i, out);
            if let Some(scope) = key
                .scopes
                .iter()
                .find(|scope| scope.contains([' ', ',']) || scope.is_empty())
            {
                let path = format!("consumers.{}.credentials.keys[{i}].scopes", consumer.name);
                let message =
                    format!("`{scope}` is no scope: upstreams are told of scopes with commas between");
                out(Diagnostic::error(path, message).hint("expected one scope without spaces and commas"));
            }
        }
        for (i, password) in credentials.passwords.iter().enumerate() {
            let name = password.username.as_deref().unwrap_or(&consumer.name);
            names.note(name, consumer, "passwords", i, out);
        }
        for (i, certificate) in credentials.certificates.iter().enumerate() {
            if *certificate == CertificateSubject::default() {
                let path = format!("consumers.{}.credentials.certificates[{i}]", consumer.name);
                let message = format!("a certificate of consumer `{}` could be any", consumer.name);
                out(Diagnostic::error(path, message).hint("expected `fingerprint`, `subject` or `name`"));
            }
        }
        for (i, secret) in credentials.secrets.iter().enumerate() {
            secrets.note(secret.id.as_str(), consumer, "secrets", i, out);
        }
        for (i, key) in credentials.public_keys.iter().enumerate() {
            secrets.note(key.id.as_str(), consumer, "public_keys", i, out);
        }
    }
}

/// Who has what, of one sort.
struct Seen<'a, K> {
    what: &'static str,
    field: &'static str,
    owners: HashMap<K, &'a Consumer>,
}

impl<'a, K: Hash + Eq> Seen<'a, K> {
    fn new(what: &'static str, field: &'static str) -> Self {
        Self {
            what,
            field,
            owners: HashMap::new(),
        }
    }

    fn note(&mut self, key: K, owner: &'a Consumer, list: &str, i: usize, out: &mut dyn FnMut(Diagnostic)) {
        let first = match self.owners.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(owner);
                return;
            }
            Entry::Occupied(entry) => &entry.get().name,
        };
        let (what, name) = (self.what, &owner.name);
        let message = if first == name {
            format!("consumer `{name}` has the same {what} twice")
        } else {
            format!("consumers `{first}` and `{name}` have the same {what}")
        };
        let path = format!("consumers.{name}.credentials.{list}[{i}].{}", self.field);
        out(Diagnostic::error(path, message).hint("expected one that nobody else has"));
    }
}
