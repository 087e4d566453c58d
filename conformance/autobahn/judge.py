"""Holds a report of the Autobahn test suite against expected.toml: exit code 0 if they agree."""

import json
import sys
import tomllib


def main(report, expected):
    with open(report) as file:
        (cases,) = json.load(file).values()
    with open(expected, "rb") as file:
        expected = tomllib.load(file)
    lines = []
    if len(cases) != expected["cases"]:
        lines.append(f"{len(cases)} cases ran, expected {expected['cases']}")
    for name in sorted(set(expected["not_ok"]) - set(cases)):
        lines.append(f"{name}: expected, but it did not run")
    counts = {}
    for name, case in cases.items():
        for seen in {case["behavior"], case["behaviorClose"]}:
            may_be = expected["not_ok"].get(name, {}).get("is", ["OK"])
            if seen not in may_be:
                lines.append(f"{name}: {seen}, expected {' or '.join(may_be)}")
        counts[case["behavior"]] = counts.get(case["behavior"], 0) + 1
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    print("\n".join(sorted(lines)))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
