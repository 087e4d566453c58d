//! gRPC passes through untouched: tonic on both sides, the gateway between.

use std::future::Future;
use std::time::Duration;

use gatehouse_testkit::Gateway;
use gatehouse_testkit::wait::until;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};

use service::{EchoClient, EchoServer};

pub mod service;

/// A gateway that takes HTTP/2 in the clear and passes it to `url`.
fn before(url: &str, settings: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes: {{ echo: {{ match: {{ path: /test.Echo/** }}, forward: {{ upstream: echo }} }} }}
upstreams: {{ echo: {{ endpoints: ["{url}"], protocol: http2, {settings} }} }}
"#
    );
    crate::gateway(&yaml).start()
}

/// Runs a test with a server, a gateway before it, and a client.
fn run<R: Future<Output = ()>>(test: impl FnOnce(EchoClient) -> R) {
    let server = EchoServer::start();
    let gateway = before(&server.url(), "");
    on(&gateway, test);
}

fn on<R: Future<Output = ()>>(gateway: &Gateway, test: impl FnOnce(EchoClient) -> R) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let address = gateway.address();
    runtime.block_on(async move { test(EchoClient::connect(address).await).await });
}

#[test]
fn unary() {
    run(|mut client| async move {
        let response = client.unary(Request::new(b"hello".to_vec())).await.unwrap();
        assert_eq!(response.get_ref(), b"hello");
    });
}

#[test]
fn messages_of_4_mib() {
    run(|mut client| async move {
        let message = gatehouse_testkit::digest::Noise::bytes(3, 4 << 20);
        let response = client.unary(Request::new(message.clone())).await.unwrap();
        assert!(response.into_inner() == message);
    });
}

#[test]
fn server_streaming() {
    run(|mut client| async move {
        let mut stream = client
            .count(Request::new(b"300".to_vec()))
            .await
            .unwrap()
            .into_inner();
        for n in 0..300 {
            assert_eq!(
                stream.message().await.unwrap().unwrap(),
                n.to_string().into_bytes()
            );
        }
        assert_eq!(stream.message().await.unwrap(), None);
        let trailers = stream.trailers().await.unwrap().unwrap();
        assert!(trailers.get("grpc-status").is_none_or(|status| status == "0"));
    });
}

#[test]
fn client_streaming() {
    run(|mut client| async move {
        let messages: Vec<Vec<u8>> = (0..300).map(|n| format!("{n},").into_bytes()).collect();
        let response = client
            .join(Request::new(tokio_stream::iter(messages.clone())))
            .await
            .unwrap();
        assert_eq!(response.into_inner(), messages.concat());
    });
}

/// Each message is sent only when the last was answered: both directions are open all the time.
#[test]
fn bidirectional_streaming_in_full_duplex() {
    run(|mut client| async move {
        let (send, messages) = tokio::sync::mpsc::channel(1);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut incoming = client.echo(Request::new(outgoing)).await.unwrap().into_inner();
        for n in 0..100 {
            let message = format!("message {n}").into_bytes();
            send.send(message.clone()).await.unwrap();
            assert_eq!(incoming.message().await.unwrap(), Some(message));
        }
        drop(send);
        assert_eq!(incoming.message().await.unwrap(), None);
    });
}

/// The server ends the call while the client would still send.
#[test]
fn a_server_may_end_a_call_that_is_still_being_sent() {
    run(|mut client| async move {
        let (send, messages) = tokio::sync::mpsc::channel(1);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut incoming = client.echo(Request::new(outgoing)).await.unwrap().into_inner();
        send.send(b"enough".to_vec()).await.unwrap();
        let status = incoming.message().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::OutOfRange, "that is enough")
        );
        drop(send);
    });
}

#[test]
fn errors_are_told_as_the_server_told_them() {
    run(|mut client| async move {
        let status = client.fail(Request::new(Vec::new())).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::FailedPrecondition, "not now: 50% of é")
        );
        assert_eq!(status.details(), b"\x00\x01details");
        assert_eq!(status.metadata().get("x-why").unwrap(), "because");
    });
}

#[test]
fn an_unknown_method_is_the_servers_to_refuse() {
    run(|mut client| async move {
        let status = client.unknown().await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    });
}

#[test]
fn metadata_passes_both_ways() {
    run(|mut client| async move {
        let mut request = Request::new(b"metadata".to_vec());
        let metadata = request.metadata_mut();
        metadata.insert("x-text", "some text".parse().unwrap());
        metadata.append("x-text", "and more".parse().unwrap());
        metadata.insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 1, 254, 255]));
        let response = client.unary(request).await.unwrap();
        let same = |metadata: &MetadataMap| {
            let text: Vec<_> = metadata
                .get_all("x-text")
                .iter()
                .map(|v| v.to_str().unwrap().to_owned())
                .collect();
            assert_eq!(text, ["some text", "and more"]);
            let bytes = metadata.get_bin("x-bytes-bin").unwrap().to_bytes().unwrap();
            assert_eq!(&bytes[..], &[0, 1, 254, 255]);
        };
        same(response.metadata());
        assert_eq!(response.metadata().get("grpc-status").unwrap(), "0");
    });
}

#[test]
fn a_deadline_passes_and_its_end_cancels_the_call() {
    let server = EchoServer::start();
    let gateway = before(&server.url(), "");
    on(&gateway, |mut client| async move {
        let mut request = Request::new(b"slow".to_vec());
        request.set_timeout(Duration::from_millis(300));
        let status = client.hang(request).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{status:?}"
        );
    });
    let seen = server.timeouts();
    assert_eq!(seen, ["300000u"]);
    until("the call to be cancelled", || server.cancelled() == 1);
}

#[test]
fn the_gateways_own_failures_are_statuses() {
    let refusing = gatehouse_testkit::backend::tcp::Refusing::new();
    on(&before(&refusing.url(), ""), |mut client| async move {
        let status: Status = client.unary(Request::new(Vec::new())).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "could not connect to the upstream")
        );
    });
    let server = EchoServer::start();
    on(
        &before(&server.url(), "timeout: 200ms"),
        |mut client| async move {
            let status = client.hang(Request::new(Vec::new())).await.unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        },
    );
}

#[test]
fn a_server_that_goes_away_between_calls_is_not_noticed() {
    let server = EchoServer::start();
    let gateway = before(&server.url(), "");
    on(&gateway, |mut client| async move {
        for n in 0..3 {
            let response = client.unary(Request::new(vec![n])).await.unwrap();
            assert_eq!(response.get_ref(), &[n]);
        }
    });
}
