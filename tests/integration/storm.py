"""What storms are made of: a fleet as a process of its own, a network that can be cut, healthy devices that are watched while others misbehave, peers that
write TLS byte by byte, and floods. A flood runs in a process of its own (`storm.py KIND PORT COUNT`), so that what it costs is not taken from the healthy."""

import asyncio
import json
import os
import resource
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


def client_hello():
    """The first flight of an ordinary client, as bytes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


# ---- floods: run as a program

HELLO = client_hello()
HELD = {"silent": b"", "half-hello": HELLO[:len(HELLO) // 2], "hello": HELLO}
IN_FLIGHT = 64


def attempts(port, count):
    """Connect and reset, so many times: not one byte."""
    opened = refused = 0
    for _ in range(count):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            s.connect(("127.0.0.1", port))
            opened += 1
        except OSError:
            refused += 1
        s.close()
    return {"opened": opened, "refused": refused}


def hold(port, count, first_bytes):
    """Holds `count` connections that say `first_bytes` and nothing more, until standard input ends. What the server closes is not opened again."""
    selector, sockets, ended, received = selectors.DefaultSelector(), [], 0, 0
    for _ in range(count):
        s = socket.socket()
        s.connect(("127.0.0.1", port))
        s.setblocking(False)
        try:
            s.send(first_bytes)
        except OSError:
            pass
        sockets.append(s)
        selector.register(s, selectors.EVENT_READ)
    print(json.dumps({"held": count}), flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for s in sockets:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return {"ended": ended, "received": received}
            try:
                data = key.fileobj.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            received += len(data)
            if not data:
                ended += 1
                selector.unregister(key.fileobj)


def flood_main(kind, port, count):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(attempts(port, count) if kind == "attempts" else hold(port, count, HELD[kind])), flush=True)


class Flood:
    """`with Flood(kind, port, count) as f`: inside, all are held; afterwards f.report says how they fared. For "attempts": wait() until all were made."""

    def __init__(self, kind, port, count):
        self.process = subprocess.Popen([sys.executable, __file__, kind, str(port), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.report = None if kind == "attempts" else self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the flood ended with {self.process.wait()}")
        return json.loads(line)

    def wait(self):
        self.report = self.line()
        return self.report

    def running(self):
        return self.process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        rest = self.process.stdout.read().split("\n")
        self.process.stdout.close()
        self.process.wait()
        if rest[0]:
            self.report = json.loads(rest[0])


# ---- the network between

class Link:
    """One connection through the proxy."""

    def __init__(self, device):
        self.device, self.server, self.held = device, None, False


class Proxy:
    """A network that can be cut: what goes through a held connection is lost in both directions, also its end, as behind a dead mobile cell."""

    def __init__(self):
        self.target, self.links = None, []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.listener = self.call(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096))
        self.port = self.listener.sockets[0].getsockname()[1]

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def serve(self, reader, writer):
        link = Link(writer)
        try:
            up_reader, link.server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.links.append(link)
        await asyncio.gather(self.pipe(link, reader, link.server), self.pipe(link, up_reader, writer))

    async def pipe(self, link, reader, writer):
        try:
            while data := await reader.read(65536):
                if not link.held:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            if not link.held:
                writer.transport.abort()
        if not link.held:
            writer.close()

    def hold(self, share=1):
        """Every share-th connection that is open now is cut; new ones get through. How many."""
        return self.call(self._hold(share))

    async def _hold(self, share):
        live = [link for link in self.links if not link.held and not link.server.is_closing() and not link.device.is_closing()]
        for link in live[::share]:
            link.held = True
        return len(live[::share])

    def release(self):
        """The network is back: both ends of what was cut learn that it is gone."""
        self.call(self._release())

    async def _release(self):
        for link in self.links:
            if link.held:
                link.server.transport.abort()
                link.device.transport.abort()

    def close(self):
        async def end():
            self.listener.close()
            for link in self.links:
                link.held = True
                link.server.transport.abort()
                link.device.transport.abort()
            await asyncio.sleep(0)
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


# ---- the healthy

class Healthy:
    """Devices that do what they should, on a thread of their own: heartbeats, one after the other. Whatever goes wrong with one of them is kept."""

    def __init__(self, make, count):
        self.loop = asyncio.new_event_loop()
        self.stopping, self.failures, self.latencies, self.up = False, [], [], threading.Semaphore(0)
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.all(make, count),), daemon=True)
        self.thread.start()
        for _ in range(count):
            self.up.acquire()

    async def all(self, make, count):
        await asyncio.gather(*(self.one(make, i) for i in range(count)))

    async def one(self, make, i):
        told = False
        try:
            device, firmware = make(i)
            async with device:
                answer = await device.join(firmware)
                assert answer["status"] == "ok", answer
                told = True
                self.up.release()
                while not self.stopping:
                    start = time.monotonic()
                    ref = await device.send("heartbeat", {}, topic="phoenix")
                    await device.reply(ref)
                    self.latencies.append(time.monotonic() - start)
                    await asyncio.sleep(0.05)  # a device's pace, nothing waits for it
        except Exception as e:  # every end of a healthy device is a failure, whatever it is called
            self.failures.append(f"device {i}: {type(e).__name__} {e}")
        if not told:
            self.up.release()

    def take(self):
        """The latencies since the last call, sorted."""
        taken, self.latencies = self.latencies, []
        return sorted(taken)

    def stop(self):
        self.stopping = True
        self.thread.join()
        self.loop.close()
        return self.failures


def quantiles(sorted_seconds):
    if not sorted_seconds:
        return "nothing"
    at = lambda q: sorted_seconds[min(len(sorted_seconds) - 1, int(len(sorted_seconds) * q))] * 1000
    return f"p50 {at(.5):.1f} ms, p99 {at(.99):.1f} ms of {len(sorted_seconds)}"


# ---- TLS in any pieces

class ByteTls:
    """A TLS client over a socket, each record of which leaves in pieces of `piece` bytes. Looks like a socket to rawpeer.Peer."""

    def __init__(self, sock, context, piece=None):
        self.sock, self.piece = sock, piece
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.run(self.tls.do_handshake)

    def flush(self):
        data = self.outgoing.read()
        for i in range(0, len(data), self.piece or len(data) or 1):
            self.sock.sendall(data[i:i + self.piece] if self.piece else data)

    def run(self, step, *args):
        while True:
            try:
                result = step(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def sendall(self, data):
        self.run(self.tls.write, data)

    def recv(self, size):
        try:
            return self.run(self.tls.read, size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def shutdown(self, how):
        self.sock.shutdown(how)  # no close_notify

    def setsockopt(self, *args):
        self.sock.setsockopt(*args)

    def close(self):
        self.sock.close()


# ---- the fleet

class Fleet:
    """nerveshub-fleet run, in the background."""

    def __init__(self, program, home, *args):
        home.mkdir(parents=True, exist_ok=True)
        self.out, self.log = home / "fleet.json", home / "fleet.log"
        self.out.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program, "run", "--dir", str(home), "--json", str(self.out), "--quiet", *map(str, args)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)

    def end(self, sig=signal.SIGTERM, deadline=60):
        """Its exit status and what it says of each device: {identifier: fields}."""
        if sig and self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(deadline)
        text = self.log.read_text(errors="replace")
        if "Sanitizer" in text or "runtime error" in text:
            raise AssertionError(text[-4000:])
        return status, {d["identifier"]: d for d in json.loads(self.out.read_text())} if self.out.exists() else {}

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def resident_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().split("\n"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    flood_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
