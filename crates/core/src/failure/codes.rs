//! The table of failure codes: name, status, whose fault, title, what it means and what to do.
//!
//! Everything that speaks of a code reads it here: answers, log fields, metric labels and
//! `docs/reference/failures.md`. Names are stable: dashboards and clients depend on them, so a code is
//! never renamed, and one that is no longer used keeps its row.

mod table;

use super::{Fault, Retry};
use table::{Row, TABLE};

/// What went wrong with an exchange, as one of a fixed list with stable names.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Code {
    BadRequest,
    RequestTimeout,
    HeaderTooLarge,
    UriTooLong,
    BodyTooLarge,
    NotImplemented,
    HttpVersion,
    RouteNotFound,
    MethodNotAllowed,
    VersionUnknown,
    NotAcceptable,
    Misdirected,
    ExpectationFailed,
    TooEarly,
    UpgradeRefused,
    Unauthenticated,
    Forbidden,
    LoginRefused,
    LoginInvalid,
    RateLimited,
    QuotaExceeded,
    IdempotencyKeyReused,
    IdempotencyInProgress,
    ClientGone,
    NoEndpoint,
    CircuitOpen,
    ConnectFailed,
    TlsFailed,
    UpstreamTimeout,
    UpstreamReset,
    UpstreamProtocol,
    UpstreamUnresolved,
    Overloaded,
    DeadlineExceeded,
    Draining,
    Maintenance,
    LoopDetected,
    AuthUnavailable,
    LoginFailed,
    PolicyFailed,
    Internal,
}

impl Code {
    /// How many codes there are; arrays indexed by [`Code::index`] have this length.
    pub const COUNT: usize = TABLE.len();

    /// Every code, in the order of the reference.
    pub const ALL: [Code; Code::COUNT] = {
        let mut all = [Code::BadRequest; Code::COUNT];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].code;
            i += 1;
        }
        all
    };

    /// The stable name, as in answers, logs and metrics: `upstream_timeout`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The HTTP status of the answer. 499 is never sent: there is nobody left to send it to.
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// Whose fault it is by default.
    pub const fn fault(self) -> Fault {
        self.row().fault
    }

    /// A short human sentence without a full stop; safe to show to clients.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// When another attempt may be made.
    pub const fn retry(self) -> Retry {
        self.row().retry
    }

    /// Whether the client connection has to close after the answer, because where the next request
    /// would begin is unknown or not worth finding out (RFC 9112 9.6).
    pub const fn closes(self) -> bool {
        self.row().closes
    }

    /// What has happened, for the reference.
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// What to do about it, for the reference.
    pub const fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// A small dense number, `0..Code::COUNT`, for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The code of that name.
    pub fn by_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.name() == name)
    }

    // `TABLE` has one row for each variant in the order of the enum; the test below holds it to that.
    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_follows_the_enum() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code.index(), i, "{}", row.name);
        }
        assert_eq!(Code::Internal.index() + 1, Code::COUNT, "every variant has a row");
    }

    #[test]
    fn names_are_unique_and_plain() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::COUNT);
        for code in Code::ALL {
            assert!(
                code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                code.name()
            );
            assert_eq!(Code::by_name(code.name()), Some(code));
            assert_eq!(format!("{code:?}").to_lowercase(), code.name().replace('_', ""));
        }
    }

    #[test]
    fn statuses_agree_with_faults() {
        for code in Code::ALL {
            let client = (400..500).contains(&code.status());
            let unsupported = matches!(code, Code::NotImplemented | Code::HttpVersion);
            assert_eq!(
                code.fault() == Fault::Client,
                client || unsupported,
                "{}",
                code.name()
            );
            assert!(!code.title().ends_with('.') && code.meaning().ends_with('.'));
            assert!(
                code.retry() == Retry::Never || code.fault() == Fault::Upstream,
                "{}",
                code.name()
            );
        }
    }
}
