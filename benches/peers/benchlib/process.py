"""The servers and tools that the harness starts: their CPU time, their memory,
their end."""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import time

from .base import CLK, HOST, PAGE, BenchError, log


_libc = ctypes.CDLL(None, use_errno=True)
_procs = []


def _preexec(cpu):
    def f():
        _libc.prctl(1, signal.SIGTERM, 0, 0, 0)       # PR_SET_PDEATHSIG
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})             # what taskset does
    return f


def _stat(pid):
    with open("/proc/%d/stat" % pid, "rb") as f:
        s = f.read().decode("ascii", "replace")
    return s[s.rindex(")") + 2:].split()


def tree(pid):
    """pid and all its descendants that are alive."""
    kids = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                st = _stat(int(d))
            except (OSError, ValueError):
                continue
            kids.setdefault(int(st[1]), []).append((int(d), st[0]))
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        if os.path.exists("/proc/%d" % p):
            out.append(p)
        todo += [k for k, state in kids.get(p, ()) if state not in "ZX"]
    return out


class Proc:
    """A server this harness started; it alone is ever signalled."""

    def __init__(self, argv, cpu=None, env=None, cwd=None, stdout=None,
                 stderr=None, name="?"):
        e = dict(os.environ)
        e.update(env or {})
        self.name = name
        self.errfile = stderr
        so = open(stdout, "ab") if stdout else subprocess.DEVNULL
        se = open(stderr, "ab") if stderr else subprocess.DEVNULL
        try:
            self.p = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=so, stderr=se, env=e,
                cwd=cwd, start_new_session=True, preexec_fn=_preexec(cpu))
        except OSError as x:
            raise BenchError("%s: cannot start %r: %s" % (name, argv[0], x))
        finally:
            for h in (so, se):
                if hasattr(h, "close"):
                    h.close()
        self.pid = self.p.pid
        _procs.append(self)

    def alive(self):
        return self.p.poll() is None

    def errtail(self, n=2000):
        try:
            with open(self.errfile, "rb") as f:
                return f.read()[-n:].decode("utf-8", "replace")
        except (OSError, TypeError):
            return ""

    def wait_port(self, port, timeout=30):
        end = time.time() + timeout
        while time.time() < end:
            if not self.alive():
                raise BenchError("%s ended with %s:\n%s" % (
                    self.name, self.p.returncode, self.errtail()))
            try:
                socket.create_connection((HOST, port), 0.5).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchError("%s did not listen on %d:\n%s" % (
            self.name, port, self.errtail()))

    def cpu(self):
        """utime+stime of the whole tree in seconds: (user, system)."""
        u = s = 0
        for pid in tree(self.pid):
            try:
                st = _stat(pid)
            except (OSError, ValueError):
                continue
            u += int(st[11]) + int(st[13])     # with reaped children's
            s += int(st[12]) + int(st[14])
        return u / CLK, s / CLK

    def memory(self):
        """(rss, pss) in bytes, summed over the tree."""
        rss = pss = 0
        for pid in tree(self.pid):
            try:
                rss += int(_stat(pid)[21]) * PAGE
                with open("/proc/%d/smaps_rollup" % pid) as f:
                    for line in f:
                        if line.startswith("Pss:"):
                            pss += int(line.split()[1]) * 1024
                            break
            except (OSError, ValueError):
                continue
        return rss, pss

    def threads(self):
        n = 0
        for pid in tree(self.pid):
            try:
                n += len(os.listdir("/proc/%d/task" % pid))
            except OSError:
                pass
        return n

    def stop(self, grace=4.0):
        if self in _procs:
            _procs.remove(self)
        pids = tree(self.pid) if self.alive() else []
        if self.alive():
            try:
                self.p.terminate()
            except OSError:
                pass
            try:
                self.p.wait(grace)
            except subprocess.TimeoutExpired:
                pass
        # What is left of this very tree (each pid was seen below ours).
        for pid in pids:
            if pid == self.pid and not self.alive():
                continue
            try:
                if pid == self.pid or os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            self.p.wait(5)
        except subprocess.TimeoutExpired:
            log("! %s (pid %d) would not end" % (self.name, self.pid))


def stop_all():
    for p in list(_procs):
        try:
            p.stop(2.0)
        except Exception as x:                    # keep stopping the others
            log("! stopping %s: %s" % (p.name, x))


def install_exit_handlers():
    atexit.register(stop_all)

    def on_signal(num, frame):
        raise KeyboardInterrupt("signal %d" % num)
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, on_signal)


def port_free(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((HOST, port))
        return True
    except OSError:
        return False
    finally:
        s.close()


def wait_port_free(port, timeout=10):
    end = time.time() + timeout
    while not port_free(port):
        if time.time() > end:
            raise BenchError("port %d is in use" % port)
        time.sleep(0.05)


def run_tool(argv, cpu, timeout, env=None):
    """A short-lived tool, pinned; its output.  Always ends within timeout."""
    e = dict(os.environ)
    e.update(env or {})
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=e,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         start_new_session=True, preexec_fn=_preexec(cpu))
    try:
        out, _ = p.communicate(timeout=timeout)
    except BaseException:
        p.kill()
        p.wait()
        raise
    return p.returncode, out.decode("utf-8", "replace")
