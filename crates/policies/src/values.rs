//! Values of edits: texts and templates by name, all worked out before the first edit changes what they are made of.

use gatehouse_core::config::Template;
use gatehouse_core::exchange::Exchange;
use indexmap::IndexMap;

/// Names and what they are to be; texts without a variable cost nothing for each request.
#[derive(Debug, Default)]
pub struct Values(Box<[(Box<str>, Value)]>);

#[derive(Debug)]
enum Value {
    Text(Box<[u8]>),
    Template(Template),
}

impl Values {
    /// The values as written.
    pub fn new(written: &IndexMap<String, Template>) -> Self {
        let values = written.iter().map(|(name, template)| {
            let value = match template.literal() {
                Some(text) => Value::Text(text.as_bytes().into()),
                None => Value::Template(template.clone()),
            };
            (name.as_str().into(), value)
        });
        Self(values.collect())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Works the templates out.
    pub fn render(&self, ex: &Exchange, out: &mut Rendered) {
        for (_, value) in &self.0 {
            if let Value::Template(template) = value {
                template.render(&mut out.bytes, &mut |variable, out| ex.variable(variable, out));
                out.ends.push(out.bytes.len());
            }
        }
    }

    /// Gives each name and value, in order; `rendered` is read on from where the values before these ended.
    pub fn each(&self, rendered: &Rendered, at: &mut usize, mut give: impl FnMut(&str, &[u8])) {
        for (name, value) in &self.0 {
            match value {
                Value::Text(text) => give(name, text),
                Value::Template(_) => {
                    give(name, rendered.value(*at));
                    *at += 1;
                }
            }
        }
    }
}

/// The values of templates, one after the other.
#[derive(Debug, Default)]
pub struct Rendered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rendered {
    fn value(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(at).copied().unwrap_or_default();
        let range = start.copied().unwrap_or_default()..end;
        self.bytes.get(range).unwrap_or_default()
    }
}
