//! A real OpenID provider: the npm package `oidc-provider` in a process of its own, with switches for tests.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::client::{self, HOST, Request};
use crate::wire::Response;

/// Node needs a while to start on a loaded machine.
const START: std::time::Duration = std::time::Duration::from_mins(1);

/// A provider; it ends when dropped.
#[derive(Debug)]
pub struct LoginProvider {
    child: Option<Child>,
    port: u16,
    clients: Value,
}

impl LoginProvider {
    /// With two clients of the gateway at [`HOST`]: `shop` (its secret is `s:cret`), and `public`, which has none.
    #[track_caller]
    pub fn start() -> Self {
        let known = |client: Value| {
            let mut all = json!({
                "redirect_uris": [format!("http://{HOST}/oauth2/callback"), format!("http://{HOST}/other/callback")],
                "post_logout_redirect_uris": [format!("http://{HOST}/bye")],
                "backchannel_logout_uri": format!("http://{HOST}/ended"),
                "backchannel_logout_session_required": true,
            });
            all.as_object_mut()
                .expect("an object")
                .extend(client.as_object().expect("an object").clone());
            all
        };
        Self::with(json!([
            known(json!({ "client_id": "shop", "client_secret": "s:cret" })),
            known(
                json!({ "client_id": "post", "client_secret": "s:cret", "token_endpoint_auth_method": "client_secret_post" })
            ),
            known(json!({ "client_id": "public", "token_endpoint_auth_method": "none" })),
        ]))
    }

    /// With these clients.
    #[track_caller]
    pub fn with(clients: Value) -> Self {
        let mut provider = Self {
            child: None,
            port: 0,
            clients,
        };
        provider.restart();
        provider
    }

    /// Starts it, on its port if it had one, with nothing in it but its clients.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("login-provider");
        assert!(
            folder.join("node_modules/oidc-provider").exists(),
            "the packages of the login provider are missing: run ./test, or `npm ci` in crates/testkit/login-provider"
        );
        let mut child = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .arg(self.port.to_string())
            .arg(json!({ "clients": self.clients }).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start node (apt-get install nodejs): {e}"));
        let output = BufReader::new(child.stdout.take().expect("its output"));
        self.child = Some(child);
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(port) = line.strip_prefix("ready ") {
                    let _ = sender.send(port.parse().expect("a port"));
                }
            }
        });
        self.port = ready.recv_timeout(START).expect("the login provider to be ready");
    }

    /// Kills it; nothing listens on its port any more.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its name.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Changes switches; see `provider.mjs`.
    #[track_caller]
    pub fn set(&self, flags: &Value) {
        let request = Request::post("/test/flags", flags.to_string()).host(&self.address().to_string());
        assert_eq!(client::once(self.address(), &request).status, 200);
    }

    /// How often what was asked for, and the last access token.
    #[track_caller]
    pub fn counts(&self) -> Value {
        client::get(self.address(), "/test/counts").json()
    }

    /// Asks the gateway for a page, logs in as somebody where the provider asks, and goes on to where that leads.
    #[track_caller]
    pub fn log_in(&self, browser: &mut Browser, url: &str, account: &str) -> (String, Response) {
        let back = self.answer(browser, url, &[("account", account)]);
        browser.follow(&back)
    }

    /// The same up to where the provider sends the browser back to, which is not asked for. The form says who logs in
    /// (`account`), or that nobody does (`error`).
    #[track_caller]
    pub fn answer(&self, browser: &mut Browser, url: &str, form: &[(&str, &str)]) -> String {
        let response = browser.get(url);
        let page = browser.arrive_before(url, response, &format!("{}/interaction/", self.issuer()));
        let asked = browser.get(&page);
        assert_eq!(asked.status, 200, "{page}: {asked:?}");
        let response = browser.post(&page, form);
        browser.arrive_before(&page, response, &format!("http://{HOST}/"))
    }
}

impl Drop for LoginProvider {
    fn drop(&mut self) {
        self.kill();
    }
}
