//! Brings a request path into the one form that is matched, logged as matched, and forwarded (RFC 3986 6.2.2).
//!
//! Escapes of unreserved characters are decoded, the others get upper-case hex, characters that need an escape get one,
//! dot segments are resolved, and whatever two servers could read differently is refused. What slashes mean when they
//! are doubled or escaped is the route's choice ([`Paths`]); only such paths have more than one form ([`Form`]), and
//! `route::resolve` tries them. Nothing is decoded twice, and applying a form to its own result changes nothing.
//! An ordinary path costs one scan and no allocation. The query is left as it was sent.

use crate::config::{DoubledSlashes, EncodedSlashes, Paths};

/// What one look at a path says about the work it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In normal form already, whatever a route says about slashes.
    Normal,
    /// Needs work, and comes out the same for every route.
    Plain,
    /// Has doubled or escaped slashes: the result depends on the route.
    Slashes,
}

/// How slashes are read; one of four. Made from a route's [`Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// `%2F` and `%5C` separate segments; otherwise they stay as they are.
    pub decode: bool,
    /// Empty segments inside the path are dropped; otherwise they stay.
    pub merge: bool,
}

impl Form {
    /// All forms there are; [`Form::bit`] is the position.
    pub const ALL: [Self; 4] = [
        Self {
            decode: false,
            merge: true,
        },
        Self {
            decode: true,
            merge: true,
        },
        Self {
            decode: false,
            merge: false,
        },
        Self {
            decode: true,
            merge: false,
        },
    ];

    /// The form a route with this policy is matched in. A route that refuses such slashes is matched in the form of the
    /// defaults, to know that it would have matched.
    pub fn of(paths: &Paths) -> Self {
        Self {
            decode: matches!(paths.encoded_slashes, EncodedSlashes::Decode),
            merge: !matches!(paths.doubled_slashes, DoubledSlashes::Keep),
        }
    }

    /// A bit of its own for each form, for sets of forms.
    pub fn bit(self) -> u8 {
        1 << (u8::from(self.decode) + 2 * u8::from(!self.merge))
    }
}

/// What was met while a form was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// There was `%2F`, `%5C` or a backslash.
    pub encoded_slash: bool,
    /// There was an empty segment before the last one.
    pub doubled_slash: bool,
}

impl Facts {
    /// Whether a route with this policy takes a path with these facts.
    pub fn check(self, paths: &Paths) -> Result<(), Refusal> {
        if self.encoded_slash && matches!(paths.encoded_slashes, EncodedSlashes::Reject) {
            return Err(Refusal::EncodedSlash);
        }
        if self.doubled_slash && matches!(paths.doubled_slashes, DoubledSlashes::Reject) {
            return Err(Refusal::DoubledSlash);
        }
        Ok(())
    }
}

/// Why a path is refused. Answered with 400; the text is safe for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `%` without two hexadecimal digits.
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    Escape,
    /// A control character, written plainly or escaped.
    #[error("the path has the control character `%{0:02X}`")]
    Control(u8),
    /// More `..` than segments before them.
    #[error("the path leads above the root with `..`")]
    AboveRoot,
    /// `..%2F` and the like: what it means depends on who decodes it.
    #[error("the path has a dot segment next to an encoded slash")]
    HiddenDots,
    /// `/..;x/` or `/..%3Bx/`: some servers drop the parameter and see a dot segment.
    #[error("the path has a dot segment with a `;` parameter")]
    DotParameter,
    /// The route refuses encoded slashes.
    #[error(
        "the path has an encoded slash (`%2F` or `%5C`), which this route refuses; `paths.encoded_slashes` decides"
    )]
    EncodedSlash,
    /// The route refuses doubled slashes.
    #[error("the path has doubled slashes, which this route refuses; `paths.doubled_slashes` decides")]
    DoubledSlash,
    /// Not an absolute path.
    #[error("the path does not begin with a slash")]
    Relative,
}

impl Refusal {
    /// The configuration key that decides it, where there is one.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::EncodedSlash => Some("paths.encoded_slashes"),
            Self::DoubledSlash => Some("paths.doubled_slashes"),
            _ => None,
        }
    }
}

/// Needs no escape in a path and means nothing but itself (RFC 3986 `pchar` without `%`).
const PLAIN: u8 = 0;
/// Makes the path need work wherever it stands.
const ODD: u8 = 1;
/// Makes the path need a closer look after a slash.
const DOT: u8 = 2;
const SLASH: u8 = 4;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [ODD; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'/' => SLASH,
            b'.' => DOT,
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';'
            | b'=' | b':' | b'@' => PLAIN,
            _ if byte.is_ascii_alphanumeric() => PLAIN,
            _ => ODD,
        };
        byte += 1;
    }
    table
}

/// Looks at a path once. It may say [`Shape::Plain`] for a path that is normal after all (`/.well-known`, `/a%20b`).
pub fn shape(path: &str) -> Shape {
    let mut seen = 0;
    let mut after_slash = 0;
    for &byte in path.as_bytes() {
        let class = CLASS[usize::from(byte)];
        seen |= (class & ODD) | (class & after_slash);
        // All ones after a slash, else nothing.
        after_slash = if class == SLASH { SLASH | DOT } else { 0 };
    }
    if seen == 0 {
        Shape::Normal
    } else if seen & SLASH != 0 || (seen & ODD != 0 && has_encoded_slash(path.as_bytes())) {
        Shape::Slashes
    } else {
        Shape::Plain
    }
}

fn has_encoded_slash(path: &[u8]) -> bool {
    memchr::memchr2_iter(b'%', b'\\', path).any(|at| match path.get(at..) {
        Some([b'%', high, low, ..]) => matches!((high, low), (b'2', b'f' | b'F') | (b'5', b'c' | b'C')),
        Some([b'\\', ..]) => true,
        _ => false,
    })
}

/// Writes `path` in the given form to `out`, which is emptied first.
///
/// # Errors
/// A [`Refusal`] when no upstream should see the path; `out` is then meaningless. The route's policy is not asked: see
/// [`Facts::check`].
pub fn write(path: &str, form: Form, out: &mut String) -> Result<Facts, Refusal> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Refusal::Relative);
    };
    out.clear();
    out.reserve(path.len());
    out.push('/');
    let mut writer = Writer {
        out,
        start: 1,
        form,
        facts: Facts::default(),
        escaped: false,
    };
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'/' => writer.end_segment()?,
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => writer.escaped(high << 4 | low)?,
                _ => return Err(Refusal::Escape),
            },
            _ if CLASS[usize::from(byte)] == ODD => writer.escaped(byte)?,
            _ => writer.out.push(char::from(byte)),
        }
    }
    writer.end()
}

/// Writes one form, segment by segment. `out[..start]` is finished and ends with a slash.
struct Writer<'a> {
    out: &'a mut String,
    start: usize,
    form: Form,
    facts: Facts,
    /// The segment being written holds an encoded slash.
    escaped: bool,
}

impl Writer<'_> {
    /// Takes a byte that was escaped, or must be.
    fn escaped(&mut self, byte: u8) -> Result<(), Refusal> {
        if matches!(byte, b'/' | b'\\') {
            self.facts.encoded_slash = true;
            if self.form.decode {
                return self.end_segment();
            }
            self.escaped = true;
        }
        push(self.out, byte)
    }

    /// A slash was read: the segment before it is whole.
    fn end_segment(&mut self) -> Result<(), Refusal> {
        match self.segment()? {
            "." => self.out.truncate(self.start),
            ".." => self.pop()?,
            "" => {
                self.facts.doubled_slash = true;
                if !self.form.merge {
                    self.out.push('/');
                }
            }
            _ => self.out.push('/'),
        }
        self.start = self.out.len();
        self.escaped = false;
        Ok(())
    }

    /// The path ends here; a dot segment leaves the slash before it (RFC 3986 5.2.4).
    fn end(mut self) -> Result<Facts, Refusal> {
        match self.segment()? {
            "." => self.out.truncate(self.start),
            ".." => self.pop()?,
            _ => {}
        }
        Ok(self.facts)
    }

    fn segment(&self) -> Result<&str, Refusal> {
        let segment = self.out.get(self.start..).unwrap_or_default();
        if self.escaped && has_hidden_dots(segment) {
            return Err(Refusal::HiddenDots);
        }
        match segment.strip_prefix("..").or_else(|| segment.strip_prefix('.')) {
            Some(rest) if starts_parameter(rest) => Err(Refusal::DotParameter),
            _ => Ok(segment),
        }
    }

    /// Removes the `..` being written and the segment before it.
    fn pop(&mut self) -> Result<(), Refusal> {
        let before = self.out.get(..self.start - 1).unwrap_or_default();
        let parent = before.rfind('/').ok_or(Refusal::AboveRoot)?;
        self.out.truncate(parent + 1);
        Ok(())
    }
}

/// Whether a `;` comes first, written plainly or escaped: there are servers that decode before they look for one.
/// The text was written by `push`: the hex is upper-case.
fn starts_parameter(text: &str) -> bool {
    text.starts_with(';') || text.starts_with("%3B")
}

/// Whether decoding the slashes of this segment would bring out a dot segment.
fn has_hidden_dots(segment: &str) -> bool {
    let is_dots = |piece: &str| {
        let rest = piece.strip_prefix("..").or_else(|| piece.strip_prefix('.'));
        rest.is_some_and(|rest| rest.is_empty() || starts_parameter(rest))
    };
    // The segment was written by `push`: the hex is upper-case.
    segment
        .split("%2F")
        .flat_map(|piece| piece.split("%5C"))
        .any(is_dots)
}

/// Writes a byte as itself where it is unreserved, else escaped.
fn push(out: &mut String, byte: u8) -> Result<(), Refusal> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    match byte {
        0..=0x1f | 0x7f => Err(Refusal::Control(byte)),
        b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
            out.push(char::from(byte));
            Ok(())
        }
        _ => {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
            Ok(())
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
