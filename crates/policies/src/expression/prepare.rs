//! Rewrites an expression, once, into one that is cheaper to evaluate and means the same.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators};
use regex::RegexBuilder;

use super::facts::{CLAIM, HEADER, MATCHES, PARAM, PATTERN, Pattern};

/// The largest compiled form of one regular expression, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Compiles the patterns of `matches`, and has single headers, parameters and claims looked up by name.
pub fn rewrite(node: &mut IdedExpr, patterns: &mut Vec<Pattern>) -> Result<(), String> {
    if let Some(name) = looked_up(&node.expr) {
        node.expr = Expr::Ident(name);
        return Ok(());
    }
    if let Expr::Call(call) = &mut node.expr
        && call.func_name == "matches"
    {
        call.args.splice(0..0, call.target.take().map(|target| *target));
        let Some(pattern) = call.args.get_mut(1) else {
            return Err("`matches` wants a text and a regular expression".to_owned());
        };
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            // One that a request could choose would be compiled for each request.
            return Err("the regular expression of `matches` must be written out".to_owned());
        };
        let regex = RegexBuilder::new(text.inner()).size_limit(REGEX_SIZE).build();
        let regex = regex.map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            format!(
                "`{}` is not a regular expression: {}",
                text.inner(),
                why.trim_start_matches("error: ")
            )
        })?;
        pattern.expr = Expr::Ident(format!("{PATTERN}{}", patterns.len()));
        patterns.push(Pattern(regex));
        MATCHES.clone_into(&mut call.func_name);
    }
    for part in parts_mut(&mut node.expr) {
        rewrite(part, patterns)?;
    }
    Ok(())
}

/// The name for `request.headers['x']` and the like.
fn looked_up(expr: &Expr) -> Option<String> {
    let Expr::Call(call) = expr else { return None };
    if call.func_name != operators::INDEX {
        return None;
    }
    let [of, key] = call.args.as_slice() else {
        return None;
    };
    let Expr::Literal(LiteralValue::String(key)) = &key.expr else {
        return None;
    };
    match &of.expr {
        Expr::Ident(name) if name == "claims" => Some(format!("{CLAIM}{}", key.inner())),
        Expr::Select(select) if !select.test => match (&select.operand.expr, &*select.field) {
            (Expr::Ident(name), "headers") if name == "request" => {
                Some(format!("{HEADER}{}", key.inner().to_ascii_lowercase()))
            }
            (Expr::Ident(name), "params") if name == "request" => Some(format!("{PARAM}{}", key.inner())),
            _ => None,
        },
        _ => None,
    }
}

/// The expressions an expression is made of.
fn parts_mut(expr: &mut Expr) -> Vec<&mut IdedExpr> {
    fn entry(entry: &mut IdedEntryExpr) -> Vec<&mut IdedExpr> {
        match &mut entry.expr {
            EntryExpr::StructField(field) => vec![&mut field.value],
            EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
        }
    }
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call
            .target
            .as_deref_mut()
            .into_iter()
            .chain(&mut call.args)
            .collect(),
        Expr::Comprehension(loops) => {
            let loops = &mut **loops;
            vec![
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_cond,
                &mut loops.loop_step,
                &mut loops.result,
            ]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => map.entries.iter_mut().flat_map(entry).collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Struct(made) => made.entries.iter_mut().flat_map(entry).collect(),
    }
}
