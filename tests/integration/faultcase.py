"""What the tests of a failing environment share: a server with a device that stays connected and one that comes and goes, what is asked of it meanwhile,
and a PostgreSQL of their own."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import websockets

from nhtest import DEADLINE, Device, ServerCase, pem64, run, select_tick


def until(condition, what, detail=lambda: ""):
    """Waits for an event; a deadline is a failure."""
    deadline = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}\n{detail()}")
        select_tick()


def works(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Connected:
    """One joined device on a thread of its own, asked for heartbeats from outside: is the server alive for its devices?"""

    def __init__(self, server, cert, key, firmware):
        self.server, self.cert, self.key, self.firmware = server, cert, key, firmware
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.device = Device(server, cert, key)
        self.run(self.join())

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    async def join(self):
        await self.device.__aenter__()
        answer = await self.device.join(self.firmware)
        assert answer["status"] == "ok", answer

    async def beat(self):
        return await self.device.reply(await self.device.send("heartbeat", {}, topic="phoenix"))

    def heartbeat(self):
        answer = self.run(self.beat())
        assert answer == {"status": "ok", "response": {}}, answer

    def event(self, name):
        return self.run(self.device.event(name))

    def close(self):
        try:
            self.run(self.device.__aexit__())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()


class FaultCase(ServerCase):
    """A server, one device that stays connected through everything (its heartbeats are the pulse), one that comes and goes."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw1 = cls.firmware(cls, "1.0.0")
        cls.register_ca(cls, "factory")
        cls.identities = {}
        for name in ("steady", "guest"):
            cls.server.api("POST", f"{cls.product_path}/devices", {"identifier": name}, expect=201)
            cls.identities[name] = cls.pki.device(name, "factory")
            cls.server.api("POST", f"{cls.product_path}/devices/{name}/certificates", {"cert": pem64(cls.identities[name][0])}, expect=201)
        Connected(cls.server, *cls.identities["guest"], cls.fw1).close()  # from now on its certificate is known
        cls.steady = Connected(cls.server, *cls.identities["steady"], cls.fw1)
        cls.answered, cls.refused = [], []
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.steady.close()
        super().tearDownClass()

    # ---- what is asked of the server ----

    def write(self):
        """One change; remembers what was answered."""
        type(self).counter += 1
        name = f"p{self.counter}"
        answer = self.server.api("POST", "/orgs/acme/products", {"name": name})
        (self.answered if answer.status == 201 else self.refused).append(name)
        return answer

    def write_until(self, *statuses):
        return until(lambda: (lambda a: a if a.status in statuses else None)(self.write()), f"a write answered with {statuses}", self.server.log_text)

    def names(self):
        return {p["name"] for p in self.server.api("GET", "/orgs/acme/products", expect=200).data}

    def check_nothing_lost(self):
        names = self.names()
        self.assertEqual([n for n in self.answered if n not in names], [], "answered and lost")
        self.assertEqual([n for n in self.refused if n in names], [], "refused and there")

    def download(self):
        """What a device gets that asks for its firmware by the signed link."""
        org = next((self.server.data_dir / "objects" / "firmware").glob(f"*/*/{self.fw1['uuid']}-*")).parts[-3]
        return self.server.http("GET", self.server.signed(f"/firmware/{org}/{self.fw1['uuid']}.fw"))

    def metric(self, name):
        text = self.server.http("GET", "/metrics", port=self.server.metrics_port).body.decode()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"nerveshub_{name} "))

    def connection_status(self, identifier):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}", expect=200).data["connection_status"]

    def guest_status(self):
        """The HTTP status that a known device's upgrade gets; 101 when it may come in, None when the handshake ends."""
        async def attempt():
            try:
                async with Device(self.server, *self.identities["guest"]) as device:
                    answer = await device.join(self.fw1)
                    return 101 if answer["status"] == "ok" else 0
            except websockets.exceptions.InvalidStatusCode as refused:
                if refused.status_code == 503:
                    self.assertIn("retry-after", refused.headers)
                    self.assertIn("could not be reached", refused.headers["nh-connection-error-reason"])
                return refused.status_code
            except (ssl.SSLError, ConnectionError, websockets.exceptions.InvalidMessage, EOFError):
                return None
        return asyncio.run(attempt())

    def lines(self, *parts):
        return [line for line in self.server.log_text().splitlines() if all(p in line for p in parts)]

    def check_answer(self, answer, *statuses):
        """503 says when to come back, 507 what is wrong; both in words."""
        self.assertIn(answer.status, statuses, answer.body[:300])
        if answer.status == 503:
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.assertIn("disk is full" if answer.status == 507 else "try again", answer.json["errors"]["detail"])

    def check_all_refused(self):
        """A dozen writes at once while the database is away: nobody waits for its return, each is told, and the devices notice nothing."""
        answers = []
        asked = [threading.Thread(target=lambda: answers.append(self.write())) for _ in range(12)]
        for t in asked:
            t.start()
        self.steady.heartbeat()
        for t in asked:
            t.join(DEADLINE)
        self.assertEqual(len(answers), len(asked), "a request hangs")
        for answer in answers:
            self.check_answer(answer, 503)

    def check_recovered(self):
        self.write_until(201)
        self.check_nothing_lost()
        until(lambda: self.guest_status() == 101, "the guest joins again", self.server.log_text)
        self.steady.heartbeat()
        self.assertEqual(self.connection_status("steady"), "connected")
        until(lambda: self.connection_status("guest") == "disconnected", "the guest's end is written")
        self.assertEqual(self.metric("database_available"), 1)


class Cluster:
    """A PostgreSQL of one's own that may be restarted and frozen."""

    def __init__(self):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise unittest.SkipTest("PostgreSQL is not installed")
        self.bin = found[-1].parent
        self.home = Path(tempfile.mkdtemp(prefix="nh-pg-", dir="/tmp"))
        self.demote = None
        if os.geteuid() == 0:
            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            os.chown(self.home, user.pw_uid, user.pw_gid)
            self.demote = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.tool("initdb", "-D", self.home / "data", "-U", "nh", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        with open(self.home / "data" / "postgresql.conf", "a") as conf:
            conf.write(f"max_connections = 60\nshared_buffers = 32MB\nlisten_addresses = '127.0.0.1'\nport = {self.port}\n"
                       f"unix_socket_directories = '{self.home}'\nfull_page_writes = off\n")
        self.control("start", "-l", self.home / "log")
        self.url = f"postgresql://nh@127.0.0.1:{self.port}/postgres"

    def tool(self, name, *args):
        run(self.bin / name, *args, cwd=self.home, **(self.demote or {}))

    def control(self, *args):
        # its own output goes nowhere: a server that inherits a pipe keeps its reader waiting
        done = subprocess.run([str(self.bin / "pg_ctl"), "-D", str(self.home / "data"), "-w", *map(str, args)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DEADLINE, cwd=self.home, **(self.demote or {}))
        assert done.returncode == 0, f"pg_ctl {args}"

    def processes(self):
        postmaster = int((self.home / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def close(self):
        self.signal(signal.SIGCONT)
        self.control("stop", "-m", "immediate")
        shutil.rmtree(self.home, ignore_errors=True)
