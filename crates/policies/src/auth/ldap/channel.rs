//! The way to a directory: TCP, TLS where it is wanted, and a bound on what is answered.
//!
//! The library that speaks LDAP keeps whatever comes until a message is whole, and entries until there are no more. So it
//! gets one end of a pair of sockets of this process; what passes between the other and the directory is counted here, and
//! a directory that answers too much is cut off.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::os::unix::net::UnixStream as Pair;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Bytes that may be answered to one question, names and values of all entries included.
pub const MOST_ANSWERED: usize = 1024 * 1024;
/// Bytes of the answer to the wish for TLS.
const MOST_AGREED: usize = 4096;
const PIECE: usize = 8 * 1024;

/// "Start TLS" as the first message of a connection (RFC 4511 section 4.14).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// What keeps a connection going; how it ended.
pub type Carried = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Connects. One speaks to the directory on the socket for as long as the future is driven.
pub async fn open(
    url: &Url,
    start_tls: bool,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Pair, Carried), Error> {
    let host = url.host_str().unwrap_or_default();
    let usual = if url.scheme() == "ldaps" { 636 } else { 389 };
    let mut stream = TcpStream::connect(format!("{host}:{}", url.port().unwrap_or(usual))).await?;
    // A question is one small message.
    stream.set_nodelay(true)?;
    let (theirs, ours) = Pair::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let carried: Carried = match tls {
        None => Box::pin(carry(stream, ours)),
        Some(config) => {
            if start_tls {
                agree(&mut stream).await?;
            }
            let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
            Box::pin(carry(
                TlsConnector::from(config).connect(name, stream).await?,
                ours,
            ))
        }
    };
    Ok((theirs, carried))
}

/// Asks for TLS, and reads no further than the answer.
async fn agree(stream: &mut TcpStream) -> Result<(), Error> {
    stream.write_all(START_TLS).await?;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let [0x30, short] = head else {
        return Err(refused("it is no answer"));
    };
    let length = match short {
        0..=0x7f => usize::from(short),
        // The length of the length: two bytes are enough for what is taken.
        0x81 | 0x82 => {
            let mut long = [0; 2];
            let long = long.get_mut(..usize::from(short - 0x80)).unwrap_or_default();
            stream.read_exact(long).await?;
            long.iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return Err(refused("it is no answer")),
    };
    if length > MOST_AGREED {
        return Err(refused("the answer is too long"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    if !is_agreed(&answer) {
        return Err(refused("it says no"));
    }
    Ok(())
}

/// Whether a message without its head is an extended response to the first one, with the result 0.
fn is_agreed(message: &[u8]) -> bool {
    let Some([length, rest @ ..]) = message.strip_prefix(b"\x02\x01\x01\x78") else {
        return false;
    };
    let more = usize::from(length.checked_sub(0x80).unwrap_or_default());
    rest.get(more..)
        .is_some_and(|result| result.starts_with(b"\x0a\x01\x00"))
}

fn refused(why: &str) -> Error {
    Error::new(
        ErrorKind::ConnectionRefused,
        format!("the directory does not begin TLS: {why}"),
    )
}

/// Carries questions and answers until either side ends, or answers too much.
async fn carry<D: AsyncRead + AsyncWrite>(directory: D, mut ours: UnixStream) -> Result<(), Error> {
    let (mut answers, mut questions) = tokio::io::split(directory);
    let (mut asked, mut told) = ours.split();
    // Since the last question.
    let answered = AtomicUsize::new(0);
    let ask = async {
        let mut piece = vec![0; PIECE];
        loop {
            let n = asked.read(&mut piece).await?;
            if n == 0 {
                return Ok(());
            }
            answered.store(0, Ordering::Relaxed);
            questions.write_all(piece.get(..n).unwrap_or_default()).await?;
            questions.flush().await?;
        }
    };
    let answer = async {
        let mut piece = vec![0; PIECE];
        loop {
            let n = answers.read(&mut piece).await?;
            if n == 0 {
                return Ok(());
            }
            if answered.fetch_add(n, Ordering::Relaxed).saturating_add(n) > MOST_ANSWERED {
                tracing::warn!(
                    bytes = MOST_ANSWERED,
                    "a directory answers more than is taken, and is cut off"
                );
                return Err(Error::new(ErrorKind::InvalidData, "the answer is too long"));
            }
            told.write_all(piece.get(..n).unwrap_or_default()).await?;
        }
    };
    tokio::select! {
        ended = ask => ended,
        ended = answer => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_to_the_first_message_begins_tls() {
        assert!(is_agreed(b"\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"));
        assert!(is_agreed(b"\x02\x01\x01\x78\x81\x07\x0a\x01\x00\x04\x00\x04\x00"));
        for no in [
            b"".as_slice(),
            b"\x02\x01\x01\x78",
            b"\x02\x01\x01\x78\xff",
            b"\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00",
            b"\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        ] {
            assert!(!is_agreed(no), "{no:?}");
        }
    }

    #[tokio::test]
    async fn more_than_is_allowed_is_not_carried() {
        for (bytes, is_carried) in [(MOST_ANSWERED, true), (MOST_ANSWERED + 1, false)] {
            let (near, mut far) = tokio::io::duplex(PIECE);
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let carried = tokio::spawn(carry(near, ours));
            for _ in 0..2 {
                // Each question may have as much.
                theirs.write_all(b"?").await.unwrap();
                assert_eq!(far.read_u8().await.unwrap(), b'?');
                let (answer, mut got) = (vec![0; bytes], vec![0; bytes]);
                let (told, heard) = tokio::join!(far.write_all(&answer), theirs.read_exact(&mut got));
                assert_eq!((told.is_ok() && heard.is_ok(), bytes), (is_carried, bytes));
                if !is_carried {
                    break;
                }
            }
            drop(theirs);
            assert_eq!(carried.await.unwrap().is_ok(), is_carried);
        }
    }
}
