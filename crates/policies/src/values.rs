//! Values of edits that have variables, all worked out before the first edit changes what they are made of.

use gatehouse_core::config::Template;
use gatehouse_core::exchange::Exchange;

/// The values of templates, one after the other.
#[derive(Debug, Default)]
pub struct Rendered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rendered {
    /// Works the templates out. Costs nothing if there are none.
    pub fn of<'t>(templates: impl Iterator<Item = &'t Template>, ex: &Exchange) -> Self {
        let mut rendered = Self::default();
        for template in templates {
            rendered.bytes.reserve(128);
            template.render(&mut rendered.bytes, &mut |variable, out| {
                ex.variable(variable, out);
            });
            rendered.ends.push(rendered.bytes.len());
        }
        rendered
    }

    /// The values in their order.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let value = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            value
        })
    }
}
