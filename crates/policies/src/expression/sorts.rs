//! What sort of value a part of an expression has, as far as that is known before any request: comparisons that never
//! hold and sums of texts and numbers are mistakes, and the language itself says so only when it is too late, or never.

use std::fmt;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

/// A sort of values. Numbers of all types compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Number,
    Truth,
    List,
    Map,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::List => "a list",
            Self::Map => "a map",
        })
    }
}

/// Looks at one operator and its operands. The error says why they do not fit.
pub fn check(name: &str, operands: &[IdedExpr]) -> Result<(), String> {
    let [left, right] = operands else { return Ok(()) };
    let (Some(left), Some(right)) = (sort(&left.expr), sort(&right.expr)) else {
        return Ok(());
    };
    let sign = name.trim_matches(['_', '@']);
    match name {
        operators::EQUALS | operators::NOT_EQUALS if left != right => Err(format!(
            "`{sign}` is never about {left} and {right}: they are never equal"
        )),
        operators::IN if right == Sort::List && left != Sort::Text => {
            Err(format!("{left} is never in a list of texts"))
        }
        operators::ADD
        | operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO
            if left != right || (left == Sort::Text && name != operators::ADD) =>
        {
            Err(format!("`{sign}` does not take {left} and {right}"))
        }
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS
            if left != right =>
        {
            Err(format!("`{sign}` does not take {left} and {right}"))
        }
        _ => Ok(()),
    }
}

/// The sort of an expression, if there is only one it can have. Lists are those of the names that are known.
fn sort(expr: &Expr) -> Option<Sort> {
    match expr {
        Expr::Literal(LiteralValue::String(_)) => Some(Sort::Text),
        Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => {
            Some(Sort::Number)
        }
        Expr::Literal(LiteralValue::Boolean(_)) => Some(Sort::Truth),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(root) => named(root, &select.field),
            Expr::Select(of) if !of.test => match (&of.operand.expr, of.field.as_str()) {
                (Expr::Ident(root), "labels") if root == "consumer" => Some(Sort::Text),
                (Expr::Ident(root), "headers" | "params") if root == "request" => Some(Sort::Text),
                _ => None,
            },
            _ => None,
        },
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [of, _] => (sort(&of.expr) == Some(Sort::Map)).then_some(Sort::Text),
            _ => None,
        },
        Expr::Call(call) if call.func_name == "size" => Some(Sort::Number),
        _ => None,
    }
}

fn named(root: &str, field: &str) -> Option<Sort> {
    match (root, field) {
        ("request", "headers" | "params") | ("consumer", "labels") => Some(Sort::Map),
        ("consumer", "groups") | ("identity", "scopes") => Some(Sort::List),
        ("identity", "known") => Some(Sort::Truth),
        ("request" | "source" | "route" | "consumer" | "identity", _) => Some(Sort::Text),
        _ => None,
    }
}
