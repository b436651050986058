"""Three servers on one PostgreSQL and one S3 bucket. What is done at one of them reaches the device that another one holds: pushes, settings, revoked certificates, consoles, scripts. Then a rollout, while any of
them is killed at any moment and started again: the fleet is updated, every device once, never more at a time than the group allows.

NH_NODES_SEED repeats the choices of the kills; the processes' own timing is theirs. NH_NODES_KILLS (4) and NH_NODES_DEVICES (12): more of them for longer."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import websockets

import nhtest
from nhtest import DEADLINE, ROOT, Device, Person, Pki, Server, firmware_key, make_firmware, nh1_headers, pem64, program, run
from s3server import S3Server

KILLS = int(os.environ.get("NH_NODES_KILLS", "4"))
DEVICES = int(os.environ.get("NH_NODES_DEVICES", "12"))
SEED = int(os.environ.get("NH_NODES_SEED") or random.SystemRandom().randrange(1 << 32))
AT_ONCE = 4  # the group's concurrent_updates
PRODUCT = "/orgs/acme/products/Thermo%20Widget"
OK = {"status": "ok", "response": {}}
CONSOLE = "user:console:identifier-"


@contextlib.contextmanager
def postgres():
    """The cluster that scripts/pg-test made, or one of our own."""
    if "NH_TEST_PG_URL" in os.environ:
        yield
        return
    own = subprocess.Popen([ROOT / "scripts" / "pg-test", "sh", "-c", 'echo "$NH_TEST_PG_URL"; cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    os.environ["NH_TEST_PG_URL"] = own.stdout.readline().strip()
    try:
        yield
    finally:
        del os.environ["NH_TEST_PG_URL"]
        own.stdin.close()
        own.wait(DEADLINE)
        own.stdout.close()


class Front:
    """One TCP port before all servers: each connection goes to one that runs, by turns. Its name is all that devices know."""

    def __init__(self, servers):
        self.servers, self.turn = servers, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, sock=self.socket))
        self.loop.run_forever()

    async def serve(self, reader, writer):
        self.turn += 1
        for i in range(len(self.servers)):
            server = self.servers[(self.turn + i) % len(self.servers)]
            if not server.up:
                continue
            with contextlib.suppress(OSError):
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.device_port)
                await asyncio.gather(self.pass_on(reader, there_writer), self.pass_on(there_reader, writer))
                return
        writer.close()

    @staticmethod
    async def pass_on(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.socket.close()


class Cluster(unittest.TestCase):
    """Servers a, b and c with one identity and one secret; `acme` with a product, made at a."""

    @classmethod
    def setUpClass(cls):
        cls.home = Path(tempfile.mkdtemp(prefix="nhtest-nodes-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, True)
        cls.enterClassContext(postgres())
        (cls.home / "s3").mkdir()
        s3 = cls.enterClassContext(S3Server(cls.home / "s3"))
        cls.env = {"DATABASE_URL": nhtest.new_postgres_database(), "FIRMWARE_UPLOAD_BACKEND": "S3", "S3_HOST": s3.endpoint, "S3_REGION": s3.region, "S3_BUCKET_NAME": s3.bucket,
                   "S3_ACCESS_KEY_ID": s3.access_key, "S3_SECRET_ACCESS_KEY": s3.secret_key, "NERVESHUB_NODE_LEASE": "2s", "ORCHESTRATOR_INTERVAL": "1s",
                   "NERVESHUB_LOOPS": "1", "NERVESHUB_WORKERS": "4", "NERVESHUB_PERMISSION_AGE": "0s", "DEVICE_CONNECTS_PER_MINUTE": "0"}
        cls.servers = [Server(env=cls.env) for _ in range(3)]
        for server in cls.servers:
            server.up = False
            cls.addClassCleanup(cls.end, server)
        a = cls.servers[0]
        cls.start(a)
        cls.env["SECRET_KEY_BASE"] = (a.data_dir / "secret.key").read_text().strip()
        for other in cls.servers[1:]:
            shutil.copytree(a.data_dir / "pki", other.data_dir / "pki")
            other.env.update(cls.env)
            cls.start(other)
        a.login()
        for other in cls.servers[1:]:
            other.token = a.token
        cls.prepare(a)

    @classmethod
    def prepare(cls, a):
        a.api("POST", "/orgs", {"name": "acme"}, expect=201)
        a.api("POST", "/orgs/acme/products", {"name": "Thermo Widget"}, expect=201)
        cls.key_private, cls.key_public = firmware_key(cls.home)
        a.api("POST", "/orgs/acme/keys", {"name": "k1", "key": cls.key_public.read_text().strip()}, expect=201)
        cls.pki = Pki(cls.home / "pki")
        cert = cls.pki.ca("factory")
        token = a.api("GET", "/orgs/acme/ca_certificates/verification_token", expect=200).data["verification_token"]
        a.api("POST", "/orgs/acme/ca_certificates", {"cert": pem64(cert), "verification_cert": pem64(cls.pki.verification("factory", token)), "description": "factory",
                                                     "jitp": {"product_name": "Thermo Widget", "tags": [], "description": "line"}}, expect=201)
        cls.secret = a.api("POST", f"{PRODUCT}/shared_secrets", {}, expect=201).data

    @classmethod
    def start(cls, server):
        server.start()
        server.up = True

    @classmethod
    def kill(cls, server):
        server.up = False
        server.stop(signal.SIGKILL)

    @classmethod
    def end(cls, server):
        if server.process and server.up:
            server.end()
        else:
            server.remove()

    def tearDown(self):
        for server in self.servers:
            if not server.up:
                self.start(server)

    def device(self, server, identifier):
        return Device(server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    def ask(self, text):
        return [line.split("|") for line in self.servers[0].sql(text)]

    def seen(self, text, wanted):
        """Until the database answers so."""
        end = time.monotonic() + DEADLINE
        while (found := self.ask(text)) != wanted:
            self.assertLess(time.monotonic(), end, f"{text}\n{found} and not {wanted}")
            time.sleep(0.02)

    def name_of(self, server):
        return (server.data_dir / "node").read_text().strip()


async def join_console(device):
    device.ref += 1
    ref = str(device.ref)
    await device.socket.send(json.dumps([ref, ref, "console", "phx_join", {"console_version": "2.0.0"}]))
    return await device.reply(ref)


class TestNodes(Cluster):
    @classmethod
    def prepare(cls, a):
        super().prepare(a)
        cls.fw = a.upload("acme", "Thermo%20Widget", make_firmware(cls.home, "1.0.0", cls.key_private)).data
        cls.fw2 = a.upload("acme", "Thermo%20Widget", make_firmware(cls.home, "2.0.0", cls.key_private)).data

    def test_commands(self):
        a, b, c = self.servers

        async def scenario():
            async with self.device(a, "t-1") as device:
                self.assertEqual((await device.join(self.fw))["status"], "ok")
                await asyncio.to_thread(b.api, "POST", f"{PRODUCT}/devices/t-1/reboot", None, None, 204)
                await device.event("reboot")
                await asyncio.to_thread(c.api, "POST", f"{PRODUCT}/devices/t-1/upgrade", {"uuid": self.fw2["uuid"]}, None, 204)
                update = await device.event("update")
                self.assertEqual(update["firmware_meta"]["uuid"], self.fw2["uuid"])
        asyncio.run(scenario())

    def test_newest_connection_wins(self):
        a, b, c = self.servers

        async def scenario():
            async with self.device(a, "n-1") as old:
                await old.join(self.fw)
                async with self.device(b, "n-1") as new:
                    await new.join(self.fw)
                    self.assertEqual(await old.closed(), 1001)
                    row = "SELECT count(*), max(node) FROM device_connections c JOIN devices d ON d.id = c.device_id WHERE d.identifier = 'n-1' AND c.status = 'connected'"
                    self.assertEqual(self.ask(row), [["1", self.name_of(b)]])
                    # The newer one is not meant: it is here, and hears.
                    await asyncio.to_thread(c.api, "POST", f"{PRODUCT}/devices/n-1/reboot", None, None, 204)
                    await new.event("reboot")
        asyncio.run(scenario())

    def test_settings(self):
        a, b, c = self.servers
        c.api("PUT", PRODUCT, {"extensions": {"health": True}}, expect=200)

        async def scenario():
            async with self.device(a, "e-1") as device:
                await device.join(self.fw)
                await device.event("extensions:get")
                device.ref += 1
                ref = str(device.ref)
                await device.socket.send(json.dumps([ref, ref, "extensions", "phx_join", {"health": "0.0.1"}]))
                self.assertEqual((await device.reply(ref))["response"], ["health"])
                await device.send("health:attached", {}, topic="extensions", join_ref=ref)
                await device.event("health:check")
                await asyncio.to_thread(b.api, "PUT", PRODUCT, {"extensions": {"health": False}}, None, 200)
                # What it says now is not taken any more. Until its session has heard of it, it is: so it is said until one is left out.
                before = await asyncio.to_thread(a.metric, "device_extensions_refused_total")
                end = asyncio.get_running_loop().time() + DEADLINE
                while await asyncio.to_thread(a.metric, "device_extensions_refused_total") == before:
                    self.assertLess(asyncio.get_running_loop().time(), end)
                    await device.send("health:report", {"value": {"timestamp": "2026-01-01T00:00:00Z", "metadata": {}, "alarms": {}, "metrics": {"cpu_temp": 1}, "checks": {}}},
                                      topic="extensions", join_ref=ref)
        asyncio.run(scenario())

    def test_certificate_revoked(self):
        a, b, c = self.servers
        cert, key = self.pki.device("r-1", "factory")

        async def scenario():
            async with Device(a, cert, key) as device:
                self.assertEqual((await device.join(self.fw))["status"], "ok")
                listed = (await asyncio.to_thread(b.api, "GET", f"{PRODUCT}/devices/r-1/certificates", None, None, 200)).data
                self.assertEqual(len(listed), 1)
                await asyncio.to_thread(b.api, "DELETE", f"{PRODUCT}/devices/r-1/certificates/{listed[0]['serial']}", None, None, 204)
                self.assertEqual(await device.closed(), 1001)
            # Neither the one that had it by heart nor another lets it in once the device is deleted.
            await asyncio.to_thread(c.api, "DELETE", f"{PRODUCT}/devices/r-1", None, None, 204)
            for server in (a, c):
                with self.assertRaises((OSError, websockets.exceptions.WebSocketException)):
                    async with Device(server, cert, key) as device:
                        await device.join(self.fw)
        asyncio.run(scenario())

    def test_script(self):
        a, b, c = self.servers
        b.api("POST", f"{PRODUCT}/scripts", {"name": "hello", "text": "IO.puts :hello"}, expect=200)

        async def scenario():
            async with self.device(a, "s-1") as device:
                await device.join(self.fw)
                answer = asyncio.create_task(asyncio.to_thread(b.api, "POST", "/devices/s-1/scripts/hello", None, None, 200))
                asked = await device.event("scripts/run")
                await device.send("scripts/run", {"ref": asked["ref"], "result": "completed", "output": "hello\n", "return": ":ok"})
                self.assertIn(b"hello", (await answer).body)
        asyncio.run(scenario())

    def test_console_through_a_kill(self):
        a, b, c = self.servers

        async def scenario():
            async with Person(b) as person, Person(c) as other:
                async with self.device(a, "c-1") as device:
                    await device.join(self.fw)
                    await join_console(device)
                    await device.send("up", {"data": "before\r\n"}, topic="console")
                    await person.join(CONSOLE + "c-1")
                    await person.event("metadata")
                    self.assertIn("before", await person.text("before"))
                    await person.send("dn", {"data": "ls\r"})
                    self.assertEqual(await device.event("dn"), {"data": "ls\r"})
                    await device.send("up", {"data": "hello\r\n"}, topic="console")
                    self.assertIn("hello", await person.text("hello"))
                    # Somebody at a third server, and what they say to each other.
                    await other.join(CONSOLE + "c-1")
                    self.assertIn("hello", await other.text("hello"))
                    await person.send("message", {"event": "hi all"})
                    self.assertIn("hi all", json.dumps(await other.event("message")))
                    await asyncio.to_thread(self.kill, a)
                    self.assertIsNone(await device.closed())
                # It comes back elsewhere; both see it again, though nobody joined anew.
                async with self.device(c, "c-1") as device:
                    await device.join(self.fw)
                    await join_console(device)
                    await device.send("up", {"data": "again\r\n"}, topic="console")
                    self.assertIn("again", await person.text("again"))
                    self.assertIn("again", await other.text("again"))
                    await person.send("dn", {"data": "ps\r"})
                    self.assertEqual(await device.event("dn"), {"data": "ps\r"})
                    await asyncio.to_thread(self.start, a)
        asyncio.run(scenario())

    def test_another_secret(self):
        """A server that could not read what the others sealed does not start."""
        env = {**self.env, "SECRET_KEY_BASE": "another secret, which is long enough to be taken"}
        stranger = Server(env=env)
        self.addCleanup(stranger.remove)
        with self.assertRaisesRegex(AssertionError, "is not the one that the database is run with"):
            stranger.start()
        stranger.log.close()


    # ---- a rollout through kills

    def watch(self):
        """Never more at a time than the group allows: asked all the time, of one snapshot."""
        base = self.env["DATABASE_URL"]
        while not self.over.is_set():
            found = int(run("psql", base, "-qAt", "-c", "SELECT count(*) FROM inflight_updates WHERE deployment_id IS NOT NULL").stdout)
            self.most = max(self.most, found)
            self.looks += 1

    def make(self, version):
        path = self.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--product", "Thermo Widget", "--version", version, "--size", "200k", "--key", self.key_private, "--output", path)
        return path

    def test_kills(self):
        print(f"NH_NODES_SEED={SEED}", file=sys.stderr, flush=True)
        self.random = random.Random(SEED)
        a = self.servers[0]
        first, second = self.make("1.0.0"), self.make("2.0.0")
        uuids = [a.upload("acme", "Thermo%20Widget", path).data["uuid"] for path in (first, second)]
        a.api("POST", f"{PRODUCT}/deployments", {"name": "all", "firmware": uuids[1], "concurrent_updates": AT_ONCE}, expect=201)
        a.api("PUT", f"{PRODUCT}/deployments/all", {"deployment": {"state": "on"}}, expect=200)
        self.addCleanup(lambda: a.api("PUT", f"{PRODUCT}/deployments/all", {"deployment": {"state": "off"}}, expect=200))
        front = Front(self.servers)
        self.addCleanup(front.close)
        out, ca = self.home / "fleet.json", self.home / "pki" / "factory"
        fleet = subprocess.Popen(
            [program("nerveshub-fleet"), "run", "--server", f"localhost:{front.port}", "--ca", str(a.ca_file), "--dir", str(self.home / "fleet"), "--firmware", str(first),
             "--public-key", str(self.key_public), "--certificates", str(DEVICES), "--device-ca", f"{ca}.crt", "--device-ca-key", f"{ca}.key", "--download-rate", "400k", "--until-settled",
             "--timeout", "240s", "--expect-version", "2.0.0", "--json", str(out), "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(fleet.kill)
        self.over, self.most, self.looks = threading.Event(), 0, 0
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        try:
            self.kill_some(fleet)
            said = fleet.communicate(timeout=250)[0]
        finally:
            self.over.set()
            watcher.join()
        devices = json.loads(out.read_text()) if out.exists() else []
        self.assertEqual((fleet.returncode, len(devices), [d for d in devices if (d["outcome"], d["version"], d["updates"]) != ("updated", "2.0.0", 1)]), (0, DEVICES, []), said[-2000:])
        self.assertLessEqual(self.most, AT_ONCE)
        self.assertGreater(self.looks, 0)
        self.settled(uuids[1])

    def kill_some(self, fleet):
        """One after the other, at a moment that the seed chose; what is down comes back at once, or after the next one fell: then one is left to serve all."""
        for _ in range(KILLS):
            if fleet.poll() is not None:
                break
            victim = self.random.choice([s for s in self.servers if s.up])
            with contextlib.suppress(subprocess.TimeoutExpired):
                fleet.wait(self.random.uniform(0, 0.7))
            self.kill(victim)
            if self.random.random() < 0.5 or sum(s.up for s in self.servers) < 2:
                for down in [s for s in self.servers if not s.up]:
                    self.start(down)
        for down in [s for s in self.servers if not s.up]:
            self.start(down)

    def settled(self, uuid):
        counted = dict(self.ask(f"SELECT d.identifier, count(*) FROM update_stats s JOIN devices d ON d.id = s.device_id WHERE s.target_firmware_uuid = '{uuid}' GROUP BY d.identifier"))
        self.assertEqual(set(counted.values()), {"1"}, counted)
        self.assertEqual(len(counted), DEVICES)
        self.assertEqual(self.ask("SELECT count(*) FROM inflight_updates WHERE deployment_id IS NOT NULL"), [["0"]])
        # The fleet has gone; no row says otherwise, whoever held it.
        self.seen("SELECT count(*) FROM device_connections WHERE status <> 'disconnected'", [["0"]])
        self.assertEqual(self.ask("SELECT device_id, count(*) FROM device_connections GROUP BY device_id HAVING count(*) > 1"), [])
        self.seen("SELECT count(*) FROM nodes WHERE life <> ''", [["3"]])
        self.seen("SELECT count(*) FROM node_messages", [["0"]])


if __name__ == "__main__":
    unittest.main()
