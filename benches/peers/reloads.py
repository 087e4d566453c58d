#!/usr/bin/env python3
"""Reloads Gatehouse many times under load: no request may fail, and memory must
stay flat.

    reloads.py [--reloads 1000] [--by signal|watch] [--json out.json]

Each reload writes a different configuration (other routes come and go, a route
that answers with the number of the configuration changes) and renames it over
the old one; it counts as done when the new number is answered.  Meanwhile one
load keeps its connections, and one makes a new connection for every request.
Ends with 1 when a request failed, a reload was not taken or memory grew.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import benchlib as B                                           # noqa: E402
import script                                                  # noqa: E402
from gateways.gatehouse import GATEWAY                         # noqa: E402

WARM = 50               # reloads before memory is looked at first


def config(port, backend, number):
    """Configuration `number`: no two in a row are alike."""
    routes = {
        "users": {"match": {"path": "/v1/users/**"},
                  "forward": {"upstream": "backend", "strip_prefix": "/v1"}},
        "number": {"match": {"path": "/number"},
                   "reply": {"body": str(number)}},
    }
    for i in range(50 + number % 50):
        routes["r%d_%d" % (i, number % 7)] = {
            "match": {"path": "/r%d/%d/**" % (i, number % 7)},
            "forward": {"upstream": "backend"}}
    return {
        "listeners": {"main": {"address": "%s:%d" % (B.HOST, port),
                               "max_connections_per_client": 20000}},
        "routes": routes,
        "upstreams": {"backend": {"endpoints": ["http://" + backend]}},
        "access_log": {"enabled": False},
        "admin": {"address": "127.0.0.1:0"},
        "process": {"workers": 1, "log": {"level": "warn"}},
    }


class Load:
    """wrk in the background until stopped, for `longest` seconds at most."""

    def __init__(self, url, conns, cpu, longest, close):
        argv = [B.which("BENCH_WRK", "wrk"), "-t1", "-c%d" % conns,
                "-d%ds" % longest, "--timeout", "10s",
                "-s", os.path.join(B.HERE, "lua", "static.lua")]
        if close:
            argv += ["-H", "Connection: close"]
        self.p = subprocess.Popen(
            argv + [url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))

    def stop(self):
        """What it counted."""
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGINT)
        out = self.p.communicate(timeout=30)[0].decode("utf-8", "replace")
        m = B.re.search(r"^BENCHJSON (\{.*\})$", out, B.re.M)
        if not m:
            raise B.BenchError("wrk: " + out[-500:])
        return json.loads(m.group(1))

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()


def number(port):
    """The number of the configuration in force; asked on a new connection."""
    c = http.client.HTTPConnection(B.HOST, port, timeout=10)
    try:
        c.request("GET", "/number")
        r = c.getresponse()
        body = r.read()
        if r.status != 200:
            raise B.BenchError("/number: %d %r" % (r.status, body))
        return int(body)
    finally:
        c.close()


def reload(a, gateway, path, port, n):
    """One reload; the seconds until it was in force."""
    new = path + ".new"
    with open(new, "w") as f:
        json.dump(config(port, "%s:%d" % (B.HOST, port + 80), n), f)
    os.replace(new, path)
    began = time.monotonic()
    if a.by == "signal":
        os.kill(gateway.pid, signal.SIGHUP)
    while number(port) != n:
        if time.monotonic() - began > 10:
            raise B.BenchError("reload %d was not taken:\n%s" % (
                n, gateway.errtail()))
        time.sleep(0.002)
    return time.monotonic() - began


def run(a, d):
    port = a.port_base
    backend = B.Backend(os.path.join(d, "b"), port + 80, a.load_cpu)
    path = os.path.join(d, "gatehouse.yaml")
    with open(path, "w") as f:
        json.dump(config(port, "%s:%d" % (B.HOST, backend.port), 0), f)
    B.wait_port_free(port)
    gateway = B.Proc([GATEWAY.binary(), "run", path], cpu=a.gateway_cpu, cwd=d,
                     stderr=os.path.join(d, "stderr"), name="gatehouse")
    gateway.wait_port(port)
    url = "http://%s:%d/v1/users/42" % (B.HOST, port)
    loads = [Load(url, c, a.load_cpu, a.max_minutes * 60, close)
             for c, close in ((32, False), (4, True))]
    times, rss = [], {}
    try:
        time.sleep(2)
        end = time.monotonic() + a.max_minutes * 60 - 30
        for n in range(1, a.reloads + 1):
            times.append(reload(a, gateway, path, port, n))
            if n in (min(WARM, a.reloads // 2), a.reloads // 2, a.reloads):
                rss[n] = gateway.memory()[0] / 2**20
            if time.monotonic() > end:
                raise B.BenchError("only %d reloads in %d minutes" % (
                    n, a.max_minutes))
        counted = [load.stop() for load in loads]
    finally:
        for load in loads:
            load.kill()
    failed = sum(v for c in counted for k, v in c.items()
                 if k.startswith("err_"))
    first, last = min(rss), max(rss)
    times.sort()
    return {
        "reloads": a.reloads, "by": a.by,
        "requests": sum(c["requests"] for c in counted), "failed": failed,
        "new_connections": counted[1]["requests"],
        "p99_ms": counted[0]["p99_us"] / 1e3,
        "max_ms": counted[0]["max_us"] / 1e3,
        "reload_ms": {"median": 1e3 * statistics.median(times),
                      "max": 1e3 * times[-1]},
        "rss_mib": rss, "grown_mib": rss[last] - rss[first],
        "alive": gateway.alive(),
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--reloads", type=int, default=1000)
    p.add_argument("--by", choices=("signal", "watch"), default="signal",
                   help="SIGHUP after each write, or leave it to the file watch")
    p.add_argument("--grow-mib", type=float, default=2,
                   help="how much memory may grow (default 2)")
    script.add_arguments(p, 27000)
    p.add_argument("--max-minutes", type=int, default=10)
    a = p.parse_args()
    r = script.result(p, a, run)
    good = not r["failed"] and r["alive"] and r["grown_mib"] <= a.grow_mib
    return script.verdict("reloads", good)


if __name__ == "__main__":
    script.main("reloads", main)
