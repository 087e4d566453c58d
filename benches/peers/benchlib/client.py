"""HTTP/1.1 as a client speaks it: single requests, and many idle connections."""

import http.client
import json
import re
import selectors
import socket
import ssl
import time

from .base import HOST


def tls_context(alpn=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


class Reply:
    def __init__(self, r):
        self.status = r.status
        self.headers = {k.lower(): v for k, v in r.getheaders()}
        self.body = r.read()

    def json(self):
        return json.loads(self.body)


class Client:
    """One HTTP/1.1 keepalive connection."""

    def __init__(self, port, tls=False, timeout=15):
        if tls:
            self.c = http.client.HTTPSConnection(
                HOST, port, timeout=timeout, context=tls_context())
        else:
            self.c = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def get(self, path, headers=None):
        h = dict(headers or {})
        host = h.pop("Host", None)
        self.c.putrequest("GET", path, skip_host=bool(host),
                          skip_accept_encoding=True)
        if host:
            self.c.putheader("Host", host)
        for k, v in h.items():
            self.c.putheader(k, v)
        self.c.endheaders()
        return Reply(self.c.getresponse())

    def close(self):
        self.c.close()


def get(port, path, headers=None, tls=False):
    c = Client(port, tls)
    try:
        return c.get(path, headers)
    finally:
        c.close()


def raw_request(path, headers):
    out = ["GET %s HTTP/1.1" % path]
    out += ["%s: %s" % kv for kv in headers.items()]
    return "\r\n".join(out) + "\r\n\r\n"


class Idle:
    """Holds many keepalive connections that have each done one request."""

    def __init__(self, port, path, headers=None, tls=False):
        h = {"Host": "%s:%d" % (HOST, port)}
        h.update(headers or {})
        self.req = raw_request(path, h).encode()
        self.addr = (HOST, port)
        self.ctx = tls_context() if tls else None
        self.socks = []

    def _one(self, sock):
        """Send the request and read its whole answer; True for a 200."""
        sock.sendall(self.req)
        buf = b""
        while b"\r\n\r\n" not in buf:
            d = sock.recv(4096)
            if not d:
                return False
            buf += d
        head, body = buf.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            return False
        low = head.lower()
        m = re.search(rb"content-length: *(\d+)", low)
        if not m:
            return False
        need = int(m.group(1))
        while len(body) < need:
            d = sock.recv(4096)
            if not d:
                return False
            body += d
        return b"connection: close" not in low

    def open(self, count, deadline):
        bad = 0
        while len(self.socks) + bad < count:
            if time.time() > deadline:
                break
            try:
                s = socket.create_connection(self.addr, 10)
                if self.ctx:
                    s = self.ctx.wrap_socket(s)
                if self._one(s):
                    self.socks.append(s)
                else:
                    bad += 1
                    s.close()
            except OSError:
                bad += 1
            if bad > 100:
                break
        return len(self.socks), bad

    def still_open(self):
        """How many the gateway has not closed."""
        sel = selectors.EpollSelector() if hasattr(
            selectors, "EpollSelector") else selectors.DefaultSelector()
        for s in self.socks:
            sel.register(s, selectors.EVENT_READ)
        gone = 0
        for k, _ in sel.select(0.2):
            try:
                k.fileobj.setblocking(False)
                if k.fileobj.recv(1) == b"":
                    gone += 1
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            except OSError:
                gone += 1
            finally:
                try:
                    k.fileobj.settimeout(10)
                except OSError:
                    pass
        sel.close()
        return len(self.socks) - gone

    def sample_works(self, n=50):
        step = max(1, len(self.socks) // n)
        ok = tried = 0
        for s in self.socks[::step]:
            tried += 1
            try:
                ok += self._one(s)
            except OSError:
                pass
        return ok, tried

    def close(self):
        for s in self.socks:
            try:
                s.close()
            except OSError:
                pass
        self.socks = []
