"""Starts the real programs on free ports and talks to them as strangers would: Python's own HTTP and TLS, Debian's websockets library,
certificates made by openssl. Nothing here knows the server's insides; waiting is always for an event, never for a time."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import sqlite3
import ssl
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import uuid
from pathlib import Path

import msgpack
import websockets

if os.environ.get("NH_OPENAPI"):
    import openapi
else:
    openapi = None
ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NH_BUILD", ROOT / "build-asan"))
os.environ["PATH"] += os.pathsep + "/usr/sbin:/sbin"  # where an ordinary user does not look: i2cdetect, tpm2-abrmd, nginx
DEADLINE = 60  # seconds any single wait may take before it is a failure


def program(name):
    return str(BUILD / "src" / name / name)


def run(*args, check=True, **kwargs):
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
                          text=True, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{args[0]} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def data(self):
        return self.json["data"]


class Server:
    """nerveshubd on kernel-chosen ports with a data directory of its own."""

    binary = None  # another program with the same settings

    def __init__(self, *extra, data_dir=None, env=None):
        self.home = Path(tempfile.mkdtemp(prefix="nhtest-"))
        self.data_dir = Path(data_dir) if data_dir else self.home / "data"
        self.extra, self.env = list(extra), dict(env or {})
        self.process = None
        self.wrap = []  # a command that executes the server: unshare, prlimit
        self.token = None
        # NH_SERVER_ENGINE=postgres: the same tests on a database of their own in the cluster of scripts/pg-test.
        if os.environ.get("NH_SERVER_ENGINE") == "postgres" and "DATABASE_URL" not in self.env:
            self.env["DATABASE_URL"] = new_postgres_database()

    def start(self):
        ready = self.home / "ready"
        ready.unlink(missing_ok=True)
        self.log = open(self.home / "log", "ab")
        environment = {**os.environ, **self.env}
        self.process = subprocess.Popen(
            [*self.wrap, self.binary or program("nerveshubd"), "--data-dir", str(self.data_dir), "--bind", "127.0.0.1", "--device-port", "0", "--web-port", "0",
             "--metrics-port", "0", "--api-port", "0", "--ready-file", str(ready), "--web-host", "localhost", *self.extra],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment)
        deadline = time.monotonic() + DEADLINE
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("nerveshubd did not start:\n" + self.log_text())
            select_tick()
        ports = dict(line.split("=", 1) for line in ready.read_text().splitlines())
        self.web_port, self.device_port, self.metrics_port = (int(ports[k]) for k in ("web", "device", "metrics"))
        self.api_port = int(ports.get("api", 0))  # with a certificate authority only
        self.ca_file = self.data_dir / "pki" / "ca.crt"
        return self

    def log_text(self):
        return (self.home / "log").read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(DEADLINE)
        status = self.process.returncode if self.process else None
        self.log.close()
        return status

    def remove(self):
        shutil.rmtree(self.home, ignore_errors=True)

    def end(self):
        """Stops it, removes what it left, and fails where it did not end well."""
        status, text = self.stop(), self.log_text()
        self.remove()
        if status != 0 or "AddressSanitizer" in text or "runtime error" in text:
            raise AssertionError(f"nerveshubd ended with status {status}:\n{text[-6000:]}")

    def http(self, method, path, body=None, headers=None, port=None, tls=None):
        """tls: a context, at the API port, where the authority's certificates sign people in."""
        if tls:
            connection = http.client.HTTPSConnection("localhost", self.api_port, timeout=DEADLINE, context=tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port or self.web_port, timeout=DEADLINE)
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        response = Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        if openapi and not port:
            openapi.check(self.binary, self.web_port, method, path, headers, body, response)
        return response

    def api(self, method, path, body=None, token=None, expect=None, headers=None):
        headers = dict(headers or {})
        token = self.token if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        response = self.http(method, "/api" + path, body, headers)
        if expect is not None and response.status != expect:
            raise AssertionError(f"{method} {path}: {response.status} instead of {expect}: {response.body[:500]!r}\n{self.log_text()[-3000:]}")
        return response

    def metric(self, name):
        text = self.http("GET", "/metrics", port=self.metrics_port).body.decode()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"nerveshub_{name} "))

    def signed(self, path):
        """The path of a download with its signature, good for a day."""
        expires = int(time.time()) + 86400
        key = (self.data_dir / "secret.key").read_text().strip().encode()
        mac = hmac.new(key, f"nerveshub download\n{path}\n{expires}\n".encode(), hashlib.sha256).digest()
        return f"{path}?expires={expires}&signature={base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def login(self, email="admin@localhost", password=None):
        password = password or (self.data_dir / "admin-password").read_text().strip()
        self.token = self.api("POST", "/users/login", {"email": email, "password": password}, token="", expect=200).data["token"]
        return self.token

    def sql(self, text):
        """First column of what the server's own database answers."""
        if "DATABASE_URL" in self.env:
            return run("psql", self.env["DATABASE_URL"], "-qAt", "-c", text).stdout.splitlines()
        with contextlib.closing(sqlite3.connect(self.data_dir / "nerveshub.db", timeout=DEADLINE)) as db, db:
            return [row[0] for row in db.execute(text)]

    def upload(self, org, product, path, expect=201, token=None, kind="firmware"):
        boundary = "nhtest-" + uuid.uuid4().hex
        content = path if isinstance(path, bytes) else Path(path).read_bytes()
        body = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"{kind}\"; filename=\"x.fw\"\r\n"
                f"Content-Type: application/octet-stream\r\n\r\n").encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self.api("POST", f"/orgs/{org}/products/{product}/{kind}s", body, token=token, expect=expect,
                        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


def totp(secret, at=None):
    """What an authenticator shows (RFC 6238): six digits of a base32 secret."""
    step = struct.pack(">Q", int(time.time() if at is None else at) // 30)
    mac = hmac.new(base64.b32decode(secret + "=" * (-len(secret) % 8)), step, hashlib.sha1).digest()
    number = struct.unpack_from(">I", mac, mac[-1] & 15)[0] & 0x7FFFFFFF
    return f"{number % 1000000:06}"


def new_postgres_database():
    base, name = os.environ["NH_TEST_PG_URL"], "nhtest_" + uuid.uuid4().hex
    run("psql", base, "-q", "-c", f"CREATE DATABASE {name}")
    return base.rsplit("/", 1)[0] + "/" + name


def select_tick():
    """One short pause of a poll loop that waits for another process's file; bounded by the caller's deadline."""
    time.sleep(0.01)


def wait_until(seen, process, what):
    """Polls for what another process does; a deadline ends it."""
    deadline = time.monotonic() + DEADLINE
    while not seen():
        if process.poll() is not None or time.monotonic() > deadline:
            log = getattr(process, "log", None)
            raise AssertionError(f"{what}: never seen; status {process.poll()}\n{log.read_text(errors='replace')[-3000:] if log else ''}")
        select_tick()


class Pki:
    """A customer's device CA and device certificates, made by openssl: an independent judge of what the server accepts."""

    def __init__(self, home):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)

    def _ext(self, name, text):
        path = self.home / f"{name}.ext"
        path.write_text(text)
        return path

    def key(self, name):
        path = self.home / f"{name}.key"
        if not path.exists():
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
        return path

    def ca(self, name, key=None):
        cert = self.home / f"{name}.crt"
        run("openssl", "req", "-x509", "-new", "-key", self.key(key or name), "-subj", f"/CN={name}", "-days", "3650", "-out", cert,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-addext", "authorityKeyIdentifier=keyid")
        return cert

    def sign(self, name, ca, subject, extensions, days=365, key=None):
        key_path, csr, cert = self.key(key or name), self.home / f"{name}.csr", self.home / f"{name}.crt"
        run("openssl", "req", "-new", "-key", key_path, "-subj", subject, "-out", csr)
        run("openssl", "x509", "-req", "-in", csr, "-CA", self.home / f"{ca}.crt", "-CAkey", self.home / f"{ca}.key", "-set_serial",
            str(uuid.uuid4().int >> 70), "-days", str(days), "-extfile", self._ext(name, extensions), "-out", cert)
        return cert, key_path

    def device(self, name, ca, identifier=None, days=365, key=None):
        return self.sign(name, ca, f"/O=Fleet/CN={identifier or name}",
                         "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
                         "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n", days, key)

    def verification(self, ca, token):
        name = f"verify-{ca}"
        return self.sign(name, ca, "/CN=verification",
                         f"subjectAltName=URI:urn:nerveshub:verify:{token}\nkeyUsage=critical,digitalSignature\n"
                         "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")[0]


def pem64(path):
    return base64.b64encode(Path(path).read_bytes()).decode()


def nh1_headers(key, secret, identifier, at=None, alg="NH1-HMAC-sha256-1000-32", digest="sha256", iterations=1000, length=32):
    """Shared-secret headers, device-protocol section 6, written from the reference and not from our code."""
    at = int(time.time()) if at is None else at
    salt = f"NH1:device-socket:shared-secret:connect\n\nx-nh-alg={alg}\nx-nh-key={key}\nx-nh-time={at}\n".encode()
    signing = hashlib.pbkdf2_hmac(digest, secret.encode(), salt, iterations, length)
    name, ms = identifier.encode(), at * 1000
    etf = b"\x83h\x03m" + struct.pack(">I", len(name)) + name + b"n\x06\x00" + ms.to_bytes(6, "little") + b"b" + struct.pack(">I", 86400)
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    message = b"SFMyNTY." + part(etf)
    token = message + b"." + part(hmac.new(signing, message, hashlib.sha256).digest())
    return {"x-nh-alg": alg, "x-nh-key": key, "x-nh-time": str(at), "x-nh-signature": token.decode()}


def pack_v1(message):
    return json.dumps(dict(zip(("ref", "topic", "event", "payload"), message[1:])))


def unpack_v1(frame):
    message = json.loads(frame)
    return [message.get("join_ref"), message["ref"], message["topic"], message["event"], message["payload"]]


# The wire formats of the device socket by the version that asks for them: how [join_ref, ref, topic, event, payload] travels.
FORMATS = {
    "1.0.0": (pack_v1, unpack_v1),
    "2.0.0": (json.dumps, json.loads),
    "3.0.0": (msgpack.packb, msgpack.unpackb),
}


class Device:
    """A device written from the protocol reference: Phoenix messages over a TLS WebSocket. Use inside `async with`."""

    def __init__(self, server, cert=None, key=None, headers=None, path="/socket/websocket?vsn=2.0.0", tls=None):
        self.server, self.cert, self.key, self.headers, self.path, self.tls = server, cert, key, headers, path, tls
        self.pack, self.unpack = FORMATS[path.rpartition("vsn=")[2]]
        self.ref = 0
        self.seen = []

    async def __aenter__(self):
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        if self.tls:
            context.maximum_version = self.tls
        if self.cert:
            context.load_cert_chain(str(self.cert), str(self.key))
        self.socket = await asyncio.wait_for(websockets.connect(
            f"wss://localhost:{self.server.device_port}{self.path}", ssl=context, extra_headers=self.headers or {},
            compression=None, ping_interval=None, host="127.0.0.1"), DEADLINE)
        return self

    async def __aexit__(self, *exc):
        await self.socket.close()

    async def send(self, event, payload, topic="device", join_ref=None):
        self.ref += 1
        await self.socket.send(self.pack([join_ref, str(self.ref), topic, event, payload]))
        return str(self.ref)

    async def receive(self):
        return self.unpack(await asyncio.wait_for(self.socket.recv(), DEADLINE))

    async def reply(self, ref):
        while True:
            message = await self.receive()
            if message[3] == "phx_reply" and message[1] == ref:
                return message[4]
            self.seen.append(message)

    async def event(self, name):
        for i, message in enumerate(self.seen):
            if message[3] == name:
                return self.seen.pop(i)[4]
        while True:
            message = await self.receive()
            if message[3] == name:
                return message[4]
            self.seen.append(message)

    async def join(self, firmware, **extra):
        self.ref += 1
        ref = str(self.ref)
        payload = {"nerves_fw_uuid": firmware["uuid"], "nerves_fw_product": firmware["product"], "nerves_fw_version": firmware["version"],
                   "nerves_fw_platform": firmware["platform"], "nerves_fw_architecture": firmware["architecture"],
                   "device_api_version": "2.3.0", "fwup_version": "1.10.1", "meta": {"firmware_validated": True, "firmware_auto_revert_detected": False},
                   **extra}
        await self.socket.send(self.pack([ref, ref, "device", "phx_join", payload]))
        return await self.reply(ref)

    async def closed(self):
        try:
            while True:
                self.seen.append(await self.receive())
        except websockets.exceptions.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


class Person:
    """Somebody at a device's console, shell or events: the sockets of user-api-and-cli section 16. Use inside `async with`."""

    def __init__(self, server, token=None, path="/api/socket/websocket", vsn="2.0.0", origin=None):
        query = urllib.parse.urlencode({"token": server.token if token is None else token, **({"vsn": vsn} if vsn else {})})
        self.url = f"ws://localhost:{server.web_port}{path}?{query}"
        self.origin = origin
        self.pack, self.unpack = FORMATS[vsn or "1.0.0"]
        self.ref = 0
        self.topic = None
        self.seen = []

    async def __aenter__(self):
        self.socket = await asyncio.wait_for(websockets.connect(self.url, origin=self.origin, compression=None, ping_interval=None, max_size=1 << 20, host="127.0.0.1"), DEADLINE)
        return self

    async def __aexit__(self, *exc):
        await self.socket.close()

    receive, reply, closed = Device.receive, Device.reply, Device.closed

    async def send(self, event, payload, topic=None, join_ref=None):
        self.ref += 1
        await self.socket.send(self.pack([join_ref, str(self.ref), topic or self.topic, event, payload]))
        return str(self.ref)

    async def join(self, topic):
        self.ref += 1
        self.topic = topic
        await self.socket.send(self.pack([str(self.ref), str(self.ref), topic, "phx_join", {}]))
        return await self.reply(str(self.ref))

    async def event(self, *names, topic=None):
        """[event, payload] of the next message that bears one of the names, in the order in which they came."""
        wanted = lambda m: m[3] in names and (topic is None or m[2] == topic)
        for i, message in enumerate(self.seen):
            if wanted(message):
                return self.seen.pop(i)[3:]
        while True:
            message = await self.receive()
            if wanted(message):
                return message[3:]
            self.seen.append(message)

    async def text(self, end, event="up"):
        """What the terminal shows until `end` is in it."""
        shown = ""
        while end not in shown:
            shown += (await self.event(event))[1]["data"]
        return shown


def make_firmware(home, version, key, product="Thermo Widget", platform="fixture_board", architecture="aarch64", size=65536):
    """Creates and signs an archive with the program under test."""
    home = Path(home)
    payload, conf, out = home / f"rootfs-{version}.img", home / f"{version}.conf", home / f"{version}.fw"
    payload.write_bytes(hashlib.shake_256(version.encode()).digest(size))
    conf.write_text(f'meta-product = "{product}"\nmeta-version = "{version}"\nmeta-platform = "{platform}"\nmeta-architecture = "{architecture}"\n'
                    f'meta-author = "tests"\nfile-resource rootfs.img {{\n host-path = "{payload}"\n}}\n'
                    "task complete {\n on-resource rootfs.img { raw_write(64) }\n}\n")
    run(program("nh-fwup"), "-c", "-f", conf, "-o", out, "-s", key)
    return out


def firmware_key(home, name="key"):
    run(program("nh-fwup"), "-g", "-o", Path(home) / name)
    return Path(home) / f"{name}.priv", Path(home) / f"{name}.pub"


class ServerCase(unittest.TestCase):
    """One server for all tests of a class, signed in as administrator, with organization `acme`, product `Thermo Widget` and key `k1`."""

    server_args = ()
    server_env = {}

    @classmethod
    def setUpClass(cls):
        cls.home = Path(tempfile.mkdtemp(prefix="nhtest-home-"))
        cls.server = Server(*cls.server_args, env=cls.server_env).start()
        cls.server.login()
        cls.prepare()

    @classmethod
    def prepare(cls):
        cls.org, cls.product = "acme", "Thermo Widget"
        cls.product_path = "/orgs/acme/products/Thermo%20Widget"
        cls.server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        cls.server.api("POST", "/orgs/acme/products", {"name": cls.product}, expect=201)
        cls.key_private, cls.key_public = firmware_key(cls.home)
        cls.server.api("POST", "/orgs/acme/keys", {"name": "k1", "key": cls.key_public.read_text().strip()}, expect=201)
        cls.pki = Pki(cls.home / "pki")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.home, ignore_errors=True)
        cls.server.end()

    def register_ca(self, name, **jitp):
        cert = self.pki.ca(name)
        token = self.server.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        body = {"cert": pem64(cert), "verification_cert": pem64(self.pki.verification(name, token)), "description": name}
        if jitp:
            body["jitp"] = jitp
        return self.server.api("POST", "/orgs/acme/ca_certificates", body, expect=201).data

    def firmware(self, version, **kwargs):
        path = make_firmware(self.home, version, self.key_private, **kwargs)
        return self.server.upload("acme", "Thermo%20Widget", path).data
