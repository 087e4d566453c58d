//! One line of JSON for each request, with the fields people count on.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request};
use serde_json::Value;

use crate::{PLAIN, gateway, in_front_of};

#[test]
fn a_forwarded_request_leaves_all_its_fields() {
    let backend = HttpBackend::replying(Reply::new(201).body("made"));
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    let request = Request::post("/orders/1?secret=1", "12345")
        .host("shop.test")
        .header("User-Agent", "kit \"1\"");
    let response = client.send(&request);
    let line = gateway.access_log(1).remove(0);
    for (key, value) in [
        ("method", Value::from("POST")),
        ("path", "/orders/1".into()),
        ("status", 201.into()),
        ("user_agent", "kit \"1\"".into()),
        ("client_ip", "127.0.0.1".into()),
        ("host", "shop.test".into()),
        ("protocol", "HTTP/1.1".into()),
        ("listener", "main".into()),
        ("route", "all".into()),
        ("upstream", "api".into()),
        ("endpoint", backend.address().to_string().into()),
        ("attempts", 1.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 4.into()),
        ("api_key", Value::Null),
        ("code", Value::Null),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(
        line["request_id"].as_str(),
        response.header("x-request-id"),
        "{line}"
    );
    for key in ["latency_ms", "overhead_ms", "upstream_ms"] {
        assert!(line[key].is_number(), "{key} in {line}");
    }
    let latency = line["latency_ms"].as_f64().unwrap();
    assert!(
        line["overhead_ms"].as_f64().unwrap() <= latency && line["upstream_ms"].as_f64().unwrap() <= latency
    );
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(
        timestamp.len() >= 20 && timestamp.as_bytes()[10] == b'T' && timestamp.ends_with('Z'),
        "{timestamp}"
    );
    // Queries carry secrets: they are not logged.
    assert!(!line.to_string().contains("secret"), "{line}");
}

#[test]
fn failures_and_own_replies_are_logged_too() {
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { own: { match: { path: /own }, version: v1, reply: { body: own } } }
"#;
    let gateway = gateway(yaml).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/own").status, 200);
    assert_eq!(client.get("/none").status, 404);
    let mut raw = Raw::connect(gateway.address());
    raw.send("GET /bad HTTP/1.1\r\nX : y\r\n\r\n");
    assert_eq!(raw.response("GET").status, 400);
    let lines = gateway.access_log(3);
    let find = |status: u64| {
        lines
            .iter()
            .find(|line| line["status"] == status)
            .unwrap_or_else(|| panic!("{lines:#?}"))
    };
    let own = find(200);
    assert_eq!(
        (&own["route"], &own["version"], &own["upstream"]),
        (&"own".into(), &"v1".into(), &Value::Null)
    );
    assert_eq!(own["bytes_out"], 3);
    assert_eq!(find(404)["code"], "route_not_found");
    assert_eq!(find(400)["code"], "bad_request");
}

#[test]
fn a_client_that_left_is_499() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    backend.wait_requests(1);
    raw.reset();
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (&line["status"], &line["code"]),
        (&499.into(), &"client_gone".into()),
        "{line}"
    );
}

/// What strangers send must not break a line, nor forge one.
#[test]
fn odd_bytes_stay_inside_their_strings() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(
        b"GET /a%22%0Ab HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"},\\\xff\xe2\x80\xa8\t{\"x\":\"\r\n\r\n",
    );
    assert!(raw.response("GET").status > 0);
    let lines = gateway.access_log(1);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0]["user_agent"].as_str().unwrap().contains("\"},\\"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[0]["x"], Value::Null);
}

/// A head that is refused has a line of its own, whatever stood before the mistake.
#[test]
fn refused_heads_are_logged() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let large = format!("X: {}\r\n", "x".repeat(20_000));
    let many = "X: y\r\n".repeat(150);
    let bad = ["x y: a\r\n", "x: \u{1}\r\n", &large, &many];
    for (n, lines) in bad.iter().enumerate() {
        let mut raw = Raw::connect(gateway.address());
        let _ = raw.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\n{lines}\r\n").as_bytes());
        let status = raw.response("GET").status;
        assert!(status == 400 || status == 431, "{status}");
        let line = gateway.access_log(n + 1).pop().unwrap();
        assert_eq!(line["status"], status, "{line}");
    }
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    client.get("/one");
    assert_eq!(gateway.access_log(1)[0]["path"], "/one");
    let rotated = gateway.directory().join("access.log.1");
    std::fs::rename(gateway.access_log_path(), &rotated).unwrap();
    // Lines go to the old file until the move is noticed; each is in exactly one of the two.
    let mut sent = 1;
    until("the file to be opened anew", || {
        client.get("/more");
        sent += 1;
        gateway.access_log_path().exists()
    });
    client.get("/last");
    sent += 1;
    until("all lines to be there", || {
        let count = |path| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .matches('\n')
                .count()
        };
        count(gateway.access_log_path()) + count(rotated.clone()) == sent
    });
    let text = std::fs::read_to_string(gateway.access_log_path()).unwrap();
    assert!(text.contains("/last"), "{text}");
}

#[test]
fn without_a_file_lines_go_to_standard_output_after_the_ready_line() {
    let backend = HttpBackend::start();
    let gateway = gateway(&format!("{PLAIN}access_log: {{ flush: 5ms }}\n"))
        .bind("api", backend.url())
        .start();
    Client::connect(gateway.address()).get("/x");
    until("a line on stdout", || {
        let lines = gateway.stdout();
        let ready = lines.iter().position(|line| line == "ready").unwrap();
        lines[ready + 1..]
            .iter()
            .any(|line| line.starts_with('{') && line.contains("\"/x\""))
    });
}

#[test]
fn it_can_be_switched_off() {
    let backend = HttpBackend::start();
    let mut gateway = gateway(&format!("{PLAIN}access_log: {{ enabled: false }}\n"))
        .bind("api", backend.url())
        .start();
    Client::connect(gateway.address()).get("/x");
    assert!(gateway.stop().success());
    assert!(!gateway.stdout().iter().any(|line| line.contains("\"/x\"")));
}

#[test]
fn all_lines_are_written_before_the_gateway_ends() {
    let backend = HttpBackend::start();
    let yaml = format!("{PLAIN}access_log: {{ file: \"${{dir}}/access.log\", flush: 1h }}\n");
    let mut gateway = gateway(&yaml).bind("api", backend.url()).start();
    let mut client = Client::connect(gateway.address());
    for _ in 0..50 {
        client.get("/");
    }
    drop(client);
    assert!(gateway.stop().success());
    assert_eq!(gateway.access_log(50).len(), 50);
}

#[test]
fn lines_go_to_syslog() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(gatehouse_testkit::wait::PATIENCE))
        .unwrap();
    let yaml = format!(
        "{PLAIN}access_log: {{ syslog: \"udp://{}\", flush: 5ms }}\n",
        socket.local_addr().unwrap()
    );
    let backend = HttpBackend::start();
    let gateway = gateway(&yaml).bind("api", backend.url()).start();
    Client::connect(gateway.address()).get("/to-syslog");
    let mut buffer = [0; 8192];
    let len = socket.recv(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..len]);
    assert!(text.starts_with('<') && text.contains("\"/to-syslog\""), "{text}");
}
