"""A TCP proxy that can be broken: frozen, refusing, reset, losing for everybody at once, or with a fault of its own for each connection, at a byte that the test says."""

import asyncio
import socket
import struct
import threading
from contextlib import contextmanager

from nhtest import DEADLINE


class Wire:
    """One connection through the proxy: near is who called, far whom it is for."""

    def __init__(self, near, far):
        self.ends, self.lost, self.rate, self.carried, self.fault = (near, far), False, None, 0, None

    def reset(self):
        for end in self.ends:
            if end.get_extra_info("socket").fileno() < 0:
                continue  # closed by its own pipe
            # linger of zero: the kernel says RST, not FIN
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    # What can happen to a connection in the middle, given the bytes that were to go to the near end next: the bytes that go.

    def do_lose(self, data):
        """Nothing arrives any more in either direction, and nobody is told: a black hole, a peer that lost its power."""
        self.lost = True

    def do_reset(self, data):
        self.reset()

    def do_close(self, data):
        """An orderly end in the middle of everything, the near end first."""
        for end in self.ends:
            end.close()

    def do_mangle(self, data):
        """One bit is wrong from here on: TLS notices and says so by an alert."""
        return data[:-1] + bytes([data[-1] ^ 1])

    def do_slow(self, data):
        self.rate = 1 << 20  # bytes a second
        return data


class FaultProxy:
    """TCP to `target`, which may be set later. Everything happens on the proxy's own loop, so a fault that was asked for is there when the call returns."""

    def __init__(self, target=None):
        self.target, self.wires, self.closed, self.answer = target, [], False, None
        self.faults, self.threshold, self.met = [], 0, []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.open())

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    async def open(self):
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=256)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        if self.closed:
            writer.transport.abort()
            return
        if self.answer is not None:
            await reader.read(1)
            writer.write(self.answer)
            writer.close()
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # nobody is there
            writer.transport.abort()
            return
        wire = Wire(writer, far)
        self.wires.append(wire)
        await asyncio.gather(self.pipe(wire, reader, far, False), self.pipe(wire, far_reader, writer, True))
        self.wires.remove(wire)
        for end in wire.ends:
            end.transport.abort()

    async def pipe(self, wire, reader, writer, to_near):
        try:
            while data := await reader.read(65536):
                await self.open_gate.wait()
                if to_near:
                    data = self.carry(wire, data)
                if wire.lost or not data:
                    continue
                writer.write(data)
                await writer.drain()
                if wire.rate:
                    await asyncio.sleep(len(data) / wire.rate)
        except (OSError, RuntimeError):
            pass
        if not wire.lost:
            writer.close()

    def carry(self, wire, data):
        """The first connections that carry `threshold` bytes to the near end have the next faults of the list, one each."""
        wire.carried += len(data)
        if not self.faults or wire.fault or wire.carried < self.threshold:
            return data
        wire.fault = self.faults.pop(0)
        self.met.append(wire.fault)
        return getattr(wire, f"do_{wire.fault}")(data)

    async def _set(self, frozen=None, closed=None, reset=False, lose=False):
        if frozen is not None:
            (self.open_gate.clear if frozen else self.open_gate.set)()
        if closed is not None:
            self.closed = closed
        for wire in list(self.wires):
            if lose:
                wire.lost = True
            if reset:
                wire.reset()
        return len(self.wires)

    async def _plan(self, faults, threshold):
        self.faults, self.threshold, self.met = list(faults), threshold, []

    @contextmanager
    def frozen(self):
        """Nothing gets through in either direction, and nothing is lost: it arrives afterwards."""
        self.call(self._set(frozen=True))
        try:
            yield
        finally:
            self.call(self._set(frozen=False))

    @contextmanager
    def refusing(self):
        """All connections are reset, new ones too."""
        self.call(self._set(closed=True, reset=True))
        try:
            yield
        finally:
            self.call(self._set(closed=False))

    @contextmanager
    def answering(self, data):
        """New connections are told this after their first byte, whatever they say, and closed; those that are open are reset."""
        self.answer = data
        self.call(self._set(reset=True))
        try:
            yield
        finally:
            self.answer = None

    def plan(self, faults, threshold):
        """Faults ("lose", "reset", "close", "mangle", "slow") for the next connections that carry so many bytes from the target, in this order; `met` says which have happened."""
        self.call(self._plan(faults, threshold))

    def reset(self):
        """All connections that are open, once."""
        return self.call(self._set(reset=True))

    def lose(self):
        """What goes through the connections that are open now is swallowed, also their end, as behind a rebooted firewall; new ones work."""
        return self.call(self._set(lose=True))

    def close(self):
        async def end():
            self.listener.close()
            self.open_gate.set()
            for wire in list(self.wires):
                wire.reset()
            while self.wires:
                await asyncio.sleep(0)
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
