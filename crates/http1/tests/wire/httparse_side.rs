//! httparse accepts every head we accept, and finds the same parts in it. It accepts more, which is why we do not use it.

use gatehouse_http1::{HeadLimits, RequestHead, RequestKind, ResponseHead, parse_request, parse_response};

use crate::random::{Random, mutate};
use crate::samples::{REQUESTS, RESPONSES};

const MUTATIONS: usize = 2000;

#[test]
fn heads_are_what_httparse_finds() {
    let mut random = Random(2);
    let (mut ours, mut theirs) = (0, 0);
    let limits = HeadLimits::default();
    for sample in REQUESTS {
        for _ in 0..MUTATIONS {
            let wire = mutate(&mut random, sample, REQUESTS);
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut fields);
            let len = request
                .parse(&wire)
                .ok()
                .filter(httparse::Status::is_complete)
                .map(httparse::Status::unwrap);
            theirs += usize::from(len.is_some());
            let mut head = RequestHead::new();
            let Ok(Some(parsed)) = parse_request(&wire, &limits, &mut head) else {
                continue;
            };
            ours += 1;
            assert_eq!(Some(parsed.len), len, "{}", wire.escape_ascii());
            assert_eq!(Some(head.method.as_str()), request.method);
            assert_eq!(Some(head.raw_target()), request.path);
            let found = request
                .headers
                .iter()
                .map(|field| (field.name.as_bytes(), field.value));
            assert!(
                head.headers
                    .iter()
                    .map(|field| (field.name, field.value))
                    .eq(found)
            );
        }
    }
    for sample in RESPONSES {
        for _ in 0..MUTATIONS {
            let wire = mutate(&mut random, sample, RESPONSES);
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut fields);
            let len = response
                .parse(&wire)
                .ok()
                .filter(httparse::Status::is_complete)
                .map(httparse::Status::unwrap);
            theirs += usize::from(len.is_some());
            let mut head = ResponseHead::new();
            let Ok(Some(parsed)) = parse_response(&wire, &limits, RequestKind::Other, &mut head) else {
                continue;
            };
            ours += 1;
            assert_eq!(
                (Some(parsed.len), Some(head.status)),
                (len, response.code),
                "{}",
                wire.escape_ascii()
            );
            let found = response
                .headers
                .iter()
                .map(|field| (field.name.as_bytes(), field.value));
            assert!(
                head.headers
                    .iter()
                    .map(|field| (field.name, field.value))
                    .eq(found)
            );
        }
    }
    assert!(ours > 10_000 && theirs > ours, "{ours} {theirs}");
}
