"""The rules of HTTP (RFC 9110, 9112) against the real server, byte for byte: each row says what is sent, which answers must come, and whether the
connection can be used afterwards. After an error of framing it cannot: nobody knows where the next message would begin."""

import http.client
import json
import re
import shutil
import unittest

from nhtest import DEADLINE, ServerCase, run
from rawpeer import Peer

KEEP, CLOSE = "keep", "close"
ALIVE = b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n"
H = b"Host: h\r\n"


def get(*lines, target=b"/status/alive", method=b"GET", version=b"HTTP/1.1", host=H):
    return method + b" " + target + b" " + version + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines, body=b""):
    return get(b"Content-Type: application/json", *lines, target=b"/api/orgs", method=b"POST") + body


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

# name, bytes, statuses, what becomes of the connection. /api/orgs without a token: 401 once the whole body was taken.
FRAMING = [
    ("length and chunked", post(b"Content-Length: 4", CHUNKED, body=END + SMUGGLED), [400], CLOSE),
    ("chunked and length", post(CHUNKED, b"Content-Length: 4", body=END + SMUGGLED), [400], CLOSE),
    ("length 0 and chunked", post(b"Content-Length: 0", CHUNKED, body=END + SMUGGLED), [400], CLOSE),
    ("chunked twice in two lines", post(CHUNKED, CHUNKED, body=END), [501], CLOSE),
    ("chunked twice in one line", post(b"Transfer-Encoding: chunked, chunked", body=END), [501], CLOSE),
    ("chunked, identity", post(b"Transfer-Encoding: chunked, identity", body=END + SMUGGLED), [501], CLOSE),
    ("identity", post(b"Transfer-Encoding: identity", body=SMUGGLED), [501], CLOSE),
    ("identity, chunked", post(b"Transfer-Encoding: identity, chunked", body=END), [501], CLOSE),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=END), [501], CLOSE),
    ("xchunked", post(b"Transfer-Encoding: xchunked", body=END + SMUGGLED), [501], CLOSE),
    ("chunked;q=1", post(b"Transfer-Encoding: chunked;q=1", body=END), [501], CLOSE),
    ("quoted chunked", post(b'Transfer-Encoding: "chunked"', body=END), [501], CLOSE),
    ("empty coding", post(b"Transfer-Encoding:", body=END), [501], CLOSE),
    ("comma only", post(b"Transfer-Encoding: ,chunked", body=END), [501], CLOSE),
    ("vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked", body=END), [400], CLOSE),
    ("no-break space before chunked", post(b"Transfer-Encoding: \xa0chunked", body=END), [501], CLOSE),
    ("blank before the colon", post(b"Transfer-Encoding : chunked", body=END), [400], CLOSE),
    ("tab before the colon", post(b"Transfer-Encoding\t: chunked", body=END), [400], CLOSE),
    ("blank before the name", post(b" Transfer-Encoding: chunked", body=END), [400], CLOSE),
    ("folded coding", post(b"Transfer-Encoding:\r\n chunked", body=END), [400], CLOSE),
    ("folded behind another header", post(b"X: y\r\n Transfer-Encoding: chunked", body=END), [400], CLOSE),
    ("bare CR hides a coding", post(b"X: y\rTransfer-Encoding: chunked", body=END), [400], CLOSE),
    ("bare LF hides a coding", post(b"X: y\nTransfer-Encoding: chunked", body=END), [400], CLOSE),
    ("NUL hides a coding", post(b"X: y\0Transfer-Encoding: chunked", body=END), [400], CLOSE),
    ("chunked in HTTP/1.0", get(CHUNKED, target=b"/api/orgs", method=b"POST", version=b"HTTP/1.0") + END, [400], CLOSE),
    ("chunked in capitals", post(b"tRANSFER-eNCODING:CHUNKED", body=END), [401], KEEP),
    ("chunked with tabs around", post(b"Transfer-Encoding:\tchunked \t", body=END), [401], KEEP),
    ("length twice, different", post(b"Content-Length: 0", b"Content-Length: 4", body=b"GET "), [400], CLOSE),
    ("length twice, the same", post(b"Content-Length: 2", b"content-length: 2", body=b"{}"), [400], CLOSE),
    ("length as a list", post(b"Content-Length: 2, 2", body=b"{}"), [400], CLOSE),
    ("length +2", post(b"Content-Length: +2", body=b"{}"), [400], CLOSE),
    ("length -2", post(b"Content-Length: -2", body=b"{}"), [400], CLOSE),
    ("length 0x2", post(b"Content-Length: 0x2", body=b"{}"), [400], CLOSE),
    ("length 2.0", post(b"Content-Length: 2.0", body=b"{}"), [400], CLOSE),
    ("length 2 2", post(b"Content-Length: 2 2", body=b"{}"), [400], CLOSE),
    ("length quoted", post(b'Content-Length: "2"', body=b"{}"), [400], CLOSE),
    ("length empty", post(b"Content-Length:", body=b"{}"), [400], CLOSE),
    ("length over 2^63", post(b"Content-Length: 9223372036854775808"), [400], CLOSE),
    ("length over 2^64", post(b"Content-Length: 18446744073709551618", body=b"{}"), [400], CLOSE),
    ("length of a hundred digits", post(b"Content-Length: " + b"9" * 100), [400], CLOSE),
    ("length with leading zeros", post(b"Content-Length: 0002", body=b"{}"), [401], KEEP),
    ("length in other digits", post("Content-Length: ٢".encode(), body=b"{}"), [400], CLOSE),
    ("length folded", post(b"Content-Length:\r\n 2", body=b"{}"), [400], CLOSE),
    ("length with underscore is another header", post(b"Content_Length: 5"), [401], KEEP),
    ("body of a GET is taken", get(b"Content-Length: 5") + b"GET /", [200], KEEP),
    ("chunked body of a GET is taken", get(CHUNKED) + b"5\r\nGET /\r\n" + END, [200], KEEP),
    ("body of an unknown path is not", get(b"Content-Length: 36", target=b"/nowhere", method=b"POST") + SMUGGLED, [404], CLOSE),
    ("body over the cap, announced", post(b"Content-Length: 99999999999"), [413], CLOSE),
    ("body over the cap, chunked", post(CHUNKED, body=b"fffffffffff\r\n"), [413], CLOSE),
]

CHUNKS = [
    ("whole", b"2\r\n{}\r\n" + END, [401], KEEP),
    ("upper and lower hex, leading zeros", b"00002\r\n{}\r\n0A\r\n          \r\n0a\r\n          \r\n000\r\n\r\n", [401], KEEP),
    ("extension", b"2;a=b\r\n{}\r\n0;x\r\n\r\n", [401], KEEP),
    ("quoted extension", b'2;a="b;c"\r\n{}\r\n' + END, [401], KEEP),
    ("blank before the extension", b"2 ;a\r\n{}\r\n" + END, [400], CLOSE),
    ("blank after the size", b"2 \r\n{}\r\n" + END, [400], CLOSE),
    ("blank before the size", b" 2\r\n{}\r\n" + END, [400], CLOSE),
    ("tab after the size", b"2\t\r\n{}\r\n" + END, [400], CLOSE),
    ("sign", b"+2\r\n{}\r\n" + END, [400], CLOSE),
    ("0x", b"0x2\r\n{}\r\n" + END, [400], CLOSE),
    ("negative", b"-2\r\n{}\r\n" + END, [400], CLOSE),
    ("underscore", b"0_2\r\n{}\r\n" + END, [400], CLOSE),
    ("empty size", b"\r\n{}\r\n" + END, [400], CLOSE),
    ("extension without a size", b";a\r\n{}\r\n" + END, [400], CLOSE),
    ("no hex digit", b"g\r\n{}\r\n" + END, [400], CLOSE),
    ("2^64", b"10000000000000002\r\n{}\r\n" + END, [400], CLOSE),
    ("2^64 - 1", b"ffffffffffffffff\r\n{}\r\n" + END, [400], CLOSE),
    ("2^32 + 2 is no 2", b"100000002\r\n{}\r\n" + END, [413], CLOSE),
    ("zeros without end", b"0" * 300, [400], CLOSE),
    ("bare LF after the size", b"2\n{}\r\n" + END, [400], CLOSE),
    ("bare CR after the size", b"2\r{}\r\n" + END, [400], CLOSE),
    ("LF in an extension", b"2;\n{}\r\n" + END, [400], CLOSE),
    ("NUL in an extension", b"2;\0\r\n{}\r\n" + END, [400], CLOSE),
    ("extension without end", b"2;" + b"a" * 300, [413], CLOSE),
    ("no CRLF behind the data", b"2\r\n{}" + END, [400], CLOSE),
    ("bare LF behind the data", b"2\r\n{}\n" + END, [400], CLOSE),
    ("data longer than the size", b"1\r\n{}\r\n" + END, [400], CLOSE),
    ("trailers", b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: other\r\nAuthorization: x\r\n\r\n", [401], KEEP),
    ("trailer with bare LF", b"0\r\nX: y\n\r\n", [400], CLOSE),
    ("folded trailer", b"0\r\nX: y\r\n z\r\n\r\n", [400], CLOSE),
    ("trailer without a name", b"0\r\n: y\r\n\r\n", [400], CLOSE),
    ("trailer with a blank in its name", b"0\r\nX y: z\r\n\r\n", [400], CLOSE),
    ("trailer without a colon", b"0\r\nGET / HTTP/1.1\r\n\r\n", [400], CLOSE),
    ("trailer with NUL", b"0\r\nX: \0\r\n\r\n", [400], CLOSE),
    ("trailers without end", b"0\r\n" + b"X: y\r\n" * 1000, [413], CLOSE),
    ("garbage behind the last size", b"0x\r\n\r\n", [400], CLOSE),
    ("bare LF ends the trailers", b"0\r\n\n", [400], CLOSE),
    ("bare CR ends the trailers", b"0\r\n\rX", [400], CLOSE),
]

HEADS = [
    ("plain", get(), [200], KEEP),
    ("one empty line first", b"\r\n" + get(), [200], KEEP),
    ("two empty lines first", b"\r\n\r\n" + get(), [400], CLOSE),
    ("LF for line ends", b"GET /status/alive HTTP/1.1\nHost: h\n\n", [400], CLOSE),
    ("LF for the last line end", b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\n", [400], CLOSE),
    ("bare CR in a value", get(b"X: a\rb"), [400], CLOSE),
    ("CR CR LF", get(b"X: a\r"), [400], CLOSE),
    ("NUL in a value", get(b"X: \0"), [400], CLOSE),
    ("DEL in a value", get(b"X: \x7f"), [400], CLOSE),
    ("escape in a value", get(b"X: \x1b[2J"), [400], CLOSE),
    ("tab in a value", get(b"X: a\tb"), [200], KEEP),
    ("8 bit in a value", get("X: Größe".encode("latin-1"), "Y: Größe".encode()), [200], KEEP),
    ("NUL in a name", get(b"X\0Y: a"), [400], CLOSE),
    ("8 bit in a name", get("Größe: 1".encode()), [400], CLOSE),
    ("blank in a name", get(b"X Y: a"), [400], CLOSE),
    ("separator in a name", get(b"X(Y): a"), [400], CLOSE),
    ("blank before the colon", get(b"X : a"), [400], CLOSE),
    ("empty name", get(b": a"), [400], CLOSE),
    ("no colon", get(b"nothing"), [400], CLOSE),
    ("empty value", get(b"X:", b"Y: "), [200], KEEP),
    ("folded value", get(b"X: a\r\n b"), [400], CLOSE),
    ("folded first line", b"GET /status/alive HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", [400], CLOSE),
    ("every token character in a name", get(b"!#$%&'*+-.^_`|~09azAZ: a"), [200], KEEP),
    ("no Host", get(host=b""), [400], CLOSE),
    ("two Hosts", get(b"Host: h"), [400], CLOSE),
    ("Host with blank", get(host=b"Host: a b\r\n"), [400], CLOSE),
    ("Host with user", get(host=b"Host: u@h\r\n"), [400], CLOSE),
    ("Host with path", get(host=b"Host: h/x\r\n"), [400], CLOSE),
    ("Host as list", get(host=b"Host: a,b\r\n"), [400], CLOSE),
    ("Host with 8 bit", get(host="Host: hä\r\n".encode()), [400], CLOSE),
    ("Host with a port that is none", get(host=b"Host: h:http\r\n"), [400], CLOSE),
    ("Host with two ports", get(host=b"Host: h:1:2\r\n"), [400], CLOSE),
    ("Host with a port too high", get(host=b"Host: h:65536\r\n"), [400], CLOSE),
    ("Host with a broken address", get(host=b"Host: [::1\r\n"), [400], CLOSE),
    ("Host with text behind an address", get(host=b"Host: [::1]x\r\n"), [400], CLOSE),
    ("Host with port", get(host=b"Host: h:4000\r\n"), [200], KEEP),
    ("Host with an empty port", get(host=b"Host: h:\r\n"), [200], KEEP),
    ("Host with IPv6", get(host=b"Host: [::1]:4000\r\n"), [200], KEEP),
    ("empty Host", get(host=b"Host:\r\n"), [200], KEEP),
    ("absolute form", get(target=b"http://other:1/status/alive"), [200], KEEP),
    ("absolute form, two Hosts", get(b"Host: x", target=b"http://h/status/alive"), [400], CLOSE),
    ("absolute form without Host", get(target=b"http://h/status/alive", host=b""), [400], CLOSE),
    ("absolute form with user", get(target=b"http://u@h/status/alive"), [400], CLOSE),
    ("absolute form of another scheme", get(target=b"ftp://h/status/alive"), [400], CLOSE),
    ("authority form", get(target=b"h:80"), [400], CLOSE),
    ("asterisk for GET", get(target=b"*"), [400], CLOSE),
    ("asterisk for OPTIONS", get(target=b"*", method=b"OPTIONS"), [404], KEEP),
    ("no target", b"GET HTTP/1.1\r\n" + H + b"\r\n", [400], CLOSE),
    ("two blanks", get(target=b" /status/alive"), [400], CLOSE),
    ("tab for a blank", b"GET\t/status/alive HTTP/1.1\r\n" + H + b"\r\n", [400], CLOSE),
    ("blank behind the version", get(version=b"HTTP/1.1 "), [400], CLOSE),
    ("blank in the target", get(target=b"/status alive"), [400], CLOSE),
    ("8 bit in the target", get(target="/ä".encode()), [400], CLOSE),
    ("fragment in the target", get(target=b"/status/alive#x"), [400], CLOSE),
    ("HTTP/0.9", b"GET /status/alive\r\n\r\n", [400], CLOSE),
    ("HTTP/1.0", get(version=b"HTTP/1.0", host=b""), [200], CLOSE),
    ("HTTP/1.0 that stays", get(b"Connection: Keep-Alive", version=b"HTTP/1.0"), [200], KEEP),
    ("HTTP/1.2", get(version=b"HTTP/1.2"), [200], KEEP),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505], CLOSE),
    ("HTTP/2.0", get(version=b"HTTP/2.0"), [505], CLOSE),
    ("HTTP/0.1", get(version=b"HTTP/0.1"), [505], CLOSE),
    ("HTTP/11", get(version=b"HTTP/11"), [400], CLOSE),
    ("HTTP/1.10", get(version=b"HTTP/1.10"), [400], CLOSE),
    ("http/1.1", get(version=b"http/1.1"), [400], CLOSE),
    ("HTTPS/1.1", get(version=b"HTTPS/1.1"), [400], CLOSE),
    ("lower-case method", get(method=b"get"), [501], KEEP),
    ("unknown method", get(method=b"BREW"), [501], KEEP),
    ("TRACE", get(method=b"TRACE"), [501], KEEP),
    ("CONNECT", get(method=b"CONNECT", target=b"h:80"), [501], CLOSE),
    ("unknown method with body", get(b"Content-Length: 36", method=b"BREW") + SMUGGLED, [501], CLOSE),
    ("method with separators", get(method=b"GE(T"), [400], CLOSE),
    ("method without end", b"A" * 40 + b" / HTTP/1.1\r\n" + H + b"\r\n", [400], CLOSE),
    ("method that is not served", get(method=b"DELETE"), [405], KEEP),
    ("Connection: close", get(b"Connection: close"), [200], CLOSE),
    ("Connection: Close among others", get(b"Connection: foo, CLOSE"), [200], CLOSE),
    ("Connection: close in the second line", get(b"Connection: keep-alive", b"Connection: close"), [200], CLOSE),
    ("TLS hello", bytes.fromhex("16030100c8010000c40303"), [400], CLOSE),
    ("SOCKS", bytes.fromhex("050100"), [400], CLOSE),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", [400], CLOSE),
]

LIMITS = [
    ("target as long as may be", get(target=b"/" + b"a" * (8192 - 14)), [404], KEEP),
    ("target too long", get(target=b"/" + b"a" * (8192 - 13)), [414], CLOSE),
    ("target without end", b"GET /" + b"a" * 10000, [414], CLOSE),
    ("as many headers as may be", get(*[b"X-%d: y" % i for i in range(63)]), [200], KEEP),
    ("headers without end", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, [431], CLOSE),
    ("one header that fits", get(b"X: " + b"a" * 30000), [200], KEEP),
    ("one header too long", get(b"X: " + b"a" * 33000), [431], CLOSE),
    ("one header without end", b"GET / HTTP/1.1\r\nX: " + b"a" * 40000, [431], CLOSE),
    ("one name without end", b"GET / HTTP/1.1\r\n" + b"a" * 40000, [431], CLOSE),
]

PATHS = [
    (b"/status/alive?", 200), (b"/status/alive?x=%zz", 200), (b"//status//alive/", 200), (b"/%73tatus/alive", 200), (b"/status%2falive", 404), (b"/status%2Falive", 404),
    (b"/status/./alive", 400), (b"/status/x/../alive", 400), (b"/../status/alive", 400), (b"/%2e%2e/status/alive", 400), (b"/status/%2e/alive", 400),
    (b"/..%2f..%2fetc/passwd", 404), (b"/status/alive%00", 400), (b"/%00", 400), (b"/status/alive%0d%0aX:y", 400), (b"/status/alive%", 400),
    (b"/status/alive%4", 400), (b"/status/alive%zz", 400), (b"/status/alive%C0%AF", 404), (b"/status/%EF%BC%8E%EF%BC%8E/alive", 404), (b"/status/alive;x", 404),
    (b"/status\\alive", 404), (b"/status/alive%7f", 400), (b"/a" * 1000, 400), (b"/", 303), (b"/firmware/../../secret.key", 400),
    (b"/firmware/%2e%2e%2fsecret.key?e=1", 403), (b"/firmware//etc/passwd", 403), (b"/STATUS/ALIVE", 404),
]

EXPECT = [
    ("100-continue", post(b"Expect: 100-continue", b"Content-Length: 2"), b"{}", [100, 401], KEEP),
    ("100-Continue in capitals", post(b"Expect: 100-CONTINUE", b"Content-Length: 2"), b"{}", [100, 401], KEEP),
    ("100-continue, chunked", post(b"Expect: 100-continue", CHUNKED), b"2\r\n{}\r\n" + END, [100, 401], KEEP),
    ("100-continue without a body", get(b"Expect: 100-continue"), b"", [200], KEEP),
    ("100-continue, refused before the body", post(b"Expect: 100-continue", b"Content-Length: 99999999999"), b"", [413], CLOSE),
    ("100-continue, unknown path", get(b"Expect: 100-continue", b"Content-Length: 2", target=b"/nowhere", method=b"POST"), b"", [404], CLOSE),
    ("unknown expectation", get(b"Expect: the-unexpected"), b"", [417], KEEP),
    ("unknown expectation beside a known one", get(b"Expect: 100-continue, tea"), b"", [417], KEEP),
    ("unknown expectation of a body", post(b"Expect: tea", b"Content-Length: 36"), b"", [417], CLOSE),
    ("expectation of an old client", get(b"Expect: 100-continue", version=b"HTTP/1.0"), b"", [200], CLOSE),
]


class HttpRules(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.download = f"/api/orgs/acme/products/Thermo%20Widget/firmwares/{cls.fw['uuid']}/download"
        cls.bearer = f"Authorization: Bearer {cls.server.token}".encode()

    def tearDown(self):
        self.assertEqual(self.server.http("GET", "/status/alive").status, 200, "the server serves no more")

    def expect(self, peer, name, statuses, end, method="GET"):
        """The answers, and then a connection that is as it should be."""
        answers = []
        for status in statuses:
            answer = peer.answer(method)
            self.assertIsNotNone(answer, name)
            self.assertEqual(answer.status, status, f"{name}: {answer}")
            answers.append(answer)
        if end == CLOSE:
            self.assertEqual(answers[-1].headers.get("connection"), "close", name)
            self.assertEqual(peer.ended(), b"", name)
        else:
            self.assertNotEqual(answers[-1].headers.get("connection"), "close", name)
            self.assertEqual(peer.rest, b"", name)
            peer.send(ALIVE)
            self.assertEqual(peer.answer().status, 200, f"{name}: the next request")
        return answers

    def rows(self, table, wrap=lambda data: data):
        for name, data, statuses, end in table:
            with self.subTest(name), Peer(self.server.web_port) as peer:
                peer.send(wrap(data))
                self.expect(peer, name, statuses, end)

    def test_framing_of_bodies(self):
        self.rows(FRAMING)

    def test_chunks(self):
        self.rows(CHUNKS, lambda body: post(CHUNKED, body=body))

    def test_heads(self):
        self.rows(HEADS)

    def test_limits(self):
        self.rows(LIMITS)

    def test_old_and_unknown(self):
        with Peer(self.server.web_port) as peer:
            peer.send(get(b"Connection: Keep-Alive", version=b"HTTP/1.0"))
            self.assertEqual(peer.answer().headers["connection"], "keep-alive")  # else an old client waits for the end
            peer.send(get(method=b"DELETE"))
            self.assertEqual(peer.answer().headers["allow"], "GET, HEAD")

    def test_paths(self):
        with Peer(self.server.web_port) as peer:
            for target, status in PATHS:
                with self.subTest(target):
                    peer.send(get(target=target))
                    self.assertEqual(peer.answer().status, status, target)

    def test_expectations(self):
        for name, head, body, statuses, end in EXPECT:
            with self.subTest(name), Peer(self.server.web_port) as peer:
                peer.send(head)
                if statuses[0] == 100:
                    self.assertEqual(peer.answer().status, 100, name)  # before a byte of the body is sent
                    peer.send(body)
                    statuses = statuses[1:]
                self.expect(peer, name, statuses, end)

    def test_split_at_every_byte(self):
        """The same answers wherever the network cuts, and the same for one byte at a time."""
        message = get(b"X-Request-Id: abcdefghijklmnopqrstuvwxyz") + post(CHUNKED, body=b"2;x\r\n{}\r\n0\r\nA: b\r\n\r\n") + get(b"Content-Length: 3") + b"abc" + ALIVE
        statuses = [200, 401, 200, 200]
        with Peer(self.server.web_port) as peer:
            for cut in range(1, len(message)):
                peer.send(message[:cut], message[cut:])
                self.assertEqual([peer.answer().status for _ in statuses], statuses, f"cut at {cut}")
            peer.send_bytewise(message)
            self.assertEqual([peer.answer().status for _ in statuses], statuses)
        broken = post(b"Content-Length: 2", CHUNKED, body=END)
        with Peer(self.server.web_port) as peer:
            peer.send_bytewise(broken)
            self.expect(peer, "bytewise", [400], CLOSE)

    def test_pipelining_keeps_the_order(self):
        """Fast routes, slow ones, bodies and errors of the application in one stream: the answers come in the order of the questions."""
        kinds = [(ALIVE, 200, b"Hello, Friend!"), (get(target=b"/nowhere"), 404, b"errors"), (post(b"Content-Length: 2", body=b"{}"), 401, b"errors"),
                 (post(CHUNKED, body=b"1\r\n{\r\n1\r\n}\r\n" + END), 401, b"errors"), (get(self.bearer, target=b"/api/users/me"), 200, b"admin"),
                 (get(target=b"/status/alive", method=b"HEAD"), 200, b"")]
        order = [kinds[(i * 7 + i // 5) % len(kinds)] for i in range(300)]
        with Peer(self.server.web_port) as peer:
            peer.send(b"".join(message for message, _, _ in order))
            peer.done_sending()  # whoever has nothing more to say still gets all answers
            for i, (message, status, word) in enumerate(order):
                answer = peer.answer("HEAD" if message.startswith(b"HEAD") else "GET")
                self.assertIsNotNone(answer, f"answer {i}")
                self.assertEqual((answer.status, word in answer.body), (status, True), f"answer {i}: {answer}")
            self.assertEqual(peer.ended(), b"")

    def test_pipelining_ends_where_it_must(self):
        """Nothing behind a close, a framing error or an unread body is ever taken for a request."""
        for name, middle, status in [("close", get(b"Connection: close"), 200), ("framing error", post(b"Content-Length: x"), 400),
                                     ("HTTP/1.0", get(version=b"HTTP/1.0"), 200), ("unread body", get(b"Content-Length: 99", target=b"/nowhere", method=b"POST"), 404),
                                     ("chunk error", post(CHUNKED, body=b"zz\r\n"), 400)]:
            with self.subTest(name), Peer(self.server.web_port) as peer:
                peer.send(ALIVE * 3 + middle + SMUGGLED * 20)
                self.expect(peer, name, [200, 200, 200, status], CLOSE)

    def test_many_questions_unread_answers(self):
        """Who does not read is not read: the server's memory holds one answer, not thousands."""
        with Peer(self.server.web_port, small=True) as peer:
            peer.socket.setblocking(False)
            sent, refused = 0, 0
            while sent < 64 << 20 and refused < 50:
                try:
                    sent += peer.socket.send(ALIVE * 1000)
                    refused = 0
                except BlockingIOError:
                    # The kernel's buffers are full on both ways; while it stays so, healthy connections are served, one turn of the loop each.
                    refused += 1
                    self.assertEqual(self.server.http("GET", "/status/alive").status, 200)
            self.assertEqual(refused, 50, "64 MB of questions were taken and not one answer was read")

    def test_bodies_arrive_as_sent(self):
        """What the framing carries is what the handler gets: organizations are created by every framing, and by none that was refused."""
        json_head = (self.bearer, b"Content-Type: application/json")
        framings = {
            "by-length": lambda b: [b"Content-Length: %d" % len(b)], "by-chunk": lambda b: [CHUNKED],
        }
        with Peer(self.server.web_port) as peer:
            for name, lines in framings.items():
                body = json.dumps({"name": name}).encode()
                payload = body if name == "by-length" else b"".join(b"%x;e=%d\r\n%c\r\n" % (1, i, c) for i, c in enumerate(body)) + b"0\r\nX: y\r\n\r\n"
                peer.send(get(*json_head, *lines(body), target=b"/api/orgs", method=b"POST") + payload)
                self.assertEqual(peer.answer().status, 201, name)
        body = b'{"name":"smuggler"}'
        with Peer(self.server.web_port) as peer:
            peer.send(get(*json_head, CHUNKED, target=b"/api/orgs", method=b"POST") + b"%x\r\n" % len(body) + body + b"\r\n0\r\nbroken\r\n\r\n")
            self.expect(peer, "broken trailer", [400], CLOSE)
        with Peer(self.server.web_port) as peer:
            peer.send(get(*json_head, b"Content-Length: %d" % (len(body) + 1), target=b"/api/orgs", method=b"POST") + body)
            peer.done_sending()
            self.assertEqual(peer.ended(), b"", "an incomplete request is not carried out")
        names = [org["name"] for org in self.server.api("GET", "/orgs", expect=200).data]
        self.assertIn("by-length", names)
        self.assertIn("by-chunk", names)
        self.assertNotIn("smuggler", names)

    def test_head_and_empty_answers(self):
        with Peer(self.server.web_port) as peer:
            for target, status in [(b"/status/alive", 200), (b"/nowhere", 404), (b"/api/users/me", 401), (self.download.encode(), 401), (b"/%", 400)]:
                peer.send(get(target=target))
                whole = peer.answer()
                peer.send(get(target=target, method=b"HEAD"))
                head = peer.answer("HEAD")
                self.assertEqual((whole.status, head.status), (status, status), target)
                self.assertEqual(whole.headers["content-length"], head.headers["content-length"], target)
                self.assertEqual(whole.headers.get("content-type"), head.headers.get("content-type"), target)
            name = b"/api/orgs/acme/products/Thermo%20Widget/devices"
            body = b'{"identifier":"http-rules"}'
            peer.send(get(self.bearer, b"Content-Type: application/json", b"Content-Length: %d" % len(body), target=name, method=b"POST") + body)
            self.assertEqual(peer.answer().status, 201)
            peer.send(get(self.bearer, target=name + b"/http-rules", method=b"DELETE"))
            self.expect(peer, "204", [204], KEEP)
            peer.send(get(self.bearer, target=self.download.encode(), method=b"HEAD"))
            answer = peer.answer("HEAD")
            self.assertEqual((answer.status, answer.headers["accept-ranges"]), (200, "bytes"))

    def test_ranges(self):
        target = self.download.encode()
        with Peer(self.server.web_port) as peer:
            peer.send(get(self.bearer, target=target))
            whole = peer.answer()
            size, data, etag = len(whole.body), whole.body, whole.headers["etag"].encode()
            rows = [
                (b"bytes=0-0", 206, (0, 1)), (b"bytes=0-99", 206, (0, 100)), (b"bytes=5-", 206, (5, size)), (b"bytes=-5", 206, (size - 5, size)),
                (b"bytes=0-", 206, (0, size)), (b"bytes=1-%d" % size, 206, (1, size)), (b"bytes=1-99999999999999999999999", 206, (1, size)),
                (b"bytes=-99999999999999999999999", 206, (0, size)), (b"bytes=%d-%d" % (size - 1, size - 1), 206, (size - 1, size)),
                (b"bytes=%d-" % size, 416, None), (b"bytes=%d-%d" % (size, size + 1), 416, None), (b"bytes=99999999999999999999999-", 416, None), (b"bytes=-0", 416, None),
                (b"bytes=5-4", 200, (0, size)), (b"bytes=0-1,4-5", 200, (0, size)), (b"bytes=0-5,3-8", 200, (0, size)), (b"bytes=" + b"0-," * 1000, 200, (0, size)),
                (b"bytes=", 200, (0, size)), (b"bytes=-", 200, (0, size)), (b"bytes=a-b", 200, (0, size)), (b"bytes=0x1-5", 200, (0, size)), (b"bytes=--5", 200, (0, size)),
                (b"items=0-5", 200, (0, size)), (b"bytes 0-5", 200, (0, size)), (b"BYTES=0-0", 206, (0, 1)), (b"bytes=1-2-3", 200, (0, size)), (b"bytes=+1-2", 200, (0, size)),
            ]
            for value, status, part in rows:
                with self.subTest(value[:60]):
                    peer.send(get(self.bearer, b"Range: " + value, target=target))
                    answer = peer.answer()
                    self.assertEqual(answer.status, status, value[:60])
                    if part:
                        self.assertEqual(answer.body, data[part[0]:part[1]])
                    if status == 206:
                        self.assertEqual(answer.headers["content-range"], f"bytes {part[0]}-{part[1] - 1}/{size}")
                    if status == 416:
                        self.assertEqual((answer.headers["content-range"], answer.body), (f"bytes */{size}", b""))
            for lines, status, length in [((b"If-None-Match: " + etag,), 304, 0), ((b"If-None-Match: W/" + etag,), 304, 0), ((b"If-None-Match: *",), 304, 0),
                                          ((b'If-None-Match: "x", ' + etag,), 304, 0), ((b'If-None-Match: "x"',), 200, size), ((b"If-None-Match: " + etag.strip(b'"'),), 200, size),
                                          ((b"Range: bytes=0-3", b"If-Range: " + etag), 206, 4), ((b"Range: bytes=0-3", b'If-Range: "x"'), 200, size),
                                          ((b"Range: bytes=0-3", b"If-Range: W/" + etag), 200, size), ((b"Range: bytes=0-3", b"If-None-Match: " + etag), 304, 0),
                                          ((b"Range: bytes=0-3", b"If-Range: Sat, 01 Jan 2000 00:00:00 GMT"), 200, size)]:
                peer.send(get(self.bearer, *lines, target=target))
                answer = peer.answer()
                self.assertEqual((answer.status, len(answer.body)), (status, length), lines)
                self.assertEqual(answer.headers["etag"].encode(), etag, lines)
            peer.send(get(self.bearer, b"Range: bytes=0-3", target=target, method=b"HEAD"))
            self.assertIn(peer.answer("HEAD").status, (200, 206))

    def test_nothing_reflected_splits_an_answer(self):
        """What a request says comes back as data or not at all."""
        evil = "\r\nSet-Cookie: evil=1\r\n\r\n<html>"
        quoted = "%0d%0aSet-Cookie:%20evil=1%0d%0a%0d%0a<html>".encode().replace(b" ", b"%20")
        with Peer(self.server.web_port) as peer:
            for target in (b"/" + quoted, b"/status/alive?" + quoted, b"/api/orgs/" + quoted, b"/api/swaggerui?x=" + quoted, b"/api/orgs?" + quoted):
                peer.send(get(self.bearer, target=target))
                answer = peer.answer()
                self.assertNotIn("set-cookie", answer.headers, target)
            body = json.dumps({"name": "evil" + evil}).encode()
            peer.send(get(self.bearer, b"Content-Type: application/json", b"Content-Length: %d" % len(body), target=b"/api/orgs", method=b"POST") + body)
            answer = peer.answer()
            self.assertNotIn("set-cookie", answer.headers)
            body = json.dumps({"identifier": "dev" + evil}).encode()
            peer.send(get(self.bearer, b"Content-Type: application/json", b"Content-Length: %d" % len(body), target=b"/api/orgs/acme/products/Thermo%20Widget/devices", method=b"POST") + body)
            answer = peer.answer()
            self.assertNotIn("set-cookie", answer.headers)
            peer.send(get(b"X-Request-Id: abcdefghijklmnopqrstuvwxyz\t<b>", target=b"/api/users/me"))
            self.assertEqual(peer.answer().headers["x-request-id"], "abcdefghijklmnopqrstuvwxyz\t<b>")
            peer.send(get(b"X-Request-Id: " + b"a" * 201, target=b"/api/users/me"))
            self.assertEqual(len(peer.answer().headers["x-request-id"]), 32)

    def test_malformed_upgrades(self):
        """Only a proper upgrade to a WebSocket changes the protocol; everything else stays HTTP, on a connection that can go on."""
        for name, lines, status in [("without identity", [b"Connection: Upgrade", b"Upgrade: websocket"], 401), ("to HTTP/2", [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"], 401)]:
            with self.subTest(name), Peer(self.server.web_port) as peer:
                peer.send(get(*lines, target=b"/device-socket/websocket?vsn=2.0.0"))
                self.expect(peer, name, [status], KEEP)
        with Peer(self.server.web_port) as peer:
            peer.send(get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"))
            self.expect(peer, "an upgrade nobody wants is ignored", [200], KEEP)

    def test_second_opinions(self):
        """Clients of others, in their normal traffic: curl (HTTP/1.0, 1.1, chunked upload, 100-continue), http.client, wrk."""
        base = f"http://127.0.0.1:{self.server.web_port}"
        self.assertEqual(run("curl", "-sS", f"{base}/status/alive", f"{base}/status/alive").stdout, "Hello, Friend!" * 2)
        self.assertEqual(run("curl", "-sS", "--http1.0", f"{base}/status/alive").stdout, "Hello, Friend!")
        self.assertIn("200 OK", run("curl", "-sSI", f"{base}/status/alive").stdout)
        done = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-H", "Content-Type: application/json",
                   "-H", f"Authorization: Bearer {self.server.token}", "-d", '{"name":"by-curl"}', f"{base}/api/orgs")
        self.assertEqual(done.stdout, "201")
        done = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-r", "0-9", "-H", f"Authorization: Bearer {self.server.token}", base + self.download)
        self.assertEqual(done.stdout, "206 10")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=DEADLINE)
        for i in range(20):
            connection.request("POST", "/api/orgs", body=iter([b"{", b"}"]), headers={"Content-Type": "application/json"}, encode_chunked=True)
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, 401)
        connection.close()
        if not shutil.which("wrk"):
            self.fail("wrk is missing: scripts/install-deps installs it")
        text = run("wrk", "-t1", "-c8", "-d1s", f"{base}/status/alive").stdout
        self.assertNotIn("Non-2xx", text)
        self.assertNotIn("Socket errors", text)
        self.assertGreater(int(re.search(r"(\d+) requests in", text).group(1)), 0)


if __name__ == "__main__":
    unittest.main()
