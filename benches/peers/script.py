"""What the scripts beside the harness have in common: their arguments, a folder,
what they print, and how they end."""

import json
import os
import shutil
import sys
import tempfile

import benchlib as B
from gateways.gatehouse import GATEWAY


def add_arguments(p, port_base):
    p.add_argument("--gateway-cpu", type=int, default=0)
    p.add_argument("--load-cpu", type=int, default=1)
    p.add_argument("--port-base", type=int, default=port_base)
    p.add_argument("--json", help="write the result here")


def result(p, a, run):
    """What `run(a, folder)` gives, printed and written."""
    if not GATEWAY.available():
        p.error("build it first: cargo build --release (or set BENCH_GATEHOUSE)")
    B.install_exit_handlers()
    B.raise_nofile()
    d = tempfile.mkdtemp(prefix="gwscript-")
    os.makedirs(os.path.join(d, "b"))
    try:
        r = run(a, d)
    finally:
        B.stop_all()
        shutil.rmtree(d, ignore_errors=True)
    print(json.dumps(r, indent=1))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(r, f, indent=1)
    return r


def verdict(name, good):
    print("%s: %s" % (name, "good" if good else "NOT GOOD"))
    return 0 if good else 1


def main(name, run):
    try:
        sys.exit(run())
    except B.BenchError as e:
        B.log("%s: %s" % (name, e))
        sys.exit(1)
