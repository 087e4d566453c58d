"""What is measured.  README.md tells what each asks of a gateway."""

CLIENTS = 64            # distinct API clients (tokens) in the policy scenarios
RATE = 1000000          # requests/s a client: never reached


class Scenario:
    def __init__(self, name, what, tool="wrk", path="/v1/users/42", conns=64,
                 streams=1, tls=False, h2=False, h2c=False, log=False,
                 routes=0, policy=None, no_resume=False, close=False,
                 body=None, unit="req", default=True):
        self.__dict__.update(locals())


SCENARIOS = {s.name: s for s in [
    Scenario("plain", "reverse proxy, prefix strip, upstream keepalive, no log"),
    Scenario("plain_log", "plain + JSON access log to a file", log=True),
    Scenario("routes1k", "1,000 host+path-prefix routes, hit round robin",
             routes=1000),
    Scenario("policy", "JWT HS256 + per-client rate limit + headers + JSON log "
             "(64 clients)", log=True, policy="HS256"),
    Scenario("policy_rs256", "policy with RS256 tokens (2048 bits)", log=True,
             policy="RS256"),
    Scenario("p99", "plain at a fixed rate: 60 % of what one core of nginx "
             "can do; latency", tool="rate", unit="ms"),
    Scenario("big", "64 KiB responses", path="/v1/big", body="big", unit="GB"),
    Scenario("huge", "10 MiB responses, 16 connections", path="/v1/huge",
             conns=16, body="huge", unit="GB"),
    Scenario("tls", "HTTPS HTTP/1.1 keepalive, TLS 1.3, ECDSA P-256", tls=True),
    Scenario("tls_h2", "HTTP/2 over TLS, 64 connections x 4 streams",
             tool="h2load", tls=True, h2=True, streams=4),
    Scenario("tls_handshake", "a new TLS 1.3 connection for every request, "
             "full handshake", tls=True, no_resume=True, close=True),
    Scenario("h2c", "cleartext HTTP/2 (prior knowledge), 64 connections x 4 "
             "streams", tool="h2load", h2c=True, streams=4, default=False),
    Scenario("conn10k", "10,000 idle keepalive connections: memory each",
             tool="idle", conns=10000, unit="conn"),
    Scenario("conn10k_tls", "10,000 idle TLS 1.3 keepalive connections: "
             "memory each", tool="idle", conns=10000, tls=True, unit="conn",
             default=False),
]}
