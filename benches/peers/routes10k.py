#!/usr/bin/env python3
"""What many routes cost: time to load, memory, time to reload, and whether they
work.

    routes10k.py [--routes 10000] [--rounds 5] [--json out.json]

Starts Gatehouse with a configuration of one route and with one of many, in
turn, and takes the difference: from the start of the process to its `ready`
line, and resident memory then.  Ends with 1 when a bar is missed: 300 ms and
40 MiB above the empty gateway for 10,000 routes (in proportion for others); the
memory also after five reloads.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import benchlib as B                                           # noqa: E402
from gateways.gatehouse import GATEWAY                         # noqa: E402

BAR_MS, BAR_MIB, BAR_ROUTES = 300, 40, 10000
TEAMS = 100             # hosts; the routes are spread over them
UPSTREAMS = 100
RELOADS = 5


def document(port, routes, number):
    """YAML as people write it: hosts, paths of several kinds, some headers."""
    out = ["# gatehouse.yaml",
           "listeners: { main: { address: \"%s:%d\" } }" % (B.HOST, port),
           "access_log: { enabled: false }",
           "admin: { address: \"127.0.0.1:0\" }",
           "process: { workers: 1, log: { level: warn } }",
           "routes:",
           "  number:",
           "    match: { path: /number }",
           "    reply: { body: \"%d\" }" % number]
    for i in range(routes):
        host, upstream = i % TEAMS, i % UPSTREAMS
        path = ("/api/s%d/**" % i, "\"/items/{id}/s%d\"" % i,
                "/exact/s%d" % i, "/v2/s%d/**" % i)[i // TEAMS % 4]
        more = (", methods: [GET, POST]", "", ", headers: { x-team: t%d }" % i,
                "")[i // (4 * TEAMS) % 4]
        out += ["  s%d:" % i,
                "    match: { hosts: [team%d.example.test], path: %s%s }" % (
                    host, path, more)]
        if i // TEAMS % 4 == 0:
            out.append("    forward: { upstream: up%d, strip_prefix: /api }"
                       % upstream)
        else:
            out.append("    forward: { upstream: up%d }" % upstream)
    if routes:
        out.append("upstreams:")
        out += ["  up%d: { endpoints: [\"http://127.0.0.1:%d\"] }" % (
            i, 20000 + i) for i in range(UPSTREAMS)]
    return "\n".join(out) + "\n"


def answer(port, path, host=None):
    c = http.client.HTTPConnection(B.HOST, port, timeout=30)
    try:
        c.request("GET", path, headers={"Host": host} if host else {})
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


def start(a, path, d):
    """The gateway, and the seconds until it said `ready`."""
    began = time.monotonic()
    # Its standard output is read here, so it is not a B.Proc.
    err = open(os.path.join(d, "stderr"), "ab")
    p = subprocess.Popen(
        [GATEWAY.binary(), "run", path], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=err, cwd=d,
        preexec_fn=lambda: os.sched_setaffinity(0, {a.gateway_cpu}))
    err.close()
    for line in p.stdout:
        if line.strip() == b"ready":
            return p, time.monotonic() - began
    p.wait()
    with open(os.path.join(d, "stderr")) as f:
        raise B.BenchError("it ended: " + f.read()[-2000:])


def rss(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * B.PAGE


def stop(p):
    p.terminate()
    try:
        p.wait(10)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    p.stdout.close()


def round_(a, d, routes):
    path = os.path.join(d, "gatehouse.yaml")

    def write(n):
        with open(path + ".new", "w") as f:
            f.write(document(a.port_base, routes, n))
        os.replace(path + ".new", path)
    write(0)
    B.wait_port_free(a.port_base)
    p, seconds = start(a, path, d)
    try:
        r = {"ready_ms": 1e3 * seconds, "rss_mib": rss(p.pid) / 2**20,
             "file_kib": os.path.getsize(path) / 1024}
        if routes:
            # The upstreams do not exist: found is 502, not found is 404.
            last = (routes - 1) // (4 * TEAMS) * 4 * TEAMS
            found = answer(a.port_base, "/api/s%d/x" % last,
                           "team%d.example.test" % (last % TEAMS))[0]
            other = answer(a.port_base, "/api/s%d/x" % last, "other.test")[0]
            if found == 404 or other != 404:
                raise B.BenchError("routes do not work: %d, %d" % (
                    found, other))
        took = []
        for n in range(1, RELOADS + 1):
            write(n)
            began = time.monotonic()
            os.kill(p.pid, signal.SIGHUP)
            while answer(a.port_base, "/number") != (200, str(n)):
                if time.monotonic() - began > 30:
                    raise B.BenchError("the reload was not taken")
                time.sleep(0.002)
            took.append(1e3 * (time.monotonic() - began))
        r["reload_ms"] = statistics.median(took)
        r["rss_after_reloads_mib"] = rss(p.pid) / 2**20
        return r
    finally:
        stop(p)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                 RawDescriptionHelpFormatter)
    ap.add_argument("--routes", type=int, default=BAR_ROUTES)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--gateway-cpu", type=int, default=0)
    ap.add_argument("--port-base", type=int, default=27000)
    ap.add_argument("--json", help="write the result here")
    a = ap.parse_args()
    if a.routes < 4 * TEAMS:
        ap.error("at least %d routes" % (4 * TEAMS))
    if not GATEWAY.available():
        ap.error("build it first: cargo build --release (or set "
                 "BENCH_GATEHOUSE)")
    d = tempfile.mkdtemp(prefix="gwroutes-")
    try:
        rounds = [(round_(a, d, 0), round_(a, d, a.routes))
                  for _ in range(a.rounds)]
    finally:
        shutil.rmtree(d, ignore_errors=True)

    def median(which, key):
        return statistics.median(r[which][key] for r in rounds)
    r = {"routes": a.routes, "rounds": a.rounds,
         "file_kib": median(1, "file_kib")}
    for name, which in (("empty", 0), ("full", 1)):
        r[name] = {k: median(which, k) for k in (
            "ready_ms", "rss_mib", "reload_ms", "rss_after_reloads_mib")}
    r["load_ms"] = r["full"]["ready_ms"] - r["empty"]["ready_ms"]
    r["memory_mib"] = r["full"]["rss_mib"] - r["empty"]["rss_mib"]
    r["memory_after_reloads_mib"] = (r["full"]["rss_after_reloads_mib"]
                                     - r["empty"]["rss_after_reloads_mib"])
    share = a.routes / BAR_ROUTES
    most = max(r["memory_mib"], r["memory_after_reloads_mib"])
    good = r["load_ms"] < BAR_MS * share and most < BAR_MIB * share
    print(json.dumps(r, indent=1))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(r, f, indent=1)
    print("routes: %d load in %.0f ms and take %.1f MiB above the empty gateway,"
          " %.1f MiB after %d reloads: %s" % (
              a.routes, r["load_ms"], r["memory_mib"],
              r["memory_after_reloads_mib"], RELOADS,
              "good" if good else "NOT GOOD"))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except B.BenchError as e:
        B.log("routes10k: %s" % e)
        sys.exit(1)
