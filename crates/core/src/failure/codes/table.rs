//! The rows of the table of failure codes, in the order of the enum.

use super::Code;
use crate::failure::{Fault, Retry};

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) code: Code,
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) fault: Fault,
    pub(super) retry: Retry,
    pub(super) closes: bool,
    pub(super) title: &'static str,
    pub(super) meaning: &'static str,
    pub(super) remedy: &'static str,
}

/// A row that neither closes the connection nor may be tried again; the exceptions are marked.
const fn row(
    code: Code,
    name: &'static str,
    status: u16,
    fault: Fault,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> Row {
    Row {
        code,
        name,
        status,
        fault,
        retry: Retry::Never,
        closes: false,
        title,
        meaning,
        remedy,
    }
}

const fn closing(row: Row) -> Row {
    Row { closes: true, ..row }
}

const fn retried(row: Row, retry: Retry) -> Row {
    Row { retry, ..row }
}

pub(super) const TABLE: [Row; 41] = [
    closing(row(
        Code::BadRequest,
        "bad_request",
        400,
        Fault::Client,
        "the request is malformed",
        "The bytes received are not a well-formed HTTP request, or could be read in more than one way: \
         contradicting or repeated lengths, a missing or repeated `Host`, control bytes, bare line feeds. \
         Nothing was forwarded and the connection is closed.",
        "Read `detail` and repair the client or the proxy in front. Such requests can be attempts at \
         request smuggling; the rules cannot be relaxed.",
    )),
    closing(row(
        Code::RequestTimeout,
        "request_timeout",
        408,
        Fault::Client,
        "the request did not arrive in time",
        "The client began a request and did not send all of it within the time allowed for the head or \
         between two pieces of the body, or sent slower than the minimum rate.",
        "Look at the client's network. Raise `client.timeouts.head`, `client.timeouts.body_idle` or lower \
         `client.limits.min_rate` if slow clients are expected.",
    )),
    closing(row(
        Code::HeaderTooLarge,
        "header_too_large",
        431,
        Fault::Client,
        "the request head is too large",
        "The request's header fields together exceed the configured size, or there are too many of them. \
         The answer names the limit, the measured value and the setting.",
        "Send fewer or smaller fields (large cookies are the usual cause), or raise `client.limits.head` or \
         `client.limits.fields`.",
    )),
    closing(row(
        Code::UriTooLong,
        "uri_too_long",
        414,
        Fault::Client,
        "the request target is too long",
        "The path and query together are longer than the configured limit.",
        "Move data from the query to the body, or raise `client.limits.target`.",
    )),
    closing(row(
        Code::BodyTooLarge,
        "body_too_large",
        413,
        Fault::Client,
        "the request body is too large",
        "The declared length of the body, or what has arrived of it, exceeds the limit of the gateway or of \
         the route.",
        "Send less, or raise `client.limits.body` or the route's `max_body`.",
    )),
    closing(row(
        Code::NotImplemented,
        "not_implemented",
        501,
        Fault::Client,
        "the request needs something this gateway does not do",
        "The request uses a transfer coding other than `chunked`, or a method that asks for a tunnel.",
        "Use plain or chunked bodies; this gateway is no forward proxy, so `CONNECT` is served only where a route has it in `forward.upgrades`.",
    )),
    closing(row(
        Code::HttpVersion,
        "http_version",
        505,
        Fault::Client,
        "the HTTP version is not supported",
        "The request line names a version other than HTTP/1.0 or HTTP/1.1.",
        "Use HTTP/1.1.",
    )),
    row(
        Code::RouteNotFound,
        "route_not_found",
        404,
        Fault::Client,
        "no route matches the request",
        "No configured route matches the host, path, headers, query, cookies and address of the request.",
        "Compare the request with the output of `gatehouse routes`. Host, path and version are the usual \
         suspects.",
    ),
    row(
        Code::MethodNotAllowed,
        "method_not_allowed",
        405,
        Fault::Client,
        "the method is not allowed here",
        "A route matches everything of the request but its method. `Allow` lists the methods that do match.",
        "Use a method of `Allow`, or add the method to the route's `methods`.",
    ),
    row(
        Code::VersionUnknown,
        "version_unknown",
        400,
        Fault::Client,
        "the requested API version does not exist",
        "The request names, in the configured version header, a version no matching route offers.",
        "Ask for a version that exists, or configure `versions.default`.",
    ),
    row(
        Code::NotAcceptable,
        "not_acceptable",
        406,
        Fault::Client,
        "no acceptable version of the resource exists",
        "The request's `Accept` names a versioned media type no matching route offers.",
        "Ask for a media type that exists, or add `*/*` to `Accept` to get the default version.",
    ),
    row(
        Code::Misdirected,
        "misdirected",
        421,
        Fault::Client,
        "the request was sent to the wrong server",
        "The host of the request is not served on the connection it came by.",
        "Open a connection for that host; clients that reuse connections between hosts do this by themselves.",
    ),
    row(
        Code::ExpectationFailed,
        "expectation_failed",
        417,
        Fault::Client,
        "the expectation cannot be met",
        "The request's `Expect` names something other than `100-continue`.",
        "Do not send other expectations: none are in use on the web.",
    ),
    row(
        Code::TooEarly,
        "too_early",
        425,
        Fault::Client,
        "the request was sent before the connection was safe",
        "The request came as early data of TLS, which others can repeat, and its method may change something \
         (RFC 8470). Nothing was forwarded.",
        "Send it again once the handshake is over; browsers and most clients do so by themselves.",
    ),
    row(
        Code::UpgradeRefused,
        "upgrade_refused",
        403,
        Fault::Client,
        "the upgrade is not allowed here",
        "The request asks to switch protocols on a route that does not permit it.",
        "Send an ordinary request, or allow upgrades on the route.",
    ),
    row(
        Code::Unauthenticated,
        "unauthenticated",
        401,
        Fault::Client,
        "valid credentials are required",
        "The route requires credentials, and the request carries none or none that are valid. \
         `WWW-Authenticate` says which kind is asked for.",
        "Send valid credentials. The log line tells why those sent were refused; the answer does not.",
    ),
    row(
        Code::Forbidden,
        "forbidden",
        403,
        Fault::Client,
        "the request is not allowed",
        "A policy denies the request: the caller is known, or its address is, and may not do this.",
        "Ask whoever runs the gateway for access. The log line names the policy.",
    ),
    row(
        Code::LoginRefused,
        "login_refused",
        403,
        Fault::Client,
        "the login was refused",
        "The login provider sent the browser back without a login: the person declined, or may not use this \
         application. The answer names the provider's error.",
        "Try again, or ask whoever runs the login provider for access.",
    ),
    row(
        Code::LoginInvalid,
        "login_invalid",
        400,
        Fault::Client,
        "this is not the answer to a login under way",
        "A browser came back from the login provider with an answer that belongs to no login it began here: \
         the login took too long, was finished already, or was begun in another browser, or the browser keeps \
         no cookies.",
        "Open the page again, without going back in the history. If that does not help, allow cookies. The \
         log line at level `debug` says which of these it is.",
    ),
    row(
        Code::RateLimited,
        "rate_limited",
        429,
        Fault::Client,
        "too many requests",
        "The caller made more requests than its limit allows in the window.",
        "Wait for the time in `Retry-After`, then continue more slowly.",
    ),
    row(
        Code::QuotaExceeded,
        "quota_exceeded",
        429,
        Fault::Client,
        "the quota is used up",
        "The caller has used all it may in the current period (a day, a month).",
        "Wait for the next period (`Retry-After`) or ask for a larger quota.",
    ),
    row(
        Code::IdempotencyKeyReused,
        "idempotency_key_reused",
        422,
        Fault::Client,
        "the idempotency key was used for another request",
        "The caller sent an `Idempotency-Key` that it has used before, with another method, target, type or body. \
         Nothing was done.",
        "Use a new key for each new request, and the same key only to send the very same request again.",
    ),
    row(
        Code::IdempotencyInProgress,
        "idempotency_in_progress",
        409,
        Fault::Client,
        "the first request with this idempotency key is still under way",
        "The caller sent an `Idempotency-Key` again while the first request with it had no answer yet, and waited for it \
         as long as `idempotency.wait` says. Nothing was done twice.",
        "Send the same request again a little later.",
    ),
    closing(row(
        Code::ClientGone,
        "client_gone",
        499,
        Fault::Client,
        "the client went away",
        "The client closed its connection before it had the whole answer. Nothing can be sent to it; the \
         status 499 appears in logs and metrics only.",
        "Many of these point to slow answers or to a client timeout shorter than the gateway's.",
    )),
    row(
        Code::NoEndpoint,
        "no_endpoint",
        503,
        Fault::Upstream,
        "no endpoint is available",
        "Every endpoint of the upstream is out of service, so the request was not sent to any.",
        "Look at the health of the upstream's endpoints in the metrics and the process log.",
    ),
    row(
        Code::CircuitOpen,
        "circuit_open",
        503,
        Fault::Upstream,
        "the upstream is being given a rest",
        "The upstream failed too often of late; for a while requests are refused without trying it.",
        "Repair the upstream. Requests pass again by themselves once trials succeed.",
    ),
    retried(
        row(
            Code::ConnectFailed,
            "connect_failed",
            502,
            Fault::Upstream,
            "could not connect to the upstream",
            "The endpoint refused the connection, could not be reached, or did not accept it in time. No \
             byte of the request was sent.",
            "Check that the endpoint's address is right and that it is running. The time allowed is the \
             upstream's `timeouts.connect`.",
        ),
        Retry::Safe,
    ),
    retried(
        row(
            Code::TlsFailed,
            "tls_failed",
            502,
            Fault::Upstream,
            "could not secure the connection to the upstream",
            "The TLS handshake with the endpoint failed: its certificate is expired, unknown or for another \
             name, or there is no common version. No byte of the request was sent.",
            "The log line holds the exact reason. Check the endpoint's certificate and the upstream's `tls`.",
        ),
        Retry::Safe,
    ),
    retried(
        row(
            Code::UpstreamTimeout,
            "upstream_timeout",
            504,
            Fault::Upstream,
            "upstream timed out",
            "The endpoint accepted the request and did not begin, continue or end its answer within the time \
             allowed.",
            "Look for slow requests in the endpoint. The limits are the upstream's `timeouts.first_byte`, \
             `timeouts.idle` and `timeouts.total`; the log line says which.",
        ),
        Retry::IfUnsent,
    ),
    retried(
        row(
            Code::UpstreamReset,
            "upstream_reset",
            502,
            Fault::Upstream,
            "the upstream closed the connection",
            "The endpoint closed the connection before its answer was complete.",
            "Look for crashes and restarts, and make sure the endpoint keeps idle connections for longer than \
             the upstream's `pool.idle_timeout`.",
        ),
        Retry::IfUnsent,
    ),
    row(
        Code::UpstreamProtocol,
        "upstream_protocol",
        502,
        Fault::Upstream,
        "the upstream's answer is malformed",
        "The endpoint's answer is not well-formed HTTP, contradicts itself about its length, or exceeds the \
         limits for heads. None of it was passed on that had not been already.",
        "The log line says what was wrong. Make sure the endpoint speaks HTTP/1.1 on that port.",
    ),
    retried(
        row(
            Code::UpstreamUnresolved,
            "upstream_unresolved",
            503,
            Fault::Upstream,
            "the upstream's name does not resolve",
            "The name of the endpoint has no address, now or ever since the gateway started.",
            "Check the name and the servers in `dns.servers`; the gateway keeps asking.",
        ),
        Retry::Safe,
    ),
    row(
        Code::Overloaded,
        "overloaded",
        503,
        Fault::Gateway,
        "the gateway is overloaded",
        "The gateway reached one of its own bounds and refuses new work to keep what it has going.",
        "Try again after `Retry-After`. The metric `gatehouse_limits_hit_total` says which bound it was.",
    ),
    row(
        Code::DeadlineExceeded,
        "deadline_exceeded",
        504,
        Fault::Gateway,
        "the request took too long",
        "The time allowed for the whole exchange, every attempt included, has passed.",
        "Raise the route's `timeout` if the work really takes that long; else look at the attempts in the log.",
    ),
    closing(row(
        Code::Draining,
        "draining",
        503,
        Fault::Gateway,
        "the gateway is shutting down",
        "The gateway is ending: it takes no new requests on this connection, or has cut one off whose time was over (`process.drain.timeout`).",
        "Try again on a new connection. A load balancer that watches `/readyz` will have moved on.",
    )),
    row(
        Code::Maintenance,
        "maintenance",
        503,
        Fault::Gateway,
        "down for maintenance",
        "A `maintenance` policy answers in place of the service.",
        "Wait (`Retry-After`). Whoever runs the gateway ends it by changing the policy.",
    ),
    row(
        Code::LoopDetected,
        "loop_detected",
        508,
        Fault::Gateway,
        "the request is forwarded in circles",
        "Our own name stands in `Via` more often than any honest path explains: some upstream sends the \
         request back to this gateway.",
        "Look for a route whose upstream is, perhaps through others, this gateway itself. Give gateways \
         that are chained on purpose different names with `forwarded.via`.",
    ),
    row(
        Code::AuthUnavailable,
        "auth_unavailable",
        503,
        Fault::Gateway,
        "credentials cannot be checked at the moment",
        "The request carries credentials, and what they are checked with is not there: the keys of the \
         issuer were never fetched or are too old, or the service that knows the tokens does not answer. \
         Or somebody wants to log in, and the login provider does not answer. Nobody is let in unchecked.",
        "The log line names the address that was asked and what went wrong. Check that the gateway can reach \
         it, its certificate, and what it answers.",
    ),
    row(
        Code::LoginFailed,
        "login_failed",
        502,
        Fault::Gateway,
        "the login could not be completed",
        "The browser came back from the login provider, and what the provider said is not good: it did not \
         take the code, its ID token is not for this client or this login, or it answered with an error that \
         is not the person's. Nobody is let in.",
        "The log line says what was wrong. Check the client's id and secret, its redirect URIs, and the clocks \
         of both sides.",
    ),
    row(
        Code::PolicyFailed,
        "policy_failed",
        500,
        Fault::Gateway,
        "a policy could not decide",
        "A policy could not do its work, for example because something it depends on is unreachable, and is \
         configured to refuse in that case.",
        "The log line names the policy and the cause.",
    ),
    closing(row(
        Code::Internal,
        "internal",
        500,
        Fault::Gateway,
        "internal error",
        "Something happened that should be impossible. The process log has the details.",
        "Please report it with the log lines of that request id.",
    )),
];
