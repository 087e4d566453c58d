#!/usr/bin/env python3
"""What must hold of limits, measured on the real binary: how much gets in, how much memory keys take, what a dying Redis
costs. Needs nothing but Python, the binary, and redis-server for `redis`.

    bars.py --gatehouse target/debug/gatehouse [local] [memory] [redis]
"""

import argparse
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    def __init__(self, binary, policy, more=""):
        self.port, self.admin = free_port(), free_port()
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "gatehouse.yaml")
        with open(path, "w") as file:
            file.write(
                f'listeners: {{ main: {{ address: "127.0.0.1:{self.port}" }} }}\n'
                f'admin: {{ address: "127.0.0.1:{self.admin}" }}\n'
                "process: { workers: 2 }\n"
                "forwarded: { trusted: [127.0.0.1] }\n"
                f"{more}"
                f"routes: {{ all: {{ match: {{ path: /** }}, policies: [ {policy} ], reply: {{ body: ok }} }} }}\n"
            )
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([binary, "run", path], stdin=quiet, stdout=quiet, stderr=quiet)
        wait_for(self.port)

    def metric(self, name):
        with socket.create_connection(("127.0.0.1", self.admin)) as s:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            text = b""
            while piece := s.recv(65536):
                text += piece
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text.decode(), re.MULTILINE)
        return sum(float(value) for value in found)

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def wait_for(port):
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nobody listens on port {port}")


class Client:
    """Keep-alive, one request at a time or many at once; counts answers by status."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, requests):
        self.socket.sendall(requests)

    def status(self):
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if end:
                length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
                if len(rest) >= length:
                    self.buffer = rest[length:]
                    return int(head[9:12])
            piece = self.socket.recv(262144)
            if not piece:
                raise ConnectionError("closed")
            self.buffer += piece


GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def paced(port, clients, rate, seconds, results):
    """So many clients, each at its share of the rate."""
    admitted = refused = 0
    lock = threading.Lock()

    def one(i):
        nonlocal admitted, refused
        client = Client(port)
        got = [0, 0]
        begin = time.monotonic() + i / rate
        sent = 0
        while True:
            due = begin + sent * clients / rate
            now = time.monotonic()
            if now - begin >= seconds:
                break
            if due > now:
                time.sleep(due - now)
            client.send(GET)
            got[client.status() != 200] += 1
            sent += 1
        with lock:
            admitted += got[0]
            refused += got[1]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((admitted, refused))


def local(binary):
    limit, burst, seconds, clients = 200, 50, 30, 64
    print(f"local: {clients} clients, 10 x {limit}/s, {seconds} s")
    for name, policy, once in [
        ("token_bucket", f"algorithm: token_bucket, burst: {burst}, ", burst),
        ("sliding_window", "", limit),
        ("fixed_window", "algorithm: fixed_window, ", limit),
    ]:
        gateway = Gateway(binary, f"{{ rate_limit: {{ limit: {limit}, window: 1s, key: global, {policy} }} }}")
        results = multiprocessing.Queue()
        began = time.monotonic()
        workers = [
            multiprocessing.Process(target=paced, args=(gateway.port, clients // 4, limit * 10 / 4, seconds, results))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        sums = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        took = time.monotonic() - began
        admitted, refused = (sum(column) for column in zip(*sums))
        offered = (admitted + refused) / took / limit
        # Clients begin and end a little apart: the limit is that of the whole stretch.
        off = 100 * (admitted / (limit * took) - 1)
        above = admitted - limit * took
        print(
            f"  {name}: {admitted} admitted in {took:.2f} s at {offered:.1f} x the limit, {off:+.2f} %, "
            f"{above:+.0f} requests ({once} is one burst)"
        )
        gateway.end()


def addresses(port, first, count):
    client = Client(port)
    batch = 200
    for at in range(first, first + count, batch):
        requests = [
            b"GET / HTTP/1.1\r\nHost: b\r\nX-Forwarded-For: 10.%d.%d.%d\r\n\r\n" % (i >> 16 & 255, i >> 8 & 255, i & 255)
            for i in range(at, min(at + batch, first + count))
        ]
        client.send(b"".join(requests))
        for _ in requests:
            client.status()


def memory(binary):
    for most, keys in [(1_000_000, 1_000_000), (100_000, 1_000_000)]:
        gateway = Gateway(binary, f"{{ rate_limit: {{ limit: 100, window: 1h, max_keys: {most} }} }}")
        addresses(gateway.port, 1 << 23, 1_000)
        before = gateway.metric("process_resident_memory_bytes")
        quarter = keys // 4
        workers = [
            multiprocessing.Process(target=addresses, args=(gateway.port, i * quarter, quarter)) for i in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        after = gateway.metric("process_resident_memory_bytes")
        evicted = gateway.metric("gatehouse_window_evictions_total")
        print(
            f"memory: {keys} distinct addresses, max_keys {most}: {(after - before) / 1e6:.1f} MB more, "
            f"{(after - before) / min(most, keys):.0f} bytes a key, {evicted:.0f} evicted"
        )
        gateway.end()


class Redis:
    def __init__(self):
        self.port, self.process = free_port(), None

    def start(self):
        quiet = subprocess.DEVNULL
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(arguments, stdin=quiet, stdout=quiet, stderr=quiet, cwd="/tmp")
        while self.ask("PING") != b"+PONG\r\n":
            time.sleep(0.002)
        return time.monotonic()

    def ask(self, command):
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as s:
                s.sendall(command.encode() + b"\r\n")
                return s.recv(1000)
        except OSError:
            return b""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def redis(binary):
    times, server = 20, Redis()
    server.start()
    store = f'stores: {{ shared: {{ redis: {{ addresses: ["127.0.0.1:{server.port}"] }} }} }}\n'
    gateway = Gateway(binary, "{ rate_limit: { limit: 100000000, window: 1h, key: global, store: shared } }", store)
    done, statuses, lock = threading.Event(), {}, threading.Lock()

    def load():
        client, own = Client(gateway.port), {}
        while not done.is_set():
            client.send(GET)
            status = client.status()
            own[status] = own.get(status, 0) + 1
        with lock:
            for status, count in own.items():
                statuses[status] = statuses.get(status, 0) + count

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    resumed = []
    for i in range(times):
        time.sleep(0.3)
        server.kill()
        time.sleep(0.05 * (i % 10))
        answers = server.start()
        while server.ask("DBSIZE") != b":1\r\n":
            if time.monotonic() - answers > 10:
                sys.exit("limits do not resume")
            time.sleep(0.002)
        resumed.append(time.monotonic() - answers)
    done.set()
    for thread in threads:
        thread.join()
    without = gateway.metric("gatehouse_limit_without_store_total")
    failed = sum(count for status, count in statuses.items() if status not in (200, 429))
    print(
        f"redis: killed {times} times under {sum(statuses.values())} requests: {failed} failed {statuses}; "
        f"{without:.0f} decided without it; limits resume after {max(resumed) * 1000:.0f} ms at most, "
        f"{sorted(resumed)[times // 2] * 1000:.0f} ms in the middle"
    )
    gateway.end()
    server.kill()


if __name__ == "__main__":
    bars = {"local": local, "memory": memory, "redis": redis}
    parser = argparse.ArgumentParser()
    parser.add_argument("--gatehouse", default="target/debug/gatehouse")
    parser.add_argument("bars", nargs="*", default=list(bars))
    arguments = parser.parse_args()
    for bar in arguments.bars:
        bars[bar](os.path.abspath(arguments.gatehouse))
