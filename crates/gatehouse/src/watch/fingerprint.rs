//! What tells one state of a file from another, without reading it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The endings of files that an `include` pattern may pick up.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Equal for two looks at a path between which nothing was written to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fingerprint {
    /// Not there, or not to be seen.
    Missing,
    /// Which file it is, when it was written, its length. A rename over it changes the inode, a write in
    /// place the times; nanoseconds count.
    File {
        device: u64,
        inode: u64,
        modified: (i64, i64),
        changed: (i64, i64),
        length: u64,
    },
    /// The names of the configuration files in a folder.
    Folder(BTreeSet<OsString>),
}

impl Fingerprint {
    /// Looks at `path`, through symbolic links.
    pub(super) fn of(path: &Path) -> Self {
        let Ok(metadata) = path.metadata() else {
            return Self::Missing;
        };
        if metadata.is_dir() {
            return Self::Folder(names(path));
        }
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        }
    }
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    // A folder that cannot be listed looks empty: the load that follows will say why.
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| is_configuration(name.as_ref()))
        .collect()
}

fn is_configuration(name: &Path) -> bool {
    name.extension()
        .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}
