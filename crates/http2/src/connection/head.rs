//! The fields of a block, put together to the head of a request (RFC 9113 8.3) or to trailers.
//!
//! What HTTP/2 alone knows is decided here: pseudo-fields. All else is `http1`'s to decide. The first thing that is
//! wrong counts; the rest of the block is then read for the sake of the table only.

use std::ops::Range;

use gatehouse_http1::{
    Assembly, BodyError, Declared, HeadError, HeadLimits, Headers, Pseudo, RequestHead, TrailerAssembly,
    Version, is_token,
};

/// The pseudo-fields of a request, as they came. Reused, it keeps its memory.
#[derive(Default)]
pub(super) struct Pseudos {
    text: Vec<u8>,
    /// In the order of [`place`].
    places: [Option<Range<usize>>; 5],
}

/// Bytes of memory that are kept from one head to the next.
const KEPT: usize = 8 * 1024;

fn place(name: &[u8]) -> Option<usize> {
    match name {
        b":method" => Some(0),
        b":scheme" => Some(1),
        b":authority" => Some(2),
        b":path" => Some(3),
        b":protocol" => Some(4),
        _ => None,
    }
}

impl Pseudos {
    fn clear(&mut self) {
        self.text.clear();
        self.places = Default::default();
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        let place = place(name).and_then(|at| self.places.get_mut(at));
        let place = place.ok_or(HeadError::Malformed("an unknown pseudo-field"))?;
        if place.is_some() {
            return Err(HeadError::Malformed("a pseudo-field is repeated"));
        }
        let start = self.text.len();
        self.text.extend_from_slice(value);
        *place = Some(start..self.text.len());
        Ok(())
    }

    /// Gives back what a long head took.
    pub fn trim(&mut self) {
        if self.text.capacity() > KEPT {
            self.clear();
            self.text = Vec::new();
        }
    }

    fn get(&self) -> Result<[Option<&str>; 5], HeadError> {
        // All together: two halves of a character are none.
        let text = std::str::from_utf8(&self.text)
            .ok()
            .filter(|text| text.is_ascii());
        let text = text.ok_or(HeadError::Malformed("a pseudo-field is not ASCII"))?;
        let mut values = [None; 5];
        for (value, place) in values.iter_mut().zip(&self.places) {
            *value = place.clone().and_then(|place| text.get(place));
        }
        Ok(values)
    }
}

/// How far a head is.
enum Stage<'a> {
    Pseudos(&'a mut RequestHead),
    Fields(Assembly<'a>),
    Refused(HeadError),
}

/// A request's head that is being put together.
pub(super) struct Request<'a> {
    stage: Stage<'a>,
    pseudos: &'a mut Pseudos,
    limits: &'a HeadLimits,
    is_connect: bool,
    protocol: Option<Box<str>>,
}

/// What a request's head says beside the head itself.
pub(super) struct Said {
    pub declared: Declared,
    pub is_connect: bool,
    /// What an extended CONNECT asks for (RFC 8441 4); its head became that of a GET.
    pub protocol: Option<Box<str>>,
}

impl<'a> Request<'a> {
    pub fn begin(head: &'a mut RequestHead, pseudos: &'a mut Pseudos, limits: &'a HeadLimits) -> Self {
        head.clear();
        head.version = Version::Http2;
        pseudos.clear();
        Self {
            stage: Stage::Pseudos(head),
            pseudos,
            limits,
            is_connect: false,
            protocol: None,
        }
    }

    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let done = match &mut self.stage {
            Stage::Refused(_) => return,
            Stage::Pseudos(_) if name.first() == Some(&b':') => self.pseudo(name, value),
            Stage::Pseudos(_) => {
                self.fields_begin();
                // Now there are fields, or it was refused.
                if !matches!(self.stage, Stage::Pseudos(_)) {
                    self.field(name, value);
                }
                return;
            }
            Stage::Fields(_) if name.first() == Some(&b':') => {
                Err(HeadError::Malformed("a pseudo-field behind other fields"))
            }
            Stage::Fields(assembly) => assembly.field(name, value),
        };
        if let Err(error) = done {
            self.stage = Stage::Refused(error);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        self.pseudos.add(name, value)?;
        let (limit, measured) = (self.limits.bytes.max(self.limits.target), self.pseudos.text.len());
        // What is too long in itself is refused with the right words when the fields begin.
        if measured > 2 * limit {
            return Err(HeadError::HeadTooLarge { limit, measured });
        }
        Ok(())
    }

    /// The pseudo-fields are over: takes them.
    fn fields_begin(&mut self) {
        let nothing = Stage::Refused(HeadError::Malformed("no head"));
        let Stage::Pseudos(head) = std::mem::replace(&mut self.stage, nothing) else {
            return;
        };
        let (pseudo, is_connect, protocol) = match pseudo(self.pseudos) {
            Ok(pseudo) => pseudo,
            Err(error) => return self.stage = Stage::Refused(error),
        };
        self.is_connect = is_connect;
        self.protocol = protocol.map(Into::into);
        self.stage = match Assembly::begin(head, self.limits, Version::Http2, &pseudo) {
            Ok(assembly) => Stage::Fields(assembly),
            Err(error) => Stage::Refused(error),
        };
    }

    pub fn end(mut self) -> Result<Said, HeadError> {
        if matches!(self.stage, Stage::Pseudos(_)) {
            self.fields_begin();
        }
        let declared = match self.stage {
            Stage::Fields(assembly) => assembly.end()?,
            Stage::Refused(error) => return Err(error),
            Stage::Pseudos(_) => return Err(HeadError::Malformed("no head")),
        };
        if self.is_connect && declared.length.is_some() {
            return Err(HeadError::Malformed("CONNECT has no Content-Length"));
        }
        Ok(Said {
            declared,
            is_connect: self.is_connect,
            protocol: self.protocol,
        })
    }
}

/// The pseudo-fields as they must be together (RFC 9113 8.3.1, 8.5, RFC 8441 4), whether they are those of CONNECT, and
/// what protocol that names.
fn pseudo(pseudos: &Pseudos) -> Result<(Pseudo<'_>, bool, Option<&str>), HeadError> {
    let [method, scheme, authority, path, protocol] = pseudos.get()?;
    let method = method.ok_or(HeadError::Malformed("no method"))?;
    let is_connect = method == "CONNECT";
    if protocol.is_some() && !is_connect {
        return Err(HeadError::Malformed(":protocol without CONNECT"));
    }
    if protocol.is_some_and(|protocol| !is_token(protocol.as_bytes())) {
        return Err(HeadError::Malformed(":protocol is no token"));
    }
    let is_plain_connect = is_connect && protocol.is_none();
    if scheme.is_some() == is_plain_connect {
        return Err(HeadError::Malformed(
            "a scheme for CONNECT, or none for another method",
        ));
    }
    let pseudo = Pseudo {
        // What an endpoint of HTTP/1.1 is asked with for the same.
        method: if protocol.is_some() { "GET" } else { method },
        scheme,
        authority,
        path,
    };
    Ok((pseudo, is_connect, protocol))
}

/// Trailers that are being put together.
pub(super) struct Trailers {
    fields: Result<TrailerAssembly, BodyError>,
    has_pseudos: bool,
}

impl Trailers {
    pub fn begin(limits: &HeadLimits) -> Self {
        Self {
            fields: Ok(TrailerAssembly::new(limits)),
            has_pseudos: false,
        }
    }

    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.has_pseudos |= name.first() == Some(&b':');
        if let Ok(fields) = &mut self.fields
            && let Err(error) = fields.field(name, value)
        {
            self.fields = Err(error);
        }
    }

    /// None if they are malformed: trailers have no pseudo-fields (RFC 9113 8.1).
    pub fn end(self) -> Option<Result<Headers, BodyError>> {
        (!self.has_pseudos).then(|| self.fields.map(TrailerAssembly::end))
    }
}
