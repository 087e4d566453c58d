//! Exchanges without a socket: what the benches of the policies measure. Not part of the interface of this crate.
//!
//! Each function panics if it cannot do what it should.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot run has failed"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use gatehouse_http1::{HeadLimits, parse_request};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use crate::body::Body;
use crate::config;
use crate::exchange::{Connection, Exchange, Request};
use crate::gateway::Gateway;
use crate::http::address::PeerLines;
use crate::io::Clock;
use crate::listen::ListenerState;
use crate::listen::admission::Limits;
use crate::plan::{self, Inputs};
use crate::policy::Kind;
use crate::proxy;
use crate::state::States;
use crate::telemetry::access::Output;
use crate::telemetry::{Telemetry, access, metrics};
use crate::upstream::endpoint::Endpoints;
use crate::upstream::resolve::Resolver;
use crate::worker::Worker;

/// Exchanges between two looks at the time: a worker under load does about as many.
const BETWEEN_TICKS: u64 = 64;

/// A worker with one connection, and nothing that reads or writes it.
pub struct Rig {
    runtime: LocalRuntime,
    /// Where policies do their slow work.
    _background: tokio::runtime::Runtime,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    clock: Rc<Clock>,
}

impl Rig {
    /// A gateway with this document. What its exchanges leave in the access log goes to `/dev/null`.
    pub fn new(document: &str, kinds: &'static [Kind]) -> Self {
        let loaded = config::load_str(document, "gatehouse.yaml");
        let told = loaded.diagnostics.render(&loaded.sources);
        assert!(!loaded.diagnostics.has_errors(), "{told}");
        let background = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("background threads");
        let handle = background.handle().clone();
        let access = access::Options {
            output: Output::File("/dev/null".into()),
            capacity: 1 << 20,
            workers: 1,
        };
        let (telemetry, mut buffers) =
            Telemetry::start(&metrics::Options::default(), &access).expect("/dev/null");
        let states = States::default();
        let inputs = Inputs {
            kinds,
            states: &states,
            metrics: &telemetry.metrics,
            endpoints: &Endpoints::new(telemetry.metrics.endpoints().clone()),
            resolver: &Resolver::offline(),
            background: Some(&handle),
            reader: &loaded.reader,
            hash: String::new(),
        };
        let plan = plan::compile(&loaded.config, loaded.config.routes.clone(), &inputs)
            .expect("a document that compiles");
        let gateway = Gateway::new(Arc::new(plan), states, telemetry, handle, 1);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let worker = {
            let _inside = runtime.enter();
            Rc::new(Worker::new(0, gateway.clone(), Vec::new(), buffers.remove(0)))
        };
        let limits = Limits {
            total: 1,
            per_client: 1,
        };
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let connection = Rc::new(Connection {
            listener: Arc::new(ListenerState::new(
                "main",
                limits,
                gateway.telemetry().metrics.series().listener("main"),
            )),
            peer: ip,
            peer_port: 50_000,
            local: None,
            lines: PeerLines::new(ip, "http", 80),
            scheme: "http",
            tls: None,
            requests: 0.into(),
            _open: None,
        });
        let clock = Rc::new(Clock::new(&worker.timers, worker.metrics.clone()));
        Self {
            runtime,
            _background: background,
            worker,
            connection,
            clock,
        }
    }

    /// Answers so many requests with this head, one after the other, and returns the status of the last.
    pub fn answer(&self, head: &[u8], times: u64) -> u16 {
        self.runtime.block_on(async {
            let ticking = tokio::task::spawn_local(self.worker.timers.clone().run());
            let mut status = 0;
            for done in 0..times {
                status = self.exchange(head).await;
                if done % BETWEEN_TICKS == 0 {
                    // Lets the worker's time go on, which nobody else would.
                    tokio::task::yield_now().await;
                }
            }
            ticking.abort();
            status
        })
    }

    async fn exchange(&self, head: &[u8]) -> u16 {
        let mut request = Request {
            head: self.worker.spare_request(),
            body: Body::Empty,
        };
        parse_request(head, &HeadLimits::default(), &mut request.head)
            .expect("a head")
            .expect("a whole head");
        let plan = self.worker.plan();
        let mut ex = Exchange::begin(
            &self.worker,
            plan,
            &self.connection,
            &self.clock,
            request,
            Instant::now(),
        );
        let response = proxy::handle(&mut ex).await;
        let status = response.head.status;
        // As those do that write responses.
        self.worker.recycle_response(response.head);
        ex.close();
        status
    }
}
