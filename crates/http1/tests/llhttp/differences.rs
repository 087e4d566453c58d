//! Where we decide otherwise than llhttp, and why.

/// The name of a case and the reason.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    // Methods: llhttp has a list of them, we take any token (RFC 9110 9.1).
    ("request/invalid: HTTP protocol and ANNOUNCE method", ANY_METHOD),
    ("request/invalid: Invalid method", ANY_METHOD),
    // Other protocols that llhttp speaks.
    ("request/method: SOURCE request with ICE", ONLY_HTTP),
    ("request/method: OPTIONS request with RTSP", ONLY_HTTP),
    ("request/method: ANNOUNCE request with RTSP", ONLY_HTTP),
    ("response/sample: RTSP response", ONLY_HTTP),
    ("response/sample: ICE response", ONLY_HTTP),
    ("request/sample: No HTTP version", ONLY_1_0_AND_1_1),
    ("response/sample: HTTP version 0.9", ONLY_1_0_AND_1_1),
    // Targets and hosts.
    ("request/method: M-SEARCH request", ASTERISK),
    ("request/method: PRI request HTTP2", ASTERISK),
    ("request/sample: curl GET", HOST),
    ("request/sample: Firefox GET", HOST),
    (
        "request/uri: `host:port` and basic auth",
        "RFC 9110 4.2.4: a user name in an http URI is an error",
    ),
    ("request/uri: Quotes in URI", FRAGMENT),
    ("request/uri: Fragment in URI", FRAGMENT),
    (
        "request/transfer-encoding: POST with `chunked` as last transfer-encoding",
        FRAGMENT,
    ),
    (
        "request/transfer-encoding: POST with `chunked` as last transfer-encoding (multiple headers)",
        FRAGMENT,
    ),
    // Empty lines.
    (
        "request/connection: CRLF between requests, implicit `keep-alive`",
        ONE_EMPTY_LINE,
    ),
    ("response/connection: HTTP 304 with Content-Length", NO_EMPTY_LINE),
    ("response/connection: HTTP 100 first, then 400", NO_EMPTY_LINE),
    ("response/pipelining: Should parse multiple events", NO_EMPTY_LINE),
    ("response/sample: Response starting with CRLF", NO_EMPTY_LINE),
    // Transfer codings.
    (
        "response/transfer-encoding: `chunked` before other transfer-encoding",
        ONLY_CHUNKED,
    ),
    (
        "response/transfer-encoding: multiple transfer-encoding where chunked is not the last one",
        ONLY_CHUNKED,
    ),
    (
        "response/transfer-encoding: `chunkedchunked` transfer-encoding does not enable chunked enconding",
        ONLY_CHUNKED,
    ),
    (
        "response/connection: HTTP 101 response with Upgrade and Transfer-Encoding header",
        "RFC 9112 6.1: a 1xx must not have Transfer-Encoding; who sends it is not understood",
    ),
    // Chunk extensions and trailers.
    (
        "request/transfer-encoding: No extension after semicolon",
        EXTENSION,
    ),
    (
        "request/transfer-encoding: Unbalanced chunk extensions quoting",
        EXTENSION,
    ),
    (
        "response/transfer-encoding: No extension after semicolon",
        EXTENSION,
    ),
    (
        "response/transfer-encoding: Unbalanced chunk extensions quoting",
        EXTENSION,
    ),
    (
        "request/transfer-encoding: Trailing headers",
        "RFC 9110 6.5.1: Content-Type says how to read the content and comes too late as a trailer",
    ),
    // The same message seen otherwise.
    (
        "request/method: CONNECT with body",
        "llhttp leaves everything after CONNECT alone; we frame it as declared",
    ),
    (
        "response/invalid: Extra space between status code and reason",
        "we trim the reason, which is for people only",
    ),
];

const ANY_METHOD: &str = "an unknown method is the upstream's to judge";
const ONLY_HTTP: &str = "we speak HTTP only";
const ONLY_1_0_AND_1_1: &str = "we speak HTTP/1.0 and HTTP/1.1 only";
const ASTERISK: &str = "RFC 9112 3.2.4: the target * is for OPTIONS only";
const HOST: &str = "RFC 3986 has `=` in a host, but no DNS name has, and it is no port";
const FRAGMENT: &str = "RFC 9112 3.2: a request target has no fragment";
const ONE_EMPTY_LINE: &str =
    "RFC 9112 2.2 asks to skip one empty line before a request; more are no accident";
const NO_EMPTY_LINE: &str = "RFC 9112 2.2 allows empty lines before requests, not before responses";
const ONLY_CHUNKED: &str = "anything but exactly one `chunked` is refused rather than read until close";
const EXTENSION: &str = "extensions are dropped unread, so only their bytes and length matter";
