"""The real agent's channels beside `device`: what it offers, reports, lets people do, and what it refuses, told by a server that says exactly what each test wants."""

import asyncio
import base64
import json
import os
import socket
import stat
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from nhtest import DEADLINE, make_firmware, program, run
from phoenixpeer import Agent, Hub

SERVICES = ("--health", "--geo", "52.1,4.3", "--logging", "--local-shell", "--network-identity-command", "true")
VERSION = "0.0.1"


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="nhtest-")
        self.addCleanup(self.folder.cleanup)
        self.home = Path(self.folder.name)

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which the case switches on, and which says how slow a machine is

    def program(self, name, text, folder="plugins"):
        path = self.home / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    async def eventually(self, seen):
        async def look():
            while not seen():
                await asyncio.sleep(0.01)
        await asyncio.wait_for(look(), DEADLINE)

    def ended(self, pid):
        return subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout[:1] in ("", "Z")

    async def device(self, hub):
        """The next connection, its device channel joined."""
        connection = await hub.connection()
        await connection.joined("device")
        return connection

    async def extensions(self, hub, *names):
        """The same, with these extensions attached."""
        connection = await self.device(hub)
        await self.attach(connection, *names)
        return connection

    async def attach(self, connection, *names):
        await connection.send("extensions:get", topic="device")
        offer = await connection.joined("extensions", list(names))
        for name in names:
            await connection.event(f"{name}:attached")
        return offer


class Negotiation(Case):
    async def test_offer_attach_detach(self):
        async with Hub() as hub, Agent(hub, *SERVICES) as agent:
            c = await self.device(hub)
            offer = await self.attach(c, "health", "geo")
            self.assertEqual(offer, {name: VERSION for name in ("health", "geo", "logging", "local_shell", "network_identity")})
            for asked, answers in [
                ({"extensions": ["logging", "nonsense", 7]}, ["logging:attached", "nonsense:error"]),
                ({"extensions": "local_shell"}, ["local_shell:attached"]),
                ({"extensions": "all"}, ["network_identity:attached"]),
            ]:
                await c.send("attach", asked)
                for answer in answers:
                    self.assertEqual(await c.event(answer), {"reason": "unknown_extension"} if "error" in answer else {})
            await c.send("detach", {"extensions": ["geo", "geo"]})
            await c.event("geo:detached")
            await c.send("geo:location:request")  # nobody there any more
            await c.send("detach", {"extensions": "all"})
            for name in ("health", "logging", "local_shell", "network_identity"):
                self.assertEqual((await c.receive())[3], f"{name}:detached")
            for junk in (None, [], "all", {"extensions": None}, {"extensions": {"all": 1}}):
                await c.send("attach", junk)
            await c.send("attach", {"extensions": ["geo"]})
            await c.event("geo:attached")
            self.assertEqual(c.seen, [])
            await agent.logged("switched.on text=\"health, geo, logging, network identity, local shell\"")

    async def test_a_refusal_detaches(self):
        async with Hub() as hub, Agent(hub, "--health", "--geo", "52.1,4.3,30") as agent:
            c = await self.device(hub)
            await c.send("extensions:get", topic="device")
            await c.joined("extensions", ["health", "geo"])
            refused = await c.message("extensions", "health:attached")
            await c.message("extensions", "geo:attached")
            await c.write([refused[0], refused[1], "extensions", "phx_reply", {"status": "error", "response": "detach"}])
            await agent.logged("health refused by the server")
            await c.send("health:check")
            await c.send("geo:location:request")
            self.assertEqual((await c.receive())[3:], ["geo:location:update", {"source": "static", "latitude": 52.1, "longitude": 4.3, "accuracy": 30.0}])

    async def test_nothing_is_on(self):
        """Whatever the server asks of a device whose owner switched nothing on."""
        async with Hub() as hub, Agent(hub, "--interface", "auto"):
            c = await self.device(hub)
            self.assertEqual(await c.event("report_network_interface", "device"), {"interface": "lo"})
            await c.send("extensions:get", topic="device")
            await c.write([None, None, "console", "dn", {"data": "id\r"}])
            await c.write([None, None, "extensions", "local_shell:request_shell", {}])
            await c.send("archive", {"uuid": "1", "url": "http://127.0.0.1:1/"}, "device")
            await c.send("scripts/run", {"text": "id", "ref": "r1"}, "device")
            answer = (await c.receive())
            self.assertEqual(answer[3], "scripts/run")
            self.assertEqual((answer[4]["ref"], answer[4]["result"], answer[4]["reason"]), ("r1", "error", "switched off"))

    async def test_channels_come_back(self):
        """phx_error on each channel leads to a new join of that one; a refused console is asked for again; MessagePack."""
        async with Hub() as hub, Agent(hub, "--health", "--geo", "1,2", "--console", "--wire-format", "msgpack"):
            c = await self.device(hub)
            self.assertEqual(await c.joined("console", status="error", response={"reason": "unmatched topic"}), {"console_version": "1.0.0", "device_api_version": "2.3.0"})
            await c.joined("console")
            await self.attach(c, "health")
            old = c.join_refs["extensions"]
            await c.crash("extensions")
            await c.joined("extensions", ["health", "geo"])
            await c.event("geo:attached")
            await c.write([old, None, "extensions", "health:check", {}])  # of a channel that is gone
            await c.write([None, None, "extensions", "geo:location:request", {}])
            self.assertEqual((await c.receive())[3], "geo:location:update")
            await c.crash("console")
            await c.joined("console")
            await c.crash("device")
            await c.joined("device")
            await c.send("health:check")
            self.assertIn("load_1min", (await c.event("health:report"))["value"]["metrics"])

    async def test_an_old_server_hears_of_the_interface_once(self):
        async with Hub() as hub, Agent(hub, "--interface", "eth7"):
            c = await self.device(hub)
            self.assertEqual(await c.event("report_network_interface", "device"), {"interface": "eth7"})
            await c.crash("device")
            await c.joined("device")
            await c.send("scripts/run", {"text": "id", "ref": "r1"}, "device")
            self.assertEqual((await c.receive())[3], "scripts/run")


class Health(Case):
    async def test_report(self):
        self.program("10-tank", "echo 'tank_level 73.5'; echo 'alarm PumpStuck no flow'; echo 'metadata serial PX 113'")
        self.program("20-json", """echo '{"metrics":{"fan":1200},"alarms":{"Hot":"93 C"}}'""")
        self.program("30-hangs", "sleep 1000")
        self.program("40-chatters", "yes")
        self.program("50-fails", "echo 'lost 1'; exit 3")
        self.program("60-nonsense", "echo 'good 1'; echo 'bad one'")
        self.program(".hidden", "echo 'hidden 1'")
        (self.home / "plugins/readme").write_text("not a program")
        async with Hub() as hub, Agent(hub, "--health", "--health-plugins", self.home / "plugins", "--health-plugin-timeout", "1s", "--health-metadata", "site=Lab 7",
                                       "--health-disk", self.home) as agent:
            c = await self.extensions(hub, "health")
            await c.send("health:check")
            await c.send("health:check")  # one report answers both
            value = (await c.event("health:report"))["value"]
            metrics = value["metrics"]
            for name in ("cpu_usage_percent", "load_1min", "load_5min", "load_15min", "mem_size_mb", "mem_used_mb", "mem_used_percent", "disk_total_kb",
                         "disk_available_kb", "disk_used_percentage"):
                self.assertIsInstance(metrics[name], (int, float), name)
            self.assertTrue(0 <= metrics["cpu_usage_percent"] <= 100 and 0 < metrics["mem_used_percent"] < 100)
            self.assertEqual((metrics["tank_level"], metrics["fan"], metrics["good"]), (73.5, 1200, 1))
            self.assertFalse({"hidden", "lost", "bad"} & set(metrics))
            self.assertEqual(value["alarms"], {"PumpStuck": "no flow", "Hot": "93 C"})
            self.assertEqual(value["metadata"], {"serial": "PX 113", "site": "Lab 7"})
            self.assertRegex(value["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            for line in ("30-hangs: took too long", "40-chatters: said too much", "50-fails: failed", "60-nonsense: metrics 'bad' is not a number"):
                await agent.logged(line)
            await c.send("health:check")
            await c.event("health:report")

    async def test_by_interval_and_after_a_reconnect(self):
        async with Hub() as hub, Agent(hub, "--health", "--health-interval", "100ms", "--health-plugins", self.home / "none") as agent:
            c = await self.extensions(hub, "health")
            await c.event("health:report")
            await c.event("health:report")
            await agent.logged("cannot read the directory")
            await c.socket.close()
            c = await self.extensions(hub, "health")
            await c.event("health:report")


class PlaceAndNetworks(Case):
    async def test_geo_by_command(self):
        place = self.home / "place"
        async with Hub() as hub, Agent(hub, "--geo-command", f"cat {place}"):
            c = await self.extensions(hub, "geo")
            for text, answer in [
                ('{"latitude":-33.9,"longitude":151.2,"source":"gnss","accuracy":5}', {"source": "gnss", "latitude": -33.9, "longitude": 151.2, "accuracy": 5.0}),
                ('{"latitude":0,"longitude":0}', {"source": "command", "latitude": 0.0, "longitude": 0.0}),
                ('{"latitude":95,"longitude":0}', "UNKNOWN_PLACE"),
                ("nowhere", "UNKNOWN_PLACE"),
                (None, "COMMAND_FAILED"),
            ]:
                place.write_text(text) if text else place.unlink()
                await c.send("geo:location:request")
                said = await c.event("geo:location:update")
                self.assertEqual(said if isinstance(answer, dict) else said["error_code"], answer)

    async def test_network_identity(self):
        said = self.home / "identities"
        first = {"service": "tailscale", "identifier": "nodekey:1", "instance": "default", "details": {"ip": "100.64.0.1"}}
        said.write_text(json.dumps({"identities": [first, "junk"]}))
        async with Hub() as hub, Agent(hub, "--network-identity-command", f"cat {said}", "--network-identity-interval", "100ms") as agent:
            c = await self.extensions(hub, "network_identity")
            await c.send("network_identity:request")
            self.assertEqual(await c.event("network_identity:report"), {"identities": [first]})
            await c.send("network_identity:request")  # asked again: said again, though nothing changed
            self.assertEqual(await c.event("network_identity:report"), {"identities": [first]})
            said.write_text(json.dumps([{**first, "identifier": "nodekey:2"}]))  # not asked: said because it changed
            self.assertEqual((await c.event("network_identity:report"))["identities"][0]["identifier"], "nodekey:2")
            said.write_text("broken")
            await agent.logged("network identity: the command failed")
            self.assertEqual(c.seen, [])


class Logging(Case):
    def datagrams(self, path, *lines):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(str(path))
            for line in lines:
                s.send(line)

    async def test_lines(self):
        path = self.home / "log.sock"
        async with Hub() as hub, Agent(hub, "--logging", "--logging-socket", path, "--log-level", "info"):
            c = await self.extensions(hub, "logging")
            own = ""
            while not own.startswith("joined"):
                said = await c.event("logging:send")
                self.assertEqual(said["meta"]["source"], "agent")
                own = said["message"]
            self.datagrams(path, b"<11>Nov 21 18:00:00 app[7]: it broke", b"<15>quiet", b"plain \xff\xc3\xa4\n")
            lines = []
            while len(lines) < 2:
                said = await c.event("logging:send")
                self.assertRegex(said["meta"]["time"], r"^\d{16}$")
                self.assertRegex(said["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
                if said["meta"]["source"] == "syslog":
                    lines.append((said["level"], said["message"]))
            self.assertEqual(lines, [("error", "app[7]: it broke"), ("info", "plain \ufffd\u00e4")])

    async def test_own_lines_and_lost_ones(self):
        path = self.home / "log.sock"
        async with Hub() as hub, Agent(hub, "--logging", "--logging-socket", path, "--logging-level", "warning") as agent:
            c = await self.device(hub)
            self.datagrams(path, *[b"<12>line %d" % i for i in range(300)])
            await c.send("scripts/run", {"text": "id", "ref": "wait"}, "device")  # the loop has had its turn
            await c.event("scripts/run", "device")
            await self.attach(c, "logging")
            first = await c.event("logging:send")
            self.assertRegex(first["message"], r"^\d+ lines were lost")
            self.assertEqual((await c.event("logging:send"))["message"], "line 0")
            await c.socket.close()  # the agent's own warning about it comes once there is room
            await agent.logged("disconnected")


class Console(Case):
    async def console(self, hub):
        c = await self.device(hub)
        await c.joined("console")
        return c

    async def type(self, c, text):
        await c.send("dn", {"data": text}, "console")

    async def until(self, c, text, event="up", topic="console"):
        """Output until the text was in it."""
        got = ""
        while text not in got:
            got += (await c.event(event, topic))["data"]
        return got

    async def test_a_shell(self):
        async with Hub() as hub, Agent(hub, "--console", "--shell-command", "PS1='> ' sh -i") as agent:
            c = await self.console(hub)
            await c.send("window_size", {"height": 37, "width": 123}, "console")  # the first message starts it
            await self.until(c, "> ")
            await self.type(c, "stty size; echo $TERM; printf '\\303\\244\\377%s\\n' end\r")
            self.assertIn("37 123\r\n", out := await self.until(c, "\ufffdend"))
            self.assertIn("\u00e4\ufffdend", out)
            await c.send("window_size", {"height": 20, "width": 40}, "console")
            await c.send("window_size", {"height": -1, "width": 1 << 40}, "console")
            await self.type(c, "stty size\r")
            await self.until(c, "20 40")
            await self.type(c, "exit 3\r")
            await self.until(c, "ended with status 3")
            await self.type(c, "echo again$((1+1))\r")
            await self.until(c, "again2")
            await self.type(c, "kept=1\r")
            await c.send("restart", topic="console")
            await self.until(c, "Restarting")
            await self.type(c, "echo [$kept]\r")
            await self.until(c, "[]")
            for junk in ("dn", "window_size", "file-data/start", "init", "message"):
                await c.send(junk, [7], "console")
            await self.type(c, "echo alive$((1+1))\r")
            await self.until(c, "alive2")
            self.assertNotIn("again", agent.log_text(), "what people type and read is nobody's business")

    async def test_a_shell_asked_for_again_and_again(self):
        """Shells are ended as fast as they are asked for, or new ones refused until they are."""
        async with Hub() as hub, Agent(hub, "--console", "--shell-command", "PS1='> ' sh -i"):
            c = await self.console(hub)
            for _ in range(100):
                await c.send("restart", topic="console")
            await self.type(c, "echo alive$((1+1))\r")
            shown = ""
            while "alive2" not in shown:
                said = (await c.event("up", "console"))["data"]
                shown += said
                if "programs are running" in said:
                    await self.type(c, "echo alive$((1+1))\r")

    async def test_characters_are_whole(self):
        """A character that comes in two pieces is sent as one."""
        async with Hub() as hub, Agent(hub, "--console", "--shell-command", "stty raw -echo; printf go; dd bs=1 count=1 2>/dev/null; printf '\\303'; dd bs=1 count=1 2>/dev/null >&2; printf '\\244.'"):
            c = await self.console(hub)
            await c.send("window_size", {"height": 24, "width": 80}, "console")
            await self.until(c, "go")
            await self.type(c, "x")
            self.assertIn("x", out := await self.until(c, "x"))
            await self.type(c, "y")
            self.assertIn("\u00e4.", out + await self.until(c, "."))

    async def test_it_survives_a_lost_connection(self):
        async with Hub() as hub, Agent(hub, "--console", "--shell-command", "PS1='> ' sh -i"):
            c = await self.console(hub)
            await self.type(c, "remembered=42\r")
            await self.until(c, "> ")
            await c.socket.close()
            c = await self.console(hub)
            await self.type(c, "echo [$remembered]\r")
            await self.until(c, "[42]")

    async def test_it_does_not_wait_for_ever(self):
        """The connection does not come back in time: the shell gets a hang-up, as when a line breaks."""
        fate = self.home / "fate"
        async with Hub() as hub, Agent(hub, "--console", "--shell-linger", "100ms", "--shell-command", f"trap 'echo hung up > {fate}; exit' HUP; echo ready; while :; do sleep 0.01; done"):
            c = await self.console(hub)
            await self.type(c, "x")
            await self.until(c, "ready")
            await c.socket.close()
            await self.eventually(lambda: fate.exists())

    async def test_a_login_shell(self):
        async with Hub() as hub, Agent(hub, "--console", env={"SHELL": "/bin/sh"}):
            c = await self.console(hub)
            await self.type(c, "echo [$0]\r")
            await self.until(c, "[-sh]")

    async def test_nobody_uses_it(self):
        async with Hub() as hub, Agent(hub, "--console", "--console-timeout", "1s", "--shell-command", "echo started; cat"):
            c = await self.console(hub)
            await self.type(c, "x")
            await self.until(c, "started")
            await self.until(c, "Session timeout due to inactivity")
            await self.type(c, "x")
            await self.until(c, "started")

    @unittest.skipUnless(os.geteuid() == 0, "only root may become somebody without a password")
    async def test_as_somebody(self):
        async with Hub() as hub, Agent(hub, "--console", "--shell-user", "root", "--shell-command", "echo I am $(id -un) in $PWD"):
            c = await self.console(hub)
            await self.type(c, "x")
            await self.until(c, "I am root in /root")

    async def test_a_shell_that_cannot_be(self):
        async with Hub() as hub, Agent(hub, "--console", "--shell-user", "nobody-of-this-name") as agent:
            c = await self.console(hub)
            await self.type(c, "x")
            await self.until(c, "ended with status 1")
            await agent.logged("shell ended")

    async def test_much_output_and_a_slow_reader(self):
        """More than sockets and agent may hold, for somebody who does not read: the program has to wait, and nothing is lost."""
        size, pid = 3 << 20, self.home / "pid"  # each byte is six in JSON

        def waits():
            """The program sleeps, and has written nothing more for a while."""
            seen = set()
            for _ in range(20):
                stat, io = (Path(f"/proc/{pid.read_text().strip()}/{name}").read_text() for name in ("stat", "io"))
                seen.add((stat.rpartition(") ")[2][0], io.split("wchar: ")[1].split()[0]))
                time.sleep(0.01)
            return len(seen) == 1 and min(seen)[0] == "S" and min(seen)[1] != "0"

        async with Hub() as hub, Agent(hub, "--console", "--shell-command", f"stty -opost; echo $$ > {pid}; exec head -c {size} /dev/zero") as agent:
            c = await self.console(hub)
            await self.type(c, "x")
            await self.eventually(lambda: pid.exists() and pid.read_text() and waits())
            count = 0
            while count < size:
                count += (await c.event("up", "console"))["data"].count("\0")
            self.assertEqual(count, size)
            self.assertNotIn("disconnected", agent.log_text())

    async def test_nothing_is_left_behind(self):
        """The shell and what it started in its own group end with the agent, also those that do not listen to a hang-up."""
        pids = self.home / "pids"
        async with Hub() as hub, Agent(hub, "--console", "--shell-command", f"trap '' HUP TERM; sleep 1000 & echo $$ $! > {pids}; echo ready; wait"):
            c = await self.console(hub)
            await self.type(c, "x")
            await self.until(c, "ready")
        for pid in pids.read_text().split():
            await self.eventually(lambda: self.ended(pid))


class LocalShell(Case):
    until = Console.until

    async def test_a_shell(self):
        async with Hub() as hub, Agent(hub, "--local-shell", "--shell-command", "PS1='> ' sh -i") as agent:
            c = await self.extensions(hub, "local_shell")
            output = ("local_shell:shell_output", "extensions")
            await c.send("local_shell:window_size", {"rows": 11, "cols": 33})
            await c.send("local_shell:request_shell")
            self.assertEqual(await c.event("local_shell:request_status"), {"status": "started"})
            await c.send("local_shell:request_shell")  # there is one
            await c.send("local_shell:shell_input", {"data": "stty size\r"})
            await self.until(c, "11 33", *output)
            await c.send("local_shell:shell_input", {"data": "exit 5\r"})
            self.assertEqual(await c.event("local_shell:shell_exited"), {"exit_code": 5})
            await c.send("local_shell:shell_input", {"data": "ls\r"})
            for signal in (0, 65, -9, "9", None):
                await c.send("local_shell:kill_shell", {"signal": signal})
            await c.send("local_shell:request_shell")
            self.assertEqual(await c.event("local_shell:request_status"), {"status": "started"})
            await self.until(c, "> ", *output)
            await c.send("local_shell:kill_shell", {"signal": 9})
            self.assertEqual(await c.event("local_shell:shell_exited"), {"exit_code": 137})
            await c.send("local_shell:request_shell")
            await c.event("local_shell:request_status")
            await c.send("detach", {"extensions": ["local_shell"]})
            await c.event("local_shell:detached")
            await agent.logged("local_shell detached")


class Files(Case):
    async def upload(self, c, name, *chunks, stop=True):
        await c.send("file-data/start", {"filename": name, "uploaded_by": 17}, "console")
        for i, chunk in enumerate(chunks):
            await c.send("file-data", {"filename": name, "chunk": i, "data": chunk if isinstance(chunk, str) else base64.b64encode(chunk).decode()}, "console")
        if stop:
            await c.send("file-data/stop", {"filename": name, "uploaded_by": 17}, "console")

    async def test_files(self):
        folder = self.home / "in" / "box"
        async with Hub() as hub, Agent(hub, "--console", "--files-directory", folder, "--files-quota", "20M") as agent:
            c = await self.device(hub)
            self.assertEqual((await c.joined("console"))["console_version"], "2.0.0")
            await self.upload(c, "a.txt", b"hello ", b"world\n")
            await agent.logged("a.txt: 12 bytes")
            self.assertEqual((folder / "a.txt").read_bytes(), b"hello world\n")
            await self.upload(c, "../../up/b.txt", b"base name only")
            await self.upload(c, "C:\\x\\c.txt", b"here, too")
            await agent.logged("c.txt: 9 bytes")
            self.assertEqual({p.name for p in folder.iterdir()}, {"a.txt", "b.txt", "c.txt"})
            for name, chunks, why in [
                ("..", (), "no name for a file"),
                (".profile", (), "no name for a file"),
                ("x/", (), "no name for a file"),
                ("n" * 201, (), "no name for a file"),
                ("large", [bytes(512 << 10)] * 20, "larger than"),
                ("broken", ("%%%",), "not in base64"),
            ]:
                with self.subTest(name=name[:10]):
                    await self.upload(c, name, *chunks)
                    self.assertIn(why, (await c.event("up", "console"))["data"])
            await self.upload(c, "half", b"half", stop=False)
            await c.socket.close()
            c = await self.device(hub)
            await c.joined("console")
            await self.upload(c, "a.txt", b"anew")
            await agent.logged("a.txt: 4 bytes")
            self.assertEqual({p.name for p in folder.iterdir()}, {"a.txt", "b.txt", "c.txt"})

    async def test_quota(self):
        """What lies there counts, an empty file as a block."""
        folder = self.home / "box"
        folder.mkdir()
        (folder / ".nerveshub-old").write_bytes(bytes(100000))  # half a file of an earlier life
        (folder / "own").write_bytes(bytes(10000))
        async with Hub() as hub, Agent(hub, "--console", "--files-directory", folder, "--files-quota", "32k") as agent:
            c = await self.device(hub)
            await c.joined("console")
            await self.upload(c, "fits", bytes(9000))
            await agent.logged("fits: 9000 bytes")
            await self.upload(c, "more", bytes(9000))
            self.assertIn("larger than the 8192 bytes", (await c.event("up", "console"))["data"])
            for name in ("e1", "e2"):
                await self.upload(c, name)
                await agent.logged(f"{name}: 0 bytes")
            await self.upload(c, "e3")
            self.assertIn("no room", (await c.event("up", "console"))["data"])
            self.assertEqual({p.name for p in folder.iterdir()}, {"own", "fits", "e1", "e2"})

    async def test_no_directory_no_files(self):
        async with Hub() as hub, Agent(hub, "--console"):
            c = await self.device(hub)
            await c.joined("console")
            await self.upload(c, "a.txt", b"x")
            self.assertIn("takes no files", (await c.event("up", "console"))["data"])


class Scripts(Case):
    async def run_script(self, c, text, **more):
        await c.send("scripts/run", {"text": text, "ref": "ref-1", **more}, "device")
        answer = await c.event("scripts/run", "device")
        self.assertEqual(answer.pop("ref"), "ref-1")
        return answer

    async def test_how_they_end(self):
        async with Hub() as hub, Agent(hub, "--scripts") as agent:
            c = await self.device(hub)
            for text, more, result, reason, output, came_back in [
                ("echo hello; echo oops >&2", {}, "completed", None, "hello\noops\n", "0"),
                ("read x; echo \"[$x]\"", {}, "completed", None, "[]\n", "0"),
                ("echo bad; exit 3", {}, "error", "exit status 3", "bad\n", "3"),
                ("printf '\\377'; kill -9 $$", {}, "error", "exit status 137", "\ufffd", "137"),
                ("echo begun; sleep 1000", {"timeout": 300}, "error", "timeout", "begun\n\nError running script: timeout exceeded", ""),
                ("sleep 1000 & echo left", {}, "completed", None, "left\n", "0"),
                ("# " + "x" * 300000 + "\necho long", {}, "completed", None, "long\n", "0"),
                ("ls /proc/self/fd", {}, "completed", None, "0\n1\n2\n3\n4\n", "0"),  # nothing of the agent's but the script
            ]:
                with self.subTest(text=text[:30]):
                    self.assertEqual(await self.run_script(c, text, **more),
                                     {"result": result, "output": output, "return": came_back, **({"reason": reason} if reason else {})})
            answer = await self.run_script(c, "yes")
            self.assertEqual((answer["reason"], len(answer["output"])), ("output limit", 65536 + len("\nError running script: too much output")))
            for junk in ({}, {"text": "id"}, {"ref": "x"}, {"ref": 7, "text": "id"}, {"ref": "r" * 200, "text": "id"}, None):
                await c.send("scripts/run", junk, "device")
            for i in range(5):
                await c.send("scripts/run", {"text": "sleep 1000", "ref": f"many-{i}", "timeout": 200}, "device")
            self.assertEqual((await c.event("scripts/run", "device"))["reason"], "busy")
            for _ in range(4):
                self.assertEqual((await c.event("scripts/run", "device"))["reason"], "timeout")
            await agent.logged("many-3: timeout")

    async def test_nothing_is_left_behind(self):
        """What runs ends with the agent, with what it started."""
        pids = self.home / "pids"
        async with Hub() as hub, Agent(hub, "--scripts"):
            c = await self.device(hub)
            await c.send("scripts/run", {"text": f"trap '' TERM HUP; sleep 1000 & echo $$ $! > {pids}; wait", "ref": "r"}, "device")
            await self.eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
        for pid in pids.read_text().split():
            await self.eventually(lambda: self.ended(pid))

    async def test_another_interpreter(self):
        async with Hub() as hub, Agent(hub, "--scripts", "--script-interpreter", "python3 -u"):
            c = await self.device(hub)
            self.assertEqual(await self.run_script(c, "import sys\nprint('π', len(sys.argv))"), {"result": "completed", "output": "π 1\n", "return": "0"})


class FileServer:
    """Serves one file over HTTP; breaks the first connections off in the middle."""

    def __init__(self, content, breaks=0):
        self.content, self.breaks, self.requests = content, breaks, []

    async def handle(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first = int(head.lower().split("range: bytes=")[1].split("-")[0]) if "range:" in head.lower() else 0
        self.requests.append(first)
        size, rest = len(self.content), self.content[first:]
        status = f"206 Partial Content\r\nContent-Range: bytes {first}-{size - 1}/{size}" if first else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(rest)}\r\nConnection: close\r\n\r\n".encode())
        self.breaks -= 1
        writer.write(rest[:len(rest) // 2] if self.breaks >= 0 else rest)
        await writer.drain()
        writer.close()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/archive"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        await self.server.wait_closed()


class Archives(Case):
    UUID = "aaaaaaaa-0000-4000-8000-00000000000%d"

    def setUp(self):
        super().setUp()
        for name in ("key", "stranger"):
            run(program("nh-fwup"), "-g", "-o", self.home / name)
        self.kept = self.home / "kept"

    def archive(self, version, key="key"):
        return make_firmware(self.home, version, self.home / f"{key}.priv", size=300000).read_bytes()

    async def announce(self, c, number, url, **more):
        await c.send("archive", {"uuid": self.UUID % number, "url": url, "version": "1.0.0", "platform": "generic", "architecture": "generic", "uploaded_at": "2024-03-05T10:11:12", **more},
                     "device")

    def files(self):
        return sorted(p.name for p in self.kept.iterdir())

    async def test_fetch_verify_hand_on(self):
        content, newer, foreign = self.archive("1.0.0"), self.archive("1.1.0"), self.archive("1.2.0", "stranger")
        options = ("--archive-directory", self.kept, "--public-key", self.home / "key.pub", "--archive-command", f"echo told >> {self.home}/told; cp -t {self.home}/in",
                   "--download-retry", "100ms")
        (self.home / "in").mkdir()
        async with Hub() as hub, Agent(hub, *options) as agent, FileServer(content, breaks=2) as first, FileServer(newer) as second, FileServer(foreign) as third:
            c = await self.device(hub)
            await self.announce(c, 1, first.url, size=len(content))
            await self.announce(c, 1, first.url, size=len(content))
            await agent.logged(self.UUID % 1 + ": kept")
            self.assertEqual(self.files(), ["archive-" + self.UUID % 1 + ".fw"])
            self.assertEqual((self.kept / self.files()[0]).read_bytes(), content)
            self.assertEqual(first.requests[0], 0)
            self.assertGreater(first.requests[2], first.requests[1])  # went on where it broke
            await self.announce(c, 1, first.url)  # there already
            await self.announce(c, 2, third.url)  # signed by a stranger: the old one stays
            await agent.logged(self.UUID % 2 + ": ")
            self.assertNotIn(self.UUID % 2 + ": kept", agent.log_text())
            self.assertEqual(self.files(), ["archive-" + self.UUID % 1 + ".fw"])
            await self.announce(c, 3, second.url, size=len(newer) - 1)  # longer than announced
            await agent.logged(self.UUID % 3 + ": download failed")
            for uuid in ("../../x", None, 7):
                await c.send("archive", {"uuid": uuid, "url": second.url}, "device")
            await self.announce(c, 4, second.url + "\r\nX: y")
            await agent.logged(self.UUID % 4 + ": download failed")
            await self.announce(c, 5, second.url)
            await agent.logged(self.UUID % 5 + ": kept")
            self.assertEqual(self.files(), ["archive-" + self.UUID % 5 + ".fw"])
            self.assertEqual(len(first.requests), 3)
            await self.eventually(lambda: len(list((self.home / "in").iterdir())) == 2)

    async def test_no_key_no_archive(self):
        async with Hub() as hub, Agent(hub, "--archive-directory", self.kept) as agent:
            c = await self.device(hub)
            await self.announce(c, 1, "http://127.0.0.1:1/")
            await agent.logged("archive text=\"refused: no public key")


if __name__ == "__main__":
    unittest.main()
