//! The guides and the examples do what they say: their commands are run, and what these print is compared.
//!
//! What a writer may count on stands in CONTRIBUTING.md: a document is started, with free ports in place of its own and
//! stand-ins for the services that it names; each `sh` block after it is run; a `text` block is what the command before
//! it prints.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatehouse_testkit::backend::tls::Settings;
use gatehouse_testkit::gateway::command::finish;
use gatehouse_testkit::manual::{self, Block};
use gatehouse_testkit::{Authority, Gateway, HttpBackend, Redis, Reply, TlsFront, yaml};
use serde_json::Value;

use crate::{BINARY, gateway};

/// Guides of which nothing is run, and the tests of what they promise: a shell cannot do it simply.
const NOT_RUN: [(&str, &str); 4] = [
    // Calls of gRPC; HTTP/3, which few builds of curl have; a directory; a browser and a provider.
    ("grpc", "grpc.rs"),
    ("http3", "http3.rs"),
    ("ldap", "ldap_auth.rs"),
    ("oidc-login", "oidc"),
];

/// Where the gateway listens for those who look after it, unless the document says otherwise.
const ADMIN: u16 = 9900;

/// A document that runs, with what stands in for the rest of the world.
struct Site {
    gateway: Gateway,
    /// What is written of ports and addresses, and what they became.
    places: Vec<(String, String)>,
    _services: Vec<(HttpBackend, Option<TlsFront>)>,
    _stores: Vec<Redis>,
}

impl Site {
    fn start(document: &str) -> Result<Self, String> {
        let config = yaml::parse(document)?;
        let builder = gateway("");
        let authority = manual::write_files(builder.directory(), document);
        let mut text = manual::moved(document, builder.directory());
        let (mut places, mut services, mut stores) = (Vec::new(), Vec::new(), Vec::new());
        let listeners = entries(&config["listeners"]);
        let own: Vec<u16> = listeners
            .iter()
            .filter_map(|(_, settings)| port(settings["address"].as_str()?))
            .collect();
        for (name, settings) in entries(&config["upstreams"]) {
            for endpoint in texts(&settings["endpoints"]) {
                // What a document says of itself is moved with its ports.
                if endpoint.starts_with("http://127.0.0.1:")
                    && port(endpoint).is_some_and(|port| own.contains(&port))
                {
                    continue;
                }
                let (url, service) = stand_in(name, endpoint, authority.as_ref());
                text = text.replace(&format!("\"{endpoint}\""), &format!("\"{url}\""));
                services.push(service);
            }
        }
        for (_, settings) in entries(&config["stores"]) {
            for address in texts(&settings["redis"]["addresses"]) {
                let store = Redis::start();
                text = text.replace(&format!("\"{address}\""), &format!("\"{}\"", store.address()));
                places.push((address.to_owned(), store.address()));
                stores.push(store);
            }
        }
        for (_, settings) in &listeners {
            let address = settings["address"].as_str().unwrap_or_default();
            text = text.replace(&format!("address: {address}"), "address: 127.0.0.1:0");
        }
        let gateway = builder.config(&text).try_start()?;
        places.push((format!(":{ADMIN}"), format!(":{}", gateway.admin().port())));
        for (name, settings) in &listeners {
            let written = settings["address"].as_str().and_then(port);
            let real = gateway.address_of(name).port();
            places.extend(written.map(|port| (format!(":{port}"), format!(":{real}"))));
        }
        let site = Self {
            gateway,
            places,
            _services: services,
            _stores: stores,
        };
        let known = site.relocate(&text);
        if known != text {
            site.gateway.reload(&known);
        }
        for (name, _) in entries(&config["stores"]) {
            site.gateway
                .wait_metric("gatehouse_store_up", &[("store", name)], |up| up > 0.5);
        }
        Ok(site)
    }

    /// The text with the ports and addresses that things really have.
    fn relocate(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (from, to)| {
            let mut parts = text.split(from.as_str());
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                // `:80` is not the beginning of `:8080`.
                let longer = part.starts_with(|c: char| c.is_ascii_digit());
                out += if longer { from } else { to };
                out += part;
            }
            out
        })
    }

    /// Runs a command in the folder of the document; what it prints, or why it failed.
    fn run(&self, command: &str) -> Result<String, String> {
        let directory = self.gateway.directory();
        let written = self.relocate(&manual::moved(command, directory));
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", &written])
            .current_dir(directory)
            .env("PATH", path());
        let output = finish(shell);
        if output.code == Some(0) {
            Ok(output.stdout)
        } else {
            Err(format!(
                "failed:\n{}{}{}",
                output.stdout,
                output.stderr,
                self.gateway.log()
            ))
        }
    }
}

/// A service that answers with its name and the request as it came to it, and where it is.
fn stand_in(
    name: &str,
    endpoint: &str,
    authority: Option<&Authority>,
) -> (String, (HttpBackend, Option<TlsFront>)) {
    let who = name.to_owned();
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        let request = call.request();
        let answer = [who.as_bytes(), b"\n", &request.raw_head, &request.body].concat();
        call.reply(&Reply::ok(answer).header("Content-Type", "text/plain"))
    });
    let Some(secure) = endpoint.strip_prefix("https://") else {
        return (backend.url(), (backend, None));
    };
    let host = secure.rsplit_once(':').map_or(secure, |(host, _)| host);
    let authority = authority.expect("files in tls/");
    let front = TlsFront::start(
        &Settings::new(&authority.server(&[host, "127.0.0.1"])),
        backend.address(),
    );
    (format!("https://{}", front.address()), (backend, Some(front)))
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

fn entries(section: &Value) -> Vec<(&String, &Value)> {
    section.as_object().into_iter().flatten().collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Where commands are looked for: beside the binary under test first, so that `gatehouse` is that one.
fn path() -> OsString {
    let own = Path::new(BINARY).parent().map(PathBuf::from);
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&others))).expect("a path")
}

/// Runs the commands of a page, each on the document before it; how many outputs were compared, or what is different.
fn run(blocks: &[Block]) -> Result<usize, String> {
    let mut document = None;
    let mut site: Option<Site> = None;
    let mut said: Option<(usize, String)> = None;
    let mut compared = 0;
    for block in blocks {
        let wrong = |what: String| Err(format!("line {}: {what}", block.line));
        match block.language.as_str() {
            _ if block.is_document() => (document, site, said) = (Some(&block.text), None, None),
            "sh" => {
                let Some(document) = document else {
                    return wrong("`sh` before any document; `console` is for what is not run".to_owned());
                };
                let running = match site.take() {
                    Some(site) => site,
                    None => match Site::start(document) {
                        Ok(site) => site,
                        Err(error) => return wrong(error),
                    },
                };
                match running.run(&block.text) {
                    Ok(output) => said = Some((block.line, output)),
                    Err(error) => return wrong(error),
                }
                site = Some(running);
            }
            "text" => {
                let (Some((line, output)), Some(site)) = (said.take(), &site) else {
                    return wrong("`text` without a command before it; use `console`".to_owned());
                };
                let wanted = site.relocate(&block.text);
                if output.trim_end() != wanted.trim_end() {
                    return wrong(format!(
                        "the command of line {line} printed\n{output}instead of\n{wanted}"
                    ));
                }
                compared += 1;
            }
            _ => {}
        }
    }
    Ok(compared)
}

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// What is in a folder of the repository, in order.
fn inside(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(folder)).expect("a folder");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn needs(program: &str) {
    let there = Command::new(program).arg("--version").output();
    assert!(
        there.is_ok(),
        "there is no `{program}` here, which commands of the manual use; `./test` installs it"
    );
}

#[test]
fn every_example_does_what_its_readme_says() {
    needs("curl");
    let mut wrong = Vec::new();
    for folder in inside("examples").iter().filter(|path| path.is_dir()) {
        let document = Block {
            line: 0,
            language: "yaml".to_owned(),
            text: read(&folder.join("gatehouse.yaml")),
        };
        let mut blocks = manual::blocks(&read(&folder.join("README.md")));
        blocks.insert(0, document);
        match run(&blocks) {
            Ok(0) => wrong.push(format!("{}: no output to compare", folder.display())),
            Ok(_) => {}
            Err(error) => wrong.push(format!("{}: {error}", folder.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_guide_does_what_it_says() {
    for program in ["curl", "openssl", "redis-cli"] {
        needs(program);
    }
    let mut left = NOT_RUN.to_vec();
    let mut wrong = Vec::new();
    for guide in inside("docs/guides") {
        let name = guide.file_stem().unwrap_or_default().to_string_lossy();
        let exempt = left.iter().position(|(guide, _)| *guide == name);
        if let Some(at) = exempt {
            let test = repository("crates/gatehouse/tests/e2e").join(left.remove(at).1);
            assert!(test.exists(), "{} is gone", test.display());
        }
        match (run(&manual::blocks(&read(&guide))), exempt) {
            (Ok(0), None) => wrong.push(format!("{name}: no output to compare")),
            (Ok(1..), Some(_)) => wrong.push(format!("{name}: runs, so it is no exception any more")),
            (Ok(_), _) => {}
            (Err(error), _) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(left.is_empty(), "no such guides: {left:?}");
}
