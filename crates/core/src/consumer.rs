//! Consumers: who may call, as the document names them.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::{
    self, Config, ConsumersFrom, ConsumersInRedis, Credentials, Diagnostic, NamedConsumer, Reader,
};

mod file;
mod unique;

use file::Line;

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

impl From<&NamedConsumer> for Consumer {
    fn from(written: &NamedConsumer) -> Self {
        consumer(
            &written.name,
            &written.groups,
            written.tier.as_deref(),
            &written.labels,
        )
    }
}

fn consumer(
    name: &str,
    groups: &[String],
    tier: Option<&str>,
    labels: &IndexMap<String, String>,
) -> Consumer {
    let labels = labels.iter();
    Consumer {
        name: name.into(),
        groups: groups.iter().map(|group| group.as_str().into()).collect(),
        tier: tier.map(Box::from),
        labels: labels
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
    }
}

/// All consumers of a document.
#[derive(Debug, Default)]
pub struct Consumers {
    by_name: HashMap<Box<str>, Arc<Consumer>>,
    credentials: Vec<(Arc<Consumer>, Credentials)>,
    store: Option<ConsumersInRedis>,
}

impl Consumers {
    /// The consumers of a document, in its order, and those of its file. What is wrong is told.
    pub(crate) fn of(config: &Config, reader: &Reader, out: &mut Vec<Diagnostic>) -> Self {
        let mut all = Self::default();
        for (name, written) in &config.consumers {
            let consumer = consumer(name, &written.groups, written.tier.as_deref(), &written.labels);
            all.add(Arc::new(consumer), written.credentials.clone());
        }
        let of_document = all.credentials.len();
        let mut lines = Vec::new();
        let from = config.consumers_from.clone().unwrap_or_default();
        if config.consumers_from.as_ref() == Some(&ConsumersFrom::default()) {
            let message = "consumers come from nowhere; write `file`, `redis` or both";
            out.push(Diagnostic::error("consumers_from", message));
        }
        all.store = from.redis.filter(|redis| {
            let is_there = config.stores.contains_key(&redis.store);
            if !is_there {
                let message = format!("there is no store `{}`", redis.store);
                out.push(Diagnostic::error("consumers_from.redis.store", message));
            }
            is_there
        });
        let path = from.file.as_deref();
        for (number, written) in path.map(|path| file::read(path, reader, out)).unwrap_or_default() {
            let line = path.map(|path| Line { path, number });
            if let Some(wrong) = all.name_fault(&written.name) {
                out.extend(line.map(|line| line.says(wrong, 1)));
                continue;
            }
            lines.push(line);
            all.add(Arc::new(Consumer::from(&written)), written.credentials);
        }
        unique::check(&all.credentials, &mut |i, wrong| {
            let line = i.checked_sub(of_document).and_then(|i| lines.get(i)?.as_ref());
            out.push(match line {
                Some(line) => line.says(wrong, 1),
                None => wrong,
            });
        });
        all
    }

    fn add(&mut self, consumer: Arc<Consumer>, credentials: Credentials) {
        self.by_name.insert(consumer.name.clone(), consumer.clone());
        self.credentials.push((consumer, credentials));
    }

    /// What is wrong with the name of one more, if anything is.
    fn name_fault(&self, name: &str) -> Option<Diagnostic> {
        let path = format!("consumers.{name}");
        if let Some(wrong) = config::check::name_fault("consumer", name) {
            return Some(Diagnostic::error(path, wrong).hint("expected such as `orders_v2`"));
        }
        let message = || format!("there is another consumer `{name}`");
        self.by_name
            .contains_key(name)
            .then(|| Diagnostic::error(path, message()).hint("expected a name that nobody else has"))
    }

    /// The consumer of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name)
    }

    /// Where there are more that nobody has listed, to be asked for one by one.
    pub fn in_store(&self) -> Option<&ConsumersInRedis> {
        self.store.as_ref()
    }

    /// All of them with their credentials as written, in the order of the document.
    pub fn credentials(&self) -> impl Iterator<Item = &(Arc<Consumer>, Credentials)> {
        self.credentials.iter()
    }
}
