//! Early data: for what may be repeated, and for nothing else.

use gatehouse_testkit::HttpBackend;
use gatehouse_testkit::h3::{Http3Client, Http3Request};

use super::{Setup, post};

#[test]
fn safe_requests_may_come_early_and_others_not() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "client: { http3: { early_data: true } }\n");
    let client = Http3Client::trusting_by_hand(&setup.authority);
    let mut first = client.connect(setup.address());
    assert_eq!(first.get("/").status, 200);
    assert!(!backend.last().headers.has("early-data"));
    // The session comes behind the handshake; one more request waits for it.
    assert_eq!(first.get("/").status, 200);

    let (mut early, accepted) = client.early(setup.address());
    // From here to the answer the client does nothing, so that the handshake cannot be over.
    let mut exchange = early.begin_and_stop(&Http3Request::new("GET", "/early"));
    let got = backend.wait_requests(3).pop().unwrap();
    assert_eq!(exchange.answer().status, 200);
    assert!(client.was_accepted(accepted), "early data was not taken");
    assert_eq!(
        (got.target.as_str(), got.header("early-data")),
        ("/early", Some("1"))
    );
    // Once the handshake is over everything may come.
    assert_eq!(early.send(&post("/", "x")).status, 200);
    assert!(!backend.last().headers.has("early-data"));
    assert_eq!(early.get("/").status, 200);

    let before = backend.count();
    let (mut early, accepted) = client.early(setup.address());
    let mut exchange = early.begin_and_stop(&Http3Request::new("DELETE", "/orders/1"));
    // A line comes when its request is over for the gateway. For the one before, of another connection, that may be
    // after the client has its answer: no order between the two.
    let lines = setup.gateway.access_log(6);
    let refused: Vec<_> = lines.iter().filter(|line| line["method"] == "DELETE").collect();
    assert_eq!(refused.len(), 1, "{lines:?}");
    assert_eq!(refused[0]["code"], "too_early", "{lines:?}");
    let answer = exchange.answer();
    assert!(client.was_accepted(accepted), "early data was not taken");
    assert_eq!(answer.status, 425, "{answer:?}");
    assert!(answer.text().contains("too_early"));
    assert_eq!(backend.count(), before, "nothing was forwarded");
    assert_eq!(early.send(&Http3Request::new("DELETE", "/orders/1")).status, 200);
}

#[test]
fn it_is_off_unless_it_is_wanted() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let client = setup.client();
    let mut first = client.connect(setup.address());
    assert_eq!(first.get("/").status, 200);
    assert_eq!(first.get("/").status, 200);
    assert!(
        client.try_early(setup.address()).is_none(),
        "the session allows early data"
    );
}
