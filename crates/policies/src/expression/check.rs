//! Finds mistakes in an expression before a request meets them.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use gatehouse_http1::RequestHead;

use super::facts::{Facts, NAMES};
use super::{Expression, sorts};

/// How deep loops (`all`, `exists`, `map` ...) may stand in each other: each multiplies the work of a request.
const MOST_LOOPS: usize = 1;

/// Functions there are, besides operators.
const FUNCTIONS: [&str; 21] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "in_cidr",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "min",
    "max",
    "has",
    "all",
    "exists",
    "map",
    "filter",
];

/// Names of types, which are values too.
const TYPES: [&str; 10] = [
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "list",
    "map",
    "null_type",
    "type",
];

/// Whether it asks who calls. The error names what does not exist.
pub fn names(program: &IdedExpr) -> Result<bool, String> {
    let mut walk = Walk::default();
    walk.visit(program, 0)?;
    Ok(walk.asks_identity)
}

#[derive(Default)]
struct Walk<'e> {
    /// The variables of the loops around.
    bound: Vec<&'e str>,
    asks_identity: bool,
}

impl<'e> Walk<'e> {
    fn visit(&mut self, node: &'e IdedExpr, loops: usize) -> Result<(), String> {
        if let Some(path) = path(&node.expr)
            && path.first().is_some_and(|root| !self.is_bound(root))
        {
            return self.name(&path);
        }
        match &node.expr {
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let is_operator = name.starts_with(['_', '!', '-', '@']);
                if !is_operator && !FUNCTIONS.contains(&name) {
                    return Err(unknown("function", name, FUNCTIONS.iter().copied()));
                }
                // A variable of a loop may have any name.
                if self.bound.is_empty() {
                    sorts::check(name, &call.args)?;
                }
            }
            Expr::Comprehension(around) => {
                if loops == MOST_LOOPS {
                    return Err("a loop stands in another: a caller could make it run for seconds".to_owned());
                }
                self.visit(&around.iter_range, loops)?;
                self.visit(&around.accu_init, loops)?;
                let before = self.bound.len();
                self.bound.extend([&*around.iter_var, &*around.accu_var]);
                self.bound.extend(around.iter_var2.as_deref());
                for part in [&around.loop_cond, &around.loop_step, &around.result] {
                    self.visit(part, loops + 1)?;
                }
                self.bound.truncate(before);
                return Ok(());
            }
            _ => {}
        }
        parts(&node.expr)
            .into_iter()
            .try_for_each(|part| self.visit(part, loops))
    }

    fn is_bound(&self, name: &str) -> bool {
        name.starts_with('@') || self.bound.contains(&name)
    }

    /// A name from outside the expression, in its segments.
    fn name(&mut self, path: &[&str]) -> Result<(), String> {
        let (root, field) = (path.first().copied().unwrap_or_default(), path.get(1).copied());
        if root == "claims" {
            self.asks_identity = true;
            return Ok(());
        }
        let name = field.map_or_else(|| root.to_owned(), |field| format!("{root}.{field}"));
        if NAMES.contains(&&*name) {
            self.asks_identity |= (root == "identity" && field != Some("known")) || root == "consumer";
            return Ok(());
        }
        if TYPES.contains(&&*name) {
            return Ok(());
        }
        Err(unknown("name", &name, NAMES.iter().copied()))
    }
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> String {
    let near = known.clone().map(|known| (distance(name, known), known)).min();
    if let Some((_, near)) = near.filter(|(distance, _)| *distance <= 2) {
        return format!("there is no {what} `{name}`; did you mean `{near}`?");
    }
    let all: Vec<_> = known.collect();
    format!("there is no {what} `{name}`; there are `{}`", all.join("`, `"))
}

/// How many letters must be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            left = (corner + usize::from(x != y)).min(above + 1).min(left + 1);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// `a.b.c` in its segments. A test of presence (`has(a.b)`) asks for a field of `a`.
fn path(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Ident(name) => Some(vec![name.as_str()]),
        Expr::Select(select) => {
            let mut path = path(&select.operand.expr)?;
            path.push(&select.field);
            Some(path)
        }
        _ => None,
    }
}

/// The expressions an expression is made of, but for what stands inside of its loops.
fn parts(expr: &Expr) -> Vec<&IdedExpr> {
    fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
        match &entry.expr {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        }
    }
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(around) => vec![&around.iter_range],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(made) => made.entries.iter().flat_map(entry).collect(),
    }
}

/// Tries the expression and all its parts on an empty request: what does not fit there never fits. Claims may be of any
/// type, so what asks for them is not judged.
pub fn types(expression: &Expression) -> Result<(), String> {
    let head = RequestHead::new();
    let facts = Facts::none(&head).with(&expression.patterns);
    let mut nodes = vec![&expression.program];
    while let Some(node) = nodes.pop() {
        if matches!(node.expr, Expr::Call(_) | Expr::Comprehension(_))
            && let Err(why) = expression.evaluate(node, &facts)
        {
            if why.starts_with("found no matching overload") {
                return Err(why.replace("found no matching overload for", "nothing fits"));
            }
            if let Some(rest) = why.strip_prefix("Unsupported binary operator ") {
                let operator = match rest.split('\'').nth(1).unwrap_or_default() {
                    "add" => "+",
                    "sub" => "-",
                    "mul" => "*",
                    "div" => "/",
                    "rem" => "%",
                    other => other,
                };
                return Err(format!("`{operator}` does not take such operands"));
            }
        }
        nodes.extend(parts(&node.expr));
    }
    let whole = expression.evaluate(&expression.program, &facts);
    match whole {
        Err(why) if why.starts_with("it gives a ") => Err(why),
        _ => Ok(()),
    }
}
