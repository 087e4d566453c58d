//! `gatehouse key`: makes API keys, with what the configuration needs of them.

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use gatehouse_policies::auth::key::{self, NewKey};

use crate::cli::print;

/// Make API keys for `key_auth`.
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
}

/// Make an API key, and print it with its entry for the configuration.
///
/// The key is printed once and kept nowhere: the entry has only its SHA-256. Give the key to whoever will use it, and
/// put the entry into the configuration below the consumer's `credentials.keys`. A key is its prefix, 30 random
/// characters and a checksum of 6.
#[derive(Debug, Args)]
struct New {
    /// What the key begins with: letters, digits and `_`.
    #[arg(long, value_name = "TEXT", default_value = "sk_live")]
    prefix: String,
    /// The consumer whose key it will be.
    #[arg(long, value_name = "NAME", default_value = "NAME")]
    consumer: String,
}

impl Key {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let Command::New(new) = &self.command;
        ensure!(
            key::is_prefix(&new.prefix),
            "`{}` is no prefix of keys: expected letters, digits and `_`, at most {}",
            new.prefix,
            key::LONGEST_PREFIX
        );
        match NewKey::generate(&new.prefix) {
            Ok(key) => print(&shown(&key, &new.consumer)),
            Err(why) => bail!("cannot make a key: {why}"),
        }
    }
}

fn shown(NewKey { key, id, sha256 }: &NewKey, consumer: &str) -> String {
    format!(
        "# The key. It is shown only this once: give it to whoever will use it.\n\
         {key}\n\
         \n\
         # For the configuration:\n\
         consumers:\n\
         \x20 {consumer}:\n\
         \x20   credentials:\n\
         \x20     keys:\n\
         \x20       - id: {id}\n\
         \x20         sha256: {sha256}\n"
    )
}
