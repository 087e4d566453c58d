//! File descriptors: as many as the system allows, and some that clients cannot have.
//!
//! A process that has none left can neither dial an upstream nor answer a probe, and clients that only hold
//! connections would bring it there. So connections are taken only while descriptors below a ceiling are free. The
//! system hands out the lowest free one: a number at the ceiling says that all below are in use, and nothing has to be
//! counted.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients cannot have, at most: for upstreams, the admin listener, logs and reloads.
const RESERVE: u32 = 1024;
/// The reserve's share, where there are few: one in so many.
const SHARE: u32 = 4;

/// Raises the soft limit to the hard one. To be called once, at the start of the process.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!(
            limit = limit.current,
            "cannot raise the limit of open files; it stays"
        );
    }
}

/// The first descriptor that is not for a client connection, as the limit is now.
pub(crate) fn ceiling() -> u32 {
    below(getrlimit(Resource::Nofile).current)
}

fn below(limit: Option<u64>) -> u32 {
    // Descriptors are never negative and never above `i32::MAX`.
    let limit = limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    limit - RESERVE.min(limit / SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_back_where_there_are_few_and_a_fixed_number_where_there_are_many() {
        let cases = [
            (Some(256), 192),
            (Some(4096), 3072),
            (Some(1 << 20), (1 << 20) - 1024),
            (None, u32::MAX - 1024),
            (Some(0), 0),
        ];
        for (limit, ceiling) in cases {
            assert_eq!(below(limit), ceiling);
        }
    }
}
