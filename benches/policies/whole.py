#!/usr/bin/env python3
"""What each policy adds to the CPU time of a request, measured on the whole process: the gateway in front of a backend, with
the policy and without, in turns. The cases are those of the criterion bench (cases.json).

    whole.py --gatehouse target/release/gatehouse [--seconds 3] [--rounds 3] [CASE ...]

Needs nginx (the backend) and wrk; the gateway runs on core 1, everything else on core 0.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "benches", "peers"))
import benchlib as B  # noqa: E402

PATH = "/plain/users/8f14e45f?q=shoes&debug=1&page=2"
CONNECTIONS = 64


class Side:
    """A gateway with a case's policies, or without them."""

    def __init__(self, args, folder, port, case, consumers, policies):
        self.args, self.case, self.folder = args, case, folder
        self.url = f"http://127.0.0.1:{port}{PATH}"
        document = {
            "consumers": consumers,
            "listeners": {"main": {"address": f"127.0.0.1:{port}", "max_connections_per_client": 20000}},
            "routes": {
                "all": {
                    "match": {"path": "/plain/**"},
                    "policies": case.get("beside", []) + policies,
                    "forward": {"upstream": "backend", "strip_prefix": "/plain"},
                }
            },
            "upstreams": {"backend": {"endpoints": [f"http://127.0.0.1:{args.backend_port}"]}},
            "access_log": {"enabled": False},
            "admin": {"address": "127.0.0.1:0"},
            "process": {"workers": 1},
        }
        path = os.path.join(folder, f"{port}.yaml")
        with open(path, "w") as file:
            json.dump(document, file)
        # Files that cases name are there.
        files = os.path.join(ROOT, "crates", "policies", "tests", "files")
        os.makedirs(os.path.join(folder, "geo"), exist_ok=True)
        link = os.path.join(folder, "geo", "countries.mmdb")
        if not os.path.exists(link):
            os.symlink(os.path.join(files, "geo", "countries.mmdb"), link)
        self.process = B.Proc(
            [os.path.abspath(args.gatehouse), "run", path],
            cpu=1,
            cwd=folder,
            stderr=os.path.join(folder, f"{port}.err"),
            name=case["name"],
        )
        self.process.wait_port(port)

    def measure(self):
        """Microseconds of CPU time a request."""
        script = os.path.join(self.folder, "request.lua")
        with open(os.path.join(ROOT, "benches", "peers", "lua", "static.lua")) as file:
            text = file.read()
        with open(script, "w") as file:
            file.write(f'wrk.method = "{self.case.get("method", "GET")}"\n{text}')
        before = sum(self.process.cpu())
        result = B.wrk(self.url, self.args.seconds, CONNECTIONS, 0, script=script, headers=self.case.get("headers"))
        if result["non2xx"] or result["errors"]:
            raise B.BenchError(f"{self.case['name']}: {result}\n{self.process.errtail()}")
        return (sum(self.process.cpu()) - before) * 1e6 / result["requests"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gatehouse", default=os.path.join(ROOT, "target", "release", "gatehouse"))
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend-port", type=int, default=21080)
    parser.add_argument("cases", nargs="*")
    args = parser.parse_args()
    with open(os.path.join(HERE, "cases.json")) as file:
        known = json.load(file)
    B.install_exit_handlers()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        os.chmod(folder, 0o755)
        os.makedirs(os.path.join(folder, "backend"))
        B.Backend(os.path.join(folder, "backend"), args.backend_port, 0)
        print("| policy | without us | with us | added us |\n|---|---|---|---|", flush=True)
        for at, case in enumerate(known["cases"]):
            if args.cases and case["name"] not in args.cases:
                continue
            port = args.backend_port + 10 + 2 * at
            sides = [
                Side(args, folder, port, case, known["consumers"], []),
                Side(args, folder, port + 1, case, known["consumers"], case["policies"]),
            ]
            # The first round warms up. The sides take turns, so that what the machine does besides hits both.
            rounds = [[side.measure() for side in sides] for _ in range(args.rounds + 1)][1:]
            without, with_it = (statistics.median(round[side] for round in rounds) for side in (0, 1))
            added = statistics.median(round[1] - round[0] for round in rounds)
            print(f"| {case['name']} | {without:.1f} | {with_it:.1f} | {added:+.2f} |", flush=True)
            for side in sides:
                side.process.stop()
    B.stop_all()


if __name__ == "__main__":
    main()
