"""People at the consoles, shells and events of devices: real devices on one side, WebSocket clients on the other, and everything that may go wrong between them."""

import asyncio
import base64
import contextlib
import json
import os
import unittest

import websockets

from nhtest import DEADLINE, Device, Person, Server, ServerCase, nh1_headers
from rawpeer import TEXT, WebSocketPeer, frame, upgrade_request

CONSOLE, SHELL = "user:console:identifier-", "user:local_shell:identifier-"
EVENTS = "/events-socket/websocket"
UNAUTHORIZED = {"status": "error", "response": {"reason": "unauthorized"}}
OK = {"status": "ok", "response": {}}


class ConsoleCase(ServerCase):
    # A permission is asked for at each message: what has changed shows with the next one. Devices may print as fast as they can: here it is people who are slow.
    server_args = ("--open-registrations", "true", "--permission-age", "0s", "--device-messages", "0")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.people = {}
        for name, role in (("mia", "manage"), ("vera", "view"), ("eve", None)):
            email = f"{name}@example.com"
            cls.server.api("POST", "/users/register", {"name": name, "email": email, "password": "correct horse battery"}, token="")
            admin = cls.server.token
            cls.people[name] = cls.server.login(email, "correct horse battery")
            cls.server.token = admin
            if role:
                cls.server.api("POST", "/orgs/acme/users", {"email": email, "role": role}, expect=201)
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data

    def device(self, identifier):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    def person(self, name=None, **kwargs):
        return Person(self.server, token=self.people[name] if name else None, **kwargs)

    @contextlib.asynccontextmanager
    async def at_console(self, identifier, version="2.0.0", **join):
        """A device that has joined device and console."""
        async with self.device(identifier) as device:
            self.assertEqual((await device.join(self.fw, **join))["status"], "ok")
            device.ref += 1
            ref = str(device.ref)
            await device.socket.send(json.dumps([ref, ref, "console", "phx_join", {"console_version": version}]))
            self.assertEqual(await device.reply(ref), OK)
            device.up = lambda text: device.send("up", {"data": text}, topic="console")
            yield device

    def audit(self, identifier):
        """Descriptions of the device's audit entries that concern consoles and shells, oldest first."""
        return self.server.sql(f"SELECT description FROM audit_logs WHERE description LIKE '% of device {identifier}' AND "
                        "(description LIKE '%console%' OR description LIKE '%shell%') ORDER BY id")

    async def audited(self, identifier, count):
        """The entry of an end is written behind the connection's back."""
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while len(entries := self.audit(identifier)) < count:
            self.assertLess(asyncio.get_running_loop().time(), deadline, entries)
            await asyncio.sleep(0.01)
        return entries


class TestConsole(ConsoleCase):
    def test_two_people_at_one_console(self):
        async def scenario():
            async with self.at_console("c-1") as device, self.person() as ada, self.person("mia") as mia:
                await device.up("Interactive Elixir\r\niex(1)> ")
                await ada.join(CONSOLE + "c-1")
                self.assertEqual(await ada.event("metadata"), ["metadata", {"version": "2.0.0"}])
                self.assertEqual(await ada.event("up"), ["up", {"data": "Interactive Elixir\r\niex(1)> "}])
                await ada.send("window_size", {"height": 40, "width": 120})
                self.assertEqual(await device.event("window_size"), {"height": 40, "width": 120})
                await ada.send("dn", {"data": "1 + ä\r"})
                self.assertEqual(await device.event("dn"), {"data": "1 + ä\r"})
                await device.up("1 + ä\r\n")
                self.assertEqual(await ada.event("up"), ["up", {"data": "1 + ä\r\n"}])

                # who comes later sees what was said, in one piece, and both see what follows
                self.assertEqual(await mia.join(CONSOLE + "c-1"), OK)
                self.assertEqual(await mia.event("metadata", "up"), ["metadata", {"version": "2.0.0"}])
                self.assertEqual(await mia.event("up"), ["up", {"data": "Interactive Elixir\r\niex(1)> 1 + ä\r\n"}])
                await device.up("iex(2)> ")
                for person in (ada, mia):
                    self.assertEqual(await person.event("up"), ["up", {"data": "iex(2)> "}])

                # chat stays among people
                await mia.send("message", {"event": "who broke this?"})
                for person in (ada, mia):
                    self.assertEqual(await person.event("message"), ["message", {"event": "who broke this?", "name": "mia"}])
                await ada.send("restart", {})
                self.assertEqual(await device.event("restart"), {})
                self.assertEqual([m for m in device.seen if m[3] == "message"], [])

                # one leaves by word, and comes back on the same socket
                ref = await mia.send("phx_leave", {})
                self.assertEqual(await mia.reply(ref), OK)
                await mia.event("phx_close")
                self.assertEqual(await ada.event("message"), ["message", {"name": "mia", "event": "closed the console"}])
                ref = await mia.send("dn", {"data": "lost"})
                self.assertEqual(await mia.reply(ref), {"status": "error", "response": {"reason": "unmatched topic"}})
                self.assertEqual(await mia.join(CONSOLE + "c-1"), OK)
            # an end is written by whichever worker is free, so that only the beginnings have an order
            entries = await self.audited("c-1", 6)
            verbs = lambda verb: [e.split()[0] for e in entries if f" {verb} the console of device c-1" in e]
            self.assertEqual((verbs("opened"), sorted(verbs("closed"))), (["admin", "mia", "mia"], ["admin", "mia", "mia"]))

        asyncio.run(scenario())

    def test_old_format(self):
        """Without vsn the maps of version 1 are spoken."""
        async def scenario():
            async with self.at_console("c-v1") as device, self.person(vsn=None) as ada:
                self.assertEqual(await ada.join(CONSOLE + "c-v1"), OK)
                await device.up("hello")
                self.assertEqual(await ada.text("hello"), "hello")
                ref = await ada.send("heartbeat", {}, topic="phoenix")
                self.assertEqual(await ada.reply(ref), OK)

        asyncio.run(scenario())

    def test_upload(self):
        """Pieces pass in order, with who sends them, under a bare name; what is no piece of a file never reaches the device."""
        content = os.urandom(100_000)
        pieces = [content[i:i + 65536] for i in range(0, len(content), 65536)]
        b64 = lambda data: base64.b64encode(data).decode()

        async def scenario():
            async with self.at_console("c-up") as device, self.person("mia") as mia:
                me = self.server.api("GET", "/orgs/acme/users/mia@example.com", expect=200)
                await mia.join(CONSOLE + "c-up")
                await mia.send("file-data/start", {"filename": "../../etc/a file.txt"})
                start = await device.event("file-data/start")
                self.assertEqual((start["filename"], type(start["uploaded_by"])), ("a file.txt", int), me)
                got = b""
                for i, piece in enumerate(pieces):
                    await mia.send("file-data", {"filename": "C:\\tmp\\a file.txt", "chunk": i, "data": b64(piece)})
                    chunk = await device.event("file-data")
                    self.assertEqual((chunk["filename"], chunk["chunk"]), ("a file.txt", i))
                    got += base64.b64decode(chunk["data"])
                self.assertEqual(got, content)
                for event, payload in (("file-data", {"filename": "a", "chunk": 0, "data": b64(bytes(65537))}), ("file-data", {"filename": "a", "chunk": 0, "data": "%%%"}),
                                       ("file-data/start", {"filename": ".."}), ("file-data/stop", {"filename": "a/"}), ("file-data/start", {"filename": "a\nb"})):
                    await mia.send(event, payload)
                    self.assertIn("upload refused", await mia.text("]\r\n"))
                for event, payload in (("file-data/start", {}), ("dn", {}), ("dn", {"data": 7}), ("window_size", {"height": 1}), ("dn", None), ("dn", ["data"])):
                    await mia.send(event, payload)
                await mia.send("file-data/stop", {"filename": "a file.txt"})
                self.assertEqual(await device.event("file-data/stop"), {"filename": "a file.txt", "uploaded_by": start["uploaded_by"]})
                self.assertEqual([m for m in device.seen if m[2] == "console"], [])

                # and the other way, as the device says it
                await device.send("file-data/start", {"filename": "log.txt"}, topic="console")
                self.assertEqual(await mia.event("file-data/start"), ["file-data/start", {"filename": "log.txt"}])

        asyncio.run(scenario())

    def test_device_reconnects_under_an_open_console(self):
        async def scenario():
            async with self.person() as ada:
                self.assertEqual((await ada.join(CONSOLE + "c-gone")), UNAUTHORIZED)  # there is no such device yet
                async with self.at_console("c-gone") as device:
                    await ada.join(CONSOLE + "c-gone")
                    await device.up("first")
                    await ada.text("first")
                self.assertEqual(await ada.text("disconnected"), "\r\n[disconnected]\r\n")
                await ada.send("dn", {"data": "x"})
                await ada.send("dn", {"data": "y"})
                self.assertEqual(await ada.text("not there"), "\r\n[the device is not there]\r\n")
                async with self.at_console("c-gone", version="1.0.0") as device:
                    while (await ada.event("metadata"))[1] != {"version": "1.0.0"}:
                        pass
                    await device.up("second")
                    self.assertEqual(await ada.text("second"), "\r\n[connected again]\r\nsecond")
                    await ada.send("dn", {"data": "z"})
                    self.assertEqual(await device.event("dn"), {"data": "z"})
                    # a newer connection takes the older one's place
                    async with self.at_console("c-gone") as newer:
                        await newer.up("third")
                        self.assertEqual(await ada.text("third"), "\r\n[disconnected]\r\n\r\n[connected again]\r\nthird")

        asyncio.run(scenario())

    def test_scrollback_is_bounded(self):
        async def scenario():
            async with self.at_console("c-long") as device, self.person() as ada, self.person() as late:
                await ada.join(CONSOLE + "c-long")
                for i in range(0, 3000, 100):
                    await device.up("".join(f"{n:0100d}\r\n" for n in range(i, i + 100)))
                await device.up("€" * 20 + "end")
                await ada.text("end")
                await late.join(CONSOLE + "c-long")
                text = await late.text("end")
                self.assertEqual(text, "".join(f"{n:0100d}\r\n" for n in range(3000 - 1024, 3000)) + "€" * 20 + "end")

        asyncio.run(scenario())

    def test_printing_for_ever_and_never_reading(self):
        """A viewer who does not read loses output and neither connection nor memory of the server; the one beside it sees everything."""
        line = "x" * 60_000
        total = 400  # 24 MB: more than the kernel's buffers, the relay and the socket hold together

        async def scenario():
            async with self.at_console("c-ever") as device, self.person() as ada:
                deaf = WebSocketPeer(self.server.web_port, small=True)
                with deaf:
                    deaf.upgrade(upgrade_request(f"/api/socket/websocket?vsn=2.0.0&token={self.server.token}"))
                    deaf.send(frame(TEXT, json.dumps(["1", "1", CONSOLE + "c-ever", "phx_join", {}]).encode()))
                    self.assertEqual(json.loads(deaf.receive()[1])[4], OK)
                    await ada.join(CONSOLE + "c-ever")
                    for i in range(total):
                        await device.up(f"<{i}>" + line)
                        self.assertEqual(await ada.text(line), f"<{i}>" + line)
                    # Now it reads again: a part, then what it lost, in its place.
                    seen, lost = [], 0
                    while sum(map(len, seen)) + lost == 0 or not lost:
                        message = json.loads(deaf.receive()[1])
                        if message[3] == "up":
                            data = message[4]["data"]
                            if "lost]" in data:
                                lost += int(data.split("[")[1].split(" ")[0])
                            else:
                                seen.append(data)
                    self.assertEqual(seen, [f"<{i}>" + line for i in range(len(seen))])
                    self.assertGreater(lost, 0)
                    while len(seen) + lost < total:
                        message = json.loads(deaf.receive()[1])
                        seen.append(message[4]["data"])
                    self.assertEqual(len(seen) + lost, total)
                    await device.up("still here")
                    self.assertEqual(json.loads(deaf.receive()[1])[4], {"data": "still here"})

        asyncio.run(scenario())


class TestPermissions(ConsoleCase):
    def test_roles(self):
        async def scenario():
            async with self.at_console("p-1") as device:
                for name, topic, answer in (("vera", CONSOLE, UNAUTHORIZED), ("vera", SHELL, UNAUTHORIZED), ("eve", CONSOLE, UNAUTHORIZED), ("eve", SHELL, UNAUTHORIZED),
                                            ("mia", CONSOLE, OK), ("mia", SHELL, OK), (None, CONSOLE, OK)):
                    async with self.person(name) as person:
                        self.assertEqual(await person.join(topic + "p-1"), answer, (name, topic))
                        if answer != OK:
                            # a client that never looks at the reply ends on this
                            self.assertEqual(await person.event("phx_error"), ["phx_error", {}])
                            ref = await person.send("dn", {"data": "halt()\r"})
                            self.assertEqual((await person.reply(ref))["status"], "error")
                for name, answer in (("vera", OK), ("eve", UNAUTHORIZED)):
                    async with self.person(name, path=EVENTS) as person:
                        self.assertEqual(await person.join("device:p-1"), answer)
                self.assertEqual([m for m in device.seen if m[2] == "console"], [])
            entries = await self.audited("p-1", 6)
            self.assertFalse([e for e in entries if "vera" in e or "eve" in e], entries)

        asyncio.run(scenario())

    def test_topics(self):
        """What may be joined where; a heartbeat; another join of the same topic; a hundred channels."""
        async def scenario():
            unmatched = {"status": "error", "response": {"reason": "unmatched topic"}}
            async with self.at_console("t-1"), self.person() as ada, self.person(path=EVENTS) as watcher:
                for topic in ("device:t-1", "user:console:t-1", "user:console:identifier", "phoenix", "", "x" * 200):
                    self.assertEqual(await ada.join(topic), unmatched, topic)
                self.assertEqual(await watcher.join(CONSOLE + "t-1"), unmatched)
                self.assertEqual(await ada.join(CONSOLE), UNAUTHORIZED)
                self.assertEqual(await ada.join(CONSOLE + "x\u0001y"), UNAUTHORIZED)
                self.assertEqual(await ada.join(CONSOLE + "t-1"), OK)
                self.assertEqual(await ada.join(CONSOLE + "t-1"), OK)
                await ada.event("phx_close")
                ref = await ada.send("heartbeat", {}, topic="phoenix")
                self.assertEqual(await ada.reply(ref), OK)
                for i in range(99):
                    identifier = f"many-{i}"
                    self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier}, expect=201)
                    self.assertEqual(await ada.join(SHELL + identifier), OK)
                self.assertEqual(await ada.join(SHELL + "t-1"), {"status": "error", "response": {"reason": "too many channels"}})
                self.assertEqual(await ada.join(SHELL + "many-1"), OK)

        asyncio.run(scenario())

    def test_ends_with_the_permission(self):
        """A member who is removed, a role that is lowered and a device that is deleted end a conversation with the next message; it reaches nobody."""
        admin = self.server

        async def scenario():
            async with self.at_console("p-2") as device, self.person("mia") as mia, self.person() as ada:
                await mia.join(CONSOLE + "p-2")
                await ada.join(CONSOLE + "p-2")
                await mia.send("dn", {"data": "1"})
                self.assertEqual(await device.event("dn"), {"data": "1"})
                admin.api("PUT", "/orgs/acme/users/mia@example.com", {"role": "view"}, expect=200)
                ref = await mia.send("dn", {"data": "no more"})
                await mia.event("phx_close")
                self.assertEqual(await mia.reply(ref), {"status": "error", "response": {"reason": "unmatched topic"}})
                self.assertEqual(await mia.join(CONSOLE + "p-2"), UNAUTHORIZED)

                admin.api("PUT", "/orgs/acme/users/mia@example.com", {"role": "manage"}, expect=200)
                self.assertEqual(await mia.join(CONSOLE + "p-2"), OK)
                admin.api("DELETE", "/orgs/acme/users/mia@example.com", expect=204)
                await device.up("seen by both, and then by one")
                await ada.text("by one")
                await mia.text("by one")
                await mia.event("phx_close")
                await device.up("not for her")
                await ada.text("not for her")
                self.assertEqual([m for m in mia.seen if m[3] == "up" and "not for her" in m[4]["data"]], [])
                admin.api("POST", "/orgs/acme/users", {"email": "mia@example.com", "role": "manage"}, expect=201)

                await ada.send("dn", {"data": "2"})
                self.assertEqual(await device.event("dn"), {"data": "2"})
                admin.api("DELETE", f"{self.product_path}/devices/p-2", expect=204)
                await ada.send("dn", {"data": "3"})
                await ada.event("phx_close")
                self.assertEqual([m for m in device.seen if m[3] == "dn"], [])

        asyncio.run(scenario())

    def test_revoked_token_ends_the_socket(self):
        async def scenario():
            async with self.at_console("p-3") as device, self.person() as ada, self.person(path=EVENTS) as watcher:
                await ada.join(CONSOLE + "p-3")
                await watcher.join("device:p-3")
                self.server.sql("DELETE FROM user_tokens WHERE user_id = (SELECT id FROM users WHERE email = 'admin@localhost')")
                await ada.send("dn", {"data": "halt()"})
                self.assertEqual(await ada.closed(), 1008)
                await watcher.send("heartbeat", {}, topic="phoenix")
                self.assertEqual(await watcher.closed(), 1008)
                self.assertEqual([m for m in device.seen if m[3] == "dn"], [])
            self.server.login()

        asyncio.run(scenario())

    def test_one_identifier_in_two_organizations(self):
        """A name that means two devices to this person means none; to others it still means theirs."""
        async def scenario():
            self.server.api("POST", "/orgs", {"name": "twin"}, expect=201)
            self.server.api("POST", "/orgs/twin/products", {"name": "p"}, expect=201)
            self.server.api("POST", "/orgs/twin/products/p/devices", {"identifier": "both"}, expect=201)
            async with self.at_console("both") as device, self.person() as ada, self.person("mia") as mia:
                refused = await ada.join(CONSOLE + "both")
                self.assertEqual(refused["status"], "error")
                self.assertIn("more than one of your organizations", refused["response"]["reason"])
                await ada.event("phx_error")
                self.assertEqual(await mia.join(CONSOLE + "both"), OK)
                await device.up("acme's")
                await mia.text("acme's")

        asyncio.run(scenario())

    def refused(self, **kwargs):
        async def attempt():
            async with Person(self.server, **kwargs):
                pass

        with self.assertRaises(websockets.exceptions.InvalidStatusCode) as caught:
            asyncio.run(attempt())
        return caught.exception.status_code

    def test_who_may_open_a_socket(self):
        async def welcome(**kwargs):
            async with Person(self.server, **kwargs) as person:
                ref = await person.send("heartbeat", {}, topic="phoenix")
                self.assertEqual(await person.reply(ref), OK)

        for path in ("/api/socket/websocket", EVENTS):
            for token in ("", "nhu_x", "nhu_" + "1" * 49, self.server.token[:-1], self.server.token + "1", self.server.token.upper()):
                self.assertEqual(self.refused(token=token, path=path), 403, token)
            self.assertEqual(self.refused(path=path + "?vsn=9.0.0&x="), 403)
            for origin in ("https://evil.example", "null", "http://localhost.evil.example", "https://evil.example/localhost"):
                self.assertEqual(self.refused(origin=origin, path=path), 403, origin)
            for origin in (None, "http://localhost:4000", f"http://localhost:{self.server.web_port}", "https://localhost"):
                asyncio.run(welcome(origin=origin, path=path))
        self.assertNotIn(self.server.token, self.server.log_text())
        self.assertNotIn("nhu_", self.server.log_text())


class TestShellAndEvents(ConsoleCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.api("PUT", cls.product_path, {"extensions": {"local_shell": True}}, expect=200)

    def test_local_shell(self):
        async def scenario():
            async with self.device("s-1") as device, self.person() as ada, self.person("mia") as mia:
                await device.join(self.fw)
                await device.socket.send(json.dumps(["9", "9", "extensions", "phx_join", {"local_shell": "0.0.1"}]))
                self.assertEqual(await device.reply("9"), {"status": "ok", "response": ["local_shell"]})
                await device.send("local_shell:attached", {}, topic="extensions")
                await device.event("local_shell:request_shell")
                await device.send("local_shell:request_status", {"status": "started"}, topic="extensions")
                await device.send("local_shell:shell_output", {"data": "# "}, topic="extensions")
                self.assertEqual(await ada.join(SHELL + "s-1"), OK)
                self.assertEqual(await ada.text("# ", "output"), "# ")
                await ada.send("window_size", {"rows": 24, "cols": 80})
                self.assertEqual(await device.event("local_shell:window_size"), {"rows": 24, "cols": 80})
                await ada.send("input", {"data": "ls\r"})
                self.assertEqual(await device.event("local_shell:shell_input"), {"data": "ls\r"})
                await ada.send("kill_shell", {"signal": 9})
                await device.send("local_shell:shell_output", {"data": "a  b\r\n# "}, topic="extensions")
                self.assertEqual(await ada.text("# ", "output"), "a  b\r\n# ")
                self.assertEqual(await mia.join(SHELL + "s-1"), OK)
                self.assertEqual(await mia.event("output"), ["output", {"data": "# a  b\r\n# "}])
                self.assertEqual([m for m in device.seen if "kill" in m[3]], [])
            self.assertEqual((await self.audited("s-1", 4))[:2], ["admin opened the local shell of device s-1", "mia opened the local shell of device s-1"])

        asyncio.run(scenario())

    def test_event_stream(self):
        async def scenario():
            async with self.device("e-1") as device, self.person("vera", path=EVENTS) as vera:
                await device.join(self.fw)
                self.assertEqual(await vera.join("device:e-1"), OK)
                await device.send("fwup_progress", {"value": 7})
                self.assertEqual(await vera.event("firmware_update"), ["firmware_update", {"percent": 7, "stage": None}])
                await device.send("fwup_progress", {"stage": "downloading", "value": 42})
                self.assertEqual(await vera.event("firmware_update"), ["firmware_update", {"percent": 42, "stage": "downloading"}])
                await vera.send("dn", {"data": "x"})
            self.assertEqual(self.audit("e-1"), [])

        asyncio.run(scenario())


class TestDrain(unittest.TestCase):
    audit = ConsoleCase.audit

    def test_stop_while_people_look_on(self):
        """A stop closes both sides with 1012 and loses no audit entry; the metrics had counted them."""
        server = self.server = Server("--loops", "2").start()
        server.login()
        server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        server.api("POST", "/orgs/acme/products", {"name": "p"}, expect=201)
        secret = server.api("POST", "/orgs/acme/products/p/shared_secrets", {}, expect=201).data

        async def scenario():
            device = Device(server, headers=nh1_headers(secret["key"], secret["secret"], "d-1"), path="/device-socket/websocket?vsn=2.0.0")
            async with device, Person(server) as ada, Person(server, path=EVENTS) as watcher:
                await device.join({"uuid": "7b2c9c7e-9a6b-5c53-8f3e-6d5f0f4f3a11", "product": "p", "version": "1.0.0", "platform": "x", "architecture": "y"})
                await device.socket.send(json.dumps(["8", "8", "console", "phx_join", {"console_version": "2.0.0"}]))
                await device.reply("8")
                await ada.join(CONSOLE + "d-1")
                await watcher.join("device:d-1")
                await ada.event("metadata")
                text = server.http("GET", "/metrics", port=server.metrics_port).body.decode()
                for row in ("relay_viewers 2", "user_sockets 2", "user_joins_total 2"):
                    self.assertIn(f"\nnerveshub_{row}\n", text)
                server.process.terminate()
                self.assertEqual([await asyncio.wait_for(x.closed(), DEADLINE) for x in (ada, watcher, device)], [1012] * 3)

        asyncio.run(scenario())
        self.assertEqual(server.process.wait(DEADLINE), 0)
        self.assertEqual(self.audit("d-1"), ["admin opened the console of device d-1", "admin closed the console of device d-1"])
        server.end()


if __name__ == "__main__":
    unittest.main()
