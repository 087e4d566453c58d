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

    /// A process that has taken over may put its own file there at any moment, also after the last look. What is moved
    /// aside can be looked at in peace, and goes back if it is the other's.
    fn remove(&self) {
        let mut aside = self.0.as_os_str().to_owned();
        aside.push(".old");
        let aside = Path::new(&aside);
        if fs::rename(&self.0, aside).is_err() {
            return;
        }
        let _ = if is_ours(aside) {
            fs::remove_file(aside)
        } else {
            fs::rename(aside, &self.0)
        };
    }
}

fn line() -> String {
    format!("{}\n", std::process::id())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_ours(&self.0) {
            self.remove();
        }
    }
}

fn is_ours(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == line())
}

#[cfg(test)]
mod tests {
    use gatehouse_testkit::temp::TempDir;

    use super::*;

    #[test]
    fn it_goes_with_its_process() {
        let folder = TempDir::new();
        let path = folder.join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), line());
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_processs_stays_whenever_it_came() {
        let folder = TempDir::new();
        let path = folder.join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        // As if it had come after the look.
        file.remove();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
