#!/usr/bin/env python3
"""Runs the suites for HTTP/2 against the gateway, or its own test of mutated frames."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ADDRESS = "127.0.0.1:18480"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--gateway", default=os.path.join(ROOT, "target", "debug", "gatehouse"))
    args.add_argument("--mutations", type=int, help="connections of mutated frames")
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    if args.mutations:
        sys.exit(mutate(args.mutations, args.seed))
    with open(os.path.join(HERE, "expected.toml"), "rb") as file:
        expected = tomllib.load(file)
    with Gateway(args.gateway):
        good = httpwg(expected["httpwg"])
        if shutil.which("h2spec"):
            good &= h2spec(expected["h2spec"])
        else:
            print("h2spec: not on the path, skipped")
    sys.exit(0 if good else 1)


class Gateway:
    """The gateway, while the suites run."""

    def __init__(self, binary):
        self.command = [binary, "run", os.path.join(HERE, "gatehouse.yaml")]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        sys.exit("the gateway did not start")

    def __exit__(self, *_):
        if self.process.poll() is not None:
            sys.exit("the gateway ended by itself: %d" % self.process.returncode)
        self.process.terminate()
        self.process.wait()


def httpwg(expected):
    """RFC 9113 by httpwg-cli."""
    root = os.path.join(ROOT, "target", "conformance")
    subprocess.run(["cargo", "install", "--quiet", "--locked", "--root", root, "httpwg-cli",
                    "--version", expected["version"]], check=True)
    # One test at a time, and patience: a loaded machine is not a wrong answer.
    command = [os.path.join(root, "bin", "httpwg"), "-a", ADDRESS, "--frame-timeout", "2000"]

    def run(*more):
        run = subprocess.run(command + list(more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=dict(os.environ, SEQUENTIAL="1", NO_COLOR="1"), errors="replace")
        text = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
        return text, set(re.findall(r"Test passed: (.+)", text)), set(re.findall(r"Test failed: (.+)", text))

    # A test that panics leaves no line with its name: it is missing from those that passed.
    text, passed, failed = run()
    total = re.search(r"Passed (\d+)/(\d+)", text)
    if not total:
        print(text)
        return False
    # Some tests race with themselves: what fails where it should not has one more try, alone.
    for test in failed - {miss["test"] for miss in expected.get("miss", [])}:
        _, again, _ = run("-f", test.split(" :: ")[-1])
        if test in again:
            print("  second try: %s" % test)
            failed, passed = failed - {test}, passed | {test}
    unnamed = int(total[2]) - len(passed) - len(failed)
    return judge("httpwg", expected, len(passed), int(total[2]), failed, unnamed)


def h2spec(expected):
    """RFC 9113 and RFC 7541 by h2spec."""
    host, port = ADDRESS.split(":")
    report = os.path.join(ROOT, "target", "conformance", "h2spec.xml")
    os.makedirs(os.path.dirname(report), exist_ok=True)
    subprocess.run(["h2spec", "-h", host, "-p", port, "-j", report], stdout=subprocess.DEVNULL)
    import xml.etree.ElementTree as xml
    cases = list(xml.parse(report).iter("testcase"))
    name = lambda case: "%s :: %s" % (case.get("package"), case.get("classname"))
    failed = {name(case) for case in cases if case.find("failure") is not None}
    return judge("h2spec", expected, len(cases) - len(failed), len(cases), failed, 0)


def judge(suite, expected, passed, total, failed, unnamed):
    """Holds what failed against what may."""
    known = {miss["test"]: miss["reason"] for miss in expected.get("miss", [])}
    print("%s: %d of %d" % (suite, passed, total))
    for test in sorted(failed):
        print("  %s %s" % ("known:     " if test in known else "UNEXPECTED:", test))
        if test in known:
            print("               " + known[test])
    for test in sorted(set(known) - failed):
        print("  PASSES:      %s: take it off the list" % test)
    if unnamed:
        print("  UNEXPECTED: %d tests ended without a verdict" % unnamed)
    return failed == set(known) and not unnamed and passed >= expected["at_least"]


def mutate(count, seed):
    """Mutated frames, by the project's own test."""
    environment = dict(os.environ, GATEHOUSE_MUTATIONS=str(count), GATEHOUSE_SEED=str(seed))
    command = ["cargo", "test", "-p", "gatehouse", "--test", "e2e", "mutated_frames", "--", "--nocapture"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


main()
