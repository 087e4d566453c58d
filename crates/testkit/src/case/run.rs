//! Runs a case: starts its servers and the gateway, sends, compares.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::backends::Server;
use super::{Case, Send, Step, compare};
use crate::client::Request;
use crate::gateway::Gateway;
use crate::proxy_protocol;
use crate::raw::Raw;
use crate::wire::Response;

type Servers = Vec<(String, Server)>;

/// Runs a case against this binary. The error tells the step and everything that differed.
pub fn run(binary: &str, case: &Case) -> Result<(), String> {
    let mut servers = Servers::new();
    for (name, value) in &case.backends {
        servers.push((name.clone(), Server::start(name, value)?));
    }
    let mut builder = Gateway::builder(binary, &case.config);
    for (name, server) in &servers {
        builder = builder.bind(name, server.url());
    }
    let gateway = builder.try_start()?;
    for (index, step) in case.steps.iter().enumerate() {
        let result = match catch_unwind(AssertUnwindSafe(|| run_step(&gateway, &servers, step))) {
            Ok(result) => result,
            Err(panic) => Err(vec![panic_text(panic.as_ref())]),
        };
        if let Err(wrong) = result {
            let mut report = format!("step {}: {}", index + 1, describe(step));
            for line in wrong {
                let _ = write!(report, "\n      {line}");
            }
            return Err(report);
        }
    }
    Ok(())
}

fn describe(step: &Step) -> String {
    match step {
        Step::Send(send) => send.line.chars().take(120).collect(),
        Step::Reload { .. } => "reload".to_owned(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + std::marker::Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}

fn run_step(gateway: &Gateway, servers: &Servers, step: &Step) -> Result<(), Vec<String>> {
    let send = match step {
        Step::Reload { yaml, refused: false } => {
            gateway.reload(yaml);
            return Ok(());
        }
        Step::Reload { yaml, refused: true } => {
            gateway.reload_refused(yaml);
            return Ok(());
        }
        Step::Send(send) => send,
    };
    let start: Vec<usize> = servers.iter().map(|(_, s)| s.count()).collect();
    for turn in 0..send.repeat {
        let before: Vec<usize> = servers.iter().map(|(_, s)| s.count()).collect();
        let (response, closed) = exchange(gateway, send);
        let mut wrong = check(send, &response);
        if let (Some(expected), Some(closed)) = (send.expect.closed, closed)
            && expected != closed
        {
            wrong.push(format!("closed: expected {expected}, got {closed}"));
        }
        if let Some(expected) = &send.expect.backend {
            wrong.extend(check_backends(expected, servers, &before)?);
        }
        if !wrong.is_empty() {
            if send.repeat > 1 {
                wrong.insert(0, format!("request {} of {}", turn + 1, send.repeat));
            }
            wrong.push(format!("response: {} {:?}", response.status, response.headers));
            wrong.push(format!(
                "body: {:?}",
                response.text().chars().take(500).collect::<String>()
            ));
            return Err(wrong);
        }
    }
    let counts: Vec<_> = servers
        .iter()
        .zip(start)
        .map(|((name, s), start)| (name.as_str(), s.count() - start))
        .collect();
    check_spread(send, &counts)
}

/// Sends the request on a connection of its own. Whether the gateway closed it is only found out if it matters.
fn exchange(gateway: &Gateway, send: &Send) -> (Response, Option<bool>) {
    let address = match &send.listener {
        Some(name) => gateway.address_of(name),
        None => gateway.address(),
    };
    let mut raw = Raw::connect(address);
    if let Some(from) = send.from {
        let to = if from.is_ipv4() {
            "192.0.2.1:80"
        } else {
            "[2001:db8::1]:80"
        };
        raw.send(proxy_protocol::v1(
            (from, 4567).into(),
            to.parse().expect("an address"),
        ));
    }
    let mut words = send.line.split(' ');
    let method = words.next().unwrap_or_default();
    let mut request = Request::new(method, words.next().unwrap_or_default());
    if let Some(version) = words.next() {
        request = request.version(version);
    }
    for (name, value) in &send.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &send.body {
        request = request.body(body);
    }
    // A gateway that refuses the head may close while we still send the body.
    let _ = raw.try_send(request.encode());
    let response = raw.response(method);
    let closed = send.expect.closed.map(|expected| {
        if expected {
            raw.expect_closed();
            return true;
        }
        // A closed connection could not answer a second request.
        raw.try_send(Request::get("/").encode()).is_err() || raw.reader.read_head().ok().flatten().is_none()
    });
    (response, closed)
}

fn check(send: &Send, response: &Response) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(status) = send.expect.status
        && status != response.status
    {
        wrong.push(format!("status: expected {status}, got {}", response.status));
    }
    wrong.extend(compare::headers(&send.expect.headers, &response.headers));
    if let Some(body) = &send.expect.body {
        wrong.extend(compare::body(body, &response.body));
    }
    wrong
}

/// `none`, or for each named backend `none` or what its one new request must look like.
fn check_backends(expected: &Value, servers: &Servers, before: &[usize]) -> Result<Vec<String>, Vec<String>> {
    let mut wrong = Vec::new();
    for ((name, server), before) in servers.iter().zip(before) {
        let wanted = if expected == "none" {
            Some(expected)
        } else {
            expected.get(name)
        };
        let Some(wanted) = wanted else { continue };
        let news = server.count() - before;
        if wanted == "none" {
            if news != 0 {
                wrong.push(format!("backend `{name}`: expected no request, got {news}"));
            }
            continue;
        }
        let Server::Http(backend) = server else {
            return Err(vec![format!("backend `{name}` records nothing")]);
        };
        if news != 1 {
            wrong.push(format!("backend `{name}`: expected one request, got {news}"));
            continue;
        }
        let received = backend.wait_complete(before + 1).pop().expect("the new request");
        let differences = compare::received(wanted, &received).map_err(|e| vec![e])?;
        if !differences.is_empty() {
            wrong.extend(differences.into_iter().map(|d| format!("backend `{name}`: {d}")));
            wrong.push(format!(
                "it received: {} {} {:?}",
                received.method, received.target, received.headers
            ));
        }
    }
    Ok(wrong)
}

fn check_spread(send: &Send, counts: &[(&str, usize)]) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    for (name, least, most) in &send.expect.spread {
        let got = counts
            .iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, c)| *c as u64);
        if got < *least || got > *most {
            wrong.push(format!(
                "backend `{name}` got {got} of {} requests, not {least} to {most}",
                send.repeat
            ));
        }
    }
    if send.expect.sticky && counts.iter().filter(|(_, n)| *n > 0).count() != 1 {
        wrong.push(format!("expected one backend for all requests, got {counts:?}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}
