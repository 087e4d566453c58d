//! The rules of STYLE.md that a machine can check: sizes, layers, words, links, and that documents are fresh.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatehouse_testkit::gateway::command::run;
use gatehouse_testkit::temp::TempDir;
use gatehouse_testkit::tls::{Authority, Leaf};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_gatehouse");

/// Lines that a file of Rust may have, tests included.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// All files of the repository with this ending, without what tools made.
fn files(extension: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if !name.starts_with("target") && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for path in files("rs") {
        let lines = read(&path).lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines; at most {MAX_LINES}", shown(&path)));
        }
    }
    none(&wrong);
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing = |path: &PathBuf| !read(path).starts_with("//!");
    let crates = root().join("crates");
    let wrong: Vec<String> = files("rs")
        .iter()
        .filter(|path| path.starts_with(&crates))
        // A module's tests need no second description, nor does a build script's.
        .filter(|path| !path.ends_with("tests.rs") && !path.ends_with("build.rs"))
        .filter(|path| {
            !path
                .file_stem()
                .is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"))
        })
        .filter(|path| missing(path))
        .map(|path| format!("{} does not begin with a module doc", shown(path)))
        .collect();
    none(&wrong);
}

/// The crates of ours that a crate depends on, outside of its tests.
fn our_dependencies(name: &str) -> BTreeSet<String> {
    let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
    let (mut inside, mut found) = (false, BTreeSet::new());
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.ends_with("dependencies]") && !section.contains("dev-dependencies");
        } else if inside && line.starts_with("gatehouse-") {
            let end = line
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(line.len());
            found.insert(line["gatehouse-".len()..end].to_owned());
        }
    }
    found
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed: [(&str, &[&str]); 7] = [
        ("http1", &[]),
        ("http2", &["http1"]),
        ("core", &["http1", "http2"]),
        ("policies", &["http1", "core"]),
        ("admin", &["http1", "core"]),
        ("testkit", &[]),
        ("gatehouse", &["http1", "core", "policies", "admin", "script"]),
    ];
    let mut wrong = Vec::new();
    for (name, allowed) in allowed {
        for dependency in our_dependencies(name) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_engine_names_no_policy() {
    let mut wrong = Vec::new();
    let kinds = kinds();
    for path in files("rs")
        .iter()
        .filter(|p| p.starts_with(root().join("crates/core/src")))
    {
        // Examples in comments and tests may name kinds; code may not.
        let text = read(path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if path.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for kind in kinds.iter().filter(|kind| kind.contains('_')) {
                if line.contains(&format!("\"{kind}\"")) {
                    wrong.push(format!(
                        "{}:{}: names the policy `{kind}`",
                        shown(path),
                        number + 1
                    ));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn configuration_and_plan_have_no_locks() {
    let core = root().join("crates/core/src");
    let mut wrong = Vec::new();
    for path in files("rs") {
        if !["config", "plan"]
            .iter()
            .any(|part| path.starts_with(core.join(part)))
        {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in ["Mutex", "RwLock", "Atomic"] {
                if code.contains(word) {
                    wrong.push(format!("{}:{}: {word}", shown(&path), number + 1));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_file_has_a_forbidden_word() {
    // Written in two halves so that this file may stay.
    let code = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
    ];
    let homes = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    // A test waits for something to happen, never for time to pass.
    let waiting = [concat!("thread::", "sleep"), concat!("time::", "sleep")];
    let tests = ["crates/testkit", "crates/gatehouse/tests"].map(|folder| root().join(folder));
    let mut wrong = Vec::new();
    for extension in ["rs", "md", "toml", "yaml", "yml", "json", "sh", "py"] {
        for path in files(extension) {
            let code = if extension == "rs" { code.as_slice() } else { &[] };
            let waiting = if tests.iter().any(|t| path.starts_with(t)) {
                waiting.as_slice()
            } else {
                &[]
            };
            for (number, line) in read_any(&path).lines().enumerate() {
                for word in code
                    .iter()
                    .chain(&homes)
                    .chain(waiting)
                    .filter(|word| line.contains(**word))
                {
                    wrong.push(format!("{}:{}: {word}", shown(&path), number + 1));
                }
            }
        }
    }
    none(&wrong);
}

fn read_any(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for path in files("md") {
        let text = without_code(&read(&path));
        for link in text.split("](").skip(1) {
            let target = link
                .split(')')
                .next()
                .unwrap_or_default()
                .split(' ')
                .next()
                .unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            if !to.exists() {
                wrong.push(format!("{}: {target} does not exist", shown(&path)));
            } else if !anchor.is_empty() && !anchors(&read_any(&to)).contains(anchor) {
                wrong.push(format!("{}: {target} has no such heading", shown(&path)));
            }
        }
    }
    none(&wrong);
}

/// The text without fenced blocks and code in backticks.
fn without_code(text: &str) -> String {
    let mut fenced = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            out.extend(line.split('`').step_by(2));
            out.push('\n');
        }
    }
    out
}

/// What headings can be linked by, as GitHub makes it of their text.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
                .collect()
        })
        .collect()
}

/// The reference is what the program writes of itself.
#[test]
fn the_reference_is_fresh() {
    let folder = root().join("docs/reference");
    let output = run(
        BINARY,
        &["reference", "--check", "--out", &folder.display().to_string()],
        &root(),
    );
    assert_eq!(
        output.code,
        Some(0),
        "run `gatehouse reference`:\n{}",
        output.stderr
    );
}

/// Names of the policies, as the schema of the document has them.
fn kinds() -> BTreeSet<String> {
    let output = run(BINARY, &["schema"], &root());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let schema: Value = serde_json::from_str(&output.stdout).expect("the schema");
    let mut names = BTreeSet::new();
    let entry = &schema["$defs"]["PolicyEntry"];
    let alternatives = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| entry[*key].as_array())
        .flatten();
    for one in alternatives.chain([entry]) {
        names.extend(
            one["properties"]
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().cloned()),
        );
    }
    names.remove("use");
    assert!(!names.is_empty(), "no kinds in {entry:#}");
    names
}

#[test]
fn every_kind_has_a_case_and_a_page() {
    let folder = root().join("crates/gatehouse/tests/cases");
    // What text cannot say, such as files of bytes or other services, is a case in `e2e`.
    let more = root().join("crates/gatehouse/tests/e2e");
    let cases: String = files("yaml")
        .iter()
        .chain(&files("rs"))
        .filter(|path| path.starts_with(&folder) || path.starts_with(&more))
        .map(|path| read(path))
        .collect();
    let mut wrong = Vec::new();
    for kind in kinds() {
        if !cases.contains(&format!("{kind}:")) {
            wrong.push(format!("no case uses `{kind}`"));
        }
        if !root().join(format!("docs/reference/policies/{kind}.md")).exists() {
            wrong.push(format!("no page about `{kind}`"));
        }
    }
    none(&wrong);
}

/// Blocks of YAML in documents whose first line says that they are whole.
#[test]
fn documents_in_the_manual_are_good() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for path in files("md") {
        for (number, block) in blocks(&read(&path)) {
            found += 1;
            let directory = TempDir::new();
            if block.contains("tls/") {
                certificates(&directory);
            }
            // A folder that a package makes.
            let block = block.replace("/var/log/gatehouse/", "");
            directory.write("gatehouse.yaml", &block);
            let output = run(BINARY, &["check", "gatehouse.yaml"], directory.path());
            if output.code != Some(0) {
                wrong.push(format!("{}:{number}:\n{}", shown(&path), output.stderr));
            }
        }
    }
    none(&wrong);
    assert!(found > 0, "no document found");
}

/// The files that the manual's documents name.
fn certificates(directory: &TempDir) {
    let authority = Authority::new();
    for (name, hosts) in [("api", &["api.example.com"]), ("web", &["*.example.com"])] {
        let issued = authority.server(hosts);
        directory.write(&format!("tls/{name}.pem"), &issued.cert);
        directory.write(&format!("tls/{name}.key"), &issued.key);
    }
    let gateway = authority.issue(&Leaf::client("gateway.internal"));
    directory.write("tls/gateway.pem", &gateway.cert);
    directory.write("tls/gateway.key", &gateway.key);
    directory.write("tls/ca.pem", &authority.pem());
    directory.write("tls/clients.pem", &authority.pem());
    directory.write("tls/revoked.pem", &authority.revoke(&[]));
    directory.write(
        "tls/tickets",
        &format!("{}\n", "MDEyMzQ1Njc4OWFiY2Rl".repeat(3) + "Zjk2"),
    );
}

/// Fenced blocks that begin with the line `# gatehouse.yaml`, with their line numbers.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if !line.trim_start().starts_with("```yaml") {
            continue;
        }
        let inside = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```");
        let block: Vec<&str> = inside
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        if block
            .first()
            .is_some_and(|line| line.trim() == "# gatehouse.yaml")
        {
            found.push((number + 1, block.join("\n") + "\n"));
        }
    }
    found
}

#[test]
fn examples_are_good() {
    let examples = root().join("examples");
    let mut wrong = Vec::new();
    for path in files("yaml")
        .iter()
        .filter(|p| p.starts_with(&examples) && p.ends_with("gatehouse.yaml"))
    {
        let folder = path.parent().expect("a folder");
        if !folder.join("README.md").exists() {
            wrong.push(format!("{} has no README.md", shown(folder)));
        }
        let output = run(BINARY, &["check", "gatehouse.yaml"], folder);
        if output.code != Some(0) {
            wrong.push(format!("{}:\n{}", shown(path), output.stderr));
        }
    }
    none(&wrong);
}
