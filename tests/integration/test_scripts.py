"""Support scripts from the request to the device and back: answers that come later and hold no worker, devices that do not answer, old ones that are typed to, and what runs at every
connection."""

import asyncio
import concurrent.futures
import unittest

from nhtest import Device, ServerCase
from rawpeer import Peer

AWAY = {"errors": {"detail": "device not available or responding"}}
WORKERS = 2


class ScriptCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.register_ca(cls, "factory")
        cls.script = cls.server.api("POST", cls.product_path + "/scripts", {"name": "hello", "text": "IO.puts :hello"}, expect=200).data

    def device(self, identifier):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier}, expect=201)
        cert, key = self.pki.device(identifier, "factory")
        return Device(self.server, cert, key)

    def path(self, identifier, script="hello", query=""):
        return f"{self.product_path}/devices/{identifier}/scripts/{script}{query}"

    async def run_on(self, identifier, script="hello", query="", **kwargs):
        """The request waits on a thread of its own, as its client would."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, lambda: self.server.api("POST", self.path(identifier, script, query), **kwargs))

    def setUp(self):
        self.threads = concurrent.futures.ThreadPoolExecutor(40)

    def tearDown(self):
        self.threads.shutdown()


async def answer(device, output="hello\n", returned=":ok"):
    asked = await device.event("scripts/run")
    await device.send("scripts/run", {"ref": asked["ref"], "result": "completed", "output": output, "return": returned})
    return asked


class Scripts(ScriptCase):
    server_args = ("--workers", str(WORKERS))

    def test_a_script_runs(self):
        async def story():
            async with self.device("s-1") as device:
                await device.join(self.fw)
                for script in ("hello", str(self.script["id"])):
                    run = asyncio.create_task(self.run_on("s-1", script, expect=200))
                    asked = await answer(device)
                    self.assertEqual(asked["text"], "IO.puts :hello")
                    response = await run
                    self.assertEqual((response.body, response.headers["content-type"]), (b"hello\n\n:ok", "text/plain; charset=utf-8"))
                run = asyncio.create_task(asyncio.to_thread(self.server.api, "POST", "/devices/s-1/scripts/hello", None, None, 200))
                await answer(device, "", "1")
                self.assertEqual((await run).body, b"1")
        asyncio.run(story())
        self.server.api("POST", self.path("s-1", "none"), expect=404)
        self.server.api("POST", self.path("s-1", query="?timeout=soon"), expect=400)

    def test_devices_that_do_not_answer(self):
        async def story():
            device = self.device("s-2")
            self.assertEqual((await self.run_on("s-2", expect=403)).json, AWAY)
            async with device:
                await device.join(self.fw)
                self.assertEqual((await self.run_on("s-2", query="?timeout=1", expect=403)).json, AWAY)
                run = asyncio.create_task(self.run_on("s-2", expect=403))
                while (await device.event("scripts/run")).get("timeout") == 1:
                    pass  # the first one's
                await device.socket.close()
                self.assertEqual((await run).json, AWAY)
        asyncio.run(story())

    def test_runs_that_wait_hold_nobody_up(self):
        """Many more requests wait for devices than the server has workers; the others are served meanwhile, and each gets the answer that is its own."""
        count = 5 * WORKERS

        async def story():
            async with self.device("s-3") as device:
                await device.join(self.fw)
                runs = [asyncio.create_task(self.run_on("s-3", query="?timeout=60000", expect=200)) for _ in range(count)]
                asked = [await device.event("scripts/run") for _ in range(count)]
                self.assertEqual(len({a["ref"] for a in asked}), count)
                self.assertEqual((await asyncio.to_thread(self.server.api, "GET", "/users/me", None, None, 200)).data["email"], "admin@localhost")
                for n, a in enumerate(asked):
                    await device.send("scripts/run", {"ref": a["ref"], "result": "completed", "output": f"number {n}", "return": ""})
                self.assertEqual(sorted(r.body.decode() for r in await asyncio.gather(*runs)), sorted(f"number {n}" for n in range(count)))
        asyncio.run(story())

    def test_requests_behind_one_that_waits(self):
        """Pipelined: the order of the answers is that of the requests. A peer that goes leaves the server and the device none the worse."""
        head = f"Host: h\r\nAuthorization: Bearer {self.server.token}\r\n".encode()
        run = b"POST /api" + self.path("s-4").encode() + b" HTTP/1.1\r\n" + head + b"Content-Length: 0\r\n\r\n"
        alive = b"GET /status/alive HTTP/1.1\r\nHost: h\r\n\r\n"

        async def story():
            async with self.device("s-4") as device:
                await device.join(self.fw)
                with Peer(self.server.web_port) as peer:
                    peer.send(alive + run + alive)
                    self.assertEqual(peer.answer().status, 200)
                    asked = await device.event("scripts/run")
                    peer.send(run)
                    self.assertEqual(peer.rest, b"")
                    await device.send("scripts/run", {"ref": asked["ref"], "output": "first", "return": ""})
                    bodies = [await asyncio.to_thread(peer.answer) for _ in range(2)]
                    self.assertEqual([b.body for b in bodies], [b"first", b"Hello, Friend!"])
                    await answer(device, "second", "")
                    self.assertEqual((await asyncio.to_thread(peer.answer)).body, b"second")
                with Peer(self.server.web_port) as peer:
                    peer.send(run + alive)
                    asked = await device.event("scripts/run")
                await device.send("scripts/run", {"ref": asked["ref"], "output": "nobody waits", "return": ""})
                another = asyncio.create_task(self.run_on("s-4", expect=200))
                await answer(device, "third", "")
                self.assertEqual((await another).body, b"third")
        asyncio.run(story())

    def test_old_devices_are_typed_to(self):
        async def story():
            async with self.device("s-5") as device:
                await device.join(self.fw, device_api_version="2.0.0")
                ref = await device.send("phx_join", {"console_version": "2.0.0"}, topic="console", join_ref="9")
                await device.reply(ref)
                run = asyncio.create_task(self.run_on("s-5", expect=200))
                typed = ""
                while not typed.endswith("\r"):
                    typed += (await device.event("dn"))["data"]
                self.assertEqual(typed, "IO.puts :hello\n# [NERVESHUB:END]\r")
                await device.send("up", {"data": "hello\r\n:ok\r\niex(2)> # [NERVESHUB:END]\r\n"}, topic="console", join_ref="9")
                self.assertIn(b"hello", (await run).body)
        asyncio.run(story())

    def test_what_nh_decodes(self):
        """Go's JSON decoder gives up at one wrong type: ids and tags as strings for it, and for nobody else."""
        nh = {"User-Agent": "nh/0.3.1"}
        self.device("s-6")
        path = f"{self.product_path}/scripts/{self.script['id']}"
        self.assertIsInstance(self.server.api("GET", path, expect=200).data["id"], int)
        script = self.server.api("GET", path, headers=nh, expect=200).data
        self.assertEqual({key: type(script[key]) for key in ("id", "name", "tags", "text")}, dict.fromkeys(("id", "name", "tags", "text"), str))
        self.assertIsInstance(script["created_by"]["id"], str)
        for listed in (f"{self.product_path}/scripts", f"{self.product_path}/devices/s-6/scripts", "/devices/s-6/scripts"):
            self.assertEqual(self.server.api("GET", listed, headers=nh, expect=200).data[0], {"id": str(self.script["id"]), "name": "hello", "tags": ""})

    def test_connecting_code(self):
        """The group's code, then the device's, as the last thing that a join brings."""
        body = {"name": "code", "firmware": self.fw["uuid"], "conditions": {"version": "", "tags": ["code"]}, "state": "on", "connecting_code": "group()"}
        self.server.api("POST", f"{self.product_path}/deployments", body, expect=201)

        async def story():
            device = self.device("s-7")
            self.server.api("PUT", f"{self.product_path}/devices/s-7", {"tags": ["code"], "connecting_code": "device()"}, expect=201)
            async with device:
                await device.join(self.fw)
                self.assertEqual(await device.event("scripts/run"), {"text": "group()\ndevice()", "ref": "connecting_code"})
                self.assertIn("extensions:get", [m[3] for m in device.seen])
                await device.send("scripts/run", {"ref": "connecting_code", "result": "completed", "output": "", "return": ":ok"})
        asyncio.run(story())


class Shutdown(ScriptCase):
    server_args = ("--drain", "4s")

    def test_a_stop_does_not_wait_for_devices(self):
        async def story():
            async with self.device("s-8") as device:
                await device.join(self.fw)
                run = asyncio.create_task(self.run_on("s-8", query="?timeout=600000"))
                await device.event("scripts/run")
                stopped = asyncio.create_task(asyncio.to_thread(self.server.stop))
                self.assertEqual(await device.closed(), 1012)
                response = await run
                self.assertEqual((response.status, response.json, response.headers.get("connection")), (403, AWAY, "close"))
                self.assertEqual(await stopped, 0)
        asyncio.run(story())


if __name__ == "__main__":
    unittest.main()
