//! Files: includes, sizes, encodings, and what is watched.

use super::*;
use std::fs;

/// A directory of its own for one test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("gatehouse-load-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Loaded {
        load_with(&self.0.join("gatehouse.yaml"), &|_| None)
    }

    /// What was said, with paths below this directory.
    fn said(&self, loaded: &Loaded) -> String {
        loaded
            .diagnostics
            .render(&loaded.sources)
            .replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MAIN: &str = "listeners: { main: { address: 127.0.0.1:0 } }\ninclude: [ teams/*.yaml ]\nroutes:\n  status: { match: { path: /status }, reply: {} }\n";

#[test]
fn included_files_are_merged_and_watched() {
    let folder = Folder::new(
        "merge",
        &[
            ("gatehouse.yaml", MAIN),
            (
                "teams/b.yaml",
                "routes:\n  b: { match: { path: /b }, forward: { upstream: a } }\n",
            ),
            (
                "teams/a.yaml",
                "\u{feff}upstreams:\n  a: { endpoints: [ http://a ] }\n",
            ),
            ("teams/.hidden.yaml", "x: 1\n"),
            ("teams/readme.txt", "x: 1\n"),
        ],
    );
    let loaded = folder.load();
    assert_eq!(folder.said(&loaded), "");
    assert_eq!(loaded.config.routes.keys().collect::<Vec<_>>(), ["status", "b"]);
    let watch: Vec<_> = loaded
        .watch
        .iter()
        .map(|path| path.strip_prefix(&folder.0).unwrap().display().to_string())
        .collect();
    assert_eq!(watch, ["gatehouse.yaml", "teams", "teams/a.yaml", "teams/b.yaml"]);
}

#[test]
fn mistakes_are_placed_in_their_file() {
    let folder = Folder::new(
        "mistakes",
        &[
            ("gatehouse.yaml", MAIN),
            (
                "teams/a.yaml",
                "# ours\nroutes:\n  a: { match: {}, forward: { upstram: x } }\n  status: { match: {}, reply: {} }\n",
            ),
            (
                "teams/b.yaml",
                "client: {}\nupstreams: [ x ]\nzzz: 1\nroutes:\n  c: { match: {}, forward: { upstream: x } }\n",
            ),
        ],
    );
    let loaded = folder.load();
    let expected = "\
error: unknown field `upstram` in `forward`
  --> teams/a.yaml:3:30
   |
 3 |   a: { match: {}, forward: { upstram: x } }
   |                              ^^^^^^^ did you mean `upstream`?
   = at routes.a.forward

error: route `status` is written twice
  --> teams/a.yaml:4:3
   |
 4 |   status: { match: {}, reply: {} }
   |   ^^^^^^
   = help: the first is at gatehouse.yaml:4:3

error: `client` is not for included files
  --> teams/b.yaml:1:1
   |
 1 | client: {}
   | ^^^^^^
   = help: put it into the main file; included files have `consumers`, `listeners`, `named_policies`, `routes`, `stores`, `upstreams`

error: `upstreams` is a list
  --> teams/b.yaml:2:1
   |
 2 | upstreams: [ x ]
   | ^^^^^^^^^ expected a map, each item under its own name

error: `zzz` is not for included files
  --> teams/b.yaml:3:1
   |
 3 | zzz: 1
   | ^^^
   = help: put it into the main file; included files have `consumers`, `listeners`, `named_policies`, `routes`, `stores`, `upstreams`

error: route `c` forwards to upstream `x`, which does not exist
  --> teams/b.yaml:5:40
   |
 5 |   c: { match: {}, forward: { upstream: x } }
   |                                        ^
   = help: there are no upstreams
";
    assert_eq!(folder.said(&loaded), expected);
}

#[test]
fn a_file_that_is_no_yaml_hides_no_other_mistake() {
    let folder = Folder::new(
        "broken",
        &[
            ("gatehouse.yaml", MAIN),
            ("teams/a.yaml", "routes: [\n"),
            ("teams/b.yaml", "routes:\n  b: { mach: {} }\n"),
        ],
    );
    let said = folder.said(&folder.load());
    assert!(
        said.contains("teams/a.yaml:2:1")
            && said.contains("teams/b.yaml:2:8")
            && said.contains("did you mean `match`?"),
        "{said}"
    );
    assert_eq!(said.matches("error").count(), 2, "{said}");
}

#[test]
fn includes_that_lead_nowhere() {
    let cases = [
        (
            "[ none/*.yaml ]",
            "error: `none/*.yaml` cannot be listed: no such file\n  --> gatehouse.yaml:1:12",
        ),
        ("[ none.yaml ]", "error: `none.yaml` cannot be read: no such file"),
        ("[ '*/a.yaml' ]", "error: `*/a.yaml` has a `*` in a directory"),
        ("[ teams/ ]", "error: `teams/` names a directory"),
        ("[ '*.none' ]", "warning: `*.none` is the name of no file"),
        ("[ 5 ]", "error: `include[0]` is `5`"),
    ];
    for (index, (include, expected)) in cases.into_iter().enumerate() {
        let text = format!("include: {include}\nlisteners: {{ main: {{ address: 127.0.0.1:0 }} }}\n");
        let folder = Folder::new(&format!("nowhere{index}"), &[("gatehouse.yaml", &text)]);
        let said = folder.said(&folder.load());
        assert!(said.starts_with(expected), "{include}: {said}");
    }
}

#[test]
fn a_file_is_read_once_and_the_main_file_never_again() {
    let text = "include: [ '*.yaml', a.yaml ]\nlisteners: { main: { address: 127.0.0.1:0 } }\n";
    let folder = Folder::new(
        "once",
        &[
            ("gatehouse.yaml", text),
            ("a.yaml", "routes: { a: { match: {}, reply: {} } }\n"),
        ],
    );
    let loaded = folder.load();
    assert_eq!(
        (folder.said(&loaded).as_str(), loaded.sources.files().len()),
        ("", 2)
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new("unread", &[]);
    let loaded = folder.load();
    assert!(loaded.diagnostics.has_errors());
    assert_eq!(
        folder.said(&loaded),
        "error: `gatehouse.yaml` cannot be read: no such file\n"
    );
    assert_eq!(loaded.watch.len(), 1);

    fs::write(folder.0.join("gatehouse.yaml"), b"a: 1\nb: \xff\n").unwrap();
    assert!(folder.said(&folder.load()).contains("it is not UTF-8 in line 2"));
    fs::write(folder.0.join("gatehouse.yaml"), vec![b' '; yaml::LARGEST + 1]).unwrap();
    assert!(folder.said(&folder.load()).contains("it has more than"));
}

#[test]
fn the_environment_fills_in_before_anything_has_a_type() {
    let text = "listeners: { main: { address: '127.0.0.1:${env:PORT}' } }\nclient:\n  limits: { fields: '${env:FIELDS}', body: '${env:SIZE:-1MiB}' }\nforwarded: { x_forwarded: '${env:NO}', via: '${env:FIELDS}' }\n";
    let loaded = load_str_with(text, "f", &|name| {
        Some(match name {
            "PORT" => "8081".to_owned(),
            "FIELDS" => "7".to_owned(),
            "NO" => "false".to_owned(),
            _ => return None,
        })
    });
    assert_eq!(loaded.diagnostics.render(&loaded.sources), "");
    let config = loaded.config;
    assert_eq!(
        config.listeners.first().unwrap().1.address.to_string(),
        "127.0.0.1:8081"
    );
    assert_eq!(
        (config.client.limits.fields, config.client.limits.body.to_string()),
        (7, "1MiB".to_owned())
    );
    assert_eq!(
        (config.forwarded.x_forwarded, config.forwarded.via.as_deref()),
        (false, Some("7"))
    );
}

#[test]
fn nothing_stays_of_a_text_that_breaks_off() {
    let loaded = load_str("routes:\n  a: { match: {}, repply: {} }\n  b: [\n", "test");
    assert!(loaded.config.routes.is_empty());
    let said = loaded.diagnostics.render(&loaded.sources);
    assert!(said.contains("not YAML") && !said.contains("repply"), "{said}");
}
