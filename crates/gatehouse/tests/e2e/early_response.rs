//! A final response while the request's body still flows: it reaches the client, and everything ends cleanly.

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::{Feed, HttpBackend, Raw, Reply, Request, client};

use crate::in_front_of;

fn upload_head(target: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes()
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let backend = HttpBackend::start();
    backend.on("/upload", Reply::new(403).body("too much").early());
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(upload_head("/upload")).send(chunk(b"first"));
    let response = raw.response("POST");
    assert_eq!((response.status, response.text().as_str()), (403, "too much"));
    // The rest of the body is either taken or the connection closed; both are an orderly end.
    let _ = raw.try_send([chunk(b"second"), b"0\r\n\r\n".to_vec()].concat());
    if response.keeps_alive() {
        raw.send(Request::get("/").encode());
        assert_eq!(raw.response("GET").text(), "ok");
    } else {
        raw.expect_closed();
    }
}

#[test]
fn an_upstream_that_answers_and_closes_is_not_a_failure() {
    let backend = HttpBackend::start();
    backend.script("/upload", |call| {
        call.head(413, &[("Content-Length", "4"), ("Connection", "close")])?;
        call.send("full")?;
        call.close();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(upload_head("/upload")).send(chunk(&[b'x'; 10_000]));
    let response = raw.response("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "full"));
}

/// A server may reset the connection once it has answered, because of the body it did not read. The response that
/// came before must not be lost with it.
#[test]
fn a_large_upload_that_is_refused_gets_the_refusal() {
    let backend = HttpBackend::start();
    backend.script("/upload", |call| {
        call.read_piece()?;
        call.head(403, &[("Content-Length", "2"), ("Connection", "close")])?;
        call.send("no")?;
        call.close();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(upload_head("/upload"));
    let mut writer = raw.writer();
    let sending = std::thread::spawn(move || {
        let piece = chunk(&[b'x'; 16 * 1024]);
        // Ends with an error when the gateway closes; at the latest after 64 MiB.
        (0..4096).all(|_| std::io::Write::write_all(&mut writer, &piece).is_ok())
    });
    let response = raw.response("POST");
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    drop(raw);
    let _ = gatehouse_testkit::wait::join("the upload to end", sending);
    assert_eq!(client::get(gateway.address(), "/").status, 200);
}

#[test]
fn both_directions_flow_at_the_same_time() {
    let feed = Feed::new();
    let backend = HttpBackend::start();
    let out = feed.clone();
    backend.script("/chat", move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        // An answer to each piece of the request as it comes.
        while let Some(piece) = call.read_piece()? {
            call.chunk([b"echo ", piece.as_slice()].concat())?;
        }
        call.chunks_from(&out)
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(upload_head("/chat"));
    assert_eq!(raw.response_head("POST").0.status, 200);
    for word in ["one", "two", "three"] {
        raw.send(chunk(word.as_bytes()));
        assert_eq!(raw.chunk().unwrap(), format!("echo {word}").into_bytes());
    }
    raw.send("0\r\n\r\n");
    feed.push("the end");
    assert_eq!(raw.chunk().unwrap(), b"the end");
    feed.end();
    assert_eq!(raw.chunk(), None);
}

#[test]
fn a_response_that_ends_first_ends_the_exchange() {
    let backend = HttpBackend::start();
    backend.on("/upload", Reply::ok("enough").chunked().early().then_hang());
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(upload_head("/upload")).send(chunk(b"some"));
    let response = raw.response("POST");
    assert_eq!(response.text(), "enough");
    // The client gives up the rest of its body.
    drop(raw);
    assert_eq!(client::get(gateway.address(), "/").status, 200);
}
