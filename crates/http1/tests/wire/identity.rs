//! Generated requests: parsing finds what was generated, and parsing what is written from it finds it again.

use gatehouse_http1::{Decoder, Framing, HeadLimits, Known, RequestHead, encode, parse_request};

use crate::random::Random;

const METHODS: &[&str] = &[
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "HEAD",
    "PURGE",
    "x!#$%&'*+-.^_`|~",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b.c;d=e",
    "/%2F%c3",
    "//x",
    "/{id}",
    "/a:b@c!$&'()*+,;=~|^`\"<>",
    "/~",
    "/a%20b/",
];
const QUERIES: &[&str] = &[
    "",
    "a=b",
    "a=b&c",
    "?",
    "%",
    "100%",
    "x=/y?z",
    "a[]=1&b={}|^`\"<>",
];
const HOSTS: &[&str] = &[
    "a",
    "example.com",
    "EXAMPLE.com:8080",
    "10.0.0.1:1",
    "[::1]",
    "[2001:db8::1]:443",
    "a_b.c-d.~e",
];
const NAMES: &[&str] = &[
    "Accept",
    "X-Request-Id",
    "x-a",
    "X_B",
    "User-Agent",
    "Cookie",
    "X-Forwarded-For",
    "!#$%&'*+-.^_`|~",
    "Via",
    "a",
    "ETag",
    "a-rather-long-name-that-is-not-known-to-anyone",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"v",
    b"a, b",
    b"a\tb  c",
    b"\"q\\\"\"",
    b"\xff\x80\xe4",
    b"0",
    b":",
    b"a: b",
    b"=?;,",
    b"Mozilla/5.0 (X11; Linux x86_64)",
];
const SPACES: &[&str] = &["", " ", " ", " ", "\t", "  \t"];

/// A request as it was meant.
#[derive(Debug, PartialEq)]
struct Model {
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    host: &'static str,
    fields: Vec<(&'static str, &'static [u8])>,
    body: Option<Vec<u8>>,
    is_chunked: bool,
}

#[test]
fn what_is_generated_is_parsed_and_written_and_parsed_again() {
    let mut random = Random(3);
    for _ in 0..600 {
        let model = generate(&mut random);
        let wire = write_loosely(&mut random, &model);
        let (head, framing) = check(&model, &wire);
        let again = write_anew(&head, framing, model.body.as_deref());
        let (head, framing) = check(&model, &again);
        assert_eq!(write_anew(&head, framing, model.body.as_deref()), again);
    }
}

fn generate(random: &mut Random) -> Model {
    let mut model = Model {
        method: random.pick(METHODS),
        path: random.pick(PATHS),
        query: None,
        host: random.pick(HOSTS),
        fields: Vec::new(),
        body: None,
        is_chunked: false,
    };
    if random.one_in(2) {
        model.query = Some(random.pick(QUERIES));
    }
    for _ in 0..random.below(12) {
        model.fields.push((random.pick(NAMES), random.pick(VALUES)));
    }
    if random.one_in(2) {
        model.body = Some(
            (0..random.below(300))
                .map(|_| random.next().to_le_bytes()[0])
                .collect(),
        );
        model.is_chunked = random.one_in(2);
    }
    model
}

/// The model as a sender may write it: any form of target, any spaces, any order, any chunks.
fn write_loosely(random: &mut Random, model: &Model) -> Vec<u8> {
    let mut out = Vec::new();
    if random.one_in(8) {
        out.extend_from_slice(b"\r\n");
    }
    let prefix = if random.one_in(4) {
        format!("HTTP://{}", model.host)
    } else {
        String::new()
    };
    let query = model.query.map(|query| format!("?{query}")).unwrap_or_default();
    out.extend_from_slice(format!("{} {prefix}{}{query} HTTP/1.1\r\n", model.method, model.path).as_bytes());
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut line = |name: &str, value: &[u8]| {
        let (before, after) = (random.pick(SPACES), random.pick(SPACES));
        lines.push(
            [
                name.as_bytes(),
                b":",
                before.as_bytes(),
                value,
                after.as_bytes(),
                b"\r\n",
            ]
            .concat(),
        );
    };
    for (name, value) in &model.fields {
        line(name, value);
    }
    line("hOST", model.host.as_bytes());
    match &model.body {
        Some(_) if model.is_chunked => line("Transfer-encoding", b"cHUNKED"),
        Some(body) => line("CONTENT-LENGTH", format!("{:03}", body.len()).as_bytes()),
        None => {}
    }
    // The lines that are not of the model may stand anywhere.
    for _ in model.fields.len()..lines.len() {
        let last = lines.pop().unwrap();
        lines.insert(random.below(model.fields.len() + 1), last);
    }
    out.extend(lines.concat());
    out.extend_from_slice(b"\r\n");
    let body = model.body.as_deref().unwrap_or_default();
    if model.is_chunked {
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
            let extension = random.pick(&["", ";a", " ; a = \"b;c\"", ";"]);
            out.extend_from_slice(format!("0{:X}{extension}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = after;
        }
        out.extend_from_slice(b"000\r\n\r\n");
    } else {
        out.extend_from_slice(body);
    }
    out
}

/// The request as we write it.
fn write_anew(head: &RequestHead, framing: Framing, body: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request_line(&mut out, head);
    encode::fields(&mut out, &head.headers);
    encode::field(&mut out, b"host", head.authority().as_bytes());
    encode::framing(&mut out, framing);
    out.extend_from_slice(b"\r\n");
    let body = body.unwrap_or_default();
    if framing != Framing::Chunked {
        out.extend_from_slice(body);
        return out;
    }
    for chunk in body.chunks(16) {
        encode::chunk_start(&mut out, chunk.len());
        out.extend_from_slice(chunk);
        encode::chunk_end(&mut out);
    }
    encode::last_chunk(&mut out, None);
    out
}

/// Parses the wire and compares with the model.
fn check(model: &Model, wire: &[u8]) -> (RequestHead, Framing) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::new();
    let parsed = match parse_request(wire, &limits, &mut head) {
        Ok(Some(parsed)) => parsed,
        other => panic!("{other:?} for {}", wire.escape_ascii()),
    };
    for len in 0..parsed.len {
        assert_eq!(
            parse_request(&wire[..len], &limits, &mut RequestHead::new()),
            Ok(None)
        );
    }
    let mut rest = wire[parsed.len..].to_vec();
    let mut decoder = Decoder::new(parsed.framing, &limits);
    let decoded = decoder.decode(&mut rest).unwrap();
    assert!(
        decoded.done && decoded.consumed == rest.len(),
        "{}",
        wire.escape_ascii()
    );

    assert_eq!(parsed.framing == Framing::None, model.body.is_none());
    assert_eq!(&rest[decoded.data], model.body.as_deref().unwrap_or_default());
    assert_eq!(
        (head.method.as_str(), head.path(), head.query()),
        (model.method, model.path, model.query)
    );
    assert_eq!(head.authority(), model.host);
    let own = [Known::Host, Known::ContentLength, Known::TransferEncoding].map(Some);
    let fields = head.headers.iter().filter(|field| !own.contains(&field.known));
    let expected = model.fields.iter().map(|(name, value)| (name.as_bytes(), *value));
    assert!(
        fields.map(|field| (field.name, field.value)).eq(expected),
        "{}",
        wire.escape_ascii()
    );
    (head, parsed.framing)
}
