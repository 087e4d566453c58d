"""WebSockets that stay open while other things happen: an endpoint that echoes,
and clients that notice when one is dropped.

A client sends a small message, waits for it to come back, and again.  Told to go
(a Close frame with 1001) it answers and opens another; anything else that ends
its WebSocket counts as dropped.
"""

import asyncio
import base64
import hashlib
import os
import struct
import threading

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"0123456789abcdef").decode()
PAUSE = 0.02            # seconds between two messages of a client


async def head(reader):
    return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")


async def frame(reader):
    """Opcode and payload, unmasked; sizes below 64 KiB."""
    first, second = await reader.readexactly(2)
    size = second & 0x7f
    if size == 126:
        size, = struct.unpack(">H", await reader.readexactly(2))
    mask = await reader.readexactly(4) if second & 0x80 else b"\0" * 4
    payload = await reader.readexactly(size)
    return first & 15, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def encode(opcode, payload, masked):
    mask = os.urandom(4) if masked else b""
    if masked:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return bytes([0x80 | opcode, (0x80 if masked else 0) | len(payload)]) + mask + payload


async def echo(reader, writer):
    """The endpoint's side of one."""
    try:
        await head(reader)
        digest = hashlib.sha1((KEY + GUID).encode()).digest()
        writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
                      % base64.b64encode(digest).decode()).encode())
        while True:
            opcode, payload = await frame(reader)
            writer.write(encode(opcode, payload, False))
            await writer.drain()
            if opcode == 8:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


class WebSockets:
    """`count` clients through the gateway at `port`, on a thread of their own."""

    def __init__(self, host, port, endpoint_port, count):
        self.host, self.port = host, port
        self.opened = self.told = self.messages = 0
        self.dropped = []
        self.stopping = False
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self.thread = threading.Thread(
            target=self.run, args=(endpoint_port, count, started), daemon=True)
        self.thread.start()
        started.wait(10)

    def run(self, endpoint_port, count, started):
        asyncio.set_event_loop(self.loop)

        async def everything():
            server = await asyncio.start_server(echo, self.host, endpoint_port)
            started.set()
            await asyncio.gather(*(self.client() for _ in range(count)))
            server.close()
        self.loop.run_until_complete(everything())

    async def client(self):
        while not self.stopping:
            try:
                await asyncio.wait_for(self.one(), 3600)
            except Exception as e:                             # noqa: BLE001
                if not self.stopping:
                    self.dropped.append("%s: %s" % (type(e).__name__, e))
                    await asyncio.sleep(0.1)

    async def one(self):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(("GET /ws HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: %s\r\n\r\n" % KEY).encode())
            status = (await head(reader)).split(" ")[1]
            if status != "101":
                raise ConnectionError("answered with %s" % status)
            self.opened += 1
            n = 0
            while not self.stopping:
                n += 1
                text = b"%d" % n
                writer.write(encode(1, text, True))
                opcode, payload = await asyncio.wait_for(frame(reader), 20)
                if opcode == 8:
                    if payload[:2] != struct.pack(">H", 1001):
                        raise ConnectionError("closed with %r" % payload)
                    self.told += 1
                    writer.write(encode(8, payload[:2], True))
                    return
                if payload != text:
                    raise ConnectionError("%r came back as %r" % (text, payload))
                self.messages += 1
                await asyncio.sleep(PAUSE)
            writer.write(encode(8, struct.pack(">H", 1000), True))
        finally:
            writer.close()

    def stop(self):
        """What happened."""
        self.stopping = True
        self.thread.join(30)
        return {"opened": self.opened, "told_to_go": self.told, "messages": self.messages,
                "dropped": len(self.dropped), "why": self.dropped[:10]}
