//! The command line: every command once, and what it says when something is wrong.

use gatehouse_testkit::gateway::command::{Output, run};
use gatehouse_testkit::temp::TempDir;
use gatehouse_testkit::{HttpBackend, client};
use serde_json::Value;

use crate::{BINARY, gateway};

const GOOD: &str = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes:
  below: { match: { path: /api/** }, reply: { body: below } }
  exact: { match: { path: /api/status }, reply: { body: exact } }
  host: { match: { hosts: [api.example.com], path: /** }, reply: { body: host } }
"#;

fn in_directory(files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let directory = TempDir::new();
    for (name, text) in files {
        directory.write(name, text);
    }
    run(BINARY, arguments, directory.path())
}

#[test]
fn check_says_ok_to_a_good_file() {
    let output = in_directory(&[("good.yaml", GOOD)], &["check", "good.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("ok"), "{output:?}");
    let output = in_directory(&[("gatehouse.yaml", GOOD)], &["check"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn check_warns_of_open_routes_if_it_is_asked_to() {
    let open = "listeners: { main: { address: \"127.0.0.1:0\" } }\nroutes: { a: { match: {}, forward: { upstream: u } } }\nupstreams: { u: { endpoints: [\"http://127.0.0.1:1\"] } }\n";
    let output = in_directory(&[("open.yaml", open)], &["check", "open.yaml"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let output = in_directory(&[("open.yaml", open)], &["check", "--strict", "open.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for part in [
        "anybody may call route `a`",
        "as often as anybody likes",
        "may take 60 minutes",
    ] {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn check_tells_all_errors_at_once() {
    let bad = "listeners: { main: { adress: \"127.0.0.1:0\" } }\nroutes: { a: { match: { path: x }, forward: { upstream: none } } }\n";
    let output = in_directory(&[("bad.yaml", bad)], &["check", "bad.yaml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("adress") && output.stderr.contains("bad.yaml:1:"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("bad.yaml:2:"),
        "the second error is missing: {output:?}"
    );
    assert!(output.stderr.contains("address"), "no guess: {output:?}");
}

#[test]
fn check_of_a_missing_file_names_it() {
    let output = in_directory(&[], &["check", "nowhere.yaml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("nowhere.yaml"), "{output:?}");
}

#[test]
fn check_does_not_listen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = GOOD.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    let output = in_directory(&[("a.yaml", &yaml)], &["check", "a.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn run_refuses_what_check_refuses() {
    let directory = TempDir::new();
    directory.write("bad.yaml", "listners: {}\n");
    let checked = run(BINARY, &["check", "bad.yaml"], directory.path());
    let ran = run(BINARY, &["run", "bad.yaml"], directory.path());
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("listners") && checked.stderr.contains("listners"),
        "{ran:?}"
    );
}

#[test]
fn run_says_when_an_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let yaml = format!(
        "{}admin: {{ address: \"off\" }}\n",
        GOOD.replace("127.0.0.1:0", &address)
    );
    let output = in_directory(&[("a.yaml", &yaml)], &["run", "a.yaml"]);
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains(&address), "{output:?}");
}

/// What `check` accepts, `run` accepts; and both say where it stands.
#[test]
fn files_that_cannot_be_written_are_told_by_check_and_run() {
    let document = |more: &str| format!("{GOOD}admin: {{ address: \"off\" }}\n{more}");
    for (more, message) in [
        (
            "access_log: { file: nowhere/a.log }\n",
            "there is no folder `nowhere`",
        ),
        ("access_log: { file: . }\n", "cannot write `.`: it is a folder"),
        (
            "process: { pid_file: nowhere/pid }\n",
            "there is no folder `nowhere`",
        ),
        (
            "process: { pid_file: /proc/1/pid }\n",
            "cannot write `/proc/1/pid`: ",
        ),
    ] {
        let document = document(more);
        let line = format!("a.yaml:{}:", document.lines().count());
        for command in ["check", "run"] {
            let output = in_directory(&[("a.yaml", &document)], &[command, "a.yaml"]);
            assert_eq!(output.code, Some(1), "{command} {more}: {output:?}");
            assert!(output.stderr.contains(message), "{command} {more}: {output:?}");
            assert!(output.stderr.contains(&line), "{command} {more}: {output:?}");
        }
    }
    let good = document("access_log: { file: a.log }\nprocess: { pid_file: a.pid }\n");
    let directory = TempDir::new();
    directory.write("a.yaml", &good);
    let output = run(BINARY, &["check", "a.yaml"], directory.path());
    assert_eq!(output.code, Some(0), "{output:?}");
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 1, "only looked at");
}

#[test]
fn schema_is_a_json_schema_of_the_document() {
    let output = in_directory(&[], &["schema"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let schema: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(
        schema["$schema"]
            .as_str()
            .is_some_and(|s| s.contains("json-schema.org")),
        "{}",
        schema["$schema"]
    );
    for section in [
        "listeners",
        "routes",
        "upstreams",
        "policies",
        "client",
        "access_log",
        "process",
    ] {
        assert!(schema["properties"][section].is_object(), "no `{section}`");
    }
}

#[test]
fn version_is_the_crates() {
    let output = in_directory(&[], &["version"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains(env!("CARGO_PKG_VERSION")), "{output:?}");
}

#[test]
fn routes_are_printed_in_the_order_they_are_tried() {
    let output = in_directory(&[("good.yaml", GOOD)], &["routes", "good.yaml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let place = |name: &str| {
        let has = |line: &str| {
            line.split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == name)
        };
        output
            .stdout
            .lines()
            .position(has)
            .unwrap_or_else(|| panic!("no `{name}`: {output:?}"))
    };
    assert!(place("exact") < place("below"), "{}", output.stdout);
}

#[test]
fn one_line_is_a_gateway() {
    let backend = HttpBackend::start();
    let gateway = gateway("")
        .arguments(&["run", "--to", &backend.url(), "--listen", "127.0.0.1:0"])
        .start();
    let response = client::get(gateway.address(), "/anything?x=1");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(backend.last().target, "/anything?x=1");
}

#[test]
fn a_word_it_does_not_know_is_an_error() {
    let output = in_directory(&[], &["rnu"]);
    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains("rnu"), "{output:?}");
    let output = in_directory(&[], &["run", "--to", "not a url", "--listen", "127.0.0.1:0"]);
    assert_ne!(output.code, Some(0), "{output:?}");
}
