//! `gatehouse demo`: a gateway with something behind it, to try in a minute.
//!
//! Three small upstreams run in this process on ports from the system; the gateway in front of them is
//! the real one, started with a real configuration that is written to a temporary folder, where it can be
//! read and edited while the gateway runs. Nothing outside this machine is touched.

mod upstream;

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::run::{self, Options, Source};
use upstream::Service;

/// The configuration, with the addresses below in the places of the real ones.
const CONFIGURATION: &str = include_str!("demo/gatehouse.yaml");

/// What the configuration says where the address of a service will be.
const STAND_INS: [(Service, &str); 3] = [
    (Service::Users, "127.0.0.1:7001"),
    (Service::Orders, "127.0.0.1:7002"),
    (Service::Products, "127.0.0.1:7003"),
];
const GATEWAY: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9900";

/// Start three small services and a gateway in front of them, to try things out.
///
/// The configuration is written to a temporary folder; edit it and the gateway follows. Ctrl-C ends
/// everything and removes the folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The address of the gateway. Without it, port 8080 of this machine, or another when that is taken.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// Runs the demo until it is told to stop.
///
/// # Errors
/// When a port, the temporary folder or the gateway cannot be had.
pub(crate) fn run(args: &Demo) -> anyhow::Result<ExitCode> {
    let mut addresses = Vec::new();
    for (service, stand_in) in STAND_INS {
        addresses.push((stand_in, upstream::start(service)?.to_string()));
    }
    let gateway = match &args.listen {
        Some(address) => address.clone(),
        None => free_address(GATEWAY)?.to_string(),
    };
    let admin = free_address(ADMIN)?.to_string();
    addresses.extend([(GATEWAY, gateway.clone()), (ADMIN, admin.clone())]);

    let folder = Folder::create()?;
    let file = folder.0.join("gatehouse.yaml");
    std::fs::write(&file, configuration(&addresses))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let announce = announcement(&gateway, &admin, &file);
    run::run(Options {
        source: Source::File(file),
        announce,
    })
}

/// The configuration with real addresses.
fn configuration(addresses: &[(&str, String)]) -> String {
    let replace = |text: String, (stand_in, real): &(&str, String)| text.replace(stand_in, real);
    addresses.iter().fold(CONFIGURATION.to_owned(), replace)
}

fn announcement(gateway: &str, admin: &str, file: &Path) -> String {
    format!(
        "\n\
         Three services and a gateway are running. In another terminal, try:\n\
         \n    curl -i http://{gateway}/v1/users/1\
         \n    curl 'http://{gateway}/v1/products?category=books'\
         \n    curl -X POST http://{gateway}/v1/orders -d '{{\"user_id\":1,\"product_id\":3}}'\n\
         \n\
         Metrics:        curl http://{admin}/metrics\n\
         Configuration:  {} (edit it: the gateway follows)\n\
         Stop:           Ctrl-C\n\
         \n",
        file.display()
    )
}

/// `wanted` when nobody has it, else an address of this machine that the system gives.
fn free_address(wanted: &str) -> anyhow::Result<SocketAddr> {
    // The port is given back and taken again by the gateway: good enough for a demo.
    let listener = TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("cannot get a port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

/// A folder that only this user can see, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("gatehouse-demo-{}", std::process::id()));
        // Fails when it exists: nobody can have laid out files or links in it beforehand.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in the temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_a_place_in_the_configuration() {
        let addresses: Vec<_> = STAND_INS
            .iter()
            .map(|(_, stand_in)| *stand_in)
            .chain([GATEWAY, ADMIN])
            .collect();
        for address in &addresses {
            assert_eq!(CONFIGURATION.matches(address).count(), 1, "{address}");
        }
        let real: Vec<_> = addresses
            .iter()
            .map(|address| (*address, "real:1".to_owned()))
            .collect();
        assert_eq!(configuration(&real).matches("real:1").count(), 5);
    }

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let held = TcpListener::bind(taken).unwrap();
        assert_ne!(
            free_address(&taken.to_string()).unwrap(),
            held.local_addr().unwrap()
        );
    }

    #[test]
    fn the_announcement_can_be_pasted() {
        let text = announcement("127.0.0.1:1", "127.0.0.1:2", Path::new("/tmp/x/gatehouse.yaml"));
        assert_eq!(text.matches("curl").count(), 4, "{text}");
        assert!(
            text.contains(r#"curl -X POST http://127.0.0.1:1/v1/orders -d '{"user_id":1,"product_id":3}'"#)
        );
    }
}
