//! Windows, numbers and the end: how much there may be.

use super::*;

#[test]
fn bodies_are_as_long_as_they_say_and_windows_allow() {
    let mut peer = Peer::new(Settings {
        stream_window: 100_000,
        connection_window: 300_000,
        ..Settings::default()
    });
    peer.give(&frame(SETTINGS, ACK, 0, &[])).unwrap();
    let post = block(&[&GET[..], &[("content-length", "5")]].concat());
    for (stream, data, is_right) in [(1, "123", false), (3, "1234567", false), (5, "12345", true)] {
        peer.give(&frame(HEADERS, END_HEADERS, stream, &post)).unwrap();
        let event = peer
            .give(&frame(DATA, END_STREAM, stream, data.as_bytes()))
            .unwrap();
        assert_eq!(
            matches!(event, Event::Data { is_last: true, .. }),
            is_right,
            "{data}"
        );
    }
    peer.sent();
    // Padding is given back at once, and data when it was consumed: by halves of the window.
    let key = peer.request(7, END_HEADERS).key;
    let padded = [&[200][..], b"data", &[0; 200]].concat();
    let Event::Data { data, .. } = peer.give(&frame(DATA, PADDED, 7, &padded)).unwrap() else {
        panic!("no data");
    };
    assert_eq!(data, HEADER + 1..HEADER + 5);
    peer.connection.consumed(key, 4);
    for _ in 0..3 {
        peer.give(&frame(DATA, 0, 7, &[0; 16_384])).unwrap();
        peer.connection.consumed(key, 16_384);
    }
    assert_eq!(peer.sent(), []);
    peer.give(&frame(DATA, 0, 7, &[0; 16_384])).unwrap();
    peer.connection.consumed(key, 16_384);
    let given: Vec<_> = peer
        .sent()
        .into_iter()
        .map(|(kind, _, stream, _)| (kind, stream))
        .collect();
    assert_eq!(given, [(WINDOW_UPDATE, 7)]);
    // Nobody consumes this.
    let flood = (0..7).map(|_| peer.give(&frame(DATA, 0, 7, &[0; 16_384])));
    assert!(matches!(flood.last().unwrap(), Ok(Event::Closed(_))));
    peer.was_reset(7, Reason::FLOW_CONTROL_ERROR);
}

#[test]
fn answers_keep_to_the_windows_of_the_client() {
    let mut peer = Peer::usual();
    let key = peer.request(1, WHOLE).key;
    peer.connection.head(key, 200, false, |_| {});
    assert!(peer.connection.send(key, &[0; 65_535]));
    assert_eq!(peer.connection.room(key), Room::OnStream);
    peer.sent();
    peer.give(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])).unwrap();
    assert_eq!(peer.connection.room(key), Room::OnConnection);
    peer.give(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 5])).unwrap();
    assert_eq!(peer.connection.room(key), Room::Bytes(5));
    // A smaller first window takes room that was given (RFC 9113 6.9.2).
    peer.give(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    assert_eq!(peer.connection.room(key), Room::OnStream);
    peer.give(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 2])).unwrap();
    assert_eq!(peer.connection.room(key), Room::Bytes(5));
}

#[test]
fn streams_we_ended_may_go_on_for_a_while() {
    let mut peer = Peer::usual();
    let key = peer.request(1, END_HEADERS).key;
    peer.connection.head(key, 200, true, |_| {});
    peer.connection.release(key);
    peer.was_reset(1, Reason::NO_ERROR);
    peer.give(&frame(DATA, 0, 1, b"still")).unwrap();
    peer.give(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])).unwrap();
    peer.give(&frame(HEADERS, WHOLE, 1, &block(&[("x", "y")])))
        .unwrap();
    assert_eq!(
        peer.give(&frame(DATA, 0, 1, b"x")).unwrap_err(),
        Breach::StreamClosed
    );
}

#[test]
fn requests_beyond_the_number_are_refused_and_the_table_kept() {
    let mut peer = Peer::new(Settings {
        max_streams: 1,
        ..Settings::default()
    });
    let key = peer.request(1, WHOLE).key;
    // It adds to the table all the same.
    let adds = [get(), vec![0x40, 1, b'x', 1, b'y']].concat();
    peer.give(&frame(HEADERS, WHOLE, 3, &adds)).unwrap();
    peer.was_reset(3, Reason::REFUSED_STREAM);
    assert_eq!(peer.connection.take_refused(), 1);
    peer.connection.head(key, 200, true, |_| {});
    peer.connection.release(key);
    peer.give(&frame(HEADERS, WHOLE, 5, &[get(), vec![0xbe]].concat()))
        .unwrap();
    assert_eq!(peer.head.headers.find(b"x"), Some(&b"y"[..]));
}

#[test]
fn the_end_leaves_room_for_what_is_on_its_way() {
    let mut peer = Peer::usual();
    let key = peer.request(1, WHOLE).key;
    peer.connection.leave();
    let sent = peer.sent();
    assert_eq!(sent[0], (GOAWAY, 0, 0, vec![0x7f, 255, 255, 255, 0, 0, 0, 0]));
    let late = peer.request(3, WHOLE).key;
    peer.give(&frame(PING, ACK, 0, &sent[1].3)).unwrap();
    assert_eq!(peer.sent(), [(GOAWAY, 0, 0, vec![0, 0, 0, 3, 0, 0, 0, 0])]);
    assert!(matches!(
        peer.give(&frame(HEADERS, WHOLE, 5, &get())),
        Ok(Event::Nothing)
    ));
    for key in [key, late] {
        assert!(!peer.connection.is_over());
        peer.connection.head(key, 200, true, |_| {});
        peer.connection.release(key);
    }
    assert!(peer.connection.is_over());
}

#[test]
fn floods_are_breaches() {
    let few = Settings {
        max_control: 10,
        max_resets: 3,
        max_malformed: 3,
        ..Settings::default()
    };
    let flood = |first: &[u8], again: &dyn Fn(u32) -> Vec<u8>| {
        let mut peer = Peer::new(few.clone());
        peer.give(first).unwrap();
        (0..1000).find_map(|i| peer.give(&again(i)).err())
    };
    let open = frame(HEADERS, 0, 1, &get());
    let body = frame(HEADERS, END_HEADERS, 1, &get());
    assert_eq!(flood(b"", &|_| frame(PING, 0, 0, &[0; 8])), Some(Breach::Control));
    assert_eq!(flood(b"", &|_| frame(77, 0, 0, b"?")), Some(Breach::Control));
    assert_eq!(flood(&body, &|_| frame(DATA, 0, 1, b"")), Some(Breach::Control));
    assert_eq!(
        flood(&body, &|_| frame(DATA, PADDED, 1, &[1, 0])),
        Some(Breach::Control)
    );
    assert_eq!(
        flood(&open, &|_| frame(CONTINUATION, 0, 1, b"")),
        Some(Breach::Control)
    );
    let fields = [0x10, 1, b'x', 1, b'y'].repeat(1000);
    assert_eq!(
        flood(&open, &|_| frame(CONTINUATION, 0, 1, &fields)),
        Some(Breach::Head)
    );
    let reset = |i| {
        [
            frame(HEADERS, WHOLE, 2 * i + 1, &get()),
            frame(RST_STREAM, 0, 2 * i + 1, &[0; 4]),
        ]
        .concat()
    };
    assert_eq!(flood(b"", &reset), Some(Breach::Resets));
    assert_eq!(
        flood(b"", &|i| frame(HEADERS, WHOLE, 2 * i + 1, &[0x82])),
        Some(Breach::Malformed)
    );
}

#[test]
fn the_end_of_one_stream_is_not_put_on_anothers_data() {
    for how in ["trailers", "reset"] {
        let mut peer = Peer::usual();
        let first = peer.request(1, WHOLE).key;
        peer.connection.head(first, 200, false, |_| {});
        peer.connection.send(first, b"first");
        if how == "trailers" {
            peer.connection.trailers_out(first, |_| {});
        } else {
            peer.connection.reset(first, Reason::INTERNAL_ERROR);
        }
        peer.connection.release(first);
        // The next one gets the same place, while the bytes of the first still wait.
        let second = peer.request(3, WHOLE).key;
        assert_eq!(first, second);
        peer.connection.head(second, 200, false, |_| {});
        assert!(peer.connection.finish(second));
        let sent = peer.sent();
        let data: Vec<_> = sent.iter().filter(|frame| frame.0 == DATA).collect();
        assert_eq!(
            data,
            [&(DATA, 0, 1, b"first".to_vec()), &(DATA, END_STREAM, 3, vec![])],
            "{how}"
        );
    }
}

#[test]
fn what_is_out_is_not_kept_though_something_always_waits() {
    let mut peer = Peer::usual();
    let more = [&[0, 4], &(1_u32 << 30).to_be_bytes()[..]].concat();
    peer.give(&frame(SETTINGS, 0, 0, &more)).unwrap();
    peer.give(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()))
        .unwrap();
    let key = peer.request(1, WHOLE).key;
    peer.connection.head(key, 200, false, |_| {});
    for _ in 0..200 {
        while let Room::Bytes(room) = peer.connection.room(key) {
            peer.connection.send(key, &vec![7; room.min(16_384)]);
        }
        peer.connection.sent(30_000);
    }
    assert!(
        peer.connection.out.len() < 300_000,
        "{}",
        peer.connection.out.len()
    );
    // The end is on the last frame of what is left.
    let before = peer.connection.unsent().len();
    assert!(peer.connection.finish(key));
    assert_eq!(peer.connection.unsent().len(), before);
    let last = (0..=before - HEADER).rev().find_map(|at| {
        let frame = Header::read(&peer.connection.unsent()[at..])?;
        (frame.kind == DATA && at + HEADER + frame.length == before).then_some(frame)
    });
    assert!(last.is_some_and(|frame| frame.stream == 1 && frame.has(END_STREAM)));
}

#[test]
fn only_requests_that_are_taken_explain_other_frames() {
    let mut peer = Peer::new(Settings {
        max_control: 50,
        ..Settings::default()
    });
    peer.give(&frame(HEADERS, END_HEADERS, 1, &block(&[(":path", "no head")])))
        .unwrap();
    // Heads on a stream that is gone, and pings in between.
    let end = (0..1_000).find_map(|_| {
        let head = peer.give(&frame(HEADERS, END_HEADERS, 1, &[]));
        let ping = peer.give(&frame(PING, 0, 0, &[0; 8]));
        head.and(ping).err()
    });
    assert_eq!(end, Some(Breach::Control));
}

#[test]
fn who_does_not_listen_is_not_served_for_ever() {
    let mut peer = Peer::usual();
    peer.connection.leave();
    let mut served = 0;
    for stream in (1..2_001).step_by(2) {
        if let Ok(Event::Request(opening)) = peer.give(&frame(HEADERS, WHOLE, stream, &get())) {
            peer.connection.head(opening.key, 200, true, |_| {});
            peer.connection.release(opening.key);
            served += 1;
        }
    }
    assert_eq!(served, 100);
    assert!(peer.connection.is_over());
}

#[test]
fn halves_of_a_character_make_no_pseudo_field() {
    let mut peer = Peer::usual();
    let mut bad = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]);
    for (name, value) in [(":protocol", 0xc3_u8), (":authority", 0xa9)] {
        bad.extend([0, u8::try_from(name.len()).unwrap()]);
        bad.extend_from_slice(name.as_bytes());
        bad.extend([1, value]);
    }
    bad.extend(block(&[("host", "a")]));
    let Ok(Event::Request(opening)) = peer.give(&frame(HEADERS, WHOLE, 1, &bad)) else {
        panic!("no request");
    };
    assert!(opening.head.is_err());
}
