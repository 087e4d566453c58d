#!/usr/bin/env python3
"""What each policy adds to an exchange, in instructions: the same on every run, whatever else the machine does.

Runs the bench of the policies (see RESULTS.md) under valgrind, which counts what exchanges without and with each policy
take. System calls, such as looking at the clock, are not counted.
"""

import argparse
import glob
import os
import re
import subprocess
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True, help="the program that `cargo bench --no-run` names")
    parser.add_argument("case", nargs="*", help="names of cases, all without any")
    parser.add_argument("--times", type=int, default=2000, help="exchanges of each case")
    parser.add_argument("--keep", help="a folder for the profiles, two for each case: without and with the policy")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or scratch
        os.makedirs(folder, exist_ok=True)
        for old in glob.glob(f"{folder}/profile*"):
            os.remove(old)
        names, totals = count(os.path.abspath(args.bench), args.case, args.times, folder)
    print("| policy | instructions |")
    print("|---|---|")
    for name, without, with_it in zip(names, totals[::2], totals[1::2], strict=True):
        print(f"| {name} | {round((with_it - without) / args.times)} |")


def count(bench, cases, times, folder):
    """The cases, and the instructions of each of their runs in order."""
    told = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*exchanges_counted*",
            "--dump-after=policies::exchanges_counted*",
            f"--callgrind-out-file={folder}/profile",
            bench,
            *cases,
        ],
        env={**os.environ, "COUNT_EXCHANGES": str(times)},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=1800,
    )
    names = told.stdout.splitlines()
    totals = []
    for nth in range(1, 2 * len(names) + 1):
        with open(f"{folder}/profile.{nth}") as profile:
            totals.append(int(re.search(r"^totals: (\d+)", profile.read(), re.MULTILINE).group(1)))
    return names, totals


if __name__ == "__main__":
    main()
