#!/usr/bin/env python3
"""Replaces the running Gatehouse by a new process again and again under load: no
request may fail, no WebSocket may be dropped, and every old process must end.

    upgrades.py [--seconds 60] [--every 2] [--json out.json]

Each upgrade is `gatehouse upgrade`, as a user would do it.  Meanwhile one load
keeps its connections until it is told to leave, and one makes a new connection
for every request.  Ends with 1 when a request failed, an upgrade failed, or an
old process was still there after its deadline.
"""

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import benchlib as B                                           # noqa: E402
import script                                                  # noqa: E402
from gateways.gatehouse import GATEWAY                         # noqa: E402
from tunnels import WebSockets                                 # noqa: E402
from reloads import Load                                       # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
DRAIN = 10              # seconds an old process may take


def config(d, port, backend):
    return {
        "listeners": {"main": {"address": "%s:%d" % (B.HOST, port),
                               "max_connections_per_client": 20000}},
        "routes": {"users": {
            "match": {"path": "/v1/users/**"},
            "forward": {"upstream": "backend", "strip_prefix": "/v1"}},
            "ws": {"match": {"path": "/ws"}, "forward": {"upstream": "ws"}}},
        "upstreams": {"backend": {"endpoints": ["http://" + backend]},
                      "ws": {"endpoints": ["http://%s:%d" % (B.HOST, port + 81)]}},
        "access_log": {"enabled": False},
        "admin": {"address": "127.0.0.1:0"},
        "process": {"workers": 1, "pid_file": os.path.join(d, "pid"),
                    "drain": {"timeout": "%ds" % DRAIN},
                    "upgrade": {"socket": os.path.join(d, "up")},
                    "log": {"level": "warn"}},
    }


class Processes:
    """Every process that has served; only these are ever signalled."""

    def __init__(self, d):
        # What an old process leaves behind becomes ours to wait for.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise B.BenchError("prctl: %s" % os.strerror(ctypes.get_errno()))
        self.file = os.path.join(d, "pid")
        self.codes = {}

    def serving(self):
        with open(self.file) as f:
            pid = int(f.read())
        self.codes.setdefault(pid, None)
        return pid

    def reap(self):
        """Those still there."""
        for pid in [p for p, c in self.codes.items() if c is None]:
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue            # its parent is still there
            if done:
                self.codes[pid] = os.waitstatus_to_exitcode(status)
        return [p for p, c in self.codes.items() if c is None]

    def end(self):
        try:
            self.serving()
        except OSError:
            pass
        for pid in self.reap():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        end = time.monotonic() + DRAIN + 5
        while self.reap() and time.monotonic() < end:
            time.sleep(0.02)
        left = self.reap()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


def run(a, d):
    port = a.port_base
    backend = B.Backend(os.path.join(d, "b"), port + 80, a.load_cpu)
    path = os.path.join(d, "gatehouse.yaml")
    with open(path, "w") as f:
        json.dump(config(d, port, "%s:%d" % (B.HOST, backend.port)), f)
    B.wait_port_free(port)
    all_ = Processes(d)
    with open(os.path.join(d, "stderr"), "wb") as err:
        first = subprocess.Popen(
            [GATEWAY.binary(), "run", path], cwd=d, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err,
            preexec_fn=lambda: os.sched_setaffinity(0, {a.gateway_cpu}))
    # Popen would reap it behind our back.
    first.returncode = 0
    all_.codes[first.pid] = None
    loads, took, most = [], [], 0
    try:
        end = time.monotonic() + 30
        while not os.path.exists(all_.file) and time.monotonic() < end:
            time.sleep(0.02)
        url = "http://%s:%d/v1/users/42" % (B.HOST, port)
        loads = [Load(url, c, a.load_cpu, a.seconds + 120, close)
                 for c, close in ((32, False), (4, True))]
        sockets = WebSockets(B.HOST, port, port + 81, a.websockets)
        time.sleep(2)
        end = time.monotonic() + a.seconds
        while time.monotonic() < end:
            began = time.monotonic()
            p = subprocess.run(
                [GATEWAY.binary(), "upgrade", path], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            if p.returncode:
                raise B.BenchError("upgrade: %s" % p.stdout.decode())
            took.append(time.monotonic() - began)
            # "process 4242 serves now"
            all_.codes.setdefault(int(p.stdout.split()[1]), None)
            most = max(most, len(all_.reap()))
            time.sleep(max(0, began + a.every - time.monotonic()))
        told = sockets.stop()
        counted = [load.stop() for load in loads]
    finally:
        for load in loads:
            load.kill()
        left = all_.end()
        with open(os.path.join(d, "stderr"), "rb") as f:
            said = f.read().decode("utf-8", "replace")
    failed = {k: sum(c[k] for c in counted)
              for k in counted[0] if k.startswith("err_")}
    return {
        "upgrades": len(took), "requests": sum(c["requests"] for c in counted),
        "new_connections": counted[1]["requests"],
        "failed": sum(failed.values()), "websockets": told,
        "errors": {n: {k: v for k, v in c.items() if k in failed}
                   for n, c in zip(("kept", "new"), counted)},
        "upgrade_ms": {"median": 1e3 * sorted(took)[len(took) // 2],
                       "max": 1e3 * max(took)},
        "p99_ms": counted[0]["p99_us"] / 1e3,
        "max_ms": max(c["max_us"] for c in counted) / 1e3,
        "processes": len(all_.codes), "most_at_once": most,
        "exit_codes": sorted(set(all_.codes.values()), key=str),
        "killed": len(left), "said": said[-2000:],
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--every", type=float, default=2, help="seconds between upgrades")
    p.add_argument("--websockets", type=int, default=20, help="open at a time")
    script.add_arguments(p, 27200)
    a = p.parse_args()
    r = script.result(p, a, run)
    good = not r["failed"] and not r["websockets"]["dropped"] and not r["killed"] and r["exit_codes"] == [0]
    return script.verdict("upgrades", good)


if __name__ == "__main__":
    script.main("upgrades", main)
