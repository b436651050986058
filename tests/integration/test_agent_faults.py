"""nerveshub-link on a bad network: connections that break in every way, at rest, in the handshake and in the middle of a download; a server that is killed, has another certificate or another idea
of the time; a second device with the same identity. Afterwards the agent is connected again by itself, and what it installed is the firmware byte for byte."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from faultcase import until, works
from faultproxy import FaultProxy
from nhtest import DEADLINE, ServerCase, program, run, wait_until
from test_faults import faketime_library, preload

ENV = ("--env-offset", 16 * 512, "--env-size", 16 * 512)  # where nerveshub-fleet's firmware has its U-Boot environment
IMPATIENT = ("--heartbeat", "1s", "--connect-timeout", "2s", "--download-timeout", "1s", "--download-retry", "100ms")
ALERT = bytes.fromhex("15030300020228")  # TLS 1.2, fatal: handshake_failure
HANDSHAKE_BYTES, DOWNLOAD_BYTES = 300, 1 << 19
SIZE = 2 << 20


# Eight megabit a second, and what waits longer than a tenth of a second for its turn is dropped: a slow link that loses packets.
SLOW_LINK = ("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8mbit", "burst", "128k", "latency", "100ms")


class Island:
    """A network namespace with nothing but a loopback interface: slow, lossy, and the cable that can be pulled."""

    def __init__(self):
        for self.make, self.enter in ((["unshare", "-n"], ["-n"]), (["unshare", "-U", "-r", "-n"], ["-U", "--preserve-credentials", "-n"])):
            if works(*self.make, "ip", "link", "set", "lo", "up"):
                break
        else:
            raise unittest.SkipTest("neither root nor unprivileged user namespaces may make a network namespace here")
        self.holder = subprocess.Popen([*self.make, "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.inside = ["nsenter", "-t", str(self.holder.pid), *self.enter]
        if not works(*self.inside, *SLOW_LINK):
            self.end()
            raise unittest.SkipTest("this kernel has no token bucket filter (tc qdisc tbf)")

    def cable(self, state):
        run(*self.inside, "ip", "link", "set", "lo", state)

    def end(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Agent:
    """nerveshub-link with a disk and a log of its own."""

    def __init__(self, case, name, port, *identity, env=None, inside=()):
        self.case, self.disk, self.log = case, case.home / f"{name}.disk", Path(tempfile.mkstemp(prefix=f"{name}-", suffix=".log", dir=case.home)[1])
        if not self.disk.exists():
            shutil.copy(case.blank, self.disk)
        server = port if isinstance(port, str) else f"localhost:{port}"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*inside, program("nerveshub-link"), "--server", server, "--public-key", case.key_public, "--device", self.disk, "--installer", "builtin", "--reboot-command", "true", "--log-level",
                 "debug", *map(str, (*ENV, *IMPATIENT, *identity))], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})})
        self.process.log = self.log
        case.addCleanup(self.end)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(DEADLINE)
        text = self.text()
        if "AddressSanitizer" in text or "runtime error" in text:
            raise AssertionError(text[-6000:])

    def text(self):
        return self.log.read_text(errors="replace")

    def count(self, event):
        return len(re.findall(rf"\b{re.escape(event)}\b", self.text()))

    def sees(self, event, more_than=0):
        wait_until(lambda: self.count(event) > more_than, self.process, f"{event} (the {more_than + 1}. time)")

    def installed(self):
        """It ends by itself: the reboot command says that nothing is to be rebooted."""
        self.process.wait(DEADLINE)
        self.case.assertEqual(self.count("update.installed"), 1, self.text()[-3000:])
        self.case.assertEqual(self.case.hash(self.disk), self.case.hash(self.case.updated), "the disk is not what the firmware says")


class AgentFaults(ServerCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = FaultProxy()
        cls.server_args = ("--download-url", f"https://localhost:{cls.proxy.port}", "--drain", "1s")
        super().setUpClass()
        cls.proxy.target = cls.server.device_port

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        super().tearDownClass()

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory", product_name=cls.product, tags=["new"], description="factory")
        cls.blank, cls.updated = cls.home / "blank", cls.home / "updated"
        firmware = {version: cls.home / f"{version}.fw" for version in ("1.0.0", "2.0.0")}
        for version, path in firmware.items():
            run(program("nerveshub-fleet"), "make-firmware", "--product", cls.product, "--version", version, "--size", str(SIZE), "--key", cls.key_private, "--output", path)
        run(program("nh-fwup"), "-a", "-d", cls.blank, "-i", firmware["1.0.0"], "-t", "complete")
        shutil.copy(cls.blank, cls.updated)
        run(program("nh-fwup"), "-a", "-d", cls.updated, "-i", firmware["2.0.0"], "-t", "upgrade")
        uuid = cls.server.upload("acme", "Thermo%20Widget", firmware["2.0.0"]).data["uuid"]
        cls.server.api("POST", f"{cls.product_path}/deployments", {"name": "two", "firmware": uuid, "concurrent_updates": 50, "conditions": {"tags": ["update"]}}, expect=201)
        cls.server.api("PUT", f"{cls.product_path}/deployments/two", {"deployment": {"state": "on"}}, expect=200)
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data

    def hash(self, path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def certificate(self, name, tags):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": name, "tags": tags}, expect=201)
        cert, key = self.pki.device(name, "factory")
        return ("--ca", self.server.ca_file, "--cert", cert, "--key", key)

    def is_connected(self, name):
        return self.server.api("GET", f"{self.product_path}/devices/{name}", expect=200).data["connection_status"] == "connected"

    def joined_again(self, agent, name, before):
        agent.sees("joined", more_than=before)
        until(lambda: self.is_connected(name), f"{name} connected", agent.text)

    # ---- at rest

    def test_connections_that_break(self):
        """One agent for each way, all at once, each behind a proxy of its own."""
        ways = {
            "reset": lambda proxy, agent: proxy.reset(),
            "half-open": lambda proxy, agent: proxy.lose(),
            "frozen": lambda proxy, agent: self.while_(proxy.frozen, agent),
            "refused": lambda proxy, agent: self.while_(proxy.refusing, agent),
            "alert": lambda proxy, agent: self.while_(lambda: proxy.answering(ALERT), agent),
            "nonsense": lambda proxy, agent: self.while_(lambda: proxy.answering(b"\r\n220 mail.example.com ESMTP\r\n"), agent),
            "silence": lambda proxy, agent: self.while_(lambda: proxy.answering(b""), agent),
            **{f"handshake-{fault}": lambda proxy, agent, fault=fault: (proxy.plan([fault], HANDSHAKE_BYTES), proxy.reset()) for fault in ("lose", "reset", "close", "mangle")},
        }
        agents = {}
        for way in ways:
            proxy = FaultProxy(self.server.device_port)
            self.addCleanup(proxy.close)
            agents[way] = (proxy, Agent(self, way, proxy.port, *self.certificate(way, ["new"])))
        for way, (proxy, agent) in agents.items():
            agent.sees("joined")
        for way, (proxy, agent) in agents.items():
            ways[way](proxy, agent)
        for way, (proxy, agent) in agents.items():
            with self.subTest(way):
                agent.sees("disconnected")
                self.joined_again(agent, way, 1)
                if way.startswith("handshake"):
                    self.assertEqual(len(proxy.met), 1, "the fault has happened")

    def while_(self, fault, agent):
        with fault():
            agent.sees("disconnected")

    # ---- in a download

    def test_downloads_that_break(self):
        faults = ["lose", "reset", "close", "mangle", "slow", "lose"]
        names = [f"download-{i}-{fault}" for i, fault in enumerate(faults)]
        identities = [self.certificate(name, ["update"]) for name in names]
        self.proxy.plan(faults, DOWNLOAD_BYTES)
        agents = [Agent(self, name, self.proxy.port, *identity) for name, identity in zip(names, identities)]
        for agent in agents:
            agent.installed()
        self.assertEqual(self.proxy.met, faults, "each fault has happened")
        again = sum(agent.count("update.started") - 1 for agent in agents)  # one agent may have met two of them
        self.assertGreaterEqual(again, len(faults) - 1, "all but the slow one led to another request")

    def test_a_server_that_is_killed_in_the_middle(self):
        self.proxy.plan(["slow"], DOWNLOAD_BYTES // 4)
        agent = Agent(self, "killed", self.proxy.port, *self.certificate("killed", ["update"]))
        agent.sees("update.progress")
        self.restart(signal.SIGKILL)
        agent.installed()
        self.assertGreaterEqual(agent.count("joined"), 2)

    def restart(self, sig=signal.SIGTERM, *extra):
        self.server.stop(sig)
        kept = self.server.extra
        self.server.extra = [*kept, *map(str, extra)]
        try:
            self.server.start()
        finally:
            self.server.extra = kept
        self.proxy.target = self.server.device_port

    def test_a_cable_that_is_pulled_in_the_middle(self):
        """The kernel's own slow, lossy and then lost network: packets go nowhere, new connections have no route. In a namespace, where the server keeps its port."""
        island, port = Island(), self.server.device_port
        self.addCleanup(island.end)
        identity = self.certificate("cable", ["update"])
        self.server.wrap = island.inside
        self.addCleanup(self.restart)
        self.addCleanup(setattr, self.server, "wrap", [])
        self.restart(signal.SIGTERM, "--device-port", port, "--download-url", f"https://localhost:{port}")
        agent = Agent(self, "cable", port, *identity, inside=island.inside)
        agent.sees("update.started")
        island.cable("down")
        agent.sees("disconnected")
        island.cable("up")
        agent.installed()

    # ---- who and when

    def test_a_server_with_another_certificate(self):
        self.pki.ca("impostor")
        san = "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n"
        other, other_key = self.pki.sign("other", "impostor", "/CN=localhost", san)
        agent = Agent(self, "pinned", self.proxy.port, *self.certificate("pinned", ["new"]))
        agent.sees("joined")
        self.restart(signal.SIGTERM, "--device-cert", other, "--device-key", other_key)
        agent.sees("not trusted")
        self.assertEqual(agent.count("joined"), 1)
        self.restart()
        self.joined_again(agent, "pinned", 1)

    def test_two_devices_with_one_identity(self):
        identity = self.certificate("twin", ["new"])
        first = Agent(self, "twin", self.server.device_port, *identity)
        first.sees("joined")
        second = Agent(self, "twin-too", self.server.device_port, *identity)
        second.sees("joined")
        first.sees("disconnected")
        second.end()
        self.joined_again(first, "twin", 1)

    def with_secret(self, name):
        secret = self.home / "secret"
        secret.write_text(self.secret["secret"])
        return ("--secret-key", self.secret["key"], "--secret-file", secret, "--identifier", name)

    def test_a_server_with_a_wrong_clock(self):
        """A refusal that claims to be from the far future: the agent believes it once, and the next one that says otherwise."""
        proxy = FaultProxy(self.server.web_port)
        self.addCleanup(proxy.close)
        with proxy.answering(b"HTTP/1.1 401 Unauthorized\r\ndate: Thu, 01 Jan 2099 00:00:00 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"):
            agent = Agent(self, "future", f"ws://localhost:{proxy.port}", *self.with_secret("future"))
            agent.sees("disconnected")
        agent.sees("joined")

    @unittest.skipUnless(faketime_library(), "libfaketime is not installed")
    def test_a_device_without_a_clock(self):
        env = {"LD_PRELOAD": preload(), "FAKETIME": "-400d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        agent = Agent(self, "past", f"ws://localhost:{self.server.web_port}", *self.with_secret("past"), env=env)
        agent.sees("joined")
        self.assertGreaterEqual(agent.count("disconnected"), 1, "the first attempt was refused, and said what time it is")


del ServerCase

if __name__ == "__main__":
    unittest.main()
