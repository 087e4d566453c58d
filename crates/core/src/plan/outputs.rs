//! Files that the process writes: whether it can, before it has to.
//!
//! Nothing is made or opened here: who only checks a document must not leave an empty log behind, and opening a named
//! pipe waits for its reader. So the answer is a good guess; what still fails at the start says so then.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::config::{Config, Diagnostic};

/// The settings that this is about.
pub const SETTINGS: [&str; 2] = ["access_log.file", "process.pid_file"];

/// What is wrong with the files that a process with this document writes.
pub(crate) fn check(config: &Config) -> Vec<Diagnostic> {
    let [log, pid] = SETTINGS;
    let log = config.access_log.file.iter().map(|path| (log, path, Way::Append));
    let pid = config
        .process
        .pid_file
        .iter()
        .map(|path| (pid, path, Way::Replace));
    log.chain(pid)
        .filter_map(|(setting, path, way)| {
            let (what, instead) = obstacle(path, way)?;
            let message = format!("cannot write `{}`: {what}", path.display());
            Some(Diagnostic::error(setting, message).hint(instead))
        })
        .collect()
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// What is there stays.
    Append,
    /// A new one is put in its place, so it is the folder that matters.
    Replace,
}

/// Why a file cannot be written, and what to do instead.
fn obstacle(path: &Path, way: Way) -> Option<(String, &'static str)> {
    const NO_FILE: &str = "expected the path of a file";
    const GRANT: &str = "let the user of the process write there, or choose another path";
    let is_folder = |found: &Metadata| found.is_dir();
    if path.as_os_str().is_empty() {
        return Some(("the path is empty".to_owned(), NO_FILE));
    }
    let found = path.metadata();
    if found.as_ref().is_ok_and(is_folder) {
        return Some(("it is a folder".to_owned(), NO_FILE));
    }
    if found.is_ok() && way == Way::Append {
        let denied = access(path, Access::WRITE_OK).err()?;
        return Some((told(&denied.into()), GRANT));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display();
    match folder.metadata() {
        Ok(found) if !found.is_dir() => Some((format!("`{shown}` is not a folder"), NO_FILE)),
        Ok(_) => {
            let denied = access(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
            Some((
                format!("no file can be made in `{shown}`: {}", told(&denied.into())),
                GRANT,
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("there is no folder `{shown}`");
            Some((what, "make it, or choose another path"))
        }
        Err(error) => Some((format!("`{shown}`: {}", told(&error)), GRANT)),
    }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}
