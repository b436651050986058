"""A server as a device sees it: Phoenix channels over a plain WebSocket, written from the protocol reference. It says exactly what a test tells it to, so that the agent meets every server there may be."""

import asyncio
import json
import os
import socket
import tempfile
from pathlib import Path

import msgpack
import websockets

from nhtest import DEADLINE, program

CODECS = {"2.0.0": (json.dumps, json.loads), "3.0.0": (msgpack.packb, msgpack.unpackb)}


class Connection:
    """One socket of a device. Joins and heartbeats are noted as everything else; `joined` answers a join."""

    def __init__(self, socket):
        self.socket = socket
        self.pack, self.unpack = CODECS[socket.path.rpartition("vsn=")[2]]
        self.join_refs = {}
        self.seen = []

    async def receive(self):
        async with asyncio.timeout(DEADLINE):  # a device that says nothing but heartbeats says nothing
            while True:
                message = self.unpack(await self.socket.recv())
                if message[3] != "heartbeat":
                    return message
                await self.write([None, message[1], "phoenix", "phx_reply", {"status": "ok", "response": {}}])

    async def write(self, message):
        await self.socket.send(self.pack(message))

    async def message(self, topic, event):
        """The next message of that name, whole; others are kept."""
        for i, message in enumerate(self.seen):
            if message[2:4] == [topic, event]:
                return self.seen.pop(i)
        while True:
            message = await self.receive()
            if message[2:4] == [topic, event]:
                return message
            self.seen.append(message)

    async def event(self, event, topic="extensions"):
        return (await self.message(topic, event))[4]

    async def joined(self, topic, response=None, status="ok"):
        """Waits for the join of a topic and answers it; its payload."""
        message = await self.message(topic, "phx_join")
        self.join_refs[topic] = message[1]
        await self.write([message[0], message[1], topic, "phx_reply", {"status": status, "response": {} if response is None else response}])
        return message[4]

    async def send(self, event, payload=None, topic="extensions"):
        await self.write([self.join_refs[topic], None, topic, event, {} if payload is None else payload])

    async def crash(self, topic):
        ref = self.join_refs[topic]
        await self.write([ref, ref, topic, "phx_error", {"reason": "channel_crash"}])


class Hub:
    """Use inside `async with`."""

    def __init__(self):
        self.connections = asyncio.Queue()

    async def handle(self, socket, path=None):
        await self.connections.put(Connection(socket))
        await socket.wait_closed()

    async def __aenter__(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # what nobody reads stays with the device
        listener.bind(("127.0.0.1", 0))
        self.server = await websockets.serve(self.handle, sock=listener, compression=None, ping_interval=None, max_queue=4, read_limit=1 << 14)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        await self.server.wait_closed()

    async def connection(self):
        """The next one a device opens."""
        return await asyncio.wait_for(self.connections.get(), DEADLINE)


class Agent:
    """nerveshub-link with a disk of its own, connected to a Hub, or to a URL, by a shared secret. Use inside `async with`; it must end well, unless it was killed. home: a folder that outlives it, with
    the disk of its earlier lives."""

    def __init__(self, hub, *options, home=None, env=None, secret=("nhp_" + "k" * 43, "s" * 43), identifier="agent-1", firmware=None):
        self.url = hub if isinstance(hub, str) else f"ws://127.0.0.1:{hub.port}"
        self.options, self.home, self.env, self.secret, self.identifier, self.firmware = [str(o) for o in options], home, env, secret, identifier, firmware or {}
        self.killed = False

    async def __aenter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="nhtest-")
        self.home = Path(self.home or self.folder.name)
        (self.home / "secret").write_text(self.secret[1])
        disk = self.home / "disk"
        if not disk.exists():
            make_disk(disk, **{f"a__nerves_fw_{name}": self.firmware[name] for name in ("uuid", "product", "version", "platform", "architecture") if name in self.firmware})
        self.log = self.home / "log"
        with open(self.log, "wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                program("nerveshub-link"), "--server", self.url, "--secret-key", self.secret[0], "--secret-file", str(self.home / "secret"),
                "--identifier", self.identifier, "--device", str(disk), "--env-size", "4k", "--rejoin", "100ms", "--log-level", "debug", *self.options,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(self.env or {})})
        return self

    async def kill(self):
        self.killed = True
        self.process.kill()
        await self.process.wait()

    async def ended(self):
        """Waits until it ends by itself, as after an update."""
        await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def __aexit__(self, kind, *exc):
        if self.process.returncode is None:
            self.process.terminate()
        status = await asyncio.wait_for(self.process.wait(), DEADLINE)
        text = self.log_text()
        self.folder.cleanup()
        if (status != 0 and not self.killed) or "AddressSanitizer" in text or "runtime error" in text:
            raise AssertionError(f"nerveshub-link ended with status {status}:\n{text[-6000:]}")
        if kind:
            print(text[-3000:])

    def log_text(self):
        return self.log.read_text(errors="replace")

    async def logged(self, text):
        """Waits until a line with the text stands in the log."""
        async def look():
            while text not in self.log_text():
                await asyncio.sleep(0.01)
        await asyncio.wait_for(look(), DEADLINE)


def make_disk(path, **more):
    """A disk that holds no more than a valid U-Boot environment of 4 KiB. more: further values, or other ones; a dot in a name is written as __."""
    import zlib
    values = {"nerves_fw_active": "a", "a.nerves_fw_uuid": "11111111-1111-1111-1111-111111111111", "a.nerves_fw_product": "Widget", "a.nerves_fw_version": "1.0.0",
              "a.nerves_fw_platform": "board", "a.nerves_fw_architecture": "arm", "nerves_fw_validated": "1", "a.nerves_fw_validated": "1",
              **{name.replace("__", "."): value for name, value in more.items()}}
    data = b"".join(f"{k}={v}".encode() + b"\0" for k, v in values.items()) + b"\0"
    data = data.ljust(4096 - 4, b"\0")
    path.write_bytes(zlib.crc32(data).to_bytes(4, "little") + data)
