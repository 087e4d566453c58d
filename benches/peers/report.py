"""Medians, ratios to the best peer, and the tables."""

import statistics

METRICS = ["rps", "mbps", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms",
           "cpu_us_per_req", "cpu_s_per_gb", "gw_core_pct", "rss_mib",
           "pss_mib", "other_pct", "steal_pct", "load_busy_pct",
           "load_steal_pct", "threads",
           "late_p99_ms", "kib_per_conn", "base_rss_mib", "idle_cpu_pct", "open_s"]


def summarise(rounds):
    m = {}
    for k in METRICS:
        v = [r[k] for r in rounds if k in r]
        if v:
            m[k] = statistics.median(v)
            m[k + "_min"], m[k + "_max"] = min(v), max(v)
    for k in ("non2xx", "errors", "bad"):
        v = [r[k] for r in rounds if k in r]
        if v:
            m[k] = sum(v)
    m["flagged"] = bool(m.get("non2xx") or m.get("errors") or any(
        r.get("flag") or r.get("log_short") for r in rounds))
    return m


def key_metric(unit):
    return {"req": "cpu_us_per_req", "GB": "cpu_s_per_gb",
            "conn": "kib_per_conn", "ms": "p99_ms"}[unit]


def rank(scn):
    """Adds the ratios to the best full peer, and to the best of any peer."""
    key = key_metric(scn["unit"])
    rows = scn["gateways"]
    full = {g: v["median"] for g, v in rows.items()
            if v["peer"] and not v["partial"] and v.get("median")
            and key in v["median"]}
    pool = full or {g: v["median"] for g, v in rows.items()
                    if v["peer"] and v.get("median") and key in v["median"]}
    if not pool:
        return
    best = min(pool, key=lambda g: pool[g][key])
    scn["best_peer"] = {"gateway": best, "metric": key,
                        "value": pool[best][key]}
    thr = "mbps" if scn["unit"] == "GB" else "rps"
    bt = max((pool[g].get(thr, 0) for g in pool), default=0)
    for v in rows.values():
        m = v.get("median")
        if m and key in m:
            m["ratio_cpu"] = m[key] / pool[best][key]
            if bt and thr in m:
                m["ratio_rps"] = m[thr] / bt


def num(x, d=1):
    return "-" if x is None else ("%.*f" % (d, x))


def table(rows, md):
    rows = [[str(c) for c in r] for r in rows]
    w = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    out = []
    for n, r in enumerate(rows):
        cells = [c.ljust(w[i]) if i == 0 else c.rjust(w[i])
                 for i, c in enumerate(r)]
        out.append(("| " + " | ".join(cells) + " |") if md
                   else "  ".join(cells))
        if md and n == 0:
            out.append("|" + "|".join("-" * (x + 1) + (":" if i else "-")
                                      for i, x in enumerate(w)) + "|")
    return "\n".join(out)


def report(res, md=False):
    out = []
    for name, scn in res["scenarios"].items():
        rank(scn)
        out.append("\n%s%s: %s" % ("### " if md else "== ", name, scn["what"]))
        if md:
            out.append("")
        key = key_metric(scn["unit"])
        if scn["unit"] == "conn":
            rows = [["gateway", "KiB/conn", "min-max", "x best", "RSS MiB",
                     "base MiB", "idle CPU %", "flag"]]
        elif scn["unit"] == "ms":
            rows = [["gateway", "req/s", "p50 ms", "p90 ms", "p99 ms",
                     "min-max", "x best", "p99.9 ms", "max ms", "non2xx",
                     "core %", "CPU us/req", "flag"]]
        else:
            gb = scn["unit"] == "GB"
            rows = [["gateway", "MB/s" if gb else "req/s", "p50 ms", "p99 ms",
                     "max ms", "non2xx", "CPU s/GB" if gb else "CPU us/req",
                     "min-max", "x best", "core %", "RSS MiB", "flag"]]
        order = sorted(scn["gateways"].items(), key=lambda kv: (
            kv[1].get("median") or {}).get(key, 1e18))
        notes = []
        for g, v in order:
            m = v.get("median")
            label = g + ("*" if v["partial"] else "") + (
                "" if v["peer"] else " (not a peer)")
            if v["partial"]:
                notes.append("* %s: %s" % (g, v["partial"]))
            bad = [c for c in v.get("verify", []) if not c[1]]
            for c in bad:
                notes.append("! %s failed check: %s (%s)" % (g, c[0], c[2]))
            if not m:
                notes.append("- %s: %s" % (g, v.get("skipped") or v.get(
                    "error") or v.get("cut") or "not measured"))
                continue
            flag = []
            if m["flagged"]:
                flag.append("ERRORS")
            if bad:
                flag.append("CHECK")
            if m.get("other_pct", 0) > 10 or m.get("steal_pct", 0) > 5:
                flag.append("noisy")
            if m.get("load_steal_pct", 0) > 10:
                flag.append("load-steal")
            d = {"conn": 1, "ms": 3}.get(scn["unit"], 2)
            span = "%s-%s" % (num(m[key + "_min"], d), num(m[key + "_max"], d))
            x = num(m.get("ratio_cpu"), 2)
            f = ",".join(flag) or "-"
            if scn["unit"] == "conn":
                rows.append([label, num(m[key], 2), span, x, num(m["rss_mib"]),
                             num(m["base_rss_mib"]), num(m["idle_cpu_pct"], 2),
                             f])
            elif scn["unit"] == "ms":
                rows.append([label, num(m["rps"], 0), num(m["p50_ms"], 3),
                             num(m["p90_ms"], 3), num(m["p99_ms"], 3), span, x,
                             num(m["p999_ms"], 3), num(m["max_ms"], 1),
                             str(m["non2xx"] + m["errors"]),
                             num(m["gw_core_pct"], 0),
                             num(m["cpu_us_per_req"], 2), f])
            else:
                rows.append([label, num(m["mbps" if scn["unit"] == "GB"
                                          else "rps"], 0),
                             num(m["p50_ms"], 2), num(m["p99_ms"], 2),
                             num(m["max_ms"], 1),
                             str(m["non2xx"] + m["errors"]),
                             num(m[key], 2 if scn["unit"] != "GB" else 3),
                             span, x, num(m["gw_core_pct"], 0),
                             num(m["rss_mib"]), f])
        out.append(table(rows, md))
        if md and notes:
            out.append("")
        out += notes
    return "\n".join(out)
