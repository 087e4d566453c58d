//! What a head costs: parsing one of twelve fields as browsers send it, looking fields up, writing it again.
//!
//! `cargo bench -p gatehouse-http1 --bench head`. Compare with the last release on the same machine.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatehouse_http1::{
    Decoder, Framing, HeadLimits, Known, RequestHead, RequestKind, ResponseHead, encode, parse_request,
    parse_response,
};

const REQUEST: &[u8] = b"GET /catalog/v2/items/8723?fields=name,price&locale=de HTTP/1.1\r\n\
Host: api.example.com\r\n\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: application/json, text/plain, */*\r\n\
Accept-Language: de-DE,de;q=0.9,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://shop.example.com/search?q=lamp\r\n\
Origin: https://shop.example.com\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Sec-Fetch-Mode: cors\r\n\
X-Request-Id: 7b0f3c1e9a5d4e6f8091a2b3c4d5e6f7\r\n\
Cache-Control: no-cache\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx\r\n\
Date: Mon, 02 Jun 2025 10:00:00 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 512\r\n\
Connection: keep-alive\r\n\
Vary: Accept-Encoding\r\n\
ETag: \"abc-123\"\r\n\
Cache-Control: private, max-age=60\r\n\r\n";

fn parsing(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = c.benchmark_group("parse");
    let mut head = RequestHead::new();
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("request_12_fields", |b| {
        b.iter(|| parse_request(black_box(REQUEST), &limits, &mut head));
    });
    group.bench_function("request_httparse_alone", |b| {
        b.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            request
                .parse(black_box(REQUEST))
                .map(|status| status.is_complete())
        });
    });
    let mut head = ResponseHead::new();
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("response_8_fields", |b| {
        b.iter(|| parse_response(black_box(RESPONSE), &limits, RequestKind::Other, &mut head));
    });
    group.finish();
}

fn lookups(c: &mut Criterion) {
    let mut head = RequestHead::new();
    parse_request(REQUEST, &HeadLimits::default(), &mut head).expect("the sample is valid");
    let headers = &head.headers;
    let mut group = c.benchmark_group("lookup");
    group.bench_function("known_present", |b| {
        b.iter(|| headers.get(black_box(Known::XRequestId)).is_some());
    });
    group.bench_function("known_absent", |b| {
        b.iter(|| headers.get(black_box(Known::Authorization)).is_some());
    });
    group.bench_function("other_present", |b| {
        b.iter(|| headers.find(black_box(b"sec-fetch-mode")).is_some());
    });
    group.bench_function("other_absent", |b| {
        b.iter(|| headers.find(black_box(b"x-custom-name1")).is_some());
    });
    group.bench_function("name_to_known", |b| {
        b.iter(|| Known::of(black_box(b"Accept-Encoding")));
    });
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut head = RequestHead::new();
    parse_request(REQUEST, &HeadLimits::default(), &mut head).expect("the sample is valid");
    let mut out = Vec::with_capacity(4096);
    let mut group = c.benchmark_group("encode");
    group.bench_function("request_untouched", |b| {
        b.iter(|| {
            out.clear();
            encode::request_line(&mut out, &head);
            encode::field(&mut out, b"host", head.authority().as_bytes());
            encode::fields(&mut out, black_box(&head.headers));
            out.extend_from_slice(b"\r\n");
            out.len()
        });
    });
    group.bench_function("request_parsed_edited_written", |b| {
        let limits = HeadLimits::default();
        b.iter(|| {
            let parsed = parse_request(black_box(REQUEST), &limits, &mut head);
            let framing = parsed
                .ok()
                .flatten()
                .map_or(Framing::None, |parsed| parsed.framing);
            head.headers.set(Known::XForwardedFor, b"192.0.2.1");
            head.headers.set(Known::XForwardedProto, b"https");
            head.headers
                .set(Known::XRequestId, b"0123456789abcdef0123456789abcdef");
            head.headers.remove(Known::Cookie);
            out.clear();
            encode::request_line(&mut out, &head);
            encode::field(&mut out, b"host", b"backend.internal:8080");
            encode::fields(&mut out, &head.headers);
            encode::framing(&mut out, framing);
            out.extend_from_slice(b"\r\n");
            out.len()
        });
    });
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let mut wire = Vec::new();
    for _ in 0..4 {
        encode::chunk_start(&mut wire, 4096);
        wire.resize(wire.len() + 4096, b'x');
        encode::chunk_end(&mut wire);
    }
    encode::last_chunk(&mut wire, None);
    let mut buf = wire.clone();
    let mut group = c.benchmark_group("body");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("four_chunks_of_4096", |b| {
        b.iter(|| {
            buf.copy_from_slice(&wire);
            let mut decoder = Decoder::new(Framing::Chunked, &HeadLimits::default());
            decoder
                .decode(black_box(&mut buf))
                .map(|decoded| decoded.data.len())
        });
    });
    group.finish();
}

criterion_group!(benches, parsing, lookups, encoding, bodies);
criterion_main!(benches);
