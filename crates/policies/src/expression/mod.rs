//! Expressions over a request, compiled when a configuration is loaded: the Common Expression Language (CEL).
//!
//! The `cel` crate parses and evaluates. What it leaves to run time is found here before: names that do not exist,
//! functions that do not, operands that never fit ([`check`]). Regular expressions are compiled once, and single headers,
//! parameters and claims are looked up without making maps of all of them ([`prepare`], [`Facts`]); what only compares texts
//! is decided without the interpreter ([`quick`]).

mod check;
mod facts;
mod prepare;
mod quick;
mod sorts;

use std::sync::Arc;

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::{Context, Env, Value};

pub use facts::Facts;
use facts::Pattern;
use quick::Quick;

/// The longest text.
const LONGEST: usize = 4096;

/// A condition.
pub struct Expression {
    program: IdedExpr,
    env: Arc<Env>,
    patterns: Box<[Pattern]>,
    /// The same, if it is of the kind that needs no interpreter.
    quick: Option<Quick>,
    /// True if it asks who calls.
    pub asks_identity: bool,
}

impl Expression {
    /// Compiles a condition. The error says what is wrong.
    pub fn compile(text: &str, env: &Arc<Env>) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has {} bytes; at most {LONGEST}", text.len()));
        }
        let mut program = env.parser().parse(text).map_err(|errors| said(&errors))?;
        let asks_identity = check::names(&program)?;
        let mut patterns = Vec::new();
        prepare::rewrite(&mut program, &mut patterns)?;
        let expression = Self {
            quick: Quick::of(&program.expr),
            program,
            env: env.clone(),
            patterns: patterns.into(),
            asks_identity,
        };
        check::types(&expression)?;
        Ok(expression)
    }

    /// Whether it holds. The error is for the log: an operand that is not there, or of another type than it should be.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let facts = facts.with(&self.patterns);
        match self.quick.as_ref().and_then(|quick| quick.holds(&facts)) {
            Some(is) => Ok(is),
            None => self.evaluate(&self.program, &facts),
        }
    }

    fn evaluate(&self, part: &IdedExpr, facts: &Facts<'_>) -> Result<bool, String> {
        let mut context = Context::with_env(self.env.clone());
        context.set_variable_resolver(facts);
        let value = Value::resolve_val(part, &context).map_err(|error| error.to_string())?;
        match value.downcast_ref::<CelBool>() {
            Some(is) => Ok(*is.inner()),
            None => Err(format!(
                "it gives a {}, not true or false",
                value.get_type().name()
            )),
        }
    }
}

/// What expressions are made of: the standard functions and ours. Made once for a plan.
pub fn environment() -> Env {
    let mut env = Env::stdlib();
    facts::declare(&mut env);
    env
}

/// The first thing that is wrong, on one line.
fn said(errors: &cel::ParseErrors) -> String {
    let Some(first) = errors.errors.first() else {
        return "it cannot be read".to_owned();
    };
    let message = first.msg.lines().next().unwrap_or_default();
    // What could have stood there instead is a long list.
    let message = message.split(" expecting {").next().unwrap_or_default();
    format!("{message}, at column {}", first.pos.1)
}

#[cfg(test)]
mod tests;
