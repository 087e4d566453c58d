use std::{
    io::{self, ErrorKind, Write},
    time::{Duration, Instant},
};

use super::{LOOK, LogFile, Sink, Torn};

/// Takes so many bytes, then has no room.
struct Full(Vec<u8>, usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.1 - self.0.len());
        self.0.extend_from_slice(&bytes[..n]);
        if n == 0 {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(n)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn half_a_line_is_ended_before_the_next() {
    let (mut to, mut torn) = (Full(Vec::new(), 7), Torn(false));
    let outcome = torn.write(&mut to, b"one\ntwo\nthree\n");
    assert_eq!(
        (outcome.lost, outcome.result.unwrap_err().kind()),
        (2, ErrorKind::StorageFull)
    );
    assert_eq!(torn.write(&mut to, b"four\n").lost, 1);
    to.1 = 100;
    assert_eq!(torn.write(&mut to, b"five\n").lost, 0);
    assert_eq!(to.0, b"one\ntwo\nfive\n");
}

#[test]
fn a_file_that_was_moved_is_noticed_within_a_second() {
    let path = std::env::temp_dir().join(format!("gatehouse-follow-{}", std::process::id()));
    let mut sink = Sink::File(LogFile::open(&path).unwrap());
    sink.write(b"one\n").result.unwrap();
    std::fs::remove_file(&path).unwrap();
    let (now, soon) = (Instant::now(), Duration::from_millis(999));
    let Sink::File(file) = &mut sink else {
        panic!("a file")
    };
    file.looked = now;
    sink.follow(now + soon).unwrap();
    assert!(!path.exists(), "not looked again so soon");
    sink.follow(now + LOOK).unwrap();
    sink.write(b"two\n").result.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    std::fs::remove_file(&path).unwrap();
}
