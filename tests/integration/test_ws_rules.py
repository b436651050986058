"""The rules of WebSockets (RFC 6455) against the real server, frame by frame, after the list of cases that implementations are commonly tested with:
lengths, pings, reserved bits and opcodes, fragmentation, UTF-8, closing, limits. The device socket behind it speaks Phoenix V2 JSON, so what shows
that a text arrived whole is its echo: a reply carries the message's ref, and a message that is no JSON list ends the socket with 1011.

Text is judged as it comes: the first byte that cannot continue a valid UTF-8 string ends the connection with 1007, whether or not the message is over."""

import json
import socket
import struct
import threading
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from nhtest import ServerCase, nh1_headers
from rawpeer import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, Peer, WebSocketPeer, close_frame, frame, upgrade_request

PATH = "/device-socket/websocket?vsn=2.0.0"
MESSAGE_MAX = 1 << 20
ONGOING = "ongoing"


def message(ref="1", pad=0):
    return json.dumps([None, ref, "nowhere", "x", {"pad": "p" * pad} if pad else {}], ensure_ascii=False).encode()


def message_of(size):
    return message(pad=size - len(message(pad=1)) + 1)


def fragments(opcode, pieces):
    last = len(pieces) - 1
    return b"".join(frame(opcode if i == 0 else CONTINUATION, piece, fin=i == last) for i, piece in enumerate(pieces))


def bytewise(data):
    return [data[i:i + 1] for i in range(len(data))]


M = message()

# name, bytes, frames that come back (an opcode and payload; "reply" for the answer to message()), close code or ONGOING
FRAMES = [
    ("text", frame(TEXT, M), ["reply"], ONGOING),
    ("masked with zeros", frame(TEXT, M, mask=bytes(4)), ["reply"], ONGOING),
    ("two in one segment", frame(TEXT, M) + frame(TEXT, M, mask=b"\xff\x00\xff\x00"), ["reply", "reply"], ONGOING),
    ("unmasked text", frame(TEXT, M, mask=None), [], 1002),
    ("unmasked ping", frame(PING, b"x", mask=None), [], 1002),
    ("unmasked empty text", frame(TEXT, mask=None), [], 1002),
    ("unmasked close", frame(CLOSE, b"\x03\xe8", mask=None), [], 1002),
    ("16 bits for 125", frame(TEXT, message_of(125), length_form=16), [], 1002),
    ("64 bits for 125", frame(TEXT, message_of(125), length_form=64), [], 1002),
    ("64 bits for 65535", frame(TEXT, message_of(65535), length_form=64), [], 1002),
    ("16 bits for nothing", frame(TEXT, length_form=16), [], 1002),
    ("length over 2^63", frame(TEXT, length=1 << 63, length_form=64), [], 1002),
    ("length 2^63 - 1", frame(TEXT, length=(1 << 63) - 1, length_form=64), [], 1009),
    ("length one over the cap", frame(TEXT, length=MESSAGE_MAX + 1, length_form=64), [], 1009),
    ("binary on a text socket", frame(BINARY, M), [], 1011),
    ("empty text", frame(TEXT), [], 1011),
    ("empty binary", frame(BINARY), [], 1011),
    ("text that is no message", frame(TEXT, b"hello"), [], 1011),
    ("a good message, then a broken frame", frame(TEXT, M) + frame(3, b"x"), ["reply"], 1002),
    ("a ping, then a broken frame, then a message", frame(PING, b"p") + frame(TEXT, M, rsv=4) + frame(TEXT, M), [(PONG, b"p")], 1002),
] + [(f"reserved bits {rsv} in opcode {opcode}", frame(opcode, b"", rsv=rsv), [], 1002) for rsv in range(1, 8) for opcode in (TEXT, BINARY, PING, CLOSE)] + [
    (f"opcode {opcode}", frame(opcode, payload), [], 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15) for payload in (b"", b"x")]

CONTROL = [
    ("ping of 126 bytes", frame(PING, b"x" * 126), [], 1002),
    ("ping that claims 126 bytes", frame(PING, length=126, length_form=16), [], 1002),
    ("pong of 126 bytes", frame(PONG, b"x" * 126), [], 1002),
    ("ping with a long form", frame(PING, b"x", length_form=16), [], 1002),
    ("ping with the longest form", frame(PING, b"x", length_form=64), [], 1002),
    ("fragmented ping", frame(PING, b"x", fin=False) + frame(CONTINUATION, b"y"), [], 1002),
    ("fragmented pong", frame(PONG, b"x", fin=False), [], 1002),
    ("fragmented close", frame(CLOSE, b"\x03\xe8", fin=False), [], 1002),
    ("pong nobody asked for", frame(PONG) + frame(PONG, b"x" * 125) + frame(PING, b"y"), [(PONG, b"y")], ONGOING),
    ("pong, then text", frame(PONG, b"x") + frame(TEXT, M), ["reply"], ONGOING),
    ("binary payload", frame(PING, bytes(range(125))), [(PONG, bytes(range(125)))], ONGOING),
    ("payload that is no UTF-8", frame(PING, b"\xff\xfe\xc3"), [(PONG, b"\xff\xfe\xc3")], ONGOING),
    ("ten pings", b"".join(frame(PING, b"%d" % i) for i in range(10)), [(PONG, b"%d" % i) for i in range(10)], ONGOING),
]

SPLIT = len(M) // 2
A, B = M[:SPLIT], M[SPLIT:]
FRAGMENTS = [
    ("two", fragments(TEXT, [A, B]), ["reply"], ONGOING),
    ("single bytes", fragments(TEXT, bytewise(M)), ["reply"], ONGOING),
    ("empty first", fragments(TEXT, [b"", M]), ["reply"], ONGOING),
    ("empty last", fragments(TEXT, [M, b""]), ["reply"], ONGOING),
    ("empty first and last", fragments(TEXT, [b"", M, b""]), ["reply"], ONGOING),
    ("only empty ones", fragments(TEXT, [b"", b""]), [], 1011),
    ("empty in the middle", fragments(TEXT, [A, b"", B]), [], 1008),
    ("ping inside", frame(TEXT, A, fin=False) + frame(PING, b"p") + frame(CONTINUATION, B), [(PONG, b"p"), "reply"], ONGOING),
    ("ping behind every byte", b"".join(frame(TEXT if i == 0 else CONTINUATION, byte, fin=i == len(M) - 1) + frame(PING, byte) for i, byte in enumerate(bytewise(M))),
     [(PONG, byte) for byte in bytewise(M)[:-1]] + ["reply", (PONG, M[-1:])], ONGOING),
    ("pongs inside", frame(TEXT, A, fin=False) + frame(PONG, b"p") * 3 + frame(CONTINUATION, B), ["reply"], ONGOING),
    ("close inside", frame(TEXT, A, fin=False) + close_frame(1000) + frame(CONTINUATION, B), [], 1000),
    ("other masks", frame(TEXT, A, fin=False, mask=b"abcd") + frame(CONTINUATION, B, mask=b"\0\0\0\1"), ["reply"], ONGOING),
    ("continuation of nothing", frame(CONTINUATION, M), [], 1002),
    ("open continuation of nothing", frame(CONTINUATION, M, fin=False), [], 1002),
    ("continuation of a finished message", frame(TEXT, M) + frame(CONTINUATION, M), ["reply"], 1002),
    ("continuation behind a ping", frame(PING, b"p") + frame(CONTINUATION, M), [(PONG, b"p")], 1002),
    ("text inside a text", frame(TEXT, A, fin=False) + frame(TEXT, B), [], 1002),
    ("open text inside a text", frame(TEXT, A, fin=False) + frame(TEXT, B, fin=False), [], 1002),
    ("binary inside a text", frame(TEXT, A, fin=False) + frame(BINARY, B), [], 1002),
    ("reserved bits in a continuation", frame(TEXT, A, fin=False) + frame(CONTINUATION, B, rsv=4), [], 1002),
    ("unmasked continuation", frame(TEXT, A, fin=False) + frame(CONTINUATION, B, mask=None), [], 1002),
    ("fragments over the cap", frame(TEXT, b"[" + b" " * (MESSAGE_MAX - 1), fin=False) + frame(CONTINUATION, b"]"), [], 1009),
    ("fragments of a binary", fragments(BINARY, [A, B]), [], 1011),
]

VALID_TEXTS = ["κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "\u0080", "\u0800", "\U00010000", "\u007f", "\u07ff", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\ufdd0", "\U0001f642"]
INVALID_TEXTS = [
    b"\x80", b"\xbf", b"\x80\xbf", b"\xc0\x20", b"\xc3\x20", b"\xe0\xa0\x20", b"\xf0\x90\x80\x20", b"\xc3(", b"\xe2\x82(", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
]
CUT_TEXTS = [b"\xc3", b"\xe2\x82", b"\xe2", b"\xf0\x9f\x99", b"\xf0\x9f", b"\xf0"]  # valid so far, and then the message is over

CLOSES = [
    ("no code", close_frame(), 1000), ("half a code", frame(CLOSE, b"\x03"), 1002),
    ("two", close_frame(1000) * 2, 1000), ("pings behind", close_frame(1000) + frame(PING, b"p") * 3, 1000),
    ("text behind", close_frame(1001) + frame(TEXT, M), 1000), ("a broken frame behind", close_frame(1000) + b"\xff\xff\xff\xff", 1000),
    ("126 bytes", frame(CLOSE, b"\x03\xe8" + b"r" * 124), 1002), ("123 bytes of reason", close_frame(1000, b"r" * 123), 1000), ("a reason", close_frame(1000, "tschüss".encode()), 1000),
    ("a reason that is no UTF-8", close_frame(1000, b"\xff"), 1007), ("a reason that ends in a character", close_frame(1000, b"ok\xc3"), 1007),
    ("a surrogate for a reason", close_frame(1000, b"\xed\xa0\x80"), 1007), ("a NUL for a reason", close_frame(1000, b"\0"), 1000),
] + [(f"code {code}", close_frame(code), 1000) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)] \
  + [(f"code {code}", close_frame(code), 1002) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKES = [
    ("plain", {}, 101), ("lower case", {"Upgrade": "WEBSOCKET", "Connection": "upgrade"}, 101), ("list of tokens", {"Connection": "keep-alive ,\tUpgrade", "Upgrade": "h2c, websocket"}, 101),
    ("empty body", {"Content-Length": "0"}, 101), ("compression offered", {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}, 101),
    ("many extensions offered", {"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=99, x-webkit-deflate-frame, foo; bar=\"baz\""}, 101),
    ("nonsense offered", {"Sec-WebSocket-Extensions": ";;,=\"", "Sec-WebSocket-Protocol": "@@@"}, 101), ("subprotocols offered", {"Sec-WebSocket-Protocol": "chat, phoenix"}, 101),
    ("version 8", {"Sec-WebSocket-Version": "8"}, 426), ("version 14", {"Sec-WebSocket-Version": "14"}, 426), ("version 013", {"Sec-WebSocket-Version": "013"}, 426),
    ("two versions", {"Sec-WebSocket-Version": "13, 8"}, 426), ("no version", {"Sec-WebSocket-Version": None}, 426), ("empty version", {"Sec-WebSocket-Version": ""}, 426),
    ("no key", {"Sec-WebSocket-Key": None}, 400), ("empty key", {"Sec-WebSocket-Key": ""}, 400), ("key of 15 bytes", {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA"}, 400),
    ("key of 17 bytes", {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAA="}, 400), ("key that is no base64", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZ!=="}, 400),
    ("key without padding", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400), ("two keys", {"Sec-WebSocket-Key": KEY + "\r\nSec-WebSocket-Key: " + KEY}, 400),
    ("no Upgrade", {"Upgrade": None}, 400), ("another Upgrade", {"Upgrade": "h2c"}, 400), ("Upgrade with more letters", {"Upgrade": "websockets"}, 400),
    ("no Connection", {"Connection": None}, 400), ("Connection without upgrade", {"Connection": "keep-alive"}, 400),
    ("body", {"Content-Length": "5"}, 400), ("chunked body", {"Transfer-Encoding": "chunked"}, 400),
    ("own origin", {"Origin": "http://localhost"}, 101), ("own origin with another port", {"Origin": "https://localhost:8443"}, 101), ("foreign origin", {"Origin": "https://evil.example"}, 403),
    ("foreign origin that starts like ours", {"Origin": "https://localhost.evil.example"}, 403), ("origin without a name", {"Origin": "null"}, 403),
]


class WebSocketRules(ServerCase):
    # One device is all the peers here, and some of them say in a second what a device says in a year.
    server_args = ("--device-connects", "0", "--device-messages", "0")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data

    connects = Counter()

    def identity(self, name=None):
        """Each thread is a device of its own, as a newer connection of the same device would end the older one, and another one before it connects too often."""
        thread = threading.current_thread().name
        self.connects[thread] += 1
        return nh1_headers(self.secret["key"], self.secret["secret"], name or f"{thread}-{self.connects[thread] // 20}")

    def each(self, cases, check):
        """check(*case) for every case, several at a time; all failures are told."""
        def attempt(case):
            try:
                check(*case)
            except Exception as e:  # noqa: BLE001 - told below with the case's name
                return f"{case[0]}: {type(e).__name__} {e}"

        with ThreadPoolExecutor(8, thread_name_prefix="ws") as pool:
            failures = [text for text in pool.map(attempt, cases) if text]
        self.assertEqual(failures, [])

    def tearDown(self):
        self.assertEqual(self.server.http("GET", "/status/alive").status, 200, "the server serves no more")

    def peer(self, name=None, **kwargs):
        peer = WebSocketPeer(self.server.web_port, **kwargs)
        peer.upgrade(upgrade_request(PATH, self.identity(name)))
        return peer

    def check_reply(self, got, name, ref="1"):
        self.assertEqual(got[0], TEXT, name)
        join_ref, reply_ref, topic, event, payload = json.loads(got[1])
        self.assertEqual((reply_ref, topic, event, payload["status"]), (ref, "nowhere", "phx_reply", "error"), name)

    def still_works(self, peer, name):
        peer.send(frame(PING, b"still here") + frame(TEXT, message("last")))
        self.assertEqual(peer.receive(), (PONG, b"still here"), name)
        self.check_reply(peer.receive(), name, "last")

    def check(self, peer, name, wanted, end):
        for want in wanted:
            got = peer.receive()
            self.assertIsNotNone(got, f"{name}: the connection ended")
            if want == "reply":
                self.check_reply(got, name)
            else:
                self.assertEqual(got, want, name)
        if end == ONGOING:
            self.still_works(peer, name)
        else:
            self.assertEqual(peer.until_close(), ([], end), name)

    def rows(self, table):
        def check(name, pieces, wanted, end):
            with self.peer() as peer:
                peer.send(*pieces)
                self.check(peer, name, wanted, end)

        whole = [(name, [data], wanted, end) for name, data, wanted, end in table]
        chopped = [(name + ", bytewise", bytewise(data), wanted, end) for name, data, wanted, end in table if len(data) < 1000]
        self.each(whole + chopped, check)

    def test_frames(self):
        self.rows(FRAMES)

    def test_control_frames(self):
        self.rows(CONTROL)

    def test_fragmentation(self):
        self.rows(FRAGMENTS)

    def test_lengths(self):
        with self.peer() as peer:
            for size in (124, 125, 126, 127, 128, 1000, 65534, 65535, 65536, 65537, 1 << 18, MESSAGE_MAX - 1, MESSAGE_MAX):
                text = message_of(size)
                self.assertEqual(len(text), size)
                peer.send(frame(TEXT, text))
                self.check_reply(peer.receive(), size)
                pieces = [text[i:i + 4099] for i in range(0, size, 4099)]
                peer.send(fragments(TEXT, pieces))
                self.check_reply(peer.receive(), size)
            for size in range(126):
                peer.send(frame(PING, b"p" * size))
                self.assertEqual(peer.receive(), (PONG, b"p" * size))
        with self.peer() as peer:
            peer.send(frame(TEXT, message_of(MESSAGE_MAX + 1)))
            self.assertEqual(peer.until_close(), ([], 1009))

    def test_valid_text(self):
        with self.peer() as peer:
            for text in VALID_TEXTS:
                whole = message(text)
                for pieces in ([whole], bytewise(whole), [whole[:9], whole[9:]]):
                    peer.send(fragments(TEXT, pieces))
                    self.check_reply(peer.receive(), text, text)

    def test_invalid_text(self):
        def refused(name, data):
            with self.peer() as peer:
                peer.send(data)
                self.assertEqual(peer.until_close(), ([], 1007))

        def cut_off(name, cut):
            with self.peer() as peer:
                peer.send(frame(TEXT, b"[" + cut, fin=False) + frame(PING, b"so far so good"))
                self.assertEqual(peer.receive(), (PONG, b"so far so good"))
                peer.send(frame(CONTINUATION))
                self.assertEqual(peer.until_close(), ([], 1007))

        cases = []
        for bad in INVALID_TEXTS:
            cases += [(f"{bad} whole", frame(TEXT, b'["' + bad + b'"]')), (f"{bad} in fragments of a byte", fragments(TEXT, bytewise(b"[" + bad + b"]"))),
                      (f"{bad} at once, the message is not over", frame(TEXT, b"[" + bad + b" ", fin=False)),
                      (f"{bad} at once, the frame is not over", frame(TEXT, b"[" + bad + b" ", length=1000))]
        self.each(cases, refused)
        self.each([(f"{cut} and no more", cut) for cut in CUT_TEXTS], cut_off)

    def test_closing(self):
        def check(name, data, code):
            with self.peer() as peer:
                peer.send(frame(TEXT, M) + data)
                self.check_reply(peer.receive(), name)
                self.assertEqual(peer.until_close(), ([], code), name)

        self.each(CLOSES, check)

    def test_ends_without_a_close(self):
        """Half a frame and then the end, or a reset: nothing to say, nothing kept."""
        for data in (b"", b"\x81", frame(TEXT, M)[:-1], frame(TEXT, A, fin=False), frame(PING, b"x" * 100)[:50]):
            with self.peer() as peer:
                peer.send(data)
                peer.done_sending()
                self.assertEqual(peer.until_close()[1], None)
            peer = self.peer()
            peer.send(data)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()

    def test_one_byte_at_a_time(self):
        """A whole session in the smallest pieces, upgrade included."""
        session = upgrade_request(PATH, self.identity()) + frame(TEXT, M) + frame(PING, b"p") + fragments(TEXT, [A, B]) + frame(TEXT, message_of(200)) + close_frame(1000)
        with WebSocketPeer(self.server.web_port) as peer:
            peer.send_bytewise(session)
            self.assertEqual(peer.answer().status, 101)
            self.check(peer, "bytewise", ["reply", (PONG, b"p"), "reply", "reply"], 1000)

    def test_everything_at_once(self):
        """Frames in the same segment as the upgrade wait until there is a socket to take them."""
        with WebSocketPeer(self.server.web_port) as peer:
            peer.send(upgrade_request(PATH, self.identity()) + frame(TEXT, M) * 50 + frame(PING, b"p") + close_frame(1000))
            self.assertEqual(peer.answer().status, 101)
            self.check(peer, "at once", ["reply"] * 50 + [(PONG, b"p")], 1000)

    def resident_kib(self):
        with open(f"/proc/{self.server.process.pid}/status") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

    def test_largest_message_in_bytes(self):
        """A million fragments of a byte cost the server no more memory than the message that they make."""
        text = message_of(MESSAGE_MAX)
        single = [bytes([0x00, 0x81]) + MASK + bytes([b ^ MASK[0]]) for b in range(256)]
        stream = bytearray(b"".join(single[b] for b in text))
        stream[0] = TEXT
        stream[-7] = 0x80
        with self.peer() as peer:
            before = self.resident_kib()
            peer.send(bytes(stream))
            self.check_reply(peer.receive(), "in bytes")
            self.still_works(peer, "in bytes")
            self.assertLess(self.resident_kib() - before, 64 << 10)

    def flood(self, data):
        """Sends without reading until the server has had enough: it closes, or does not hear any more; False where it takes everything."""
        with self.peer(small=True) as peer:
            block = data * (65536 // len(data))
            peer.socket.settimeout(2)
            try:
                for _ in range((128 << 20) // len(block)):
                    if not peer.send(block):
                        return True
            except socket.timeout:
                return True
        return False

    def test_flood_of_questions_unread_answers(self):
        """Who asks and asks and never reads is no longer heard, or let go at the cap of its output, whatever it asks."""
        floods = [("pings", frame(PING, b"p" * 125)), ("messages", frame(TEXT, message("r" * 60))), ("heartbeats", frame(TEXT, b'[null,"1","phoenix","heartbeat",{}]'))]
        self.each(floods, lambda name, data: self.assertTrue(self.flood(data), f"128 MB of {name} were taken and not one answer was read"))

    def handshake(self, name, changes, status):
        with WebSocketPeer(self.server.web_port) as peer:
            request = upgrade_request(PATH, {**self.identity(), **changes})
            body = b"12345" if changes.get("Content-Length") == "5" else b"5\r\n12345\r\n0\r\n\r\n" if "Transfer-Encoding" in changes else b""
            peer.send(request + body)
            answer = peer.answer()
            self.assertEqual(answer.status, status, f"{name}: {answer}")
            self.assertNotIn("sec-websocket-extensions", answer.headers)
            self.assertNotIn("sec-websocket-protocol", answer.headers)
            if status == 101:
                self.assertEqual(answer.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                self.still_works(peer, name)
                return
            self.assertEqual(answer.headers.get("sec-websocket-version"), "13" if status == 426 else None, name)
            peer.send(b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(peer.answer().status, 200, f"{name}: the connection is HTTP still")

    def test_handshakes(self):
        self.each(HANDSHAKES, self.handshake)

    def test_handshakes_by_other_requests(self):
        """What is no GET of HTTP/1.1 becomes no WebSocket, however it is dressed; a vsn nobody speaks neither."""
        good = upgrade_request(PATH, self.identity())
        for name, request, status, usable in [
            ("POST", good.replace(b"GET ", b"POST ", 1), 405, True), ("HEAD", good.replace(b"GET ", b"HEAD ", 1), 400, True),
            ("HTTP/1.0", good.replace(b"HTTP/1.1", b"HTTP/1.0", 1), 400, False), ("HTTP/2.0", good.replace(b"HTTP/1.1", b"HTTP/2.0", 1), 505, False),
            ("vsn 4", upgrade_request(PATH.replace("2.0.0", "4.0.0"), self.identity()), 403, True), ("vsn x", upgrade_request(PATH.replace("2.0.0", "x"), self.identity()), 403, True),
            ("vsn twice escaped wrongly", upgrade_request(PATH + "&vsn=%zz", self.identity()), 101, None), ("broken vsn", upgrade_request("/device-socket/websocket?vsn=%zz", self.identity()), 403, True),
            ("no identity", upgrade_request(PATH), 401, True), ("another path", upgrade_request("/device-socket/websocket/x", self.identity()), 404, True),
            ("the users' socket", upgrade_request("/socket/websocket?vsn=2.0.0", self.identity()), 404, True),
        ]:
            with self.subTest(name), WebSocketPeer(self.server.web_port) as peer:
                peer.send(request)
                answer = peer.answer("HEAD" if name == "HEAD" else "GET")
                self.assertEqual(answer.status, status, f"{name}: {answer}")
                if usable:
                    peer.send(b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n")
                    self.assertEqual(peer.answer().status, 200, name)
                elif usable is False:
                    self.assertEqual(peer.ended(), b"", name)

    def test_frames_to_a_plain_connection(self):
        with Peer(self.server.web_port) as peer:
            peer.send(frame(TEXT, M))
            self.assertEqual(peer.answer().status, 400)
            self.assertEqual(peer.ended(), b"")


if __name__ == "__main__":
    unittest.main()
