//! The reference pages: `docs/reference/*.md`, written by the program from what it knows of itself.
//!
//! One page for each section of the configuration and each kind of policy, from the JSON Schema; one for
//! the value types, the failure codes, the metrics and the command line. The pages are pure functions of
//! their inputs, so `--check` can tell whether those in a folder are what would be written today.

mod command;
mod markdown;
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use markdown::{cell, first_sentence};
use schema::Document;

/// The first line of every page, so that nobody edits one by hand.
const NOTICE: &str =
    "<!-- Written by `gatehouse reference`. Do not edit: change the source's comments. -->\n\n";

/// What the pages are made from.
pub(crate) struct Inputs {
    /// The JSON Schema of the whole document.
    pub(crate) schema: Value,
    /// The kinds of policy, in the order of the reference.
    pub(crate) kinds: Vec<KindInput>,
    /// The page of failure codes.
    pub(crate) failures: String,
    /// The page of metrics.
    pub(crate) metrics: String,
    pub(crate) command: clap::Command,
}

/// One kind of policy.
pub(crate) struct KindInput {
    pub(crate) name: String,
    /// What it does, in one word: admit, authenticate, authorize, limit, transform.
    pub(crate) stage: String,
    /// The JSON Schema of its settings, with its own `$defs`; its description is the manual.
    pub(crate) schema: Value,
    /// YAML: its settings, as in the document below the kind's name.
    pub(crate) example: String,
}

/// Pages by file name, relative to the folder.
pub(crate) type Pages = BTreeMap<String, String>;

/// Makes all pages.
pub(crate) fn pages(inputs: &Inputs) -> Pages {
    let document = Document::new(&inputs.schema);
    let mut pages = Pages::new();
    let mut add = |name: String, text: String| pages.insert(name, format!("{NOTICE}{}\n", text.trim_end()));
    for (name, section) in document.sections() {
        let mut text = document.section_page(name, section);
        if name == "policies" {
            text += &list_of_kinds(&inputs.kinds);
        }
        add(format!("{name}.md"), text);
    }
    for kind in &inputs.kinds {
        add(format!("policies/{}.md", kind.name), kind_page(kind));
    }
    add("types.md".into(), document.types_page());
    add("failures.md".into(), inputs.failures.clone());
    add("metrics.md".into(), inputs.metrics.clone());
    add("command-line.md".into(), command::page(&inputs.command));
    add("README.md".into(), index(&document, &inputs.kinds));
    pages
}

/// Writes the pages below `folder`. A page that is there and not among them stays; see [`stale`].
pub(crate) fn write(folder: &Path, pages: &Pages) -> anyhow::Result<()> {
    for (name, text) in pages {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The names of pages in `folder` that are missing, differ from `pages`, or are not among them.
pub(crate) fn stale(folder: &Path, pages: &Pages) -> anyhow::Result<Vec<String>> {
    let mut stale: Vec<String> = pages
        .iter()
        .filter(|(name, text)| std::fs::read_to_string(folder.join(name)).ok().as_ref() != Some(*text))
        .map(|(name, _)| name.clone())
        .collect();
    for below in ["", "policies/"] {
        let Ok(entries) = folder.join(below).read_dir() else {
            continue;
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if Path::new(&name).extension().is_some_and(|ending| ending == "md") && !pages.contains_key(&name)
            {
                stale.push(name);
            }
        }
    }
    stale.sort();
    Ok(stale)
}

fn kind_page(kind: &KindInput) -> String {
    let document = Document::new(&kind.schema).below();
    let mut text = format!(
        "# Policy `{}`\n\n{}\n\nStage: {}.\n\n",
        kind.name,
        document.description(),
        kind.stage
    );
    // Here and below: writing to a `String` cannot fail.
    text += "## Example\n\n```yaml\npolicies:\n";
    let _ = writeln!(text, "  - {}:", kind.name);
    for line in kind.example.trim_end().lines() {
        let _ = writeln!(text, "      {line}");
    }
    text += "```\n\n## Settings\n\n";
    text + &document.root_fields(&kind.name)
}

fn list_of_kinds(kinds: &[KindInput]) -> String {
    let mut text = "\n## How a policy is written\n\n\
        A map with one key: the kind, with its settings below it; or `use`, with the name of one of\n\
        [`named_policies`](named_policies.md). Routes and upstreams have `policies` too.\n\n\
        ```yaml\npolicies:\n  - use: NAME\n  - KIND:\n      SETTING: VALUE\n```\n\
        \n## Kinds\n\n| kind | stage | what it does |\n|---|---|---|\n"
        .to_owned();
    for kind in kinds {
        let what = cell(&first_sentence(&Document::new(&kind.schema).description()));
        let _ = writeln!(
            text,
            "| [`{0}`](policies/{0}.md) | {1} | {what} |",
            kind.name, kind.stage
        );
    }
    text
}

fn index(document: &Document<'_>, kinds: &[KindInput]) -> String {
    let mut text = "# Reference\n\n\
        Every setting, code and metric, written by the program itself (`gatehouse reference`).\n\
        `gatehouse schema` prints the same as a JSON Schema, for editors.\n\n\
        ## The configuration, section by section\n\n| section | what it holds |\n|---|---|\n"
        .to_owned();
    for (name, section) in document.sections() {
        let what = cell(&first_sentence(&document.describe(section)));
        let _ = writeln!(text, "| [`{name}`]({name}.md) | {what} |");
    }
    text += "\n## Policies\n\n";
    for kind in kinds {
        let what = first_sentence(&Document::new(&kind.schema).description());
        let _ = writeln!(text, "- [`{0}`](policies/{0}.md): {what}", kind.name);
    }
    text += "\n## More\n\n\
        - [Types of values](types.md): sizes, durations, addresses, patterns.\n\
        - [Failures](failures.md): every code of an answer made by the gateway itself.\n\
        - [Metrics](metrics.md): what `/metrics` shows.\n\
        - [Command line](command-line.md): the commands and their options.\n";
    text
}

#[cfg(test)]
mod tests;
