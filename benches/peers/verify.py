"""Does a gateway do what a scenario says?  Asked before anything is measured."""

import json
import time

import benchlib as B
import gateways as G


class Verify:
    """The checks of a Run (which mixes this in)."""

    def verify(self, gw, sc):
        """A list of (check, ok, detail)."""
        out = []

        def check(name, ok, detail=""):
            out.append((name, bool(ok), str(detail)[:300]))

        ctx = self.start(gw, sc)
        try:
            t, tls, h = ctx.target, sc.tls, self.headers(gw, sc)
            pre = "" if gw.raw_paths else "/svc0999" if sc.routes else "/v1"
            if sc.h2c:
                o = self.h2c_get(ctx, pre + "/users/42", 20)
                check("h2c works", "20 2xx" in o and "Application protocol: h2c"
                      in o, o[-300:])
                return out
            r = B.get(t, pre + "/users/42", h, tls)
            check("proxied 200 with the backend's body",
                  r.status == 200 and r.body.decode() == B.SMALL, r.status)
            if not gw.raw_paths:
                r = B.get(t, pre + "/inspect?x=1", h, tls)
                j = r.json() if r.status == 200 else {}
                check("prefix is stripped, query kept",
                      j.get("uri") == "/inspect?x=1", j.get("uri", r.status))
                # (For a loopback client Envoy names its interface's address.)
                check("X-Forwarded-For is sent", j.get("xff"), j.get("xff"))
                r = B.get(t, "/nope/users/42", h, tls)
                check("unrouted path is 404", r.status == 404 and
                      b"backend" not in r.body, r.status)
                # Upstream connections are reused by different clients.
                conns = set()
                for _ in range(10):
                    r = B.get(t, pre + "/inspect", h, tls)
                    conns.add(r.json()["conn"] if r.status == 200 else "?")
                check("upstream keepalive (10 client connections)",
                      len(conns) == 1 and "?" not in conns,
                      "%d upstream connections" % len(conns))
            if sc.routes:
                ok = []
                for s in ("svc0000", "svc0001", "svc0500", "svc0998"):
                    r = B.get(t, "/%s/inspect?r=%s" % (s, s), h, tls)
                    ok.append(r.status == 200 and
                              r.json()["uri"] == "/inspect?r=" + s)
                check("routes are matched and stripped", all(ok), ok)
                a = B.get(t, "/svc1000/users/1", h, tls).status
                b = B.get(t, "/svc0001/users/1",
                          {"Host": "other.example.test"}, tls).status
                check("no such route, or another host: 404",
                      (a, b) == (404, 404), (a, b))
            if sc.body:
                r = B.get(t, pre + "/" + sc.body, h, tls)
                check("body is whole", B.hashlib.sha256(r.body).hexdigest() ==
                      self.backend.sha[sc.body], "%d bytes" % len(r.body))
            if sc.tls:
                self.verify_tls(gw, sc, ctx, check)
            if sc.policy:
                self.verify_policy(gw, sc, ctx, check)
            if sc.log:
                self.verify_log(gw, sc, ctx, pre, h, check)
        finally:
            self.stop(ctx)
        if sc.policy and "rate" not in gw.lacks:
            self.verify_rate(gw, sc, check)
        return out

    def verify_tls(self, gw, sc, ctx, check):
        rc, o = B.run_tool(
            ["openssl", "s_client", "-connect", "%s:%d" % (B.HOST, ctx.target),
             "-alpn", "h2" if sc.h2 else "http/1.1"], self.args.load_cpu, 10,
            self.tls_env)
        got = {k: (B.re.search(p, o) or [None, ""])[1] for k, p in {
            "cipher": r"(TLSv1\.3, Cipher is \S+)",
            "key": r"Server Temp Key: (\w+)",
            "sig": r"Peer signature type: (\S+)",
            "alpn": r"ALPN protocol: (\S+)"}.items()}
        check("TLS 1.3, AES-128-GCM, X25519, ECDSA",
              got["cipher"].endswith("TLS_AES_128_GCM_SHA256") and
              got["key"] == "X25519" and got["sig"] == "ECDSA", got)
        if sc.h2:
            check("ALPN h2", got["alpn"] == "h2", got["alpn"])
            rc, o = B.run_tool(
                [B.which("BENCH_H2LOAD", "h2load"), "-n20", "-c2", "-m2",
                 "--npn-list=h2",
                 "https://%s:%d/v1/users/42" % (B.HOST, ctx.target)],
                self.args.load_cpu, 20, self.tls_env)
            check("20 requests over h2", "20 2xx" in o, o[-200:])
        # Resumption
        c = B.tls_context()

        def once(session):
            s = c.wrap_socket(B.socket.create_connection(
                (B.HOST, ctx.target), 5), session=session)
            s.sendall(B.raw_request("/v1/users/42", {"Host": "x"}).encode())
            s.recv(4096)
            r = s.session, s.session_reused
            s.close()
            return r
        sess, _ = once(None)
        reused = once(sess)[1] if sess else False
        if sc.no_resume:
            check("no TLS resumption (full handshakes)", not reused, reused)
            r = B.get(ctx.target, "/v1/users/42", {"Connection": "close"}, True)
            check("Connection: close is honoured",
                  r.headers.get("connection", "").lower() == "close",
                  r.headers.get("connection"))
        else:
            check("(info) TLS resumption offered", True, reused)

    def verify_policy(self, gw, sc, ctx, check):
        t, h = ctx.target, self.headers(gw, sc)
        r = B.get(t, "/v1/inspect", h)
        j = r.json() if r.status == 200 else {}
        check("request header added", j.get("gw_req") == "1", j)
        check("request header removed", j.get("internal") == "", j)
        check("response header added",
              r.headers.get("x-gateway") == "bench", r.headers)
        check("response header removed",
              "x-backend-secret" not in r.headers, r.headers)
        if sc.policy in gw.jwt_algs:
            k, alg = self.keys, sc.policy
            other = "RS256" if alg == "HS256" else "HS256"
            bad = {
                "no token": None,
                "tampered signature": k.token(alg, "client-0", tamper=True),
                "expired": k.token(alg, "client-0", exp=int(time.time()) - 3600),
                "wrong issuer": k.token(alg, "client-0", iss="evil"),
                "other algorithm": k.token(other, "client-0"),
                "rubbish": "abc.def.ghi",
            }
            for name, tok in bad.items():
                h2 = dict(h)
                h2.pop("Authorization")
                if tok:
                    h2["Authorization"] = "Bearer " + tok
                s = B.get(t, "/v1/users/42", h2).status
                want = (401, 403) if name == "wrong issuer" else (401,)
                check("JWT %s is %s" % (name, want[0]), s in want, s)

    def verify_log(self, gw, sc, ctx, pre, h, check):
        mark = "/users/log-%d" % time.time_ns()
        B.get(ctx.target, pre + mark + "?q=%22x", h, sc.tls)
        rec, end = None, time.time() + 15
        while rec is None and time.time() < end:
            time.sleep(0.2)
            try:
                with open(ctx.log) as f:
                    for line in f:
                        if mark in line:
                            rec = line
            except OSError:
                pass
            if rec is None:              # some flush only when more comes
                B.get(ctx.target, pre + "/users/1", h, sc.tls)
        try:
            j = json.loads(rec)
        except (TypeError, ValueError) as x:
            check("access log line is JSON", False, "%r %s" % (rec, x))
            return

        def field(k):
            v = j
            for part in gw.log_fields[k].split("."):
                v = v.get(part) if isinstance(v, dict) else None
            return v
        v = {k: field(k) for k in
             ("method", "path", "status", "latency", "request_id")}
        check("JSON log line: method, path, status, latency, request id",
              v["method"] == "GET" and str(v["path"]).startswith(pre + mark)
              and int(v["status"]) == 200 and v["latency"] is not None
              and v["request_id"] not in (None, "", "-"), rec.strip())

    def verify_rate(self, gw, sc, check):
        ctx = self.start(gw, sc, rate=5)
        try:
            seen = {0: [], 1: []}
            for client, n in ((0, 30), (1, 2)):
                c = B.Client(ctx.target)
                for _ in range(n):
                    seen[client].append(c.get(
                        "/v1/users/42", self.headers(gw, sc, client)).status)
                c.close()
            check("rate limit: client 0 gets 429, client 1 does not",
                  429 in seen[0] and seen[0][0] == 200
                  and seen[1] == [200, 200],
                  "%d of 30 rejected; other client %s" % (
                      seen[0].count(429), seen[1]))
        finally:
            self.stop(ctx)

    # ---- measuring
