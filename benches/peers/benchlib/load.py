"""The load generators: wrk, h2load, and our own at a fixed rate."""

import json
import os
import re

from .base import HERE, HOST, BenchError, sh, which
from .process import run_tool


def wrk(url, seconds, conns, cpu, script="static.lua", args=(), headers=None,
        env=None, threads=1):
    binary = which("BENCH_WRK", "wrk")
    argv = [binary, "-t%d" % threads, "-c%d" % conns, "-d%ds" % seconds,
            "--timeout", "10s", "-s", os.path.join(HERE, "lua", script)]
    for k, v in (headers or {}).items():
        argv += ["-H", "%s: %s" % (k, v)]
    argv.append(url)
    if args:
        argv += ["--"] + list(args)
    rc, out = run_tool(argv, cpu, seconds + 30, env)
    m = re.search(r"^BENCHJSON (\{.*\})$", out, re.M)
    if rc or not m:
        raise BenchError("wrk failed (%s): %s" % (rc, out[-800:]))
    r = json.loads(m.group(1))
    dur = r["duration_us"] / 1e6
    return {
        "requests": r["requests"], "duration": dur, "bytes": r["bytes"],
        "rps": r["requests"] / dur, "mbps": r["bytes"] / dur / 1e6,
        "p50_ms": r["p50_us"] / 1e3, "p90_ms": r["p90_us"] / 1e3,
        "p99_ms": r["p99_us"] / 1e3, "p999_ms": r["p999_us"] / 1e3,
        "max_ms": r["max_us"] / 1e3,
        "non2xx": r["err_status"],
        "errors": (r["err_connect"] + r["err_read"] + r["err_write"]
                   + r["err_timeout"]),
        "error_detail": {k: v for k, v in r.items()
                         if k.startswith("err_") and v},
    }


def h2load(url, seconds, conns, streams, cpu, logfile, env=None, headers=None):
    binary = which("BENCH_H2LOAD", "h2load")
    if os.path.exists(logfile):
        os.unlink(logfile)
    argv = [binary, "-t1", "-c%d" % conns, "-m%d" % streams,
            "-D%d" % seconds, "--warm-up-time=0", "--log-file=" + logfile]
    if url.startswith("https:"):
        argv += ["--npn-list=h2", "--tls13-ciphers=TLS_AES_128_GCM_SHA256",
                 "--groups=X25519"]
    for k, v in (headers or {}).items():
        argv += ["-H", "%s: %s" % (k, v)]
    argv.append(url)
    rc, out = run_tool(argv, cpu, seconds + 30, env)
    m = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, "
                  r"(\d+) succeeded, (\d+) failed, (\d+) errored, "
                  r"(\d+) timeout", out)
    s = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx",
                  out)
    fin = re.search(r"finished in ([\d.]+)(us|ms|s|m), ", out)
    t = re.search(r"traffic: .*?\((\d+)\) total", out)
    if rc or not (m and s and fin):
        raise BenchError("h2load failed (%s): %s" % (rc, out[-800:]))
    dur = float(fin.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1,
                                 "m": 60}[fin.group(2)]
    done = int(m.group(3))
    times = []
    with open(logfile) as f:
        for line in f:
            w = line.split("\t")
            if len(w) >= 3:
                times.append(int(w[2]))
    os.unlink(logfile)
    times.sort()

    def pct(q):
        return times[min(len(times) - 1, int(len(times) * q))] / 1e3 \
            if times else 0.0
    nbytes = int(t.group(1)) if t else 0
    return {
        "requests": done, "duration": dur, "bytes": nbytes,
        "rps": done / dur, "mbps": nbytes / dur / 1e6,
        "p50_ms": pct(.5), "p90_ms": pct(.9), "p99_ms": pct(.99),
        "p999_ms": pct(.999), "max_ms": times[-1] / 1e3 if times else 0.0,
        "non2xx": sum(int(s.group(i)) for i in (2, 3, 4)),
        # In timed mode h2load counts what is in flight at the end as neither.
        "errors": int(m.group(6)) + int(m.group(7)),
        "error_detail": {},
    }


def rate_binary(folder):
    """The generator of the p99 scenario, compiled once a run."""
    out = os.path.join(folder, "rate")
    if not os.path.exists(out):
        cc = which("CC", "cc", "gcc", "clang")
        if not cc:
            raise BenchError("no C compiler for rate.c (or set CC)")
        sh([cc, "-O2", "-o", out, os.path.join(HERE, "rate.c")])
    return out


def fixed_rate(port, path, rate, seconds, conns, cpu, folder):
    """Open loop: `rate` requests a second are due whatever the answers do, and
    a latency begins when its request was due, not when it could be sent."""
    rc, out = run_tool([rate_binary(folder), HOST, str(port), path, str(rate),
                        str(seconds), str(conns)], cpu, seconds + 30)
    m = re.search(r"^BENCHJSON (\{.*\})$", out, re.M)
    if rc or not m:
        raise BenchError("rate failed (%s): %s" % (rc, out[-800:]))
    r = json.loads(m.group(1))
    r["rps"] = r["requests"] / r["duration"]
    r["mbps"] = r["bytes"] / r["duration"] / 1e6
    # A rate that was not kept says nothing about latency.
    r["flag"] = r["rps"] < 0.98 * rate
    r["error_detail"] = {k: r[k] for k in ("non2xx", "errors", "unanswered")
                         if r[k]}
    r["errors"] += r["unanswered"]
    return r
