use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({
        "title": "Config",
        "type": "object",
        "properties": {
            "listeners": {
                "description": "Where clients come in. By name.",
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/Listener" },
            },
            "policies": { "description": "For every request.", "type": "array", "items": true },
        },
        "$defs": {
            "Listener": {
                "description": "An address.",
                "type": "object",
                "properties": {
                    "address": { "description": "Host and port.", "$ref": "#/$defs/Address" },
                    "backlog": { "description": "Waiting | queued.", "type": "integer", "minimum": 1, "maximum": 65535, "default": 4096 },
                    "proxy_protocol": { "anyOf": [{ "$ref": "#/$defs/ProxyProtocol" }, { "type": "null" }], "default": null },
                },
                "required": ["address"],
            },
            "ProxyProtocol": {
                "description": "The PROXY protocol.",
                "type": "object",
                "properties": {
                    "from": { "description": "Who may send it.", "type": "array", "items": { "type": "string" }, "default": [] },
                    "mode": { "description": "How.", "$ref": "#/$defs/Mode", "default": "strict" },
                },
            },
            "Address": { "description": "A place to listen.", "type": "string", "examples": ["0.0.0.0:8080"] },
            "Mode": {
                "description": "How strict.",
                "oneOf": [
                    { "const": "strict", "description": "Very.", "type": "string" },
                    { "const": "loose", "type": "string" },
                ],
            },
        },
    })
}

fn inputs() -> Inputs {
    let settings = json!({
        "description": "Limits requests. Per window.",
        "type": "object",
        "properties": {
            "limit": { "description": "How many.", "type": "integer", "minimum": 1 },
            "window": { "description": "How long.", "$ref": "#/$defs/Span", "default": "1s" },
        },
        "required": ["limit"],
        "$defs": { "Span": { "description": "A length of time.", "type": "string" } },
    });
    Inputs {
        schema: schema(),
        kinds: vec![KindInput {
            name: "rate_limit".into(),
            stage: "limit".into(),
            schema: settings,
            example: "limit: 100\nwindow: 1s\n".into(),
        }],
        failures: "| code |\n".into(),
        metrics: "| metric |\n".into(),
        command: clap::Command::new("gatehouse")
            .subcommand(clap::Command::new("check").about("Look at a file")),
    }
}

#[test]
fn there_is_a_page_for_everything() {
    let pages = pages(&inputs());
    let names: Vec<&str> = pages.keys().map(String::as_str).collect();
    let expected = [
        "README.md",
        "command-line.md",
        "failures.md",
        "listeners.md",
        "metrics.md",
        "policies.md",
        "policies/rate_limit.md",
        "types.md",
    ];
    assert_eq!(names, expected);
    assert!(
        pages
            .values()
            .all(|page| page.starts_with("<!-- Written by") && page.ends_with('\n'))
    );
}

#[test]
fn a_section_lists_its_settings_and_those_inside() {
    let page = &pages(&inputs())["listeners.md"];
    for line in [
        "Type: map of [object](#listenersname).",
        "## `listeners.NAME`",
        "| `address` | [Address](types.md#address) | required | Host and port. |",
        "| `backlog` | integer, 1 to 65535 | `4096` | Waiting \\| queued. |",
        "| `proxy_protocol` | [object](#listenersnameproxy_protocol) | none |",
        "## `listeners.NAME.proxy_protocol`",
        "| `from` | list of string | `[]` | Who may send it. |",
        "| `mode` | [Mode](types.md#mode) | `strict` | How. |",
    ] {
        assert!(page.contains(line), "no `{line}` in\n{page}");
    }
}

#[test]
fn types_list_their_choices_and_examples() {
    let page = &pages(&inputs())["types.md"];
    assert!(
        page.contains("## Mode\n\nHow strict.\n\n- `strict`: Very.\n- `loose`\n"),
        "{page}"
    );
    assert!(
        page.contains("Written as: string.\n\nExamples: `0.0.0.0:8080`."),
        "{page}"
    );
    assert!(!page.contains("ProxyProtocol"), "{page}");
}

#[test]
fn a_kind_has_an_example_that_can_be_pasted() {
    let pages = pages(&inputs());
    let page = &pages["policies/rate_limit.md"];
    assert!(
        page.contains("policies:\n  - rate_limit:\n      limit: 100\n      window: 1s\n```"),
        "{page}"
    );
    assert!(
        page.contains("| `limit` | integer, at least 1 | required | How many. |"),
        "{page}"
    );
    assert!(
        page.contains("| `window` | [Span](../types.md#span) | `1s` | How long. |"),
        "{page}"
    );
    assert!(
        pages["policies.md"]
            .contains("| [`rate_limit`](policies/rate_limit.md) | limit | Limits requests. |")
    );
}

#[test]
fn the_command_line_page_has_every_command() {
    let page = command::page(&crate::cli::definition());
    for command in ["run", "check", "routes", "demo", "schema", "reference", "version"] {
        assert!(page.contains(&format!("## `gatehouse {command}`")), "{page}");
    }
    assert!(page.contains("Usage: gatehouse run"), "{page}");
}

#[test]
fn a_missing_a_changed_and_a_superfluous_page_are_stale() {
    let folder = std::env::temp_dir().join(format!("gatehouse-reference-{}", std::process::id()));
    let pages = pages(&inputs());
    write(&folder, &pages).unwrap();
    assert!(stale(&folder, &pages).unwrap().is_empty());
    std::fs::remove_file(folder.join("types.md")).unwrap();
    std::fs::write(folder.join("metrics.md"), "changed").unwrap();
    std::fs::write(folder.join("policies/gone.md"), "old").unwrap();
    assert_eq!(
        stale(&folder, &pages).unwrap(),
        ["metrics.md", "policies/gone.md", "types.md"]
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let schema = json!({
        "properties": { "tree": { "$ref": "#/$defs/Tree" } },
        "$defs": { "Tree": { "type": "object", "properties": { "child": { "$ref": "#/$defs/Tree" } } } },
    });
    let pages = pages(&Inputs { schema, ..inputs() });
    assert!(
        pages["tree.md"].contains("| `child` | [object](#tree) |"),
        "{}",
        pages["tree.md"]
    );
}
