"""Storms against the real server: everything at once, nothing at all, and one byte at a time. Checked are order, counts, bounds and completeness; never
how long something took (latencies of the healthy are printed).

Sizes are for two cores and sanitizers. For the long run:
    NH_STORM_DEVICES=2000 NH_STORM_ATTEMPTS=1000000 NH_STORM_SILENT=15000 NH_STORM_NOFILE=10000
devices of a fleet, connection attempts without a byte, connections that are held silent, descriptors the flooded server may have."""

import asyncio
import contextlib
import json
import os
import re
import selectors
import signal
import socket
import sqlite3
import ssl
import sys
import time
import unittest

import nhtest
from nhtest import DEADLINE, Device, Server, ServerCase, firmware_key, nh1_headers, program, run, select_tick
from rawpeer import CLOSE, TEXT, Peer, WebSocketPeer, close_frame, frame, upgrade_request
from storm import HELLO, RESET, ByteTls, Fleet, Flood, Healthy, Proxy, descriptors, quantiles, resident_kib
from test_load import Load

DEVICES = int(os.environ.get("NH_STORM_DEVICES", 40))
ATTEMPTS = int(os.environ.get("NH_STORM_ATTEMPTS", 3000))
SILENT = int(os.environ.get("NH_STORM_SILENT", 900))
NOFILE = int(os.environ.get("NH_STORM_NOFILE", 700))
HANDSHAKES = 96  # that a loop has in progress by default
PATIENCE = max(DEADLINE, DEVICES // 5)
SOCKET = "/device-socket/websocket?vsn=2.0.0"
SANITIZER = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"}  # so that resident memory says something


def say(text):
    print(f"    {text}", file=sys.stderr, flush=True)


class StormCase(ServerCase):
    """A server of its own, a product with a shared secret, firmware 1.0.0 and 1.1.0, and the means to watch."""

    server_env = SANITIZER

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        cls.register_ca(cls, "factory", product_name=cls.product, tags=[], description="storm")
        cls.firmwares = {version: cls.make(version) for version in ("1.0.0", "1.1.0")}
        cls.old, cls.new = (cls.server.upload("acme", "Thermo%20Widget", path).data for path in cls.firmwares.values())
        cls.tls = ssl.create_default_context(cafile=str(cls.server.ca_file))

    @classmethod
    def make(cls, version, size="256k"):
        path = cls.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--product", cls.product, "--version", version, "--size", size, "--key", cls.key_private, "--output", path)
        return path

    # ---- watching

    def metric(self, *names):
        text = self.server.http("GET", "/metrics", port=self.server.metrics_port).body.decode()
        values = [int(re.search(rf"^nerveshub_{name} ([0-9]+)$", text, re.M).group(1)) for name in names]
        return values[0] if len(values) == 1 else values

    def wait(self, what, predicate, deadline=PATIENCE):
        end = time.monotonic() + deadline
        while not (result := predicate()):
            if self.server.process.poll() is not None or time.monotonic() > end:
                self.fail(f"{what} did not come about: {self.state()}\n{self.server.log_text()[-2500:]}")
            select_tick()
        return result

    def state(self):
        if self.server.process.poll() is not None:
            return f"server ended with {self.server.process.returncode}"
        text = self.server.http("GET", "/metrics", port=self.server.metrics_port).body.decode()
        return " ".join(line[len("nerveshub_"):] for line in text.split("\n") if line and line[0] != "#" and not line.endswith(" 0"))

    def ask(self, sql):
        """Rows of the server's database, as lists of texts."""
        if url := self.server.env.get("DATABASE_URL"):
            return [line.split("|") for line in run("psql", url, "-At", "-c", sql).stdout.split("\n") if line]
        with contextlib.closing(sqlite3.connect(f"file:{self.server.data_dir}/nerveshub.db?mode=ro", uri=True)) as database:
            return [[str(value) for value in row] for row in database.execute(sql).fetchall()]

    def rows(self, status):
        return int(self.ask(f"SELECT count(*) FROM device_connections WHERE status = '{status}'")[0][0])

    def updated(self):
        """Devices of this test that run the new firmware, as the server knows."""
        return int(self.ask(f"SELECT count(*) FROM devices WHERE identifier LIKE '{self._testMethodName}-%' AND firmware_metadata LIKE '%{self.new['uuid']}%'")[0][0])

    def updated_once(self):
        counts = self.ask("SELECT d.identifier, count(*) FROM update_stats s JOIN devices d ON d.id = s.device_id WHERE s.source_firmware_uuid IS NOT NULL "
                          f"AND d.identifier LIKE '{self._testMethodName}-%' GROUP BY d.identifier")
        self.assertEqual((len(counts), [row for row in counts if row[1] != "1"]), (DEVICES, []))

    def whole_fleet_online(self, count):
        self.wait(f"{count} devices online", lambda: self.metric("devices_connected") == count)
        self.wait(f"{count} rows connected", lambda: self.rows("connected") == count)
        self.assertEqual(self.ask("SELECT device_id FROM device_connections WHERE status <> 'disconnected' GROUP BY device_id HAVING count(*) > 1"), [])

    # ---- devices

    def fleet(self, *more, devices=DEVICES, port=None):
        ca = self.pki.home / "factory"
        fleet = Fleet(program("nerveshub-fleet"), self.home / "fleet", "--prefix", f"{self._testMethodName}-", "--server", f"localhost:{port or self.server.device_port}", "--ca",
                      self.server.ca_file, "--firmware", self.firmwares["1.0.0"], "--public-key", self.key_public, "--certificates", devices - devices // 4,
                      "--device-ca", f"{ca}.crt", "--device-ca-key", f"{ca}.key", "--secrets", devices // 4, "--secret-key", self.secret["key"],
                      "--secret", self.secret["secret"], "--heartbeat", "1s", *more)
        self.addCleanup(fleet.kill)
        return fleet

    def end_fleet(self, fleet, count=DEVICES, status=(0, 1)):
        got, devices = fleet.end()
        self.assertIn(got, status, fleet.log.read_text()[-2000:])
        self.assertEqual(len(devices), count)
        return devices

    def load(self, count, prefix):
        ca = self.pki.home / "factory"
        load = Load("--count", count, "--server", f"127.0.0.1:{self.server.device_port}", "--ca", self.server.ca_file, "--dir", self.home / "ids", "--prefix", prefix,
                    "--product", self.product, "--device-ca", f"{ca}.crt", "--device-ca-key", f"{ca}.key")
        self.addCleanup(lambda: load.process.poll() is None and load.process.kill())
        return load

    def headers(self, identifier):
        return nh1_headers(self.secret["key"], self.secret["secret"], identifier)

    def device(self, identifier):
        return Device(self.server, headers=self.headers(identifier), path=SOCKET)

    def healthy(self, count=4):
        healthy = Healthy(lambda i: (self.device(f"healthy-{i}"), self.old), count)
        self.addCleanup(healthy.stop)  # a failed test leaves the next one an empty server
        return healthy

    def only(self, devices):
        """Is nobody there but these devices and whoever asks? Those of the test before may still be leaving when a test begins."""
        return self.metric("connections", "handshakes_running", "connections_parked", "devices_connected") == [devices + 1, 0, 0, devices]

    def deploy(self, **more):
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "all", "firmware": self.new["uuid"], "conditions": {"version": "< 1.1.0", "tags": []}, **more},
                        expect=201)
        self.server.api("PUT", f"{self.product_path}/deployments/all", {"deployment": {"state": "on"}})

    def undeploy(self):
        self.server.api("DELETE", f"{self.product_path}/deployments/all")

    def restart_prepared(self):
        """The next start is on the same ports with the same data."""
        self.server.extra += ["--device-port", str(self.server.device_port), "--web-port", str(self.server.web_port), "--metrics-port", str(self.server.metrics_port)]


class Restart(StormCase):
    server_args = ("--drain", "4s")

    def begin_upload(self):
        """An upload whose head the server has taken, and what is still to be sent of it."""
        content = type(self).make("2.0.0", size="1M").read_bytes()
        body = (b'--b\r\nContent-Disposition: form-data; name="firmware"; filename="x.fw"\r\nContent-Type: application/octet-stream\r\n\r\n' + content + b"\r\n--b--\r\n")
        peer = Peer(self.server.web_port)
        peer.send(f"POST /api{self.product_path}/firmwares HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {self.server.token}\r\nExpect: 100-continue\r\n"
                  f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        self.assertEqual(peer.answer().status, 100)
        peer.send(body[:len(body) // 2])
        return peer, body[len(body) // 2:]

    def stopping(self):
        return "server.stopping" in self.server.log_text()[self.logged:]

    def drained(self):
        """The log's lines of devices that were told 1012 and went."""
        return re.findall(r'^.*"?device\.disconnected"?.*\b1012\b.*$', self.server.log_text()[self.logged:], re.M)

    def test_orderly(self):
        """Everybody is told to come back, in many small groups; what was begun is finished; the next server gets all of them, and their updates."""
        server = type(self).server
        self.logged = len(server.log_text())
        self.deploy(concurrent_updates=5)
        self.addCleanup(self.undeploy)
        fleet = self.fleet("--download-rate", "100k")
        self.whole_fleet_online(DEVICES)
        self.wait("updates under way", lambda: len(self.ask("SELECT id FROM inflight_updates")) == 5)
        peer, rest = self.begin_upload()
        server.process.send_signal(signal.SIGTERM)
        self.wait("the drain", self.stopping)
        peer.send(rest)
        self.assertEqual(peer.answer().status, 201)
        peer.close()
        self.assertEqual(server.process.wait(DEADLINE), 0)
        lines = self.drained()
        self.assertGreaterEqual(len(lines), DEVICES * 3 // 4, server.log_text()[-2000:])  # some may be rebooting
        tenths = {line[:len("2026-01-01T00:00:00.0")] for line in lines}
        say(f"{len(lines)} devices were closed in {len(tenths)} different tenths of a second")
        self.assertGreaterEqual(len(tenths), 5, "closed in many small groups")
        self.assertEqual(self.rows("connected"), 0)
        inflight = self.ask("SELECT device_id FROM inflight_updates")
        self.restart_prepared()
        server.start()
        server.login()
        self.assertIn("2.0.0", [firmware["version"] for firmware in server.api("GET", f"{self.product_path}/firmwares").data])
        self.whole_fleet_online(DEVICES)
        # Whoever was in the middle of an update and all others end on the version: nothing was forgotten.
        self.wait("all on 1.1.0", lambda: self.updated() == DEVICES)
        self.assertGreater(len(inflight), 0)
        self.assertEqual(self.metric("device_refusals_total"), 0)
        for name, device in self.end_fleet(fleet).items():
            self.assertEqual((device["version"], device["phase"]), ("1.1.0", "online"), name)
        self.updated_once()

    def test_second_signal(self):
        """A drain of minutes, devices that do not answer the close: the second signal ends it."""
        server = type(self).server
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
            with self.subTest(first=first.name, second=second.name):
                server.stop()
                self.logged = len(server.log_text())
                self.restart_prepared()
                server.extra += ["--drain", "600s"]
                server.start()
                peer = self.joined_peer("deaf")
                server.process.send_signal(first)
                self.wait("the drain", self.stopping)
                self.assertIsNone(server.process.poll())
                server.process.send_signal(second)
                self.assertEqual(server.process.wait(DEADLINE), -second)
                peer.close()
        server.extra += ["--drain", "4s"]
        self.restart_prepared()
        server.start()
        server.login()
        self.wait("the deaf device's row", lambda: self.rows("connected") == 0)

    def joined_peer(self, name):
        peer = WebSocketPeer(self.server.device_port, wrap=lambda s: ByteTls(s, self.tls))
        peer.upgrade(upgrade_request(SOCKET, self.headers(name)))
        join(peer, self.old)
        return peer

    def test_kill(self):
        """Killed with all online, killed again while they come back: the third server gets everybody, once."""
        server = type(self).server
        fleet = self.fleet()
        self.whole_fleet_online(DEVICES)
        for enough in (DEVICES // 2, DEVICES):
            server.process.kill()
            server.process.wait()
            self.restart_prepared()
            server.start()
            self.wait(f"{enough} devices", lambda: self.metric("devices_connected") >= enough)
        self.whole_fleet_online(DEVICES)
        self.assertEqual(self.metric("device_refusals_total"), 0)
        # A server that dies right after it took a join takes its answer along, so that a device may know of the last one only.
        for name, device in self.end_fleet(fleet).items():
            self.assertGreaterEqual(device["connects"], 1, name)
            self.assertEqual(device["phase"], "online", name)
        self.wait("nobody", lambda: self.metric("devices_connected") == 0 and self.rows("connected") == 0)


def message(event, payload, ref="1", topic="device"):
    return json.dumps([ref, ref, topic, event, payload]).encode()


def join_payload(firmware):
    return {"nerves_fw_uuid": firmware["uuid"], "nerves_fw_product": firmware["product"], "nerves_fw_version": firmware["version"],
            "nerves_fw_platform": firmware["platform"], "nerves_fw_architecture": firmware["architecture"], "device_api_version": "2.3.0",
            "meta": {"firmware_validated": True, "firmware_auto_revert_detected": False}}


def reply_to(peer, ref):
    while True:
        got = peer.receive()
        assert got is not None and got[0] == TEXT, got
        parsed = json.loads(got[1])
        if parsed[3] == "phx_reply" and parsed[1] == ref:
            assert parsed[4]["status"] == "ok", parsed
            return parsed


def join(peer, firmware):
    peer.send(frame(TEXT, message("phx_join", join_payload(firmware))))
    reply_to(peer, "1")


class Cut(StormCase):
    """The network between fleet and server dies and comes back."""

    def setUp(self):
        self.proxy = Proxy()
        self.proxy.target = self.server.device_port
        self.addCleanup(self.proxy.close)

    def test_half_open(self):
        """Devices notice, come back and replace their ghosts; what the ghosts' ends say later changes nothing."""
        fleet = self.fleet(port=self.proxy.port)
        self.whole_fleet_online(DEVICES)
        replaced = self.metric("device_replaced_total")
        self.assertEqual(self.proxy.hold(), DEVICES)
        self.wait("everybody replaced", lambda: self.metric("device_replaced_total") == replaced + DEVICES)
        self.whole_fleet_online(DEVICES)
        self.proxy.release()
        self.wait("the ghosts gone", lambda: self.metric("websockets", "device_disconnects_pending") == [DEVICES, 0])
        self.whole_fleet_online(DEVICES)
        for name, device in self.end_fleet(fleet).items():
            self.assertEqual(device["connects"], 2, name)
        self.wait("nobody", lambda: self.metric("websockets", "devices_connected") == [0, 0] and self.rows("connected") == 0)

    def test_update_goes_on(self):
        """A rollout while a third of the fleet is lost again and again: the group's limit holds at every look, and all end on the version, once."""
        limit = 6
        self.deploy(concurrent_updates=limit)
        self.addCleanup(self.undeploy)
        fleet = self.fleet("--download-rate", "400k", port=self.proxy.port)
        cuts, most, updated, end = 0, 0, 0, time.monotonic() + PATIENCE
        while updated < DEVICES:
            if time.monotonic() > end:
                fleet.end()
                self.fail(f"{updated} updated, {cuts} cuts, at most {most} at once: {self.state()}\n{fleet.out.read_text()}\n{self.server.log_text()[-2500:]}")
            inflight, updated = int(self.ask("SELECT count(*) FROM inflight_updates")[0][0]), self.updated()
            most = max(most, inflight)
            self.assertLessEqual(inflight, limit)
            if cuts < 3 and updated > cuts * DEVICES // 4:
                self.assertGreater(self.proxy.hold(share=3), 0)
                cuts += 1
            self.assertIsNone(self.server.process.poll())
            select_tick()
        self.assertEqual((most, cuts), (limit, 3))
        self.proxy.release()
        self.whole_fleet_online(DEVICES)
        for name, device in self.end_fleet(fleet).items():
            self.assertEqual((device["version"], device["phase"]), ("1.1.0", "online"), name)
        self.updated_once()
        self.assertEqual(self.ask("SELECT id FROM inflight_updates"), [])


class ConnectRate(StormCase):
    server_args = ("--connect-rate", "10", "--loops", "1")

    def test_over_the_limit(self):
        """What is over the limit is reset before a byte of TLS; with their backoff all devices get in."""
        refused, outcomes = self.metric("connections_refused_total"), {"reset": 0, "open": 0}
        sockets = []
        for _ in range(60):
            s = socket.socket()
            s.connect(("127.0.0.1", self.server.device_port))
            sockets.append(s)
        # The limit is a second's: of 60 in a moment at most a few seconds' worth get in, and who is in stays, as nothing was said.
        self.wait("the refusals", lambda: self.metric("connections_refused_total") > refused)
        over = self.metric("connections_refused_total") - refused
        for s in sockets:
            s.setblocking(False)
        self.wait("the resets", lambda: sum(ended(s) for s in sockets) >= over)
        for s in sockets:
            outcomes["reset" if ended(s) else "open"] += 1
            s.close()
        self.assertEqual(outcomes["reset"], over)
        self.assertGreaterEqual(outcomes["open"], 10)
        fleet = self.fleet()
        self.whole_fleet_online(DEVICES)
        self.assertGreater(self.metric("connections_refused_total"), refused + over, "the fleet was larger than the limit")
        self.assertEqual(self.metric("device_refusals_total"), 0)
        self.end_fleet(fleet)


def ended(s):
    """Was it reset? An orderly end, or a byte, is neither early nor cheap. Asked again, it says the same."""
    try:
        data = s.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        RESETS.add(id(s))
        return True
    if id(s) in RESETS:
        return True
    raise AssertionError(f"not reset, but {data!r}")


RESETS = set()


class Floods(StormCase):
    """More connections that say nothing than the server has descriptors; between them, the healthy."""

    server_args = ("--loops", "1")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.stop()
        cls.server.wrap = ["prlimit", f"--nofile={NOFILE}:{NOFILE}"]
        cls.server.start()
        cls.server.login()

    def test_held(self):
        """Nothing, half a ClientHello, a whole one and then nothing: devices join, beat and download meanwhile, and those who were there stay."""
        url = self.download_url()
        for kind in ("silent", "half-hello", "hello"):
            with self.subTest(kind):
                healthy = self.healthy()
                with Flood(kind, self.server.device_port, SILENT):
                    healthy.take()
                    say(f"{kind}: {SILENT} held, {self.metric('connections')} open at the server, {descriptors(self.server.process.pid)} descriptors, "
                        f"{resident_kib(self.server.process.pid)} KiB")
                    tries = [asyncio.run(self.joins_and_beats(f"{kind}-{i}")) for i in range(3)]
                    self.assertEqual(self.download(url), self.firmwares["1.1.0"].read_bytes())
                    say(f"{kind}: joined after {tries} attempts")
                    self.assertLessEqual(descriptors(self.server.process.pid), NOFILE)
                    say(f"{kind}: heartbeats of the healthy {quantiles(healthy.take())}")
                self.assertEqual(healthy.stop(), [])
                self.wait("calm", lambda: self.only(devices=0))

    def download_url(self):
        self.deploy()
        self.addCleanup(self.undeploy)

        async def offered():
            async with self.device("reader") as device:
                await device.join(self.old)
                return (await device.event("update"))["firmware_url"]
        return asyncio.run(offered())

    async def joins_and_beats(self, name):
        """Refused before the handshake, a device tries again: so does this one. How many attempts it took. Once it is in, nothing may go wrong."""
        device, tries, end = self.device(name), 1, time.monotonic() + DEADLINE
        while not await self.entered(device):
            tries += 1
            self.assertLess(time.monotonic(), end, f"{tries} attempts: {self.state()}")
        try:
            self.assertEqual((await device.join(self.new))["status"], "ok")
            for _ in range(5):
                self.assertEqual((await device.reply(await device.send("heartbeat", {}, topic="phoenix")))["status"], "ok")
        finally:
            await device.__aexit__()
        return tries

    @staticmethod
    async def entered(device):
        try:
            await device.__aenter__()
            return True
        except (ConnectionError, asyncio.TimeoutError):
            await asyncio.sleep(0.2)  # its backoff
            return False

    def download(self, url):
        peer, end = None, time.monotonic() + DEADLINE
        while not peer:
            try:
                peer = Peer(self.server.device_port, wrap=lambda s: self.tls.wrap_socket(s, server_hostname="localhost"))
            except ConnectionError:
                self.assertLess(time.monotonic(), end, self.state())
                select_tick()
        with peer:
            peer.send(f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = peer.answer()
            self.assertEqual(answer.status, 200)
            return answer.body

    def test_attempts(self):
        """Connections that are reset before a byte, very many: memory does not follow their number, and no healthy device notices more than the work."""
        healthy = self.healthy()
        self.wait("heartbeats", lambda: len(healthy.latencies) >= 40)
        before = quantiles(healthy.take())
        with Flood("attempts", self.server.device_port, min(ATTEMPTS, 3000)) as first:
            first.wait()
        self.wait("calm", lambda: self.only(devices=4))
        resident, open_descriptors, accepted = resident_kib(self.server.process.pid), descriptors(self.server.process.pid), self.metric("connections_accepted_total")
        healthy.take()
        with Flood("attempts", self.server.device_port, ATTEMPTS) as flood:
            report = flood.wait()
        during = quantiles(healthy.take())
        self.wait("calm", lambda: self.only(devices=4) and descriptors(self.server.process.pid) <= open_descriptors + 2)
        grown = resident_kib(self.server.process.pid) - resident
        say(f"{ATTEMPTS} attempts: {report}; heartbeats before {before}; during {during}; resident {resident} KiB, then {grown:+} KiB")
        self.assertGreaterEqual(self.metric("connections_accepted_total") - accepted, report["opened"] // 2)
        # How many are open at once is the scheduler's affair: a house full of them may have been bought once more, and no more than that.
        self.assertLess(grown, NOFILE * 16 + resident // 10)
        self.assertEqual(healthy.stop(), [])


class Slow(StormCase):
    """One byte at a time, never a byte, half a conversation, and every way to leave."""

    def web(self, small=False):
        return Peer(self.server.web_port, small=small)

    def tls_peer(self, piece=None, small=False):
        return WebSocketPeer(self.server.device_port, wrap=lambda s: ByteTls(s, self.tls, piece), small=small)

    def upgraded(self, name, **kwargs):
        peer = self.tls_peer(**kwargs)
        peer.upgrade(upgrade_request(SOCKET, self.headers(name)))
        return peer

    def joined(self, name, **kwargs):
        peer = self.upgraded(name, **kwargs)
        join(peer, self.old)
        return peer

    def test_byte_by_byte(self):
        body = json.dumps({"email": "nobody@localhost", "password": "x" * 40}).encode()
        login = f"POST /api/users/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with self.subTest("head"), self.web() as peer:
            peer.send_bytewise(b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(peer.answer().status, 200)
        with self.subTest("body"), self.web() as peer:
            peer.send_bytewise(login + body)
            self.assertEqual(peer.answer().status, 401)
        with self.subTest("TLS records, each byte a packet"), self.joined("piecemeal", piece=1) as peer:
            peer.send(frame(TEXT, message("heartbeat", {}, ref="2", topic="phoenix")))
            reply_to(peer, "2")
            with self.subTest("a frame, each byte a record"):
                peer.send_bytewise(frame(TEXT, message("heartbeat", {}, ref="3", topic="phoenix")))
                reply_to(peer, "3")

    def test_never_reads(self):
        """What a device asks without taking the answers piles up to a cap: it is no longer heard, or closed, and its memory comes back. A healthy one notices nothing."""
        healthy = self.healthy(2)
        resident = []
        for round in range(4):
            with self.joined(f"deaf-{round}", small=True) as peer:
                before = self.metric("websockets")
                beat = frame(TEXT, message("heartbeat", {}, ref="9" * 60, topic="phoenix"))
                block = beat * (60000 // len(beat))
                sent = stuck = 0
                while self.metric("websockets") >= before and stuck < 10:
                    self.assertLess(sent, 512 << 20, "the server takes everything and answers to nobody")
                    peer.socket.sock.settimeout(0.05)
                    try:
                        if not peer.send(block):
                            break
                        stuck = 0
                    except (socket.timeout, ssl.SSLError):
                        stuck += 1
                    sent += len(block)
                    if peer.failed:
                        break
            self.wait("the deaf gone", lambda: self.metric("websockets") == 2)
            resident.append(resident_kib(self.server.process.pid))
        say(f"resident after each deaf device: {resident} KiB")
        self.assertLess(resident[-1], resident[0] + 8192)
        self.assertEqual(healthy.stop(), [])

    def leaver(self):
        """One device may not come back as often as this test leaves."""
        self.leavers = getattr(self, "leavers", -1) + 1
        return f"leaver-{self.leavers // 20}"

    def phases(self):
        half = HELLO[:len(HELLO) // 2]
        big = b"POST /api/users/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n" + b" " * 30000
        return {
            "connected": lambda: Peer(self.server.device_port),
            "half a ClientHello": lambda: self.saying(Peer(self.server.device_port), half),
            "a ClientHello": lambda: self.saying(Peer(self.server.device_port), HELLO),
            "handshake done": lambda: self.tls_peer(),
            "half a head": lambda: self.saying(self.tls_peer(), b"GET /status/alive HTT"),
            "half a body": lambda: self.saying(self.web(), big),
            "request made": lambda: self.saying(self.web(), b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n"),
            "upgraded": lambda: self.upgraded(self.leaver()),
            "joined": lambda: self.joined(self.leaver()),
            "half a frame": lambda: self.saying(self.joined(self.leaver()), frame(TEXT, b"x" * 100)[:50]),
            "closing": lambda: self.saying(self.joined(self.leaver()), close_frame(1000)),
            "joining": lambda: self.saying(self.upgraded(self.leaver()), frame(TEXT, message("phx_join", join_payload(self.old)))),
        }

    @staticmethod
    def saying(peer, data):
        peer.send(data)
        return peer

    def test_every_way_to_leave(self):
        """RST, FIN without close_notify, and a half-closed socket that is never closed, in every phase: nothing stays of any of them."""
        healthy = self.healthy(2)
        for phase, enter in self.phases().items():
            for way in ("reset", "fin", "half-closed"):
                with self.subTest(phase=phase, way=way):
                    peers = [enter() for _ in range(4)]
                    for peer in peers:
                        if way == "reset":
                            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        elif way == "half-closed":
                            peer.socket.shutdown(socket.SHUT_WR)
                            peer.ended()
                        peer.close()
                    self.wait("nothing left", lambda: self.only(devices=2) and self.metric("websockets") == 2)
        self.wait("rows", lambda: self.rows("connected") == 2)
        self.assertEqual(healthy.stop(), [])


class Mass(StormCase):
    """Everybody goes, everybody comes."""

    server_args = ("--loops", "1")

    def test_come_and_go(self):
        load = self.load(DEVICES * 4, "mass")
        self.assertEqual(load.do(f"online {DEVICES * 4} 0")["joined"], DEVICES * 4)
        resident = []
        for _ in range(4):
            answer = load.do("reconnect 0")
            self.assertEqual((answer["joined"], answer["failures"]), (DEVICES * 4, 0))
            say(f"{DEVICES * 4} reconnect at once: start to joined p50 {answer['join']['p50_us'] / 1e3:.0f}, longest {answer['join']['max_us'] / 1e3:.0f} ms")
            load.do("drop")
            self.wait("nobody", lambda: self.metric("websockets", "devices_connected", "device_disconnects_pending", "connections_parked", "handshakes_running") == [0] * 5)
            self.wait("rows", lambda: self.rows("connected") == 0)
            resident.append(resident_kib(self.server.process.pid))
            self.assertEqual(load.do(f"online {DEVICES * 4} 0")["joined"], DEVICES * 4)
            self.whole_fleet_online(DEVICES * 4)
        say(f"resident with nobody there: {resident} KiB")
        self.assertLess(resident[-1], resident[0] * 1.1 + 4096)
        self.assertEqual(load.end(), 0)

    def test_order_of_arrival(self):
        """Of many that come at once nobody is overtaken by more than those whose handshake can be under way."""
        count = min(HANDSHAKES * 3, DEVICES * 8)
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        selector, finished, peers = selectors.DefaultSelector(), [], []
        for i in range(count):
            s = socket.socket()
            s.connect(("127.0.0.1", self.server.device_port))
            s.setblocking(False)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            peers.append((s, context.wrap_bio(incoming, outgoing, server_hostname="localhost"), incoming, outgoing))
            selector.register(s, selectors.EVENT_READ, i)
            self.step(peers[i])
        end = time.monotonic() + DEADLINE
        while len(finished) < count:
            self.assertLess(time.monotonic(), end, f"{len(finished)} of {count}")
            for key, _ in selector.select(1):
                data = key.fileobj.recv(65536)
                self.assertTrue(data, "a handshake was given up")
                peers[key.data][2].write(data)
                if self.step(peers[key.data]):
                    finished.append(key.data)
                    selector.unregister(key.fileobj)
        late = max(rank - arrival for rank, arrival in enumerate(finished))
        say(f"{count} handshakes: nobody was overtaken by more than {late}")
        self.assertLessEqual(late, HANDSHAKES + 32)
        for s, *_ in peers:
            s.close()

    @staticmethod
    def step(peer):
        """One step of a handshake; is it over?"""
        s, tls, _, outgoing = peer
        try:
            tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            s.send(outgoing.read())


del StormCase, ServerCase

if __name__ == "__main__":
    unittest.main()
