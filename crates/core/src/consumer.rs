//! Consumers: who may call, as the document names them.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::{self, Credentials, Diagnostic};

mod unique;

/// Somebody who calls, and what is known of them. Shared by all requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consumer {
    /// The name in the document.
    pub name: Box<str>,
    /// Groups it belongs to.
    pub groups: Box<[Box<str>]>,
    /// Its plan, such as `free`.
    pub tier: Option<Box<str>>,
    /// What else is known of it.
    pub labels: Box<[(Box<str>, Box<str>)]>,
}

impl Consumer {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(known, _)| **known == *name);
        label.map(|(_, value)| &**value)
    }

    /// Whether it belongs to a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| **known == *group)
    }
}

/// All consumers of a document.
#[derive(Debug, Default)]
pub struct Consumers {
    by_name: HashMap<Box<str>, Arc<Consumer>>,
    credentials: Vec<(Arc<Consumer>, Credentials)>,
}

impl Consumers {
    /// The consumers of a document, in its order; what no two of them may share is told.
    pub(crate) fn of(written: &IndexMap<String, config::Consumer>, out: &mut Vec<Diagnostic>) -> Self {
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let credentials: Vec<_> = written
            .iter()
            .map(|(name, written)| {
                let labels = written.labels.iter();
                let consumer = Consumer {
                    name: name.as_str().into(),
                    groups: boxed(&written.groups),
                    tier: written.tier.as_deref().map(Box::from),
                    labels: labels
                        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                        .collect(),
                };
                (Arc::new(consumer), written.credentials.clone())
            })
            .collect();
        unique::check(&credentials, out);
        let by_name = credentials
            .iter()
            .map(|(consumer, _)| (consumer.name.clone(), consumer.clone()));
        Self {
            by_name: by_name.collect(),
            credentials,
        }
    }

    /// The consumer of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name)
    }

    /// All of them with their credentials as written, in the order of the document.
    pub fn credentials(&self) -> impl Iterator<Item = &(Arc<Consumer>, Credentials)> {
        self.credentials.iter()
    }
}
