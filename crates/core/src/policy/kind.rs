//! How a policy declares itself: one type for its configuration, one line in a list of kinds.
//!
//! From that one place come parsing, validation, the JSON Schema, the reference page and the example.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Handle;

use super::Policy;
use crate::config::{Diagnostic, Diagnostics, Reader, Store};
use crate::consumer::Consumers;
use crate::http::reserved::Reserved;
use crate::state::{Meters, States};
use crate::telemetry::metrics::{Count, Family, Metrics, Tally};

/// Where in a chain a kind belongs; an odd order is a warning, never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Decides by address and size who may come in at all.
    Admit,
    /// Finds out who calls.
    Authenticate,
    /// Decides what the caller may do.
    Authorize,
    /// Counts and limits.
    Limit,
    /// Changes requests and responses.
    Transform,
}

/// A policy's configuration. Its doc comments are its manual.
pub trait PolicyConfig: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// The key it has in the document.
    const NAME: &'static str;
    /// Where in a chain it belongs.
    const STAGE: Stage;
    /// A complete example, as YAML below the key.
    const EXAMPLE: &'static str;

    /// The metrics it has besides those of every request.
    const METRICS: &'static [Family] = &[];
    /// Whether it answers the preflights of CORS: such a request then finds a route by the method it asks for.
    const ANSWERS_PREFLIGHT: bool = false;

    /// Makes the policy. Does no I/O but through [`Compile::read`].
    #[allow(
        clippy::result_large_err,
        reason = "runs once a plan, and a diagnostic is made for the reader"
    )]
    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic>;
}

/// What a policy gets to compile with.
pub struct Compile<'a> {
    /// Where in the document the policy stands (`routes.orders.policies[1].rate_limit`).
    pub path: String,
    /// Whose state it is: the policy's name if it is named, else its path.
    pub identity: String,
    /// Live state, found by identity.
    pub states: &'a States,
    /// Reads settings into types.
    pub reader: &'a Reader,
    /// The consumers of the document.
    pub consumers: &'a Consumers,
    /// The stores of the document, as written.
    pub stores: &'a IndexMap<String, Store>,
    /// Where work that waits is done: never on a worker. None if the document is only checked.
    pub background: Option<&'a Handle>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) shared: &'a Shared,
    pub(crate) reserved: &'a mut Reserved,
    pub(crate) answered: &'a mut Vec<Answered>,
}

/// A path whose requests a policy answers itself.
pub struct Answered {
    /// Where in the document that is said.
    pub at: String,
    /// The path.
    pub path: String,
    /// Whether no other policy may answer the same.
    pub alone: bool,
}

/// What policies of one plan share, by type.
#[derive(Default)]
pub(crate) struct Shared(RefCell<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Compile<'_> {
    /// An error at a field of this policy.
    pub fn error(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(format!("{}.{field}", self.path), message)
    }

    /// The live value of this type, identity and shape, found or made.
    ///
    /// `shape` names the parameters that make old contents meaningless (a window's length, not its
    /// limit): a change of them starts anew.
    pub fn state<T: Any + Send + Sync>(&self, shape: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.states.adopt(&self.identity, shape, make)
    }

    /// Counters that survive as long as the policy keeps its identity and `shape`: for at most `capacity` keys, each held
    /// to up to `rules` rules.
    pub fn meters(&self, shape: &str, rules: usize, capacity: usize) -> Arc<Meters> {
        self.state(&format!("rules={rules} capacity={capacity} {shape}"), || {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let evicted = self.metrics.events().evictions.clone();
            Meters::new(rules, capacity, Instant::now(), since_1970, evicted)
        })
    }

    /// What all policies of this plan share of this type, made by the first that asks: such as an index of all keys.
    pub fn once<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let found = self.shared.0.borrow().get(&TypeId::of::<T>()).cloned();
        if let Some(found) = found.and_then(|found| found.downcast().ok()) {
            return found;
        }
        let fresh = Arc::new(make());
        let erased: Arc<dyn Any + Send + Sync> = fresh.clone();
        self.shared.0.borrow_mut().insert(TypeId::of::<T>(), erased);
        fresh
    }

    /// Live state that several policies share by a name of their own, such as a connection to a store.
    pub fn common_state<T: Any + Send + Sync>(
        &self,
        identity: &str,
        shape: &str,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        self.states.adopt(identity, shape, make)
    }

    /// Reserves a field of requests for the gateway: from clients it is taken off, on every route.
    pub fn reserve(&mut self, field: &str) {
        self.reserved.add(field);
    }

    /// Says that requests for a path, set in that field, are answered by this policy: so they must come to a route that has
    /// it. If `alone`, another that answers the same path there is a mistake.
    pub fn answers(&mut self, field: &str, path: &str, alone: bool) {
        self.answered.push(Answered {
            at: format!("{}.{field}", self.path),
            path: path.to_owned(),
            alone,
        });
    }

    /// A counter of one of the kind's families; it outlives the plan. `add` it with [`Tally::count`].
    pub fn tally(&self, family: &'static Family, labels: &[&str]) -> Arc<Tally> {
        self.metrics.extra().tally(family, labels)
    }

    /// A gauge of one of the kind's families; it outlives the plan.
    pub fn gauge(&self, family: &'static Family, labels: &[&str]) -> Arc<Count> {
        self.metrics.extra().gauge(family, labels)
    }

    /// The same for a part of the policy, such as one of several nested ones: its path and identity are longer.
    pub fn at(&mut self, field: &str) -> Compile<'_> {
        Compile {
            path: format!("{}.{field}", self.path),
            identity: format!("{}.{field}", self.identity),
            states: self.states,
            reader: self.reader,
            consumers: self.consumers,
            stores: self.stores,
            background: self.background,
            metrics: self.metrics,
            shared: self.shared,
            reserved: self.reserved,
            answered: self.answered,
        }
    }

    /// Reads a file and has it watched. The error says why in a few words.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        self.reader.file(path)
    }
}

/// Makes a policy from its settings, or says all that is wrong with them.
pub type MakePolicy = fn(&Value, &mut Compile<'_>) -> Result<Arc<dyn Policy>, Vec<Diagnostic>>;

/// A sort of policy.
pub struct Kind {
    /// The key it has in the document.
    pub name: &'static str,
    /// Where in a chain it belongs.
    pub stage: Stage,
    /// A complete example, as YAML below the key.
    pub example: &'static str,
    /// The metrics it has.
    pub metrics: &'static [Family],
    /// Whether it answers the preflights of CORS.
    pub answers_preflight: bool,
    /// The JSON Schema of its configuration.
    pub schema: fn() -> Value,
    /// Makes the policy from its configuration.
    pub compile: MakePolicy,
}

impl Kind {
    /// The kind of a configuration type.
    pub const fn of<C: PolicyConfig>() -> Self {
        Self {
            name: C::NAME,
            stage: C::STAGE,
            example: C::EXAMPLE,
            metrics: C::METRICS,
            answers_preflight: C::ANSWERS_PREFLIGHT,
            schema: schema::<C>,
            compile: compile::<C>,
        }
    }
}

fn schema<C: PolicyConfig>() -> Value {
    schemars::schema_for!(C).to_value()
}

fn compile<C: PolicyConfig>(value: &Value, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::default();
    match cx.reader.read_clean::<C>(value, &cx.path, &mut diagnostics) {
        Some(config) => config.compile(cx).map_err(|diagnostic| vec![diagnostic]),
        None => Err(diagnostics.iter().cloned().collect()),
    }
}
