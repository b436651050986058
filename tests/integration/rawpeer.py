"""A peer that writes exactly the bytes it is told to: HTTP messages, WebSocket frames and TLS streams without a library that would mend them.
Reading is as strict as writing is free: an answer that breaks the rules is a failure here, whatever the request was."""

import socket
import struct

from nhtest import DEADLINE

NO_BODY = (204, 304)


class Broken(AssertionError):
    """The server's own bytes break the rules."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:200]!r}"


class Peer:
    """One connection; `wrap` makes a TLS socket of the plain one."""

    def __init__(self, port, wrap=None, small=False):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE)
        if small:  # the peer's window stays small, so that what it does not read stays with the server
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap:
            self.socket = wrap(self.socket)
        self.rest = b""
        self.failed = False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *pieces):
        """False where the server has closed already: it may answer and close before it has read everything."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (ConnectionError, OSError) as e:
            if isinstance(e, socket.timeout):
                raise
            self.failed = True
        return not self.failed

    def send_bytewise(self, data):
        for i in range(len(data)):
            if not self.send(data[i:i + 1]):
                return False
        return True

    def done_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self):
        """Some bytes, or b"" at the connection's end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.rest += data
        return data

    def exactly(self, count):
        while len(self.rest) < count:
            if not self.more():
                raise EOFError(f"the connection ended after {self.rest[:200]!r}")
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def answer(self, method="GET"):
        """The next response, read strictly; None where the connection ends instead."""
        while b"\r\n\r\n" not in self.rest:
            if not self.more():
                if self.rest:
                    raise Broken(f"half a response: {self.rest[:200]!r}")
                return None
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        version, status, _reason = lines[0].split(b" ", 2)
        if version != b"HTTP/1.1" or len(status) != 3 or b"\r" in head.replace(b"\r\n", b"") or b"\n" in head.replace(b"\r\n", b""):
            raise Broken(f"broken head {head!r}")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(b":", 1)
            name = name.decode().lower()
            if name in headers:
                raise Broken(f"{name} twice in {head!r}")
            headers[name] = value.strip().decode("latin-1")
        status = int(status)
        if status >= 200 and "date" not in headers:
            raise Broken(f"no Date in {head!r}")
        if "transfer-encoding" in headers:
            raise Broken("a chunked response")
        length = 0
        if status < 200 or status in NO_BODY:
            if "content-length" in headers:
                raise Broken(f"Content-Length in a {status}")
        elif "content-length" not in headers:
            raise Broken(f"no Content-Length in {head!r}")
        elif method != "HEAD":
            length = int(headers["content-length"])
        return Answer(status, headers, self.exactly(length))

    def ended(self):
        """Reads to the end; what came before it."""
        while self.more():
            pass
        data, self.rest = self.rest, b""
        return data


# ---- WebSocket

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = bytes.fromhex("37fa213d")


def masked(payload, mask=MASK):
    repeated = mask * (len(payload) // 4 + 1)
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:len(payload)], "big")).to_bytes(len(payload), "big")


def frame(opcode, payload=b"", fin=True, rsv=0, mask=MASK, length_form=None, length=None):
    """length_form: 7, 16 or 64 bits instead of the shortest; length: what the header claims."""
    claimed = len(payload) if length is None else length
    form = length_form or (7 if claimed < 126 else 16 if claimed < 65536 else 64)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    head += bytes([bit | claimed]) if form == 7 else bytes([bit | 126]) + struct.pack(">H", claimed) if form == 16 else bytes([bit | 127]) + struct.pack(">Q", claimed)
    return head + (mask + masked(payload, mask) if mask is not None else payload)


def close_frame(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


def upgrade_request(path, headers=None, key="dGhlIHNhbXBsZSBub25jZQ=="):
    lines = {"Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, **(headers or {})}
    return (f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None) + "\r\n").encode()


class WebSocketPeer(Peer):
    """Frames of the server are read strictly: unmasked, minimal lengths, no reserved bits, control frames whole."""

    def upgrade(self, request):
        self.send(request)
        answer = self.answer()
        if answer is None or answer.status != 101 or answer.headers.get("sec-websocket-accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=":
            raise Broken(f"no upgrade: {answer}")
        return answer

    def receive(self):
        """(opcode, payload), or None at the connection's end."""
        while len(self.rest) < 2:
            if not self.more():
                if self.rest:
                    raise Broken("half a frame")
                return None
        first, second = self.exactly(2)
        length = second & 0x7f
        if first & 0x70 or second & 0x80 or not first & 0x80:
            raise Broken(f"frame {first:02x} {second:02x}")
        if length == 126:
            length = struct.unpack(">H", self.exactly(2))[0]
            if length < 126:
                raise Broken("length not minimal")
        elif length == 127:
            length = struct.unpack(">Q", self.exactly(8))[0]
            if length < 65536:
                raise Broken("length not minimal")
        opcode = first & 15
        if opcode >= 8 and length > 125:
            raise Broken("long control frame")
        return opcode, self.exactly(length)

    def until_close(self):
        """Everything up to the end: the frames before the close frame, and its code (None: the connection ended without one; 1005: it was empty).
        Nothing may follow a close frame."""
        frames = []
        while True:
            got = self.receive()
            if got is None:
                return frames, None
            if got[0] == CLOSE:
                if self.ended():
                    raise Broken("bytes behind a close frame")
                return frames, struct.unpack(">H", got[1][:2])[0] if got[1] else 1005
            frames.append(got)
