use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own for each test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gatehouse-watch-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        // On some systems the temporary folder is a link.
        Self(path.canonicalize().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn watch(files: &[&Path]) -> (Watch, mpsc::Receiver<()>) {
    let (changed, told) = mpsc::channel(1);
    let files = files.iter().map(|path| path.to_path_buf()).collect();
    (Watch::start(files, changed).unwrap(), told)
}

#[test]
fn a_write_in_place_is_told() {
    let folder = Folder::new();
    let file = folder.write("gatehouse.yaml", "a: 1");
    let (_watch, mut told) = watch(&[&file]);
    fs::write(&file, "a: 22").unwrap();
    assert_eq!(told.blocking_recv(), Some(()));
}

#[test]
fn a_rename_over_the_file_is_told_each_time() {
    let folder = Folder::new();
    let file = folder.write("gatehouse.yaml", "a: 1");
    let (_watch, mut told) = watch(&[&file]);
    for _ in 0..2 {
        // Same length each time: only the inode says that it is another file.
        let new = folder.write("new", "a: 2");
        fs::rename(new, &file).unwrap();
        assert_eq!(told.blocking_recv(), Some(()));
    }
}

#[test]
fn a_swap_of_the_kubernetes_link_is_told() {
    let folder = Folder::new();
    let in_folder = |name: &str| folder.0.join(name);
    for version in ["..1", "..2"] {
        fs::create_dir(in_folder(version)).unwrap();
        folder.write(&format!("{version}/gatehouse.yaml"), version);
    }
    symlink("..1", in_folder("..data")).unwrap();
    symlink("..data/gatehouse.yaml", in_folder("gatehouse.yaml")).unwrap();

    let (_watch, mut told) = watch(&[&in_folder("gatehouse.yaml")]);
    symlink("..2", in_folder("..data_tmp")).unwrap();
    fs::rename(in_folder("..data_tmp"), in_folder("..data")).unwrap();
    assert_eq!(told.blocking_recv(), Some(()));

    // What the link leads to now is watched as well.
    folder.write("..2/gatehouse.yaml", "written in place");
    assert_eq!(told.blocking_recv(), Some(()));
}

#[test]
fn other_files_in_the_folder_are_not_told() {
    let folder = Folder::new();
    let file = folder.write("gatehouse.yaml", "a: 1");
    let log = folder.write("access.log", "");
    let (watch, mut told) = watch(&[&file]);
    fs::write(&log, "a line").unwrap();
    // The answer to `set` comes after the look that it asks for, so nothing was told before it.
    fs::write(&file, "a: 22").unwrap();
    assert_eq!(told.blocking_recv(), Some(()));
    watch.set(vec![file]);
    drop(watch);
    assert_eq!(told.blocking_recv(), None, "one change is told once");
}

#[test]
fn a_file_that_appears_in_an_included_folder_is_told() {
    let folder = Folder::new();
    let (_watch, mut told) = watch(&[&folder.0]);
    folder.write("team.yaml", "routes: {}");
    assert_eq!(told.blocking_recv(), Some(()));
}

#[test]
fn a_change_between_two_sets_is_told() {
    let folder = Folder::new();
    let file = folder.write("gatehouse.yaml", "a: 1");
    let (watch, mut told) = watch(&[&file]);
    fs::write(&file, "a: 22").unwrap();
    watch.set(vec![file.clone(), folder.write("more.yaml", "")]);
    assert_eq!(told.blocking_recv(), Some(()));
}

#[test]
fn a_fingerprint_differs_by_names_in_a_folder_not_by_their_contents() {
    let folder = Folder::new();
    folder.write("a.yaml", "1");
    let before = Fingerprint::of(&folder.0);
    folder.write("a.yaml", "22");
    folder.write("a.log", "x");
    assert_eq!(Fingerprint::of(&folder.0), before);
    folder.write("b.yml", "");
    assert_ne!(Fingerprint::of(&folder.0), before);
}

#[test]
fn it_looks_after_a_moment_of_quiet_but_does_not_wait_for_ever() {
    let first = Instant::now();
    assert_eq!(due(first, first), first + QUIET);
    assert_eq!(due(first, first + Duration::from_millis(990)), first + LONGEST);
}

#[test]
fn a_loop_of_links_ends() {
    let folder = Folder::new();
    symlink("b", folder.0.join("a")).unwrap();
    symlink("a", folder.0.join("b")).unwrap();
    assert!(folders_of(&folder.0.join("a")).contains(&folder.0));
}
