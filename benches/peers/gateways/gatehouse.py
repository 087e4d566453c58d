"""This project's gateway, as released: one worker, everything a normal route has
left at its default (request ids, forwarded headers, metrics, all timeouts)."""
import json
import os

import benchlib as B
from gateways import Gateway, Launch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__)))))


class Gatehouse(Gateway):
    peer = False                       # it is compared with the best peer
    log_fields = {"method": "method", "path": "path", "status": "status",
                  "latency": "latency_ms", "request_id": "request_id"}

    def binary(self):
        return B.which("BENCH_GATEHOUSE",
                       os.path.join(ROOT, "target", "release", "gatehouse"))

    def available(self):
        return bool(self.binary())

    def version(self):
        return B.sh([self.binary(), "version"]).decode().strip()

    def config(self, ctx):
        """The document, as JSON (which is YAML)."""
        routes = {}
        for s in ctx.svc():
            routes[s] = {
                "match": {"hosts": [ctx.route_host], "path": "/%s/**" % s},
                "forward": {"upstream": "backend", "strip_prefix": "/" + s}}
        for p in () if ctx.routes else ctx.prefixes:
            below = "/**" if p in ("users", "orders") else ""
            routes[p] = {
                "match": {"path": "/v1/%s%s" % (p, below)},
                "forward": {"upstream": "backend", "strip_prefix": "/v1"}}
        listener = {"address": "127.0.0.1:%d" % ctx.port,
                    # All load comes from one address.
                    "max_connections_per_client": 20000}
        if ctx.tls:
            listener["address"] = "127.0.0.1:%d" % ctx.tls_port
            listener["tls"] = {
                "certificates": [{"cert": ctx.keys.cert, "key": ctx.keys.key}],
                "profile": "modern"}
            if ctx.no_resume:
                listener["tls"]["session_tickets"] = {"enabled": False}
        policies = []
        if ctx.policy:
            key = ({"secret": ctx.keys.secret} if ctx.policy == "HS256"
                   else {"pem": {"file": ctx.keys.rsapub}})
            key["algorithm"] = ctx.policy
            # BENCH_TOKEN_CACHE=0 verifies the signature of each request.
            cache = int(os.environ.get("BENCH_TOKEN_CACHE", "10000"))
            policies = [
                {"jwt": {"issuers": [{"issuer": ctx.keys.issuer,
                                      "audiences": [ctx.keys.audience],
                                      "keys": [key]}],
                         "cache": cache, "forward": {}}},
                {"rate_limit": {"limit": ctx.rate, "window": "1s",
                                "key": "consumer"}},
                {"headers": {"request": {"set": {"X-Gw-Req": "1"},
                                         "remove": ["X-Internal"]},
                             "response": {"set": {"X-Gateway": "bench"},
                                          "remove": ["X-Backend-Secret"]}}},
            ]
        return {
            "listeners": {"main": listener},
            "policies": policies,
            "routes": routes,
            "upstreams": {"backend": {"endpoints": ["http://" + ctx.backend]}},
            "access_log": ({"enabled": True, "file": ctx.log} if ctx.log
                           else {"enabled": False}),
            "admin": {"address": "127.0.0.1:0"},
            "process": {"workers": 1},
        }

    def launch(self, ctx):
        p = ctx.write("gatehouse.yaml", json.dumps(self.config(ctx)))
        return Launch([self.binary(), "run", p])


GATEWAY = Gatehouse()
