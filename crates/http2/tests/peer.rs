//! Our connection against a client of another making: the `h2` crate, over a pipe in memory. Fields of many sorts go both
//! ways through both compressors, bodies through both windows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use gatehouse_http1::{HeadLimits, RequestHead};
use gatehouse_http2::{Connection, Event, Key, Room, Settings, Step};
use h2::client;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % n
    }

    fn fields(&mut self) -> HeaderMap {
        const NAMES: [&str; 12] = [
            "accept",
            "user-agent",
            "x-a",
            "x-b",
            "date",
            "etag",
            "vary",
            "server",
            "set-cookie",
            "x-request-id",
            "a-name-that-is-longer-than-any-that-the-encoder-looks-for-at-all",
            "authorization",
        ];
        let mut map = HeaderMap::new();
        for _ in 0..self.below(12) {
            let name = HeaderName::from_static(NAMES[self.below(NAMES.len())]);
            let length = [0, 1, 7, 30, 300][self.below(5)];
            let letters = [2, 26, 90][self.below(3)];
            let value: Vec<u8> = (0..length)
                .map(|_| b'!' + u8::try_from(self.below(letters)).unwrap())
                .collect();
            map.append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        map
    }
}

/// What the server does with a request: sends its fields and its body back.
#[derive(Default)]
struct Echo {
    body: Vec<u8>,
    has_all: bool,
}

async fn serve(mut pipe: DuplexStream) {
    let settings = Settings {
        stream_window: 20_000,
        // All that a client may have under way: it reads one answer after the other.
        connection_window: 1 << 20,
        head: HeadLimits {
            bytes: 64 * 1024,
            ..HeadLimits::default()
        },
        ..Settings::default()
    };
    let now = Instant::now();
    let mut connection = Connection::<Echo>::new(settings, now);
    let (mut head, mut input, mut open) = (RequestHead::new(), Vec::new(), Vec::<Key>::new());
    loop {
        let mut at = 0;
        while let Step::Took(n, event) = connection
            .receive(&input[at..], now, &mut head)
            .expect("a good client")
        {
            match event {
                Event::Request(opening) => {
                    assert!(opening.head.is_ok(), "{:?}", opening.head);
                    connection.head(opening.key, 200, false, |out| {
                        head.headers
                            .iter()
                            .filter(|f| f.name != b"host")
                            .for_each(|field| out.add(field));
                    });
                    connection.data(opening.key).unwrap().has_all = opening.is_whole;
                    open.push(opening.key);
                }
                Event::Data { key, data, is_last } => {
                    let bytes = &input[at..][data];
                    let echo = connection.data(key).unwrap();
                    echo.body.extend_from_slice(bytes);
                    echo.has_all = is_last;
                }
                Event::Nothing | Event::Room(_) | Event::RoomOnAll => {}
                other => panic!("{other:?}"),
            }
            at += n;
        }
        input.drain(..at);
        open.retain(|key| !echo(&mut connection, *key));
        let unsent = connection.unsent().to_vec();
        if pipe.write_all(&unsent).await.is_err() {
            return;
        }
        connection.sent(unsent.len());
        open.retain(|key| !echo(&mut connection, *key));
        if connection.unsent().is_empty() && pipe.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// Sends what there is room for. True at the end.
fn echo(connection: &mut Connection<Echo>, key: Key) -> bool {
    let Room::Bytes(room) = connection.room(key) else {
        return false;
    };
    let echo = connection.data(key).unwrap();
    let rest = echo.body.split_off(room.min(echo.body.len()));
    let (now, is_last) = (std::mem::replace(&mut echo.body, rest), echo.has_all);
    let is_last = is_last && echo.body.is_empty();
    assert!(connection.send(key, &now));
    connection.consumed(key, u32::try_from(now.len()).unwrap());
    if is_last {
        assert!(connection.finish(key));
        connection.release(key);
    }
    is_last
}

#[tokio::test]
async fn another_client_gets_back_what_it_sends() {
    let (ours, theirs) = tokio::io::duplex(10_000);
    let server = tokio::spawn(serve(ours));
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(10_000)
        .initial_connection_window_size(70_000);
    let (mut client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut dice = Dice(7);
    for round in 0..200 {
        let mut requests = Vec::new();
        for _ in 0..=dice.below(4) {
            let fields = dice.fields();
            let body = Bytes::from(vec![
                u8::try_from(round % 256).unwrap();
                [0, 10, 1000, 60_000][dice.below(4)]
            ]);
            let mut request = Request::post("http://some.test/path?query").body(()).unwrap();
            *request.headers_mut() = fields.clone();
            client = client.ready().await.unwrap();
            let (answer, mut stream) = client.send_request(request, body.is_empty()).unwrap();
            if !body.is_empty() {
                stream.send_data(body.clone(), true).unwrap();
            }
            requests.push((fields, body, answer));
        }
        for (fields, body, answer) in requests {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let sorted = |map: &HeaderMap| {
                let mut sorted = HashMap::<String, Vec<Vec<u8>>>::new();
                for (name, value) in map {
                    sorted
                        .entry(name.to_string())
                        .or_default()
                        .push(value.as_bytes().to_vec());
                }
                sorted
            };
            assert_eq!(sorted(answer.headers()), sorted(&fields));
            let (mut back, mut taken) = (answer.into_body(), Vec::new());
            while let Some(piece) = back.data().await {
                let piece = piece.unwrap();
                taken.extend_from_slice(&piece);
                back.flow_control().release_capacity(piece.len()).unwrap();
            }
            assert!(taken == body, "round {round}");
        }
    }
    drop(client);
    driving.await.unwrap().unwrap();
    server.await.unwrap();
}
