"""Constants, the error, finding binaries, and the state of the machine."""

import os
import re
import resource
import shutil
import subprocess
import sys

HOST = "127.0.0.1"
CLK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class BenchError(Exception):
    pass


def log(msg):
    sys.stderr.write(msg + "\n")
    sys.stderr.flush()


def which(env, *candidates):
    """A binary: the environment variable `env`, else the first that exists."""
    v = os.environ.get(env)
    if v:
        return v
    for c in candidates:
        p = c if os.sep in c and os.access(c, os.X_OK) else shutil.which(c)
        if p:
            return p
    return None


def peers_venv():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return os.environ.get("PEERS_VENV", os.path.join(cache, "gateway-peers"))


def venv_file(*globs):
    """First file below the peers' venv matching one of the patterns."""
    import glob
    for g in globs:
        hits = sorted(glob.glob(os.path.join(peers_venv(), g)))
        if hits:
            return hits[0]
    return os.path.join(peers_venv(), globs[0])


def raise_nofile(want=131072):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for target in (want, 65536, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (target, max(hard, target)))
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cpu_times(cpu):
    with open("/proc/stat") as f:
        for line in f:
            w = line.split()
            if w[0] == "cpu%d" % cpu:
                v = [int(x) for x in w[1:9]]
                user, nice, sys_, idle, iow, irq, sirq, steal = v
                return {"busy": (user + nice + sys_ + irq + sirq) / CLK,
                        "steal": steal / CLK,
                        "total": sum(v) / CLK}
    raise BenchError("no cpu%d" % cpu)


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "?"


def sh(argv, data=None):
    p = subprocess.run(argv, input=data, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    if p.returncode:
        raise BenchError("%s: %s" % (" ".join(argv),
                                     p.stderr.decode("utf-8", "replace")))
    return p.stdout
