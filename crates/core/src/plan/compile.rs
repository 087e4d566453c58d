//! From a document to a plan, collecting everything that is wrong with it.
//!
//! Does no I/O but through [`crate::policy::Compile::read`]. What the plan points to outside itself
//! (counters, endpoints, policy state) is found by identity, so that it survives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatehouse_http1::HeadLimits;
use indexmap::IndexMap;
use tokio::runtime::Handle;

use super::answers::{self, Answers};
use super::policies::{self, Attached, Chains};
use super::{ClientLimits, ClientPlan, ClientTimeouts, ForwardedPlan, Plan, Route, action};
use crate::config::types::Scheme;
use crate::config::{self, Config, Diagnostic, Reader, Severity};
use crate::consumer::Consumers;
use crate::http::edge::Edges;
use crate::http::hop::Forwarding;
use crate::http::reserved::Reserved;
use crate::policy::{Kind, Shared};
use crate::route::{Rule, Table, Versions};
use crate::state::States;
use crate::telemetry::metrics::{Metrics, Series};
use crate::tls::client::{ClientTls, Making};
use crate::tls::server::{self, ServerTls};
use crate::tunnel::TunnelPlan;
use crate::upstream::dial::Transport;
use crate::upstream::endpoint::Endpoints;
use crate::upstream::pool::PoolLimits;
use crate::upstream::resolve::{Discovery, Resolver};
use crate::upstream::{Timeouts, Upstream};

/// What a document is compiled with.
pub struct Inputs<'a> {
    /// The kinds of policies there are.
    pub kinds: &'a [Kind],
    /// Live state, found by identity.
    pub states: &'a States,
    /// Counts, found by name.
    pub metrics: &'a Metrics,
    /// Endpoints, found by upstream and address.
    pub endpoints: &'a Arc<Endpoints>,
    /// Resolves the names of endpoints.
    pub resolver: &'a Arc<Resolver>,
    /// Where state does its waiting; none if the document is only checked.
    pub background: Option<&'a Handle>,
    /// Reads the settings of policies.
    pub reader: &'a Reader,
    /// Identifies the document's text.
    pub hash: String,
}

/// What is being compiled, and what is wrong with it so far.
pub(super) struct Context<'a> {
    pub inputs: &'a Inputs<'a>,
    pub config: &'a Config,
    pub series: Series<'a>,
    pub diagnostics: Vec<Diagnostic>,
    pub upstreams: HashMap<&'a str, usize>,
    /// What the last route said of tunnels.
    pub tunnel: Option<Arc<TunnelPlan>>,
    pub consumers: Consumers,
    pub shared: Shared,
    pub reserved: Reserved,
    pub answers: Answers,
}

/// The routes of a document, by name.
pub type Routes = IndexMap<String, Box<config::Route>>;

/// Compiles a document that has passed its own checks. Its routes come by value, whatever `config` has of them:
/// each is gone before the next is compiled, so that ten thousand are not in memory in both forms.
pub fn compile(config: &Config, written: Routes, inputs: &Inputs<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let upstreams = config
        .upstreams
        .keys()
        .enumerate()
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let mut diagnostics = Vec::new();
    let consumers = Consumers::of(config, inputs.reader, &mut diagnostics);
    let mut cx = Context {
        inputs,
        config,
        series: inputs.metrics.series(),
        diagnostics,
        upstreams,
        tunnel: None,
        consumers,
        shared: Shared::default(),
        reserved: Reserved::default(),
        answers: Answers::default(),
    };
    let mut chains = Chains::new(config, &written);
    let global = chains.chain(&mut cx, Attached::Everywhere, "policies", &config.policies);
    let upstreams: Vec<_> = config
        .upstreams
        .iter()
        .map(|(name, upstream)| self::upstream(&mut cx, &mut chains, name, upstream))
        .collect();
    let versions = versions(&mut cx);
    let vary = versions.vary().map(Box::from);
    let mut routes = Vec::with_capacity(written.len());
    let rules = written.into_iter().enumerate().map(|(id, (name, route))| {
        routes.extend(self::route(&mut cx, &mut chains, &name, &route));
        Rule {
            id,
            name,
            matches: route.r#match,
            paths: route.paths.unwrap_or_else(|| config.paths.clone()),
        }
    });
    let table = Table::build(rules, versions);
    let table = table.map_err(|errors| {
        let told = errors.iter().map(|error| {
            let path = format!("routes.{}.match.{}", error.name, error.field);
            Diagnostic::halves(path, &error.message)
        });
        cx.diagnostics.extend(told);
    });
    answers::unreached(&mut cx);
    policies::check_unused(&mut cx, &mut chains);
    let tls = tls(&mut cx);
    let Context {
        diagnostics,
        reserved,
        ..
    } = cx;
    let failed = diagnostics.iter().any(|one| one.severity == Severity::Error);
    match table {
        Ok(table) if !failed => Ok(Plan {
            hash: inputs.hash.clone(),
            policies: global,
            routes,
            upstreams,
            client: client(&config.client),
            forwarded: forwarded(&config.forwarded),
            request_id: config.request_id.trust,
            reserved: Arc::new(reserved),
            listeners: config.listeners.clone(),
            access_log: config.access_log.enabled,
            // An interval of nothing would panic; a log written continuously is as good.
            access_flush: config.access_log.flush.get().max(Duration::from_millis(1)),
            drain: config.process.drain.timeout.get(),
            drain_idle: config.process.drain.idle.get(),
            unmatched: inputs.metrics.unmatched(),
            warnings: diagnostics,
            edges: Edges::new(&config.listeners, &tls),
            tls,
            table,
            vary,
        }),
        _ => Err(diagnostics),
    }
}

/// TLS of the listeners that have it; those that are not good are told and left out.
fn tls(cx: &mut Context<'_>) -> HashMap<Box<str>, Arc<ServerTls>> {
    let now = SystemTime::now();
    let mut compiled = HashMap::new();
    for (name, listener) in &cx.config.listeners {
        let Some(settings) = &listener.tls else { continue };
        let inputs = server::Inputs {
            listener: name,
            settings,
            protocols: &listener.protocols,
            reader: cx.inputs.reader,
            states: cx.inputs.states,
            now,
        };
        if let Some(tls) = ServerTls::compile(&inputs, &mut cx.diagnostics) {
            compiled.insert(name.as_str().into(), Arc::new(tls));
        }
    }
    compiled
}

fn versions(cx: &mut Context<'_>) -> Versions {
    match cx.config.versions.as_ref().map(Versions::new) {
        None => Versions::default(),
        Some(Ok(versions)) => versions,
        Some(Err(message)) => {
            cx.diagnostics.push(Diagnostic::halves("versions", &message));
            Versions::default()
        }
    }
}

fn route(cx: &mut Context<'_>, chains: &mut Chains, name: &str, route: &config::Route) -> Option<Route> {
    let policies = chains.chain(
        cx,
        Attached::Route,
        &format!("routes.{name}.policies"),
        &route.policies,
    );
    answers::route(cx, name, route);
    let captures = route
        .r#match
        .path
        .as_ref()
        .map(config::PathPattern::captures)
        .unwrap_or_default();
    let action = action::action(cx, name, route, &captures)?;
    let version = route
        .version
        .as_deref()
        .or(route.r#match.version.as_deref())
        .unwrap_or_default();
    Some(Route {
        stats: cx.series.route(name, version),
        name: name.into(),
        version: version.into(),
        policies,
        action,
        captures: captures.into_iter().map(Box::from).collect(),
        timeout: route.timeout.map(config::Span::get),
        max_body: route.max_body.map(config::Size::get),
        names_options: route.r#match.methods.iter().any(|method| method == "OPTIONS"),
    })
}

fn upstream(cx: &mut Context<'_>, chains: &mut Chains, name: &str, upstream: &config::Upstream) -> Upstream {
    let (timeouts, pool) = (&upstream.timeouts, &upstream.pool);
    let transport = transport(cx, name, upstream);
    Upstream {
        name: name.into(),
        balance: upstream.balance,
        timeouts: Timeouts {
            connect: timeouts.connect.get(),
            first_byte: timeouts.first_byte.get(),
            idle: timeouts.idle.get(),
            total: upstream.total_timeout().get(),
            expect_continue: timeouts.expect_continue.get(),
        },
        pool: PoolLimits {
            max_idle: pool.max_idle as usize,
            idle_timeout: pool.idle_timeout.get(),
            max_age: pool.max_age.get(),
            max_requests: pool.max_requests,
        },
        head: head(upstream.limits.head, upstream.limits.fields, usize::MAX),
        policies: chains.chain(
            cx,
            Attached::Upstream,
            &format!("upstreams.{name}.policies"),
            &upstream.policies,
        ),
        discovery: Discovery::new(
            cx.inputs.resolver,
            cx.inputs.endpoints,
            name,
            &upstream.endpoints,
            &transport,
        ),
        stats: cx.series.upstream(name),
        transport,
    }
}

/// How the endpoints of an upstream are spoken to; what is wrong with its files is noted.
fn transport(cx: &mut Context<'_>, name: &str, upstream: &config::Upstream) -> Transport {
    let is_https = |endpoint: &config::EndpointSpec| endpoint.url.scheme == Scheme::Https;
    if !upstream.endpoints.iter().any(is_https) {
        return Transport::new(upstream.protocol, None);
    }
    let making = Making {
        upstream: name,
        protocol: upstream.protocol,
        states: cx.inputs.states,
        reader: cx.inputs.reader,
    };
    let settings = upstream.tls.clone().unwrap_or_default();
    match ClientTls::make(&settings, &making) {
        Ok(tls) => Transport::new(upstream.protocol, Some(tls)),
        Err(mistakes) => {
            cx.diagnostics.extend(mistakes);
            Transport::new(upstream.protocol, None)
        }
    }
}

fn client(client: &config::Client) -> ClientPlan {
    let (timeouts, limits) = (&client.timeouts, &client.limits);
    ClientPlan {
        timeouts: ClientTimeouts {
            handshake: timeouts.handshake.get(),
            head: timeouts.head.get(),
            body_idle: timeouts.body_idle.get(),
            keep_alive: timeouts.keep_alive.get(),
            write_idle: timeouts.write_idle.get(),
            total: timeouts.total.get(),
            linger: timeouts.linger.get(),
        },
        limits: ClientLimits {
            body: limits.body.get(),
            requests_per_connection: limits.requests_per_connection,
            handshakes: limits.handshakes,
            min_rate: limits.min_rate.get(),
        },
        head: head(
            limits.head,
            limits.fields,
            usize::try_from(limits.target.min(limits.head).get()).unwrap_or(usize::MAX),
        ),
        http2: client.http2.clone(),
        underscores: client.underscores,
        http3: client.http3.clone(),
    }
}

fn head(bytes: config::Size, fields: u32, target: usize) -> HeadLimits {
    HeadLimits {
        bytes: usize::try_from(bytes.get()).unwrap_or(usize::MAX),
        fields: fields as usize,
        target,
    }
}

fn forwarded(settings: &config::Forwarded) -> ForwardedPlan {
    ForwardedPlan {
        fields: Forwarding::new(settings),
        settings: settings.clone(),
    }
}
