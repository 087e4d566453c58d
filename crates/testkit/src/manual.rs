//! The manual as tests read it: the fenced blocks of a page, and the files that its documents name.

use std::path::Path;

use crate::countries;
use crate::tls::{Authority, Leaf};

/// A fenced block of a page.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// What stands behind the fence: `sh`, `text`, `yaml` ...
    pub language: String,
    /// What is in it, with the end of the last line.
    pub text: String,
}

impl Block {
    /// Whether it is a whole configuration: YAML whose first line says so.
    pub fn is_document(&self) -> bool {
        self.language == "yaml" && self.text.lines().next().map(str::trim) == Some("# gatehouse.yaml")
    }
}

/// All fenced blocks of a page of Markdown, in their order, without the indentation that a list gives them.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let inside = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```");
        found.push(Block {
            line: number + 1,
            language: language.trim().to_owned(),
            text: inside
                .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
                .collect(),
        });
    }
    found
}

/// Folders of the system that documents and commands name.
const FOLDERS: [&str; 3] = ["/etc/gatehouse", "/run/gatehouse", "/var/log/gatehouse"];

/// The text with this folder in place of those of the system.
pub fn moved(text: &str, directory: &Path) -> String {
    let directory = directory.display().to_string();
    FOLDERS
        .iter()
        .fold(text.to_owned(), |text, folder| text.replace(folder, &directory))
}

/// Writes the files that documents of the manual name: certificates in `tls/`, databases of countries and networks in
/// `geo/`, lists of addresses in `lists/`. Whatever is in `tls/` is signed by the authority that is returned, if there
/// is anything.
pub fn write_files(directory: &Path, document: &str) -> Option<Authority> {
    if document.contains("lists/") {
        write(
            directory,
            "lists/denied.txt",
            "198.51.100.0/24   # a block\n192.0.2.66\n",
        );
    }
    if document.contains("geo/") {
        let countries = countries::database(&[("192.0.2.0/24", "DE"), ("203.0.113.0/24", "FR")]);
        write(directory, "geo/countries.mmdb", countries);
        let networks = countries::networks(&[("192.0.2.0/25", 64500)]);
        write(directory, "geo/networks.mmdb", networks);
    }
    document.contains("tls/").then(|| certificates(directory))
}

fn certificates(directory: &Path) -> Authority {
    let authority = Authority::new();
    let issued = [
        ("api", authority.server(&["api.example.com"])),
        ("web", authority.server(&["*.example.com"])),
        ("gateway", authority.issue(&Leaf::client("gateway.internal"))),
        ("alice", authority.issue(&Leaf::client("alice"))),
    ];
    for (name, issued) in issued {
        write(directory, &format!("tls/{name}.pem"), issued.cert);
        write(directory, &format!("tls/{name}.key"), issued.key);
    }
    write(directory, "tls/ca.pem", authority.pem());
    write(directory, "tls/clients.pem", authority.pem());
    write(directory, "tls/revoked.pem", authority.revoke(&[]));
    // 48 bytes in base64, as `openssl rand -base64 48` makes them.
    let tickets = format!("{}Zjk2\n", "MDEyMzQ1Njc4OWFiY2Rl".repeat(3));
    write(directory, "tls/tickets", tickets);
    authority
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(name);
    let folder = path.parent().expect("a folder");
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, content));
    written.unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn blocks_of_a_page() {
        let page = "# Page\n\n```yaml\n# gatehouse.yaml\na: 1\n```\n\n- a list\n\n  ```sh\n  one\n    two\n  ```\n\n```\nplain\n```\n";
        let found = blocks(page);
        let seen: Vec<_> = found
            .iter()
            .map(|block| {
                (
                    block.line,
                    block.language.as_str(),
                    block.text.as_str(),
                    block.is_document(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (3, "yaml", "# gatehouse.yaml\na: 1\n", true),
                (10, "sh", "one\n  two\n", false),
                (15, "", "plain\n", false),
            ]
        );
    }
}
