//! How a policy declares itself: one type for its configuration, one line in a list of kinds.
//!
//! From that one place come parsing, validation, the JSON Schema, the reference page and the example.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Policy;
use crate::config::{Diagnostic, Diagnostics, Reader};
use crate::state::States;
use crate::state::window::{self, Windows};
use crate::telemetry::metrics::Count;

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
    /// Counts keys dropped from full windows.
    pub evictions: Arc<Count>,
}

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

    /// Sliding windows that survive as long as the policy keeps its identity, the window and `shape`.
    pub fn windows(&self, shape: &str, window: Duration) -> Arc<Windows> {
        self.state(&format!("window={window:?} {shape}"), || {
            Windows::new(
                window,
                window::DEFAULT_CAPACITY,
                Instant::now(),
                self.evictions.clone(),
            )
        })
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
