//! Files that a document names: certificates, keys, lists. They are read when the plan is compiled, and watched.
//!
//! What was read is remembered by a digest, so that a change in a watched folder can be told from noise.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Larger files are refused, unless whoever reads one allows more: lists of millions of addresses and databases of places
/// are smaller.
const LARGEST: u64 = 128 * 1024 * 1024;

/// The files read so far.
#[derive(Debug, Default)]
pub struct NamedFiles {
    /// Where relative paths begin; empty is the folder the process runs in.
    folder: PathBuf,
    read: RefCell<BTreeMap<PathBuf, Was>>,
}

/// What a file was when it was read.
#[derive(Debug)]
struct Was {
    /// The digest of what it had; none if it could not be read.
    digest: Option<u64>,
    /// How many bytes it may have.
    most: u64,
}

impl NamedFiles {
    /// Nothing was read yet; relative paths begin where this document is.
    pub(super) fn beside(document: &Path) -> Self {
        Self {
            folder: document.parent().map(Path::to_owned).unwrap_or_default(),
            read: RefCell::default(),
        }
    }

    /// The bytes of a file, or in our words why there are none.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.read_most(path, LARGEST)
    }

    /// The same for one that may have so many bytes.
    pub(super) fn read_most(&self, path: &Path, most: u64) -> Result<Vec<u8>, String> {
        let path = self.folder.join(path);
        let bytes = read(&path, most);
        let digest = bytes.as_deref().ok().map(digest);
        self.read.borrow_mut().insert(path, Was { digest, most });
        bytes
    }

    /// All files that were asked for, those that are not there included.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.read.borrow().keys().cloned().collect()
    }

    /// What each of them was when it was read.
    pub fn digests(&self) -> Digests {
        let files = self.read.borrow();
        let named = files.iter().map(|(path, was)| {
            let path = path.strip_prefix(&self.folder).unwrap_or(path);
            (path.to_owned(), was.digest)
        });
        named.collect()
    }

    /// Whether one of them is not what it was when it was read.
    pub fn changed(&self) -> bool {
        let files = self.read.borrow();
        files
            .iter()
            .any(|(path, was)| read(path, was.most).as_deref().ok().map(digest) != was.digest)
    }
}

/// A digest of each file that was read, by its path as the document has it: to tell which of them changed.
pub type Digests = BTreeMap<PathBuf, Option<u64>>;

fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| super::load::reason(&error))?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| super::load::reason(&error))?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than {most} bytes"));
    }
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
