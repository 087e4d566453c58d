//! The kit's own handling of a child, with a shell script in the gateway's place.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn script(directory: &TempDir, text: &str) -> String {
    let path = directory.write("fake", &format!("#!/bin/sh\n{text}"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn what_every_test_needs_is_added_unless_given() {
    let places = [
        ("dir".to_owned(), "/tmp/x".to_owned()),
        ("orders".to_owned(), "http://h:1".to_owned()),
    ];
    let text = complete(
        "upstreams: { o: { endpoints: [\"${orders}\"] } }\nadmin: off",
        &places,
    );
    assert!(text.contains("[\"http://h:1\"]"));
    assert!(text.contains("admin: off\nprocess: { workers: 2 }\naccess_log: { file: \"/tmp/x/access.log\""));
    assert!(!text.contains("admin: {"));
    assert_eq!(fill("${request.host}", &places), "${request.host}");
}

#[test]
fn a_ready_gateway_is_found_and_stopped() {
    let directory = TempDir::new();
    let fake = script(
        &directory,
        "echo 'listening main http://127.0.0.1:1234'\necho 'listening inner unix:/tmp/s'\n\
         echo 'admin http://127.0.0.1:99'\necho ready\necho up >&2\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n",
    );
    let mut gateway = Gateway::builder(&fake, "listeners: {}").start();
    assert_eq!(gateway.address(), "127.0.0.1:1234".parse().unwrap());
    assert_eq!(gateway.unix_of("inner"), PathBuf::from("/tmp/s"));
    assert_eq!(gateway.admin().port(), 99);
    gateway.wait_log("up");
    assert!(gateway.is_running());
    assert!(gateway.stop().success());
}

#[test]
fn a_gateway_that_ends_early_tells_why() {
    let directory = TempDir::new();
    let fake = script(&directory, "echo 'error: no such thing' >&2\nexit 1\n");
    let error = Gateway::builder(&fake, "").try_start().unwrap_err();
    assert!(error.contains("no such thing"), "{error}");
    let output = command::run(&fake, &["check"], directory.path());
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (Some(1), "error: no such thing\n")
    );
}
