"""The real agent at the real server, seen by the people there: what it reports, its console and shell, files, scripts, archives; in both wire formats, with everything switched on."""

import asyncio
import base64
import json
import socket
import time
import unittest

from nhtest import DEADLINE, Person, ServerCase, make_firmware
from phoenixpeer import Agent

EXTENSIONS = ("geo", "health", "local_shell", "logging", "network_identity")
CONSOLE, SHELL = "user:console:identifier-", "user:local_shell:identifier-"
OK = {"status": "ok", "response": {}}


class Services(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        cls.secret = (secret["key"], secret["secret"])
        cls.server.api("PUT", cls.product_path, {"extensions": {name: True for name in EXTENSIONS}}, expect=200)
        cls.server.api("POST", cls.product_path + "/scripts", {"name": "sum", "text": "echo $((40 + 2)); echo oops >&2"}, expect=200)

    def agent(self, identifier, *options):
        return Agent(f"wss://localhost:{self.server.device_port}", "--ca", self.server.ca_file, *options, secret=self.secret, identifier=identifier, firmware=self.fw)

    def read(self, identifier, what="", expect=200):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}{what}", expect=expect)

    async def until(self, look, enough=bool):
        """What look() gives once it is enough; asked for from a thread, so that sockets here go on."""
        deadline = time.monotonic() + DEADLINE
        while not enough(seen := await asyncio.to_thread(look)):
            self.assertLess(time.monotonic(), deadline, seen)
            await asyncio.sleep(0.01)
        return seen

    async def check_reports(self, identifier, path):
        health = await self.until(lambda: self.read(identifier, "/health").data, lambda h: h["at"])
        self.assertIn(health["status"], ("healthy", "warning", "unhealthy"))
        self.assertEqual(health["report"]["metadata"], {"site": "Lab 7"})
        self.assertTrue({"load_1min", "mem_size_mb", "disk_total_kb"} <= set(health["metrics"]))
        found, = await self.until(lambda: self.read(identifier, "/network_identities").data)
        self.assertEqual((found["service"], found["identifier"]), ("tailscale", identifier))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(path)
            s.send("<12>pump: it leaks \u00e4".encode())
        lines = await self.until(lambda: self.read(identifier, "/logs").data, lambda lines: any("leaks" in line["message"] for line in lines))
        line = next(line for line in lines if "leaks" in line["message"])
        self.assertEqual((line["level"], line["message"], line["meta"]["source"]), ("warning", "pump: it leaks \u00e4", "syslog"))
        place = lambda: [json.loads(row).get("location") for row in self.server.sql(
            f"SELECT c.metadata FROM device_connections c JOIN devices d ON d.id = c.device_id WHERE d.identifier = '{identifier}'")]
        self.assertIn({"source": "static", "latitude": 52.1, "longitude": 4.3}, await self.until(place, lambda rows: any(rows)))

    async def check_console(self, agent):
        async with Person(self.server) as ada:
            self.assertEqual(await ada.join(CONSOLE + agent.identifier), OK)
            await ada.event("metadata")
            await ada.send("window_size", {"height": 30, "width": 99})
            await ada.text("> ")
            await ada.send("dn", {"data": "stty size; echo $((40+2))\r"})
            self.assertIn("30 99", await ada.text("42"))
            await ada.send("file-data/start", {"filename": "../a.txt"})
            await ada.send("file-data", {"filename": "../a.txt", "chunk": 0, "data": base64.b64encode(b"hello\n").decode()})
            await ada.send("file-data/stop", {"filename": "../a.txt"})
            await agent.logged("a.txt: 6 bytes")
            await ada.send("dn", {"data": f"cat {agent.home}/../a.txt {self.files}/a.txt\r"})
            await ada.text("\nhello")

    async def check_shell(self, agent):
        async with Person(self.server) as ada:
            self.assertEqual(await ada.join(SHELL + agent.identifier), OK)
            await ada.send("window_size", {"rows": 12, "cols": 34})
            await ada.send("input", {"data": "stty size; echo $((40+3))\r"})
            self.assertIn("12 34", await ada.text("43", event="output"))

    async def check_script(self, identifier):
        answer = await asyncio.to_thread(self.server.api, "POST", f"{self.product_path}/devices/{identifier}/scripts/sum")
        self.assertEqual((answer.status, answer.body), (200, b"42\noops\n\n0"))

    def story(self, identifier, *options):
        self.files = self.home / f"files-{identifier}"
        path = str(self.home / f"{identifier}.sock")
        identities = json.dumps([{"service": "tailscale", "identifier": identifier}])

        async def run():
            async with self.agent(identifier, "--health", "--health-metadata", "site=Lab 7", "--geo", "52.1,4.3", "--logging", "--logging-socket", path, "--console", "--local-shell",
                                  "--network-identity-command", f"echo '{identities}'", "--shell-command", "PS1='> ' sh -i", "--files-directory", self.files, "--scripts",
                                  *options) as agent:
                await agent.logged("network_identity attached")
                await self.check_reports(identifier, path)
                await self.check_console(agent)
                await self.check_shell(agent)
                await self.check_script(identifier)
        asyncio.run(run())

    def test_json(self):
        self.story("json-1")

    def test_messagepack(self):
        self.story("msgpack-1", "--wire-format", "msgpack")

    def test_what_is_off_stays_off(self):
        """A server that allows everything, a device whose owner allows nothing."""
        async def run():
            async with self.agent("shy-1", "--interface", "auto") as agent:
                await agent.logged("joined")
                self.assertIn(b"not allowed scripts", (await asyncio.to_thread(self.server.api, "POST", f"{self.product_path}/devices/shy-1/scripts/sum")).body)
                self.assertFalse((await asyncio.to_thread(self.read, "shy-1", "/health")).data["at"])
        asyncio.run(run())

    def test_archive(self):
        path = make_firmware(self.home, "2.0.0", self.key_private, product="Anything", platform="generic", architecture="generic")
        uuid = self.server.upload("acme", "Thermo%20Widget", path, kind="archive").data["uuid"]
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "kept", "firmware": self.fw["uuid"], "conditions": {"version": "", "tags": []}, "state": "on", "archive": uuid},
                        expect=201)
        kept = self.home / "kept"

        async def run():
            async with self.agent("keeper-1", "--archive-directory", kept, "--public-key", self.key_public) as agent:
                await agent.logged(f"{uuid}: kept")
        asyncio.run(run())
        self.assertEqual((kept / f"archive-{uuid}.fw").read_bytes(), path.read_bytes())


del ServerCase

if __name__ == "__main__":
    unittest.main()
