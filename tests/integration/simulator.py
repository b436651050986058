"""nerveskey-sim as a process, and a client of its socket that shares no code with the project: packets, their checksum and a transaction, as the chip's reference has them."""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from nhtest import BUILD, DEADLINE, program

PRELOAD = BUILD / "src/nerveskey-sim/nerveskey-sim-preload.so"
WAKE_ANSWER = bytes.fromhex("04113343")
INFO = bytes.fromhex("0307300000 00035D")


def crc16(data):
    register = 0
    for byte in data:
        for bit in range(8):
            top = register >> 15
            register = register << 1 & 0xFFFF
            if (byte >> bit & 1) != top:
                register ^= 0x8005
    return struct.pack("<H", register)


def packet(opcode, param1=0, param2=0, data=b""):
    body = struct.pack("<BBBH", 7 + len(data), opcode, param1, param2) + data
    return body + crc16(body)


class Bus:
    """One connection to a simulator's socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, op, address, length, data=b""):
        self.socket.sendall(struct.pack("<cBH", op, address, length) + data)

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the simulator closed the connection")
            data += piece
        return data

    def write(self, address, data):
        self.send(b"W", address, len(data), data)
        return self.receive(1) == b"\1"

    def read(self, address, count):
        self.send(b"R", address, count)
        return self.receive(count) if self.receive(1) == b"\1" else None

    def lock(self):
        self.send(b"L", 0, 0)
        return self.receive(1) == b"\1"

    def unlock(self):
        self.send(b"U", 0, 0)
        return self.receive(1) == b"\1"

    def control(self, command):
        self.send(b"C", 0, len(command), command.encode())
        ok = self.receive(1) == b"\1"
        return ok, self.receive(struct.unpack("<H", self.receive(2))[0]).decode()

    def wake(self, address=0x60):
        self.write(address, b"\1")
        self.write(0, b"\0")
        return self.read(address, 4)

    def command(self, opcode, param1=0, param2=0, data=b"", address=0x60):
        """The payload of the answer; one byte is a status. None: not acknowledged."""
        if not self.write(address, b"\3" + packet(opcode, param1, param2, data)):
            return None
        count = self.read(address, 1)
        if count is None:
            return None
        rest = self.read(address, count[0] - 1)
        assert crc16(count + rest[:-2]) == rest[-2:], (count + rest).hex()
        return rest[:-2]

    def ended(self):
        """The connection was closed by the other side, without another byte."""
        return self.socket.recv(1) == b""


class Simulator:
    """Chips on a bus, in a folder of their own. Chips are names; each is a file in the folder."""

    def __init__(self, *chips, folder=None, options=("--create", "--no-watchdog")):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="nhsim-"))
        self.socket = self.folder / "socket"
        self.chips = [self.folder / chip for chip in chips or ("chip",)]
        self.options = options
        self.process = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([program("nerveskey-sim"), "run", "--socket", self.socket, *self.chips, *self.options], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
        if not ready or self.process.stdout.readline() != f"ready {self.socket}\n".encode():
            raise AssertionError("nerveskey-sim did not start:\n" + self.log())
        return self

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def bus(self):
        return Bus(self.socket)

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        self.process.stdout.close()
        return self.process.wait(DEADLINE)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self):
        status, text = self.stop(), self.log()
        self.remove()
        if status != 0 or text:
            raise AssertionError(f"nerveskey-sim ended with status {status}:\n{text[-6000:]}")

    def environment(self, number=1):
        """For programs that are to see the bus at /dev/i2c-N. A program of ours with a sanitizer in it minds that its library isn't the first."""
        return {**os.environ, "LD_PRELOAD": str(PRELOAD), "NERVESKEY_SIM": f"{number}={self.socket}",
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
