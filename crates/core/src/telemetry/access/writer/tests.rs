use std::{
    env, fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use super::{AccessLog, Message};
use crate::telemetry::access::{AccessBuffer, Counts, Options, Output, buffer::FULL, line::tests::usual};

/// A directory of its own for a test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = env::temp_dir().join(format!("gatehouse-access-{test}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(output: Output, workers: usize) -> (AccessLog, Vec<AccessBuffer>, Counts) {
    let counts = Counts::default();
    let options = Options {
        output,
        capacity: 1 << 20,
        workers,
    };
    let (log, buffers) = AccessLog::start(&options, counts.clone()).unwrap();
    (log, buffers, counts)
}

fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let parse = |line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
    text.lines()
        .map(|line| parse(line)["request_id"].as_str().unwrap().to_owned())
        .collect()
}

const LONG: Duration = Duration::from_mins(1);

#[test]
fn nothing_is_lost_at_close() {
    let directory = Directory::new("close");
    let path = directory.0.join("access.log");
    let (log, buffers, counts) = start(Output::File(path.clone()), 3);
    let threads: Vec<_> = (0..)
        .zip(buffers)
        .map(|(worker, mut buffer)| {
            std::thread::spawn(move || {
                // Never more than the buffers hold, so that nothing may be dropped.
                for i in 0..500 {
                    buffer.write(&usual(format!("{worker}-{i}").as_bytes()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(log.close(LONG));
    let mut found = ids(&path);
    let mut expected: Vec<_> = (0..3)
        .flat_map(|w| (0..500).map(move |i| format!("{w}-{i}")))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(
        (counts.lines.get(), counts.dropped.get(), counts.errors.get()),
        (1500, 0, 0)
    );
}

#[test]
fn a_writer_that_does_not_keep_up_costs_lines_not_time() {
    let counts = Counts::default();
    // Nobody reads at the other end.
    let (full, inbox) = std::sync::mpsc::sync_channel(16);
    let (mut buffer, back) = AccessBuffer::new(0, 3, full, counts.clone());
    let mut written = 0;
    while counts.dropped.get() < 10 {
        buffer.write(&usual(b"r"));
        written += 1;
    }
    let chunks: Vec<_> = inbox.try_iter().collect();
    assert_eq!(chunks.len(), 2, "one of three is being filled");
    let sent: u64 = chunks
        .iter()
        .map(|message| {
            if let Message::Chunk(chunk) = message {
                chunk.lines
            } else {
                0
            }
        })
        .sum();
    assert_eq!(
        sent + buffer.waiting() + 10,
        written,
        "every line is somewhere or counted"
    );
    for message in &chunks {
        let Message::Chunk(chunk) = message else { continue };
        assert!((FULL..FULL + 4096).contains(&chunk.bytes.len()));
    }
    // An empty buffer comes back, and with it room.
    back.try_send(Vec::new()).unwrap();
    buffer.write(&usual(b"r"));
    assert_eq!((counts.dropped.get(), buffer.waiting()), (10, 1));
}

#[test]
fn buffers_are_reused() {
    let (full, inbox) = std::sync::mpsc::sync_channel(16);
    let (mut buffer, back) = AccessBuffer::new(0, 2, full, Counts::default());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        buffer.write(&usual(b"r"));
        buffer.flush();
        let Ok(Message::Chunk(mut chunk)) = inbox.try_recv() else {
            panic!("a chunk")
        };
        seen.insert(chunk.bytes.as_ptr());
        chunk.bytes.clear();
        back.try_send(chunk.bytes).unwrap();
    }
    buffer.flush();
    assert!(inbox.try_recv().is_err(), "nothing to hand over");
    assert!(seen.len() <= 2);
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let directory = Directory::new("rotate");
    let (path, old) = (directory.0.join("access.log"), directory.0.join("access.log.1"));
    let (log, mut buffers, counts) = start(Output::File(path.clone()), 1);
    let buffer = &mut buffers[0];
    buffer.write(&usual(b"before"));
    buffer.flush();
    wait_for(|| counts.lines.get() == 1);
    fs::rename(&path, &old).unwrap();
    log.reopen();
    buffer.write(&usual(b"after"));
    drop(buffers);
    assert!(log.close(LONG));
    assert_eq!(
        (ids(&old), ids(&path)),
        (vec!["before".to_owned()], vec!["after".to_owned()])
    );
}

#[test]
fn another_output_takes_over_and_a_bad_one_changes_nothing() {
    let directory = Directory::new("redirect");
    let (one, two) = (directory.0.join("one"), directory.0.join("two"));
    let (log, mut buffers, counts) = start(Output::File(one.clone()), 1);
    assert!(
        log.redirect(&Output::File(directory.0.join("absent/file")))
            .is_err()
    );
    buffers[0].write(&usual(b"1"));
    buffers[0].flush();
    wait_for(|| counts.lines.get() == 1);
    log.redirect(&Output::File(two.clone())).unwrap();
    buffers[0].write(&usual(b"2"));
    drop(buffers);
    assert!(log.close(LONG));
    assert_eq!(
        (ids(&one), ids(&two)),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
}

#[test]
fn syslog_gets_one_message_a_line() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let (log, mut buffers, counts) = start(Output::SyslogUdp(server.local_addr().unwrap()), 1);
    buffers[0].write(&usual(b"1"));
    buffers[0].write(&usual(b"2"));
    drop(buffers);
    assert!(log.close(LONG));
    assert_eq!(counts.lines.get(), 2);
    for id in ["1", "2"] {
        let mut message = [0; 4096];
        let length = server.recv(&mut message).unwrap();
        let message = str::from_utf8(&message[..length]).unwrap();
        let fields: Vec<_> = message.splitn(8, ' ').collect();
        assert_eq!(
            (fields[0], fields[3], fields[5], fields[6]),
            ("<134>1", "gatehouse", "access", "-")
        );
        let line: serde_json::Value = serde_json::from_str(fields[7]).unwrap();
        assert_eq!(line["request_id"], id);
    }
}

#[test]
fn a_syslog_that_is_not_there_costs_lines_only() {
    let directory = Directory::new("absent");
    let (log, mut buffers, counts) = start(Output::SyslogUnix(directory.0.join("log")), 1);
    buffers[0].write(&usual(b"1"));
    buffers[0].flush();
    wait_for(|| counts.dropped.get() == 1);
    let server = std::os::unix::net::UnixDatagram::bind(directory.0.join("log")).unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    buffers[0].write(&usual(b"2"));
    drop(buffers);
    assert!(log.close(LONG));
    let mut message = [0; 4096];
    assert!(server.recv(&mut message).unwrap() > 100);
    assert_eq!(
        (counts.lines.get(), counts.dropped.get(), counts.errors.get()),
        (1, 1, 1)
    );
}

/// Until something another thread does has happened.
fn wait_for(happened: impl Fn() -> bool) {
    while !happened() {
        std::thread::yield_now();
    }
}
