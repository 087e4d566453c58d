//! What most conditions are made of - texts that are equal, begin or end with one, or are in a list - without the
//! interpreter.
//!
//! Only what is as it is expected is decided here. A value that is not there, or is no text, is left to the interpreter:
//! so everything means what it means there, and its messages are the only ones.

use std::borrow::Cow;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use gatehouse_http1::FieldName;
use serde_json::Value as Json;

use super::facts::{CLAIM, Facts, HEADER, MATCHES, PATTERN, Plain, plain};

/// A condition that may be decided at once.
pub enum Quick {
    And(Box<[Quick; 2]>),
    Or(Box<[Quick; 2]>),
    Not(Box<Quick>),
    /// `identity.known`
    Known,
    Equal(Text, Text),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
    In(Text, List),
    /// A text and the number of a regular expression.
    Matches(Text, usize),
}

/// A text.
pub enum Text {
    Literal(Box<str>),
    Plain(Plain),
    Header(FieldName),
    Label(Box<str>),
    /// A claim by its own name.
    Claim(Box<str>),
    /// A claim by its path.
    ClaimPath(Box<str>),
}

/// A list of texts.
pub enum List {
    Literals(Box<[Box<str>]>),
    Groups,
    Scopes,
    Claim(Box<str>),
    ClaimPath(Box<str>),
}

impl Quick {
    /// The same condition, if it is made of nothing else.
    pub fn of(expr: &Expr) -> Option<Self> {
        if path(expr).as_deref() == Some("identity.known") {
            return Some(Self::Known);
        }
        let Expr::Call(call) = expr else { return None };
        let operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let (left, right) = match operands.as_slice() {
            [only] if call.func_name == operators::LOGICAL_NOT => {
                return Some(Self::Not(Box::new(Self::of(&only.expr)?)));
            }
            [left, right] => (&left.expr, &right.expr),
            _ => return None,
        };
        let both = || Some(Box::new([Self::of(left)?, Self::of(right)?]));
        Some(match call.func_name.as_str() {
            operators::LOGICAL_AND => Self::And(both()?),
            operators::LOGICAL_OR => Self::Or(both()?),
            operators::EQUALS => Self::Equal(Text::of(left)?, Text::of(right)?),
            operators::NOT_EQUALS => Self::Not(Box::new(Self::Equal(Text::of(left)?, Text::of(right)?))),
            operators::IN => Self::In(Text::of(left)?, List::of(right)?),
            "startsWith" => Self::StartsWith(Text::of(left)?, Text::of(right)?),
            "endsWith" => Self::EndsWith(Text::of(left)?, Text::of(right)?),
            "contains" => Self::Contains(Text::of(left)?, Text::of(right)?),
            MATCHES => {
                let Expr::Ident(pattern) = right else { return None };
                Self::Matches(Text::of(left)?, pattern.strip_prefix(PATTERN)?.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// Whether it holds; none if the interpreter has to say.
    pub fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        Some(match self {
            Self::And(both) => both[0].holds(facts)? && both[1].holds(facts)?,
            Self::Or(both) => both[0].holds(facts)? || both[1].holds(facts)?,
            Self::Not(of) => !of.holds(facts)?,
            Self::Known => facts.identity.is_some(),
            Self::Equal(left, right) => left.get(facts)? == right.get(facts)?,
            Self::StartsWith(text, start) => text.get(facts)?.starts_with(&*start.get(facts)?),
            Self::EndsWith(text, end) => text.get(facts)?.ends_with(&*end.get(facts)?),
            Self::Contains(text, part) => text.get(facts)?.contains(&*part.get(facts)?),
            Self::In(text, list) => list.has(&text.get(facts)?, facts)?,
            Self::Matches(text, pattern) => facts.pattern(*pattern)?.0.is_match(&text.get(facts)?),
        })
    }
}

impl Text {
    fn of(expr: &Expr) -> Option<Self> {
        if let Expr::Literal(LiteralValue::String(text)) = expr {
            return Some(Self::Literal(text.inner().into()));
        }
        let path = path(expr)?;
        if let Some(name) = path
            .strip_prefix(HEADER)
            .or_else(|| path.strip_prefix("request.headers."))
        {
            return FieldName::new(name.as_bytes()).map(Self::Header);
        }
        if let Some(name) = path.strip_prefix("consumer.labels.") {
            return Some(Self::Label(name.into()));
        }
        match claim(&path) {
            Some((name, true)) => Some(Self::ClaimPath(name.into())),
            Some((name, false)) => Some(Self::Claim(name.into())),
            None => plain(&path).map(Self::Plain),
        }
    }

    fn get<'a>(&'a self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        let claim = |value: Option<&'a Json>| value.and_then(Json::as_str);
        let text = match self {
            Self::Literal(text) => Some(&**text),
            Self::Plain(get) => return Some(get(facts)),
            Self::Header(name) => {
                let mut values = facts.head.headers.all_fields(name);
                let first = values.next()?;
                // Several are one text only once they are put together.
                values.next().is_none().then(|| str::from_utf8(first).ok())?
            }
            Self::Label(name) => facts.identity?.consumer.as_ref()?.label(name),
            Self::Claim(name) => claim(facts.identity?.proof.claims.get(&**name)),
            Self::ClaimPath(path) => claim(facts.identity?.claim(path)),
        };
        text.map(Cow::Borrowed)
    }
}

impl List {
    fn of(expr: &Expr) -> Option<Self> {
        if let Expr::List(list) = expr {
            let literals = list.elements.iter().map(|element| match &element.expr {
                Expr::Literal(LiteralValue::String(text)) => Some(text.inner().into()),
                _ => None,
            });
            let literals: Option<Box<[_]>> = literals.collect();
            return literals
                .filter(|_| list.optional_indices.is_empty())
                .map(Self::Literals);
        }
        let path = path(expr)?;
        match path.as_str() {
            "consumer.groups" => Some(Self::Groups),
            "identity.scopes" => Some(Self::Scopes),
            path => claim(path).map(|(name, is_path)| {
                if is_path {
                    Self::ClaimPath(name.into())
                } else {
                    Self::Claim(name.into())
                }
            }),
        }
    }

    fn has(&self, text: &str, facts: &Facts<'_>) -> Option<bool> {
        let is = |list: &[Box<str>]| list.iter().any(|one| **one == *text);
        let claim = match self {
            Self::Literals(list) => return Some(is(list)),
            Self::Groups => {
                let consumer = facts.identity.and_then(|identity| identity.consumer.as_ref());
                return Some(consumer.is_some_and(|consumer| is(&consumer.groups)));
            }
            Self::Scopes => {
                let identity = facts.identity;
                return Some(identity.is_some_and(|identity| is(&identity.proof.scopes)));
            }
            Self::Claim(name) => facts.identity?.proof.claims.get(&**name)?,
            Self::ClaimPath(path) => facts.identity?.claim(path)?,
        };
        let items = claim.as_array()?;
        if !items.iter().all(Json::is_string) {
            return None;
        }
        Some(items.iter().any(|item| item == text))
    }
}

/// The name of a claim, and whether it is a path.
fn claim(path: &str) -> Option<(&str, bool)> {
    if let Some(name) = path.strip_prefix(CLAIM) {
        return Some((name, false));
    }
    path.strip_prefix("claims.").map(|path| (path, true))
}

/// `a.b.c` as it is written.
fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", path(&select.operand.expr)?, select.field))
        }
        _ => None,
    }
}
