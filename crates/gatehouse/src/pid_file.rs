//! `process.pid_file`: who serves now, for scripts. Written whole, and removed only by the process that it names.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The file; removed on drop if it still names this process.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    pub(crate) fn write(path: &Path) -> anyhow::Result<Self> {
        let wrong = || format!("cannot write `process.pid_file`, `{}`", path.display());
        let mut next = path.as_os_str().to_owned();
        next.push(".new");
        // Made anew: what stands there may be somebody's link to another file.
        let _ = fs::remove_file(&next);
        let mut file = fs::File::create_new(&next).with_context(wrong)?;
        file.write_all(line().as_bytes()).with_context(wrong)?;
        fs::rename(&next, path).with_context(wrong)?;
        Ok(Self(path.to_owned()))
    }
}

fn line() -> String {
    format!("{}\n", std::process::id())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.0).is_ok_and(|text| text == line()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}
