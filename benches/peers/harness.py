"""Starts one gateway at a time, puts load on it and measures what it cost."""

import os
import shutil
import tempfile
import time

import benchlib as B
import gateways as G
from scenarios import CLIENTS, RATE, SCENARIOS, Scenario
from verify import Verify


class Run(Verify):
    """One run of the harness: its folder, its backend, one gateway at a time."""

    def __init__(self, args):
        self.args = args
        base = args.run_dir or os.environ.get("BENCH_RUN_DIR")
        if not base:
            shm = os.environ.get("BENCH_SHM", "/dev/shm")
            base = shm if os.access(shm, os.W_OK) else tempfile.gettempdir()
        self.dir = tempfile.mkdtemp(prefix="gwbench-", dir=base)
        os.chmod(self.dir, 0o755)
        self.port = args.port_base
        self.tls_port = args.port_base + 443
        self.backend_port = args.port_base + 80
        self.keys = B.Keys(self.dir)
        self.tls_env = {"OPENSSL_CONF": self.keys.client_cnf}
        self.n = 0
        self.quiet_left = args.quiet_budget * 60
        self.tokens = {}
        self.rate = args.rate or None       # of the p99 scenario, requests/s
        bdir = os.path.join(self.dir, "backend")
        os.makedirs(bdir)
        self.backend = B.Backend(bdir, self.backend_port, args.load_cpu)

    def client_tokens(self, alg):
        if alg not in self.tokens:
            self.tokens[alg] = [self.keys.token(alg, "client-%d" % i)
                                for i in range(CLIENTS)]
        return self.tokens[alg]

    def cleanup(self):
        B.stop_all()
        if self.args.keep:
            B.log("kept: " + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- one gateway instance
    def start(self, gw, sc, rate=RATE):
        self.n += 1
        d = os.path.join(self.dir, "%03d-%s-%s" % (self.n, gw.name, sc.name))
        os.makedirs(d)
        ctx = G.Ctx(dir=d, port=self.port, tls_port=self.tls_port,
                    backend="%s:%d" % (B.HOST, self.backend_port),
                    log=os.path.join(d, "access.log") if sc.log else None,
                    tls=sc.tls, h2=sc.h2, h2c=sc.h2c, no_resume=sc.no_resume,
                    routes=sc.routes, policy=sc.policy, rate=rate,
                    keys=self.keys)
        ln = gw.launch(ctx)
        if ln is None:                                # direct
            ctx.proc, ctx.target = self.backend.proc, self.backend_port
            return ctx
        ctx.target = self.tls_port if sc.tls else self.port
        B.wait_port_free(ctx.target)
        ctx.proc = B.Proc(ln.argv, cpu=self.args.gateway_cpu, env=ln.env,
                          cwd=d, stdout=ln.stdout,
                          stderr=os.path.join(d, "stderr"), name=gw.name)
        ctx.proc.wait_port(ctx.target)
        # Listening is not yet ready for some: ask until a route answers.
        end = time.time() + 15
        path, hdr = self.request(gw, sc)
        while time.time() < end:
            try:
                if sc.h2c:
                    if "1 2xx" in self.h2c_get(ctx, path, 1):
                        break
                elif B.get(ctx.target, path, hdr, sc.tls).status != 404:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        return ctx

    def h2c_get(self, ctx, path, n):
        return B.run_tool(
            [B.which("BENCH_H2LOAD", "h2load"), "-n%d" % n, "-c1", "-m2",
             "http://%s:%d%s" % (B.HOST, ctx.target, path)],
            self.args.load_cpu, 20)[1]

    def stop(self, ctx):
        if ctx.proc is not self.backend.proc:
            ctx.proc.stop()
        if not self.args.keep:
            shutil.rmtree(ctx.dir, ignore_errors=True)

    def headers(self, gw, sc, client=0):
        """What one client of the scenario sends."""
        h = {}
        if sc.routes:
            h["Host"] = G.Ctx.route_host
        if sc.policy:
            alg = sc.policy
            h["Authorization"] = "Bearer " + self.client_tokens(alg)[client]
            h["X-Client-Id"] = "client-%d" % client
            h["X-Internal"] = "drop-me"
        return h

    def request(self, gw, sc):
        """(path, headers) of an ordinary request."""
        path = sc.path
        if sc.routes:
            path = "/svc0000/users/42"
        elif gw.raw_paths:
            path = path[len("/v1"):]
        return path, self.headers(gw, sc)

    # ---- measuring
    def fixed_rate(self):
        """The rate of the p99 scenario: the same for all gateways of a run."""
        if self.rate is None:
            a = self.args
            gw, plain = G.load(a.rate_of), SCENARIOS["plain"]
            if not gw.available():
                raise B.BenchError("%s is not installed: give --rate" % gw.name)
            # What a whole core could do, also when the load was too slow to
            # take all of it.
            capacity = 1e6 / self.measure(gw, plain)["cpu_us_per_req"]
            self.rate = float(round(capacity * a.rate_share))
            B.log("p99: %.0f req/s, %.0f %% of the capacity of %s" % (
                self.rate, 100 * a.rate_share, gw.name))
        return self.rate

    def load(self, gw, sc, ctx, seconds):
        a = self.args
        conns = a.connections or sc.conns
        path, hdr = self.request(gw, sc)
        url = "%s://%s:%d%s" % ("https" if sc.tls else "http", B.HOST,
                                ctx.target, path)
        env = self.tls_env if sc.tls else None
        if sc.tool == "rate":
            return B.fixed_rate(ctx.target, path, self.fixed_rate(), seconds,
                                conns, a.load_cpu, self.dir)
        if sc.tool == "h2load":
            return B.h2load(url, seconds, conns, sc.streams, a.load_cpu,
                            os.path.join(ctx.dir, "h2load.log"), env)
        if sc.close:
            hdr = dict(hdr, Connection="close")
        if sc.routes or sc.policy:
            host = "%s:%d" % (B.HOST, ctx.target)
            if sc.routes:
                reqs = [B.raw_request("/%s/users/%d" % (s, i),
                                      {"Host": G.Ctx.route_host})
                        for i, s in enumerate(ctx.svc())]
            else:
                reqs = [B.raw_request(path, dict(
                    {"Host": host}, **self.headers(gw, sc, i)))
                    for i in range(CLIENTS)]
            f = ctx.write("requests", "\0".join(reqs))
            return B.wrk(url, seconds, conns, a.load_cpu, "multi.lua", [f],
                         env=env)
        return B.wrk(url, seconds, conns, a.load_cpu, headers=hdr, env=env)

    def wait_quiet(self):
        """Waits, within bounds, until others leave the two CPUs alone."""
        a = self.args
        began = time.monotonic()
        while True:
            s0 = [B.cpu_times(c) for c in (a.gateway_cpu, a.load_cpu)]
            time.sleep(0.7)
            s1 = [B.cpu_times(c) for c in (a.gateway_cpu, a.load_cpu)]
            busy = [100 * (y["busy"] - x["busy"])
                    / max(.01, y["total"] - x["total"])
                    for x, y in zip(s0, s1)]
            waited = time.monotonic() - began
            if (busy[0] < a.quiet_pct and busy[1] < 2 * a.quiet_pct) \
                    or waited > a.quiet_wait or self.quiet_left <= 0:
                self.quiet_left -= waited
                return busy
            time.sleep(1)

    def measure(self, gw, sc):
        """One window; taken again when others were on the gateway's CPU."""
        best = None
        for attempt in range(1 + self.args.retries):
            quiet = self.wait_quiet() if self.args.quiet_wait else None
            r = self.measure_once(gw, sc)
            r["attempt"], r["busy_before"] = attempt + 1, quiet
            if best is None or r.get("other_pct", 0) < best["other_pct"]:
                best = r
            if r.get("other_pct", 0) <= self.args.noisy_pct:
                break
        return best

    def measure_once(self, gw, sc):
        a = self.args
        if sc.tool == "rate":
            self.fixed_rate()          # before this gateway is started
        ctx = self.start(gw, sc)
        try:
            if sc.tool == "idle":
                return self.measure_idle(gw, sc, ctx)
            if a.warmup:
                self.load(gw, sc, ctx, a.warmup)
            c0, g0, l0 = (ctx.proc.cpu(), B.cpu_times(a.gateway_cpu),
                          B.cpu_times(a.load_cpu))
            t0 = time.monotonic()
            r = self.load(gw, sc, ctx, a.seconds)
            wall = time.monotonic() - t0
            c1, g1, l1 = (ctx.proc.cpu(), B.cpu_times(a.gateway_cpu),
                          B.cpu_times(a.load_cpu))
            rss, pss = ctx.proc.memory()
            user, sys_ = c1[0] - c0[0], c1[1] - c0[1]
            cpu = user + sys_
            r.update({
                "cpu_s": cpu, "user_s": user, "sys_s": sys_, "wall_s": wall,
                "cpu_us_per_req": cpu * 1e6 / max(1, r["requests"]),
                "cpu_s_per_gb": cpu / max(1e-9, r["bytes"] / 1e9),
                "gw_core_pct": 100 * cpu / wall,
                "rss_mib": rss / 2**20, "pss_mib": pss / 2**20,
                "threads": ctx.proc.threads(),
                # noise: others on the gateway's core; stolen by the host
                "other_pct": 100 * max(0.0, g1["busy"] - g0["busy"] - cpu)
                / wall if ctx.proc is not self.backend.proc else 0.0,
                "steal_pct": 100 * (g1["steal"] - g0["steal"]) / wall,
                "load_busy_pct": 100 * (l1["busy"] - l0["busy"]) / wall,
                "load_steal_pct": 100 * (l1["steal"] - l0["steal"]) / wall,
            })
            if ctx.log:
                ctx.proc.stop()               # flushes
                lines = 0
                with open(ctx.log, "rb") as f:
                    for chunk in iter(lambda: f.read(1 << 20), b""):
                        lines += chunk.count(b"\n")
                r["log_lines"] = lines
                r["log_short"] = lines < r["requests"]
            return r
        finally:
            self.stop(ctx)

    def measure_idle(self, gw, sc, ctx):
        a = self.args
        count = a.connections or sc.conns
        path, hdr = self.request(gw, sc)
        plain = Scenario("warm", "", tls=sc.tls, path=sc.path)
        a_conns, a.connections = a.connections, 64
        try:
            self.load(gw, plain, ctx, max(1, a.warmup))
        finally:
            a.connections = a_conns
        time.sleep(3)
        base, base_pss = ctx.proc.memory()
        idle = B.Idle(ctx.target, path, hdr, sc.tls)
        try:
            t0 = time.monotonic()
            ok, bad = idle.open(count, time.time() + 120)
            opened = time.monotonic() - t0
            time.sleep(3)
            rss, pss = ctx.proc.memory()
            c0, t0 = sum(ctx.proc.cpu()), time.monotonic()
            time.sleep(max(1, a.seconds))
            c1, t1 = sum(ctx.proc.cpu()), time.monotonic()
            end_rss, _ = ctx.proc.memory()
            alive = idle.still_open()
            works = idle.sample_works()
        finally:
            idle.close()
        return {
            "connections": ok, "bad": bad, "still_open": alive,
            "sample_ok": "%d/%d" % works, "open_s": opened,
            "base_rss_mib": base / 2**20, "rss_mib": end_rss / 2**20,
            "pss_mib": pss / 2**20,
            "kib_per_conn": (end_rss - base) / 1024 / max(1, ok),
            "idle_cpu_pct": 100 * (c1 - c0) / (t1 - t0),
            "flag": ok < count or alive < ok or works[0] < works[1],
        }
