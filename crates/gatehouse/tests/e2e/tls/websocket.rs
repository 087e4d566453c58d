//! A WebSocket over TLS: a session holds bytes back in both directions, and a tunnel must drive them.

use gatehouse_testkit::websocket::{BINARY, EchoBackend, Frame, WebSocket, handshake};
use gatehouse_testkit::{Authority, TlsClient};

use super::secure;

#[test]
fn messages_of_every_size_pass_and_the_end_is_said() {
    let authority = Authority::new();
    let backend = EchoBackend::start();
    let chat = "  chat: { match: { path: /chat }, forward: { upstream: api, tunnel: { idle: 500ms } } }\n\
                upstreams: { api: { endpoints: [\"${api}\"] } }\n";
    let gateway = secure(&[&authority.server(&["gateway.test"])], "", chat)
        .bind("api", backend.url())
        .start();
    let client = TlsClient::trusting(&authority).named("gateway.test").build();
    let mut socket = WebSocket::open_on(client.connect(gateway.address()), &handshake("/chat"));
    socket.echo("hello");
    // More than a record, more than a buffer, and more than the system takes at once.
    for len in [17_000, 200_000, 500_000] {
        let frame = Frame::new(BINARY, vec![3; len]);
        socket.send(frame.clone());
        assert_eq!(socket.read(), frame);
    }
    socket.expect_goodbye(1001);
    backend.wait_ended(1);
    assert_eq!(backend.seen().closed, [Some(1001)]);
}
