"""The device port and odd TLS clients: versions, names, chains, keys and certificates as the field and its attackers bring them. Whoever is refused is
told so, by an alert where the certificate is to blame and by 401 where none was shown; whoever may come in, gets in; and the port serves on.

Refused certificates end the handshake; which alert it is plays no role for clients (device-protocol 5.3), but there must be one."""

import os
import socket
import ssl
import struct
import subprocess
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor

import certmaker as cm
from nhtest import DEADLINE, Server, ServerCase, run
from rawpeer import PING, PONG, WebSocketPeer, frame, upgrade_request

PATH = "/socket/websocket?vsn=2.0.0"
ALIVE = b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
WELCOME, ALERT, UNAUTHORIZED = "101", "alert", "401"


def context(cert=None, key=None, version=None, minimum=None, alpn=None, ciphers="ALL:@SECLEVEL=0"):
    """A client that checks nothing of the server: here the server is the one that is tested."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that TLS 1.0 is old is what is tested
        tls.minimum_version = minimum or version or TLS12
        if version:
            tls.maximum_version = version
    if alpn:
        tls.set_alpn_protocols(alpn)
    if cert:
        tls.load_cert_chain(str(cert), str(key))
    return tls


def attempt(port, tls, name="localhost"):
    """What becomes of a device that connects so: the status of its upgrade, "alert", or how else it ended."""
    try:
        with WebSocketPeer(port, wrap=lambda s: tls.wrap_socket(s, server_hostname=name)) as peer:
            peer.socket.sendall(upgrade_request(PATH))
            answer = peer.answer()
            if answer is None:
                return "closed"
            if answer.status == 101:
                peer.send(frame(PING, b"tls"))
                return WELCOME if peer.receive() == (PONG, b"tls") else "mute"
            return str(answer.status)
    except ssl.SSLError as e:
        return ALERT if "alert" in f"{e.reason} {e}".lower() else f"{e.reason or e}"
    except ConnectionError as e:
        return type(e).__name__


def record(kind, payload, version=b"\x03\x01"):
    return bytes([kind]) + version + struct.pack(">H", len(payload)) + payload


def hello_extension(number, data=b""):
    return struct.pack(">HH", number, len(data)) + data


def client_hello(version=b"\x03\x03", compression=b"\0", extensions=None, ciphers=(0xc02b, 0xc02f, 0x1301), session=b""):
    if extensions is None:
        extensions = [hello_extension(10, b"\0\4\0\x1d\0\x17"), hello_extension(11, b"\1\0"), hello_extension(13, b"\0\6\4\3\5\3\x08\x04")]
    joined = b"".join(extensions)
    body = version + os.urandom(32) + bytes([len(session)]) + session + struct.pack(">H", 2 * len(ciphers)) + b"".join(struct.pack(">H", c) for c in ciphers)
    body += bytes([len(compression)]) + compression + struct.pack(">H", len(joined)) + joined
    return b"\x01" + len(body).to_bytes(3, "big") + body


def server_hello(data):
    """The ServerHello's compression method and the numbers of its extensions."""
    if data[:1] != b"\x16" or data[5:6] != b"\x02":
        raise AssertionError(f"no ServerHello: {data[:40].hex()}")
    at = 5 + 4 + 2 + 32
    at += 1 + data[at] + 2
    compression, at = data[at], at + 1
    end, numbers = at + 2 + struct.unpack(">H", data[at:at + 2])[0], []
    at += 2
    while at < end:
        number, size = struct.unpack(">HH", data[at:at + 4])
        numbers.append(number)
        at += 4 + size
    return compression, numbers


def certificate_message(der):
    listed = len(der).to_bytes(3, "big") + der
    body = len(listed).to_bytes(3, "big") + listed
    return b"\x0b" + len(body).to_bytes(3, "big") + body


def drive(port, tls, step=1400, refragment=0, replace=None):
    """A handshake and a request through memory, so that the network's pieces are ours: `step` bytes a segment; records of `refragment` bytes
    before anything is encrypted; `replace`, a DER, in place of the client's certificate (TLS 1.2). The status of the upgrade comes back."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    plain = [True]

    def cut(data):
        out = b""
        while data:
            size = 5 + struct.unpack(">H", data[3:5])[0]
            kind, version, payload, data = data[0], data[1:3], data[5:size], data[size:]
            plain[0] = plain[0] and kind == 22
            if plain[0] and replace is not None and payload[:1] == b"\x0b":
                payload = certificate_message(replace)
            pieces = [payload[i:i + refragment] for i in range(0, len(payload), refragment)] if plain[0] and refragment else [payload]
            out += b"".join(record(kind, piece, version) for piece in pieces)
        return out

    with WebSocketPeer(port) as peer:
        def flush():
            data = cut(outgoing.read())
            for i in range(0, len(data), step):
                if not peer.send(data[i:i + step]):
                    raise ConnectionError

        def until(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    flush()
                    if not peer.more():
                        raise EOFError
                    incoming.write(peer.rest)
                    peer.rest = b""

        until(client.do_handshake)
        client.write(upgrade_request(PATH))
        flush()
        data = b""
        while b"\r\n\r\n" not in data:
            data += until(client.read)
        return data.split(b" ")[1]


class TlsCase(ServerCase):
    maxDiff = None

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.certs = cls.home / "certs"
        cls.certs.mkdir()
        cls.issuers, cls.issuer_names = {}, {}
        for name, kind in (("factory", "P-256"), ("rsa-ca", "RSA-2048"), ("p384-ca", "P-384")):
            cls.pki.home.mkdir(exist_ok=True)
            cm.make_key(cls.pki.home / f"{name}.key", kind)
            cls.register_ca(cls, name, product_name=cls.product, tags=["tls"], description="made here")
            cls.issuers[name] = cm.Issuer(cls.pki.home / f"{name}.crt", cls.pki.home / f"{name}.key")
            cls.issuer_names[name] = cm.name(cm.common_name(name))

    def tearDown(self):
        self.assertEqual(attempt(self.server.device_port, context()), UNAUTHORIZED, "the port serves no more")

    def key(self, name, kind="P-256"):
        return cm.make_key(self.certs / f"{name}.key", kind)

    def device(self, name, issuer="factory", kind="P-256", subject=None, extensions=None, key=None, **options):
        """A certificate and its key; what is not said is as it should be."""
        by = self.issuers[issuer]
        key = key or self.key(name, kind)
        subject = cm.name(cm.common_name(name)) if subject is None else subject
        extensions = cm.device_extensions(by) if extensions is None else extensions(by) if callable(extensions) else extensions
        return cm.make_certificate(self.certs, name, by, self.issuer_names[issuer], key, subject, extensions, **options), key

    def known(self, identifier):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}").status == 200

    def each(self, cases, check):
        def one(case):
            try:
                check(*case)
            except Exception as e:  # noqa: BLE001 - told below with the case's name
                return f"{case[0]}: {type(e).__name__} {e}"

        with ThreadPoolExecutor(4) as pool:
            failures = [text for text in pool.map(one, cases) if text]
        self.assertEqual(failures, [])


def without(*missing):
    """Device extensions without some, or with others in their place."""
    def build(issuer, extra=()):
        parts = {"constraints": cm.basic_constraints(), "usage": cm.key_usage(cm.DIGITAL_SIGNATURE), "purpose": cm.ext_key_usage(cm.CLIENT_AUTH),
                 "authority": cm.authority_key(issuer.key_id)}
        return [part for name, part in parts.items() if name not in missing]
    return build


def instead(**changes):
    return lambda issuer: without(*changes)(issuer) + [part for part in changes.values() if part]


CERTIFICATES = [
    # name, options of the certificate, what becomes of it
    ("p256", {}, WELCOME),
    ("p384", {"kind": "P-384"}, WELCOME),
    ("p521", {"kind": "P-521"}, WELCOME),
    ("ed25519", {"kind": "Ed25519"}, WELCOME),
    ("rsa-2048", {"kind": "RSA-2048"}, WELCOME),
    ("rsa-4096", {"kind": "RSA-4096"}, WELCOME),
    ("rsa-1024", {"kind": "RSA-1024"}, WELCOME),
    ("secp256k1", {"kind": "secp256k1"}, (ALERT, UNAUTHORIZED)),  # TLS 1.3 has no name for its signatures: the client keeps the certificate to itself
    ("by-rsa", {"issuer": "rsa-ca"}, WELCOME),
    ("by-p384", {"issuer": "p384-ca", "digest": "sha384"}, WELCOME),
    ("by-sha512", {"digest": "sha512"}, WELCOME),
    ("by-sha1", {"digest": "sha1"}, ALERT),
    ("by-rsa-sha1", {"issuer": "rsa-ca", "digest": "sha1"}, ALERT),
    ("by-rsa-md5", {"issuer": "rsa-ca", "digest": "md5"}, ALERT),
    ("expired", {"start": -10, "days": 9}, ALERT),
    ("not-yet", {"start": 10}, ALERT),
    ("a-hundred-years", {"days": 36500}, WELCOME),
    ("server-only", {"extensions": instead(purpose=cm.ext_key_usage(cm.SERVER_AUTH))}, ALERT),
    ("code-signing-only", {"extensions": instead(purpose=cm.ext_key_usage(cm.CODE_SIGNING))}, ALERT),
    ("any-purpose", {"extensions": instead(purpose=cm.ext_key_usage(cm.ANY_USAGE))}, WELCOME),
    ("both-purposes", {"extensions": instead(purpose=cm.ext_key_usage(cm.SERVER_AUTH, cm.CLIENT_AUTH))}, WELCOME),
    ("no-purpose", {"extensions": without("purpose")}, WELCOME),
    ("no-usage", {"extensions": without("usage")}, WELCOME),
    ("no-constraints", {"extensions": without("constraints")}, WELCOME),
    ("only-authority", {"extensions": without("purpose", "usage", "constraints")}, WELCOME),
    ("encipherment-only", {"extensions": instead(usage=cm.key_usage(cm.KEY_ENCIPHERMENT))}, ALERT),
    ("agreement-only", {"extensions": instead(usage=cm.key_usage(cm.KEY_AGREEMENT))}, ALERT),
    ("a-ca", {"extensions": instead(constraints=cm.basic_constraints(True), usage=cm.key_usage(cm.DIGITAL_SIGNATURE, cm.KEY_CERT_SIGN))}, ALERT),
    ("no-authority", {"extensions": without("authority")}, ALERT),
    ("no-extensions", {"extensions": []}, ALERT),
    ("unknown-critical", {"extensions": instead(x=cm.extension("1.2.3.4.5", b"\x05\x00", True))}, ALERT),
    ("unknown-harmless", {"extensions": instead(x=cm.extension("1.2.3.4.5", b"\x05\x00"))}, WELCOME),
    ("san-only", {"subject": cm.name(), "extensions": instead(x=cm.alternative_names("san-only"))}, ALERT),
    ("san-beside", {"extensions": instead(x=cm.alternative_names("somebody-else"))}, WELCOME),
    ("empty-subject", {"subject": cm.name()}, ALERT),
    ("empty-name", {"subject": cm.name(cm.common_name(""))}, ALERT),
    ("only-organization", {"subject": cm.name(cm.attribute("2.5.4.10", b"acme"))}, ALERT),
    ("organization-first", {"subject": cm.name(cm.attribute("2.5.4.10", b"acme"), cm.common_name("organization-first"))}, WELCOME),
    ("nul-in-name", {"subject": cm.name(cm.common_name("nul\0name"))}, ALERT),
    ("newline-in-name", {"subject": cm.name(cm.common_name("new\nline"))}, ALERT),
    ("long-name", {"subject": cm.name(cm.common_name("n" * 10000))}, ALERT),
    ("very-long-subject", {"subject": cm.name(cm.common_name("long"), *[cm.attribute("2.5.4.11", b"x" * 1000)] * 20)}, ALERT),
    ("bmp-name", {"subject": cm.name(cm.common_name("bmp-name", cm.BMP))}, WELCOME),
    ("universal-name", {"subject": cm.name(cm.common_name("universal-name", cm.UNIVERSAL))}, WELCOME),
    ("printable-name", {"subject": cm.name(cm.common_name("printable-name", cm.PRINTABLE))}, WELCOME),
    ("serial-zero", {"serial": 0}, WELCOME),
    ("serial-long", {"serial": 1 << 500}, WELCOME),
]


# What no TLS library would send: put into the handshake in place of a good one.
BROKEN_CERTIFICATES = [
    ("duplicate-purpose", {"extensions": instead(x=cm.ext_key_usage(cm.SERVER_AUTH))}),
    ("duplicate-authority", {"extensions": instead(x=cm.authority_key(b"x" * 20))}),
    ("duplicate-constraints", {"extensions": instead(x=cm.basic_constraints(True))}),
    ("broken-purpose", {"extensions": instead(purpose=cm.extension("2.5.29.37", b"\x30\x80"))}),
    ("no-purpose-at-all", {"extensions": instead(purpose=cm.ext_key_usage())}),
    ("broken-usage", {"extensions": instead(usage=cm.extension("2.5.29.15", b"\x30\x00"))}),
    ("broken-subject-key", {"extensions": instead(x=cm.extension("2.5.29.14", b"\x30\x00"))}),
    ("broken-authority", {"extensions": instead(authority=cm.extension("2.5.29.35", b"\x30\x05\x80\x7f"))}),
    ("broken-constraints", {"extensions": instead(constraints=cm.extension("2.5.29.19", b"\x04\x00"))}),
    ("no-utf8", {"subject": cm.name(cm.attribute("2.5.4.3", b"\xff\xfe"))}),
    ("half-a-character", {"subject": cm.name(cm.attribute("2.5.4.3", b"abc", cm.BMP))}),
    ("surrogate-name", {"subject": cm.name(cm.attribute("2.5.4.3", b"\xd8\x00\xdc\x00", cm.BMP))}),
    ("no-text-name", {"subject": cm.name(cm.attribute("2.5.4.3", b"\1", 2))}),
]


class Certificates(TlsCase):
    def test_certificates_of_every_kind(self):
        """Each with TLS 1.2 and 1.3; the second connection finds the certificate pinned."""
        def check(name, options, expected):
            cert, key = self.device(name, **options)
            wanted = expected if isinstance(expected, tuple) else (expected, expected)
            for version, want in zip((TLS12, TLS13), wanted):
                self.assertEqual(attempt(self.server.device_port, context(cert, key, version)), want, f"{name} with {version.name}")
            self.assertEqual(self.known(name), expected == WELCOME, f"{name}: is the device known?")

        self.each(CERTIFICATES, check)

    def test_broken_certificates(self):
        good, key = self.device("unbroken")

        def check(name, replacement):
            before = len(self.devices())
            with self.assertRaises(ssl.SSLError, msg=name) as caught:
                drive(self.server.device_port, context(good, key, TLS12), replace=replacement)
            self.assertIn("ALERT", caught.exception.reason, name)
            self.assertEqual(len(self.devices()), before, f"{name}: a device was made of it")

        cases = [(name, ssl.PEM_cert_to_DER_cert(self.device(name, key=key, **options)[0].read_text())) for name, options in BROKEN_CERTIFICATES]
        whole = ssl.PEM_cert_to_DER_cert(good.read_text())
        cases += [("nothing", b""), ("a byte", b"\x30"), ("noise", os.urandom(500)), ("cut", whole[:-1]), ("longer", whole + b"\0"), ("length wrong", b"\x30\x84\xff\xff\xff\xff" + whole[4:]),
                  ("deep", b"\x30\x80" * 2000)]
        for case in cases:
            check(*case)

    def devices(self):
        return self.server.api("GET", f"{self.product_path}/devices?pagination[page_size]=100", expect=200).data

    def test_strangers(self):
        """Not signed by a registered CA: whatever the names and key identifiers say."""
        real, self_signed = self.issuers["factory"], self.key("self-signed")
        forger = cm.Issuer(real.cert, self.key("forger"))
        rows = [("self-signed", {"signer": self_signed, "key": self_signed}), ("another-key", {"signer": forger.key}),
                ("unknown-authority", {"extensions": lambda issuer: cm.device_extensions(issuer)[:3] + [cm.authority_key(b"\1" * 20)]}),
                ("empty-authority", {"extensions": lambda issuer: cm.device_extensions(issuer)[:3] + [cm.authority_key(b"")]}),
                ("authority-of-another", {"extensions": lambda issuer: cm.device_extensions(self.issuers["rsa-ca"])})]

        def check(name, options):
            cert, key = self.device(name, **options)
            for version in (TLS12, TLS13):
                self.assertEqual(attempt(self.server.device_port, context(cert, key, version)), ALERT, f"{name} with {version.name}")
            self.assertFalse(self.known(name))

        self.each(rows, check)
        cert = cm.make_certificate(self.certs, "another-name", real, cm.name(cm.common_name("nobody")), self.key("another-name"), cm.name(cm.common_name("another-name")),
                                   cm.device_extensions(real))
        self.assertEqual(attempt(self.server.device_port, context(cert, self.key("another-name"))), ALERT)
        self.assertEqual(attempt(self.server.device_port, context(self.pki.home / "factory.crt", self.pki.home / "factory.key")), ALERT)
        pinned, key = self.device("renewed")
        self.assertEqual(attempt(self.server.device_port, context(pinned, key)), WELCOME)
        other, _ = self.device("renewed-by-stranger", subject=cm.name(cm.common_name("renewed")), key=key, signer=forger.key)
        self.assertEqual(attempt(self.server.device_port, context(other, key)), ALERT)

    def test_certificate_without_its_key(self):
        """A thief has the certificate, which is public, and another key. The handshake fails, and nothing is recorded of it."""
        for version in (TLS13, TLS12):
            name = f"stolen-{version.name}".replace("_", "-")
            cert, key = self.device(name)
            thief = cm.false_key(self.certs / f"{name}-thief.key", self.key("thief"), key)
            self.assertEqual(attempt(self.server.device_port, context(cert, thief, version)), ALERT, version.name)
            self.assertFalse(self.known(name), f"{version.name}: a device was made for somebody who has no key")
            self.assertEqual(attempt(self.server.device_port, context(cert, key, version)), WELCOME, version.name)
            self.assertEqual(attempt(self.server.device_port, context(cert, thief, version)), ALERT, f"{version.name}, pinned")

    def chain(self, name, leaf, *others):
        path = self.certs / f"{name}.chain"
        path.write_text("".join(other.read_text() for other in (leaf, *others)))
        return path

    def test_chains(self):
        """Only the first certificate counts; what comes with it is not looked at, up to the largest handshake message that is read at all."""
        leaf, key = self.device("chained")
        signer, stranger = self.pki.home / "factory.crt", self.pki.ca("stranger")
        big, _ = self.device("padding", extensions=instead(x=cm.extension("1.2.3.4.5", cm.tlv(4, b"p" * 9000))))
        rows = [("with signer", [signer], WELCOME), ("with a stranger", [stranger], WELCOME), ("in the wrong order", [stranger, signer], WELCOME),
                ("ten", [signer] * 10, WELCOME), ("a hundred", [signer] * 100, WELCOME), ("over 64 kB", [big] * 8, WELCOME), ("over 256 kB", [big] * 28, ALERT)]

        def check(name, others, expected):
            path = self.chain(name, leaf, *others)
            for version in (TLS12, TLS13):
                got = attempt(self.server.device_port, context(path, key, version))
                if expected == ALERT:
                    self.assertIn(got, (ALERT, "ConnectionResetError", "BrokenPipeError"), f"{name} with {version.name}")
                else:
                    self.assertEqual(got, expected, f"{name} with {version.name}")

        for row in rows:  # one device: a newer connection would end the older
            check(*row)


class Clients(TlsCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.cert, cls.cert_key = cls.device(cls(), "client")

    def wrapped(self, tls, name="localhost"):
        return WebSocketPeer(self.server.device_port, wrap=lambda s: tls.wrap_socket(s, server_hostname=name))

    def test_versions(self):
        for name, tls, expected in [("1.2", context(self.cert, self.cert_key, TLS12), WELCOME), ("1.3", context(self.cert, self.cert_key, TLS13), WELCOME),
                                    ("both", context(self.cert, self.cert_key), WELCOME), ("1.0", context(version=ssl.TLSVersion.TLSv1), ALERT),
                                    ("1.1", context(version=ssl.TLSVersion.TLSv1_1), ALERT), ("1.0 and 1.1", context(version=ssl.TLSVersion.TLSv1_1, minimum=ssl.TLSVersion.TLSv1), ALERT)]:
            self.assertEqual(attempt(self.server.device_port, tls), expected, name)

    def test_server_names(self):
        for name in (None, "localhost", "other.example", "127.0.0.1", "xn--bcher-kva.example", "a" * 63 + ".example"):
            for version in (TLS12, TLS13):
                self.assertEqual(attempt(self.server.device_port, context(self.cert, self.cert_key, version), name), WELCOME, name)

    def test_offers_without_common_ground(self):
        for name, tls, expected in [("RSA key exchange only", context(version=TLS12, ciphers="kRSA:@SECLEVEL=0"), ALERT), ("no encryption", context(version=TLS12, ciphers="eNULL:@SECLEVEL=0"), ALERT),
                                    ("anonymous", context(version=TLS12, ciphers="aNULL:@SECLEVEL=0"), ALERT), ("h2 only", context(alpn=["h2"]), ALERT),
                                    ("h2 and HTTP/1.1", context(alpn=["h2", "http/1.1"]), UNAUTHORIZED), ("HTTP/1.1", context(alpn=["http/1.1"]), UNAUTHORIZED),
                                    ("HTTP/1.0 only", context(alpn=["http/1.0"]), ALERT)]:
            self.assertEqual(attempt(self.server.device_port, tls), expected, name)
        for group, word in [("P-384", "alert"), ("P-256", "Server Temp Key: ECDH, prime256v1"), ("X25519", "Server Temp Key: X25519"), ("X25519:P-256", "Server Temp Key: X25519")]:
            for version in ("-tls1_2", "-tls1_3"):
                self.assertIn(word, self.s_client(version, "-groups", group), f"{group} {version}")
        with self.wrapped(context(alpn=["h2", "http/1.1"])) as peer:
            self.assertEqual(peer.socket.selected_alpn_protocol(), "http/1.1")
        with self.wrapped(context()) as peer:
            self.assertIsNone(peer.socket.selected_alpn_protocol())

    def test_no_certificate(self):
        for version in (TLS12, TLS13):
            with self.wrapped(context(version=version)) as peer:
                peer.send(upgrade_request(PATH))
                answer = peer.answer()
                self.assertEqual((answer.status, answer.body), (401, b"no certificate pair or shared secrets connection settings were provided"))
                self.assertEqual(answer.headers["nh-connection-error-reason"], answer.body.decode())

    def test_no_resumption(self):
        """A resumed session would skip the decision about the certificate."""
        for version in (TLS12, TLS13):
            tls = context(self.cert, self.cert_key, version)
            with self.wrapped(tls) as peer:
                peer.send(ALIVE)
                self.assertEqual(peer.answer().status, 200)
                session = peer.socket.session
            self.assertFalse(session and session.has_ticket, version.name)
            with socket.create_connection(("127.0.0.1", self.server.device_port), DEADLINE) as plain, tls.wrap_socket(plain, server_hostname="localhost", session=session) as again:
                self.assertFalse(again.session_reused, version.name)

    def raw(self, *pieces, end=True):
        """Bytes to the port as they are; what it says until it ends the connection. Whoever sends nonsense is not waited for."""
        with WebSocketPeer(self.server.device_port) as peer:
            peer.send(*pieces)
            if end:
                return peer.ended()
            peer.more()
            return peer.rest

    def test_no_tls_at_all(self):
        hello2 = bytes.fromhex("802e0100020015000000100100800700c0030080060040020080040080") + os.urandom(16)
        for name, data in {
            "HTTP": ALIVE, "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH": b"SSH-2.0-x\r\n", "SSL 2 hello": hello2, "SSL 3 hello": record(22, client_hello(b"\x03\x00", extensions=[]), b"\x03\x00"),
            "unknown record": record(99, b"x" * 10), "data before a handshake": record(23, b"x" * 100, b"\x03\x03"), "an alert": record(21, b"\x02\x28"), "a change of cipher": record(20, b"\x01"),
            "a finished message": record(22, b"\x14\0\0\x0c" + b"x" * 12), "an empty record": record(22, b""), "too long a record": b"\x16\x03\x01\xff\xff" + b"x" * 65535,
            "a message of 16 MB": record(22, b"\x01\xff\xff\xff" + b"x" * 16000) + record(22, b"x" * 16000) * 8, "a hello of nothing": record(22, b"\x01\0\0\0"),
            "a broken hello": record(22, client_hello()[:40] + b"\xff" * 60), "a hello with extensions cut off": record(22, b"\x01\0\0\x2b" + b"\x03\x03" + b"r" * 32 + b"\0\0\x02\x13\x01\x01\0\xff\xff"),
            "two hellos": record(22, client_hello()) * 2, "no cipher": record(22, client_hello(ciphers=())), "only compression": record(22, client_hello(compression=b"\1")),
            "version 9": record(22, client_hello(b"\x09\x09", extensions=[]), b"\x09\x09"),
        }.items():
            with self.subTest(name):
                with WebSocketPeer(self.server.device_port) as peer:
                    peer.send(data)
                    peer.done_sending()
                    answer = peer.ended()
                self.assertNotIn(b"HTTP", answer, name)

    def test_alerts_for_broken_hellos(self):
        """What is recognizably TLS gets an alert before the end, without waiting for more."""
        for name, data in {"SSL 3 hello": record(22, client_hello(b"\x03\x00", extensions=[]), b"\x03\x00"), "no common cipher": record(22, client_hello(ciphers=(0x0005,))),
                           "only compression": record(22, client_hello(compression=b"\1")), "data before a handshake": record(23, b"x" * 100, b"\x03\x03")}.items():
            with self.subTest(name):
                answer = self.raw(data)
                self.assertEqual(answer[:1] + answer[5:6], b"\x15\x02", f"{name}: no fatal alert but {answer[:20].hex()}")

    def test_extensions_nobody_wants(self):
        base = [hello_extension(10, b"\0\4\0\x1d\0\x17"), hello_extension(11, b"\1\0"), hello_extension(13, b"\0\6\4\3\5\3\x08\x04")]
        for name, extra, compression in [("heartbeat", [hello_extension(15, b"\1")], b"\0"), ("compression", [], b"\1\0"), ("ticket", [hello_extension(35)], b"\0"),
                                         ("short records", [hello_extension(1, b"\1")], b"\0"), ("unknown", [hello_extension(0xfafa, b"x" * 100)], b"\0"),
                                         ("padding", [hello_extension(21, bytes(3000))], b"\0"), ("early data", [hello_extension(42)], b"\0")]:
            with self.subTest(name):
                answer = self.raw(record(22, client_hello(compression=compression, extensions=base + extra)), end=False)
                chosen, numbers = server_hello(answer)
                self.assertEqual(chosen, 0, name)
                self.assertFalse({15, 35, 42, 21, 0xfafa} & set(numbers), f"{name}: {numbers}")

    def test_pieces(self):
        """Handshakes byte by byte, and split over many small records where the protocol allows it."""
        for version in (TLS12, TLS13):
            self.assertEqual(drive(self.server.device_port, context(self.cert, self.cert_key, version), 1), b"101", version.name)
            for size in (1, 7, 100):
                self.assertEqual(drive(self.server.device_port, context(self.cert, self.cert_key, version), refragment=size), b"101", f"{version.name} in records of {size}")

    def test_goodbyes(self):
        for version in (TLS12, TLS13):
            with self.wrapped(context(version=version)) as peer:
                peer.send(ALIVE)
                self.assertEqual(peer.answer().status, 200)
                peer.socket.unwrap()  # raises unless the server says goodbye too
            with self.wrapped(context(version=version)) as peer:  # and an end without a goodbye
                peer.send(ALIVE)
                self.assertEqual(peer.answer().status, 200)
                peer.socket.shutdown(socket.SHUT_WR)
                plain = socket.socket(fileno=peer.socket.detach())
                plain.settimeout(DEADLINE)
                with plain:
                    while plain.recv(4096):
                        pass
            with self.wrapped(context(version=version)) as peer:  # the server's own end is a proper one
                peer.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                self.assertEqual(peer.answer().status, 404)
                self.assertEqual(peer.socket.recv(1), b"")  # an end without close_notify would raise here

    def test_garbage_after_the_handshake(self):
        for version in (TLS12, TLS13):
            for name, data in {"a record that is not ours": record(23, os.urandom(100), b"\x03\x03"), "plain text": ALIVE, "a plain alert": record(21, b"\x02\x28", b"\x03\x03"),
                               "a second hello": record(22, client_hello())}.items():
                with self.subTest(name, version=version.name), self.wrapped(context(version=version)) as peer:
                    plain = socket.socket(fileno=os.dup(peer.socket.fileno()))
                    plain.settimeout(DEADLINE)
                    with plain:
                        plain.sendall(data)
                        try:
                            while plain.recv(4096):  # the server ends it, without being told anything more
                                pass
                        except ConnectionError:
                            pass

    def s_client(self, *options, say=""):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.server.device_port}", *map(str, options)]
        done = subprocess.run(command, input=say, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE, text=True)
        return done.stdout

    def test_openssl(self):
        """A second opinion, with its own eyes on what the server offers."""
        request = "GET /status/alive HTTP/1.1\nHost: h\nConnection: close\n\n"
        for option in ("-tls1_2", "-tls1_3"):
            text = self.s_client(option, "-crlf", "-ign_eof", "-CAfile", self.server.ca_file, "-cert", self.cert, "-key", self.cert_key, say=request)
            self.assertIn("Verify return code: 0 (ok)", text)
            self.assertIn("Hello, Friend!", text)
            self.assertIn("Compression: NONE", text)
            self.assertIn("No client certificate CA names sent", text)
            self.assertNotIn("New Session Ticket arrived", text)
            self.assertIn("Server Temp Key: X25519", text)
        self.assertIn("Secure Renegotiation IS supported", self.s_client("-tls1_2"))

    def test_renegotiation(self):
        """A client that asks for another handshake gets none; the connection may end over it, the server does not."""
        text = self.s_client("-tls1_2", say="R\nGET /status/alive HTTP/1.1\n")
        self.assertIn("RENEGOTIATING", text)
        self.assertNotIn("Hello, Friend!", text)

    def test_gnutls(self):
        request = "GET /status/alive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        for version in ("1.2", "1.3"):
            command = ["gnutls-cli", "--x509cafile", str(self.server.ca_file), "--x509certfile", str(self.cert), "--x509keyfile", str(self.cert_key), "--priority",
                       f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "-p", str(self.server.device_port), "localhost"]
            done = subprocess.run(command, input=request, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE, text=True)
            self.assertIn("Hello, Friend!", done.stdout, version)
            self.assertIn("Successfully sent 1 certificate(s) to server", done.stdout, version)


class WithoutTls13(unittest.TestCase):
    """DEVICE_ENABLE_TLS_13=false, for fleets with old chips: 1.2 is spoken, 1.3 alone is refused."""

    def test_setting(self):
        server = Server(env={"DEVICE_ENABLE_TLS_13": "false"}).start()
        try:
            self.assertEqual(attempt(server.device_port, context(version=TLS13)), ALERT)
            self.assertEqual(attempt(server.device_port, context(version=TLS12)), UNAUTHORIZED)
            with WebSocketPeer(server.device_port, wrap=lambda s: context().wrap_socket(s, server_hostname="localhost")) as peer:
                self.assertEqual(peer.socket.version(), "TLSv1.2")
        finally:
            status = server.stop()
            server.remove()
        self.assertEqual(status, 0)


del ServerCase, TlsCase

if __name__ == "__main__":
    unittest.main()
