//! Replacing the running binary: what goes over, what is finished, and new binaries that are no good.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gatehouse_testkit::gateway::command::{Output, run};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gate, Gateway, HttpBackend, Raw, Reply, Request, client};

use crate::{BINARY, gateway};

const SETTINGS: &str =
    "pid_file: '${dir}/pid', upgrade: { socket: '${dir}/up', timeout: 20s }, drain: { idle: 10s }";

fn yaml(settings: &str) -> String {
    format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }}, inner: {{ address: "unix:${{dir}}/s" }} }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
process: {{ workers: 2, {settings} }}
"#
    )
}

fn start(backend: &HttpBackend) -> Gateway {
    gateway(&yaml(SETTINGS)).bind("api", backend.url()).start()
}

/// `gatehouse upgrade` with these words.
fn upgrade(gateway: &Gateway, words: &[&str]) -> Output {
    let mut all = vec!["upgrade", gateway.config_path().to_str().unwrap()];
    all.extend(words);
    run(BINARY, &all, gateway.directory())
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let next = folder.join("script.new");
    std::fs::write(&next, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(next, &path).unwrap();
    path
}

#[track_caller]
fn counted(gateway: &Gateway, result: &str, times: u32) {
    let is = |value: f64| (value - f64::from(times)).abs() < 0.5;
    gateway.wait_metric("gatehouse_upgrades_total", &[("result", result)], is);
}

#[test]
fn every_socket_goes_over_and_the_old_process_ends() {
    let backend = HttpBackend::start();
    let mut gateway = start(&backend);
    let (address, path, old) = (
        gateway.address_of("main"),
        gateway.unix_of("inner"),
        gateway.pid(),
    );
    let output = upgrade(&gateway, &[]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    gateway.wait_upgraded();
    assert_eq!(output.stdout, format!("process {} serves now\n", gateway.pid()));
    assert_ne!(gateway.pid(), old);
    assert!(gateway.wait_replaced_exit().success());
    // The files of Unix sockets stay, the admin listener answers for the new process.
    assert_eq!(client::get(address, "/").status, 200);
    assert_eq!(Client::unix(&path).get("/").status, 200);
    counted(&gateway, "ok", 1);
    // And once more, by the socket that went over.
    assert_eq!(upgrade(&gateway, &[]).code, Some(0));
    gateway.wait_upgraded();
    assert!(gateway.wait_replaced_exit().success());
    assert_eq!(Client::unix(&path).get("/").status, 200);
    assert!(gateway.stop().success());
    for name in ["pid", "up", "s"] {
        assert!(!gateway.directory().join(name).exists(), "{name} was left");
    }
}

#[test]
fn the_old_process_finishes_while_the_new_one_serves() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::start();
    backend.script("/slow", move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("finished"))
    });
    let mut gateway = start(&backend);
    let address = gateway.address_of("main");
    let (mut slow, mut kept) = (Raw::connect(address), Client::connect(address));
    assert!(kept.get("/").keeps_alive());
    slow.send(Request::get("/slow").encode());
    backend.wait_requests(2);
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert_eq!(client::get(address, "/").status, 200);
    assert_eq!(client::ask_admin(gateway.admin(), "/readyz").status, 200);
    // A kept connection is told to leave with its next answer.
    until("to be told to leave", || {
        let response = kept.get("/");
        assert_eq!(response.status, 200);
        !response.keeps_alive()
    });
    kept.raw.expect_closed();
    gate.open();
    assert_eq!(slow.response("GET").text(), "finished");
    slow.expect_closed();
    assert!(gateway.wait_replaced_exit().success());
}

#[test]
fn the_old_process_ends_within_its_deadline() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let settings = "pid_file: '${dir}/pid', drain: { timeout: 300ms }";
    let mut gateway = gateway(&yaml(settings)).bind("api", backend.url()).start();
    let mut raw = Raw::connect(gateway.address_of("main"));
    raw.send(Request::get("/").encode());
    backend.wait_requests(1);
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert_eq!(gateway.wait_replaced_exit().code(), Some(3));
    gateway.wait_log("some connections were cut off connections=1");
}

#[test]
fn a_new_binary_that_is_no_good_changes_nothing() {
    let backend = HttpBackend::start();
    let mut gateway = start(&backend);
    let (address, pid) = (gateway.address_of("main"), gateway.pid());
    let mut kept = Client::connect(address);
    let folder = gateway.directory().to_owned();
    let cases = [
        ("crashes", "exit 1", "ended before it was ready (exit status: 1)"),
        ("killed", "kill -9 $$", "ended before it was ready (signal: 9"),
    ];
    for (n, (name, text, why)) in (1..).zip(cases) {
        let binary = script(&folder, name, text);
        let output = upgrade(&gateway, &["--binary", binary.to_str().unwrap()]);
        assert_eq!(output.code, Some(1), "{name}");
        assert!(output.stderr.contains(why), "{name}: {}", output.stderr);
        assert!(
            output.stderr.contains("the old process goes on"),
            "{}",
            output.stderr
        );
        gateway.wait_log(why);
        counted(&gateway, "failed", n);
        // The connection is not even told to leave.
        assert!(kept.get("/").keeps_alive(), "{name}");
    }
    let output = upgrade(&gateway, &["--binary", "/does/not/exist"]);
    assert!(
        output.stderr.contains("cannot start `/does/not/exist`"),
        "{}",
        output.stderr
    );
    assert_eq!(client::get(address, "/").status, 200);
    assert_eq!(gateway.pid(), pid);
    assert!(gateway.is_running());
}

#[test]
fn a_new_binary_that_hangs_is_killed() {
    let backend = HttpBackend::start();
    let mut gateway = gateway(&yaml(&SETTINGS.replace("20s", "300ms")))
        .bind("api", backend.url())
        .start();
    let folder = gateway.directory().to_owned();
    let started = folder.join("started");
    let binary = script(
        &folder,
        "hangs",
        &format!("echo $$ > '{}'\nexec sleep 1000", started.display()),
    );
    let output = upgrade(&gateway, &["--binary", binary.to_str().unwrap()]);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("was not ready within 300ms"),
        "{}",
        output.stderr
    );
    // If it came so far.
    if let Ok(pid) = std::fs::read_to_string(started) {
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
    }
    counted(&gateway, "failed", 1);
    assert_eq!(client::get(gateway.address_of("main"), "/").status, 200);
    assert!(gateway.is_running());
}

#[test]
fn a_new_process_with_a_bad_configuration_changes_nothing() {
    let backend = HttpBackend::start();
    let mut gateway = start(&backend);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "{}access_log: {{ file: '${{dir}}/access.log' }}\n",
        yaml(SETTINGS).replace(
            "inner:",
            &format!(
                "taken: {{ address: \"{}\" }}, inner:",
                taken.local_addr().unwrap()
            )
        )
    );
    for (name, text, why) in [
        ("typo", "listenerz: {}\n", "unknown section `listenerz`"),
        ("taken", more.as_str(), "address already in use"),
    ] {
        let path = gateway.directory().join(format!("{name}.yaml"));
        let text = text
            .replace("${dir}", gateway.directory().to_str().unwrap())
            .replace("${api}", &backend.url());
        std::fs::write(&path, text).unwrap();
        let words = format!("exec '{BINARY}' run '{}'", path.display());
        let binary = script(gateway.directory(), name, &words);
        let output = upgrade(&gateway, &["--binary", binary.to_str().unwrap()]);
        assert_eq!(output.code, Some(1), "{name}");
        assert!(output.stderr.contains(why), "{name}: {}", output.stderr);
    }
    assert!(gateway.is_running());
    assert_eq!(Client::unix(&gateway.unix_of("inner")).get("/").status, 200);
    assert_eq!(client::get(gateway.address_of("main"), "/").status, 200);
}

#[test]
fn the_new_configuration_decides_which_sockets_are_needed() {
    let backend = HttpBackend::start();
    let mut gateway = start(&backend);
    let (main, inner) = (gateway.address_of("main"), gateway.unix_of("inner"));
    let folder = gateway.directory().display().to_string();
    let text = yaml(SETTINGS)
        .replace(
            "inner: { address: \"unix:${dir}/s\" }",
            "extra: { address: \"unix:${dir}/x\" }",
        )
        .replace("${dir}", &folder)
        .replace("${api}", &backend.url());
    std::fs::write(
        gateway.directory().join("other.yaml"),
        format!("{text}admin: {{ address: off }}\n"),
    )
    .unwrap();
    let words = format!("exec '{BINARY}' run '{folder}/other.yaml'");
    let binary = script(gateway.directory(), "other", &words);
    let output = upgrade(&gateway, &["--binary", binary.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    gateway.wait_upgraded();
    assert!(gateway.wait_replaced_exit().success());
    assert_eq!(client::get(main, "/").status, 200);
    assert_eq!(Client::unix(&gateway.directory().join("x")).get("/").status, 200);
    assert!(std::os::unix::net::UnixStream::connect(inner).is_err());
    assert!(Raw::try_connect(gateway.admin()).is_err());
}

#[test]
fn the_file_that_it_was_started_from_is_what_starts() {
    let backend = HttpBackend::start();
    let folder = gatehouse_testkit::temp::TempDir::new();
    let link = folder.join("gatehouse");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let mut gateway = Gateway::builder(link.to_str().unwrap(), &yaml(SETTINGS))
        .bind("api", backend.url())
        .start();
    // The link now leads to something else; then back.
    std::fs::remove_file(&link).unwrap();
    script(folder.path(), "gatehouse", "exit 7");
    gateway.signal("USR2");
    gateway.wait_log("(exit status: 7)");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    gateway.signal("USR2");
    gateway.wait_upgraded();
    assert!(gateway.wait_replaced_exit().success());
}

#[test]
fn only_one_attempt_at_a_time_and_a_stop_ends_it() {
    let backend = HttpBackend::start();
    let mut gateway = start(&backend);
    let folder = gateway.directory().to_owned();
    let binary = script(
        &folder,
        "hangs",
        &format!("echo $$ > '{}/started'\nexec sleep 1000", folder.display()),
    );
    let words: Vec<String> = ["upgrade", gateway.config_path().to_str().unwrap(), "--binary"]
        .iter()
        .map(|word| (*word).to_owned())
        .chain([binary.display().to_string()])
        .collect();
    let asking = std::thread::spawn(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(BINARY, &words, &folder)
    });
    let started = gateway.directory().join("started");
    until("the new process to start", || {
        std::fs::read_to_string(&started).is_ok_and(|t| t.ends_with('\n'))
    });
    let pid = std::fs::read_to_string(&started).unwrap().trim().to_owned();
    gateway.signal("USR2");
    gateway.wait_log("an upgrade is under way already");
    assert!(gateway.stop().success());
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the new process was left behind"
    );
    let output = gatehouse_testkit::wait::join("the answer", asking);
    assert_eq!(output.code, Some(1));
}
