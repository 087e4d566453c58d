#!/usr/bin/env python3
"""Measures HTTP gateways side by side, one at a time, one core each.

    bench.py --gateways gatehouse,nginx --scenarios plain,p99 \\
             --rounds 3 --seconds 6 --json out.json

The gateway runs on one CPU, the backend and the load on another.  The main
number is the gateway's CPU time a request: utime+stime of all its processes
over the measured window, divided by the requests completed in it.  See
README.md.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import benchlib as B                                           # noqa: E402
import gateways as G                                           # noqa: E402
from harness import Run                                        # noqa: E402
from report import key_metric, rank, report, summarise         # noqa: E402
from scenarios import SCENARIOS                                # noqa: E402


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--gateways", default="", help="comma list; default: all")
    p.add_argument("--scenarios", default="",
                   help="comma list, or 'all'; default: the usual ones")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=6)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--rate", type=float, default=0, metavar="R",
                   help="p99: requests/s; default: a share of the capacity of "
                   "one core of --rate-of")
    p.add_argument("--rate-of", default="nginx", metavar="GATEWAY",
                   help="whose capacity sets the rate (default nginx)")
    p.add_argument("--rate-share", type=float, default=0.6,
                   help="the share (default 0.6)")
    p.add_argument("--connections", type=int, default=0,
                   help="instead of each scenario's own number")
    p.add_argument("--json", help="write results here")
    p.add_argument("--gateway-cpu", type=int, default=0)
    p.add_argument("--load-cpu", type=int, default=1)
    p.add_argument("--port-base", type=int, default=27000)
    p.add_argument("--quiet-wait", type=float, default=30, metavar="S",
                   help="wait up to S seconds for idle CPUs before each "
                   "window; 0 = do not look (default 30)")
    p.add_argument("--quiet-pct", type=float, default=12,
                   help="idle means less than this busy (twice on load CPU)")
    p.add_argument("--quiet-budget", type=float, default=20, metavar="MIN",
                   help="minutes to spend waiting in the whole run")
    p.add_argument("--retries", type=int, default=1,
                   help="times to take a noisy window again")
    p.add_argument("--noisy-pct", type=float, default=10,
                   help="noisy: others used more of the gateway's CPU")
    p.add_argument("--max-minutes", type=float, default=150,
                   help="start no further measurement after this long")
    p.add_argument("--run-dir", help="where the run's own folder is made")
    p.add_argument("--keep", action="store_true", help="keep that folder")
    p.add_argument("--no-verify", action="store_true")
    p.add_argument("--verify-only", action="store_true")
    p.add_argument("--markdown", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--versions", action="store_true")
    p.add_argument("--report", metavar="JSON", help="print a saved result")
    a = p.parse_args()

    if a.report:
        with open(a.report) as f:
            print(report(json.load(f), a.markdown))
        return 0
    if a.list:
        for s in SCENARIOS.values():
            print("%-14s %s%s" % (s.name, s.what,
                                  "" if s.default else "  (not by default)"))
        print("gateways: " + ", ".join(G.names()))
        return 0
    names = [x for x in a.gateways.split(",") if x] or G.names()
    unknown = [x for x in names if x not in G.names()]
    if unknown:
        p.error("no such gateway: %s (there are %s)" % (
            ", ".join(unknown), ", ".join(G.names())))
    gws = [G.load(n) for n in names]
    for g in [g for g in gws if not g.available()]:
        B.log("! %s is not installed: left out" % g.name)
        gws.remove(g)
    versions = {g.name: g.version() for g in gws}
    if a.versions:
        for k, v in versions.items():
            print("%-14s %s" % (k, v))
        return 0
    if a.scenarios == "all":
        scs = list(SCENARIOS.values())
    elif a.scenarios:
        bad = [x for x in a.scenarios.split(",") if x not in SCENARIOS]
        if bad:
            p.error("no such scenario: " + ", ".join(bad))
        scs = [SCENARIOS[x] for x in a.scenarios.split(",")]
    else:
        scs = [s for s in SCENARIOS.values() if s.default]
    for tool in ("wrk", "h2load", "openssl"):
        if not B.which("BENCH_" + tool.upper(), tool):
            p.error("%s is missing (run setup_peers.sh)" % tool)

    B.install_exit_handlers()
    nofile = B.raise_nofile()
    os.sched_setaffinity(0, {a.load_cpu})
    began = time.time()
    res = {"meta": {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"),
        "kernel": platform.release(), "cpu": B.cpu_model(),
        "cpus": os.cpu_count(), "nofile": nofile, "versions": versions,
        "rounds": a.rounds, "seconds": a.seconds, "warmup": a.warmup,
        "rate": None,
        "notes": {g.name: g.notes for g in gws if g.notes}},
        "scenarios": {}}

    def save():
        if a.json:
            tmp = a.json + ".tmp"
            with open(tmp, "w") as f:
                json.dump(res, f, indent=1)
            os.replace(tmp, a.json)

    run = None
    failed = False
    try:
        run = Run(a)
        for sc in scs:
            rows = {}
            res["scenarios"][sc.name] = {"what": sc.what, "unit": sc.unit,
                                         "tool": sc.tool, "gateways": rows}
            todo = []
            for g in gws:
                if g.only is not None and sc.name not in g.only:
                    continue
                rows[g.name] = v = {"peer": g.peer, "rounds": [],
                                    "partial": g.partial.get(sc.name)}
                if sc.name in g.unsupported:
                    v["skipped"] = "cannot: " + g.unsupported[sc.name]
                    continue
                if not a.no_verify:
                    try:
                        v["verify"] = run.verify(g, sc)
                    except (B.BenchError, OSError, ValueError, KeyError) as x:
                        v["verify"] = [("verification ran", False, str(x))]
                    for c in v["verify"]:
                        if not c[1]:
                            failed = True
                        if a.verify_only or not c[1]:
                            B.log("%s %s/%s: %s%s" % (
                                "ok  " if c[1] else "FAIL", sc.name, g.name,
                                c[0], "" if c[1] and not c[0].startswith(
                                    ("JSON", "(info)", "TLS"))
                                else " [%s]" % c[2]))
                todo.append(g)
            for rnd in range(0 if a.verify_only else a.rounds):
                for g in todo:
                    v = rows[g.name]
                    if time.time() - began > a.max_minutes * 60:
                        v["cut"] = "time limit reached"
                        continue
                    try:
                        r = run.measure(g, sc)
                        res["meta"]["rate"] = run.rate
                    except B.BenchError as x:
                        v["error"] = str(x)
                        failed = True
                        B.log("! %s/%s: %s" % (sc.name, g.name, x))
                        continue
                    v["rounds"].append(r)
                    key = key_metric(sc.unit)
                    B.log("%-13s round %d %-13s %10s  %s %.3f  core %.0f%% "
                          "other %.0f%% steal %.1f%%%s" % (
                              sc.name, rnd + 1, g.name,
                              "%.0f %s" % (r["mbps"], "MB/s")
                              if sc.unit == "GB" else
                              "%.0f req/s" % r["rps"] if "rps" in r else
                              "%d conns" % r["connections"],
                              key, r[key], r.get("gw_core_pct", 0),
                              r.get("other_pct", 0), r.get("steal_pct", 0),
                              "  ERRORS %s" % (r.get("error_detail"),)
                              if r.get("errors") or r.get("non2xx")
                              or r.get("flag") or r.get("log_short")
                              else ""))
            for v in rows.values():
                if v["rounds"]:
                    v["median"] = summarise(v["rounds"])
            rank(res["scenarios"][sc.name])
            save()
    except KeyboardInterrupt as x:
        B.log("stopped (%s)" % x)
        failed = True
        for scn in res["scenarios"].values():
            for v in scn["gateways"].values():
                if v["rounds"] and "median" not in v:
                    v["median"] = summarise(v["rounds"])
        save()
    finally:
        if run:
            run.cleanup()
        B.stop_all()
    if not a.verify_only:
        print(report(res, a.markdown))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except B.BenchError as e:
        B.log("bench: %s" % e)
        sys.exit(1)
