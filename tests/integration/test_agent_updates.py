"""The real agent's updates: how their bytes come, whether and when they are installed, with what, and what becomes of a firmware that does not prove itself. The server says exactly what each
test wants, and so does the one that has the files: it cuts, lies, forgets what ranges are, and sends other bytes than announced."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from nhtest import DEADLINE, firmware_key, make_firmware, program, run, select_tick, wait_until
from phoenixpeer import Agent, Hub, make_disk
from test_identities import AgentCase as Agents

MIB = 1 << 20
UUID = "22222222-2222-2222-2222-222222222222"
NEWER = "33333333-3333-3333-3333-333333333333"
QUICK = ("--reconnect-delay", "100ms", "--download-retry", "100ms", "--installer", "builtin", "--task", "complete")
FWUP = ("--installer", "fwup", "--fwup", program("nh-fwup"))


class Files:
    """Serves one file over HTTP. `turns`: what the next requests meet, one each; afterwards the server is what it should be.

    ("cut", n)      the connection breaks after n bytes of the body     ("stall", n)   nothing comes after n bytes, until the test ends
    ("bad", at)     the byte of the file at that place is another one   ("status", n)  no file, but that status
    ("whole",)      as if no range had been asked for                   ("size", n)    a file of another size
    """

    def __init__(self, content):
        self.content, self.turns, self.ranges, self.open = content, [], [], []
        self.stalled = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for writer in self.open:
            writer.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        self.open.append(writer)
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
            self.ranges.append(headers.get("range"))
            await self.answer(writer, headers.get("range"), *(self.turns.pop(0) if self.turns else ("well",)))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async def answer(self, writer, wanted, turn, n=0):
        content, start = self.content, 0
        if turn == "status":
            writer.write(f"HTTP/1.1 {n} Because\r\nContent-Length: 0\r\n\r\n".encode())
            return await writer.drain()
        if turn == "size":
            content = content[:n]
        if turn == "bad":
            content = content[:n] + bytes([content[n] ^ 1]) + content[n + 1:]
        head = "HTTP/1.1 200 OK\r\n"
        if wanted and turn != "whole":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n"
            if start >= len(content):
                writer.write(f"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{len(content)}\r\nContent-Length: 0\r\n\r\n".encode())
                return await writer.drain()
        body = content[start:]
        writer.write((head + f"Content-Length: {len(body)}\r\n\r\n").encode())
        writer.write(body[:n] if turn in ("cut", "stall") else body)
        await writer.drain()
        if turn == "stall":
            self.stalled.set()
            await asyncio.Event().wait()


class Case(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="nhtest-")
        cls.shared = Path(cls.folder.name)
        cls.key, cls.public = firmware_key(cls.shared)
        cls.firmware = make_firmware(cls.shared, "1.1.0", cls.key, size=5 * MIB // 2).read_bytes()
        cls.rootfs = (cls.shared / "rootfs-1.1.0.img").read_bytes()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="nhtest-")
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        self.state = self.home / "state"

    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = DEADLINE  # making bundles takes its time

    async def until(self, condition):
        async def look():
            while not condition():
                await asyncio.sleep(0.01)
        await asyncio.wait_for(look(), DEADLINE)

    def agent(self, hub, *options, **kwargs):
        return Agent(hub, *QUICK, "--public-key", self.public, "--state-dir", self.state, "--reboot-command", f"echo > {self.home}/rebooted", *options, home=self.home, **kwargs)

    def offer(self, files, uuid=UUID, **other):
        content = files.content
        offer = {"update_available": True, "firmware_url": f"http://127.0.0.1:{files.port}/f?secret=1", "size": len(content), "deployment_id": 1,
                 "firmware_meta": {"uuid": uuid, "version": "1.1.0", "product": "Widget", "platform": "board", "architecture": "arm"},
                 "checksum": hashlib.sha256(content).hexdigest().upper(),
                 "partials_checksums": [hashlib.sha256(content[at:at + MIB]).hexdigest().upper() for at in range(0, len(content), MIB)]}
        offer.update(other)
        return offer

    async def device(self, hub, under_way=None):
        connection = await hub.connection()
        payload = await connection.joined("device")
        self.assertEqual(payload["currently_downloading_uuid"], under_way)
        return connection

    async def statuses(self, c, last, **fields):
        """What is told about an update, up to that status; progress only where a stage begins or ends."""
        told = []
        while not told or told[-1] != last:
            message = await c.receive()
            payload = message[4]
            if message[3] == "status_update":
                told.append(payload["status"])
            elif message[3] == "fwup_progress":
                self.assertIn(payload["stage"], ("downloading", "updating"))
                if payload["value"] == 100:
                    told.append(payload["stage"])
        for name, value in fields.items():
            self.assertEqual(payload.get(name), value)
        return told

    async def finished(self, c, agent, *told):
        self.assertEqual(await self.statuses(c, "completed"), [*told, "completed"])
        await agent.ended()
        self.assertTrue((self.home / "rebooted").exists())
        with open(self.home / "disk", "rb") as disk:
            disk.seek(64 * 512)
            self.assertTrue(disk.read(len(self.rootfs)) == self.rootfs)
        self.empty()

    def empty(self, *names):
        folder = self.state / "firmware"
        self.assertEqual(sorted(p.name for p in folder.iterdir()) if folder.exists() else [], sorted(names))


class Fetching(Case):
    async def test_cuts(self):
        """Resumed where it broke off, by each way; told in order."""
        for how, stages in (("streaming", ["updating"]), ("cached", ["downloading", "updating"]), ("parts", ["downloading", "updating"])):
            with self.subTest(how):
                (self.home / "rebooted").unlink(missing_ok=True)
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", how) as agent:
                    files.turns = [("cut", 1500000), ("status", 503), ("cut", 100000)]
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    await self.finished(c, agent, "received", *["started"] * 4, *stages)
                    self.assertEqual(files.ranges, [None, "bytes=1500000-", "bytes=1500000-", "bytes=1600000-"])

    async def test_a_lost_socket(self):
        """The download goes on, and is announced."""
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", "cached", "--download-timeout", "1s") as agent:
            files.turns = [("stall", 1000000)]
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            await asyncio.wait_for(files.stalled.wait(), DEADLINE)
            await c.socket.close()
            c = await self.device(hub, under_way=UUID)
            await self.finished(c, agent, "started", "downloading", "updating")
            self.assertEqual(files.ranges, [None, "bytes=1000000-"])

    async def test_lives(self):
        """A process that is killed, and killed again: the next one goes on by itself, from the size, and says so when it joins."""
        for how in ("cached", "parts"):
            with self.subTest(how):
                (self.home / "rebooted").unlink(missing_ok=True)
                async with Hub() as hub, Files(self.firmware) as files:
                    files.turns = [("stall", 1500000), ("stall", 500000)]
                    sizes = [1500000, 2000000]
                    for life, size in enumerate(sizes):
                        async with self.agent(hub, "--fetch", how) as agent:
                            c = await self.device(hub, under_way=UUID if life else None)
                            if not life:
                                await c.send("update", self.offer(files), "device")
                            await asyncio.wait_for(files.stalled.wait(), DEADLINE)
                            await self.reaches(self.state / "firmware" / f"{UUID}.partial", size)
                            files.stalled.clear()
                            await agent.kill()
                    async with self.agent(hub, "--fetch", how) as agent:
                        c = await self.device(hub, under_way=UUID)
                        self.assertEqual((await self.statuses(c, "completed"))[-2:], ["updating", "completed"])
                        await agent.ended()
                        self.empty()
                    self.assertEqual(files.ranges, [None, *(f"bytes={size}-" for size in sizes)])

    async def test_killed_while_it_installs(self):
        """What is whole is not fetched again."""
        hang, fwup = self.home / "hang", self.home / "fwup"
        hang.touch()
        fwup.write_text(f"#!/bin/sh\ncase $1 in --version) ;; *) [ -e {hang} ] && {{ : > {self.home}/hangs; cat > /dev/null; exit 1; }} ;; esac\nexec {program('nh-fwup')} \"$@\"\n")
        fwup.chmod(0o755)
        words = ("--fetch", "parts", "--installer", "fwup", "--fwup", fwup)
        async with Hub() as hub, Files(self.firmware) as files:
            async with self.agent(hub, *words) as agent:
                c = await self.device(hub)
                await c.send("update", self.offer(files), "device")
                await self.until((self.home / "hangs").exists)
                await agent.kill()
            hang.unlink()
            async with self.agent(hub, *words) as agent:
                c = await self.device(hub, under_way=UUID)
                self.assertEqual((await self.statuses(c, "completed"))[-2:], ["updating", "completed"])
                await agent.ended()
            self.assertEqual(files.ranges, [None])
            self.empty()

    async def reaches(self, path, size):
        await self.until(lambda: path.exists() and path.stat().st_size >= size)

    async def test_bad_parts(self):
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", "parts") as agent:
            files.turns = [("bad", MIB + 7), ("bad", MIB)]
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            await self.finished(c, agent, "received", *["started"] * 3, "downloading", "updating")
            self.assertEqual(files.ranges, [None, f"bytes={MIB}-", f"bytes={MIB}-"])

    async def test_parts_that_stay_bad(self):
        """The third time it is given up, whatever the checksums are of; with nothing left behind."""
        for how, other, ranges in (("parts", {}, [None, *[f"bytes={MIB}-"] * 2]), ("parts", {"partials_checksums": None}, [None] * 3), ("cached", {}, [None] * 3),
                                   ("parts", {"partials_checksums": ["0" * 64]}, [None] * 3)):
            with self.subTest(how, **other):
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", how) as agent:
                    files.turns = [("bad", MIB + 7)] * 3
                    c = await self.device(hub)
                    await c.send("update", self.offer(files, **other), "device")
                    what = "the file" if ranges[1] is None else "a part of the file"
                    self.assertEqual(await self.statuses(c, "failed", reason=f"Download failed : {what} does not have the checksum that was announced (3 attempts)"),
                                     ["received", *["started"] * 3, "failed"])
                    self.assertEqual(files.ranges, ranges)
                    await agent.logged("update.failed")
                    await self.gone()

    async def gone(self):
        """The files are removed on another thread than the one that tells."""
        await self.until(lambda: not list((self.state / "firmware").iterdir()))

    async def test_servers_without_ranges(self):
        for how in ("streaming", "cached"):
            with self.subTest(how):
                (self.home / "rebooted").unlink(missing_ok=True)
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", how) as agent:
                    files.turns = [("cut", 1200000), ("whole",)]
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    self.assertEqual((await self.statuses(c, "completed"))[-1], "completed")
                    await agent.ended()
                    self.assertEqual(files.ranges, [None, "bytes=1200000-"])

    async def test_unknown_sizes(self):
        """A server of the old days: no size, no checksums. What was interrupted begins anew; a file that is there is known by its length."""
        unknown = {"size": None, "checksum": None, "partials_checksums": None}
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", "parts") as agent:
            files.turns = [("cut", 1500000)]
            c = await self.device(hub)
            await c.send("update", self.offer(files, **unknown), "device")
            await self.finished(c, agent, "received", "started", "started", "downloading", "updating")
            self.assertEqual(files.ranges, [None, None])

    async def test_what_ends_a_download(self):
        for turns, reason in [
            ([("status", 404)], "Download failed : HTTP 404 Not Found"),
            ([("cut", 1000), ("status", 404)], "Download failed : HTTP 404 Not Found"),
            ([("status", 403)], "Download failed : HTTP 403 Forbidden"),
            ([("size", 1000)], "Download failed : the file does not have the size that was announced"),
            ([("cut", 1500000), ("size", 1000)], "Download failed : the file on the server is another one than before"),
        ]:
            with self.subTest(turns=turns):
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", "cached") as agent:
                    files.turns = turns
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    await self.statuses(c, "failed", reason=reason)
                    self.assertFalse((self.home / "rebooted").exists())
                    if "403" in reason:  # the address has run out, and the next one takes up what is there
                        await c.send("update", self.offer(files), "device")
                        await self.finished(c, agent, "received", "started", "downloading", "updating")
                        (self.home / "rebooted").unlink()
                    else:
                        await self.gone()

    async def test_the_archive_s_own_last_words(self):
        """An archive that breaks off for good, after it has begun to write: its on-error runs."""
        conf = self.home / "fw.conf"
        conf.write_text((self.shared / "1.1.0.conf").read_text().replace("raw_write(64) }", "raw_write(64) }\n on-error { raw_memset(8192, 1, 0xee) }"))
        run(program("nh-fwup"), "-c", "-f", conf, "-o", self.home / "fw", "-s", self.key)
        for installer in ((), FWUP):
            with self.subTest(installer):
                (self.home / "disk").unlink(missing_ok=True)
                async with Hub() as hub, Files((self.home / "fw").read_bytes()) as files, self.agent(hub, "--fetch", "streaming", *installer):
                    files.turns = [("cut", 1500000), ("status", 404)]
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    await self.statuses(c, "failed", reason="Download failed : HTTP 404 Not Found")
                disk = (self.home / "disk").read_bytes()
                self.assertEqual(disk[8192 * 512:8193 * 512], b"\xee" * 512)

    async def test_by_fwup(self):
        for how in ("streaming", "cached"):
            with self.subTest(how):
                (self.home / "rebooted").unlink(missing_ok=True)
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", how, *FWUP) as agent:
                    files.turns = [("cut", 1500000)]
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    await self.finished(c, agent, "received", "started", "started", *["downloading"] * (how == "cached"), "updating")

    async def test_no_room_and_no_uuid(self):
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--fetch", "cached"):
            c = await self.device(hub)
            for other, beginning in (({"size": 1 << 60}, f"Update failed : no room for the download in {self.state}/firmware: "),
                                     ({"uuid": "../../../../tmp/x"}, "Update failed : the firmware's uuid is none")):
                await c.send("update", self.offer(files, **other), "device")
                while (message := await c.receive())[4]["status"] != "failed":
                    pass
                self.assertTrue(message[4]["reason"].startswith(beginning), message)
            self.assertEqual(files.ranges, [])
            self.empty()

    async def test_a_stranger_s_signature(self):
        """Downloaded, verified by its checksum, and signed by nobody who is trusted: not a byte reaches the disk."""
        other = make_firmware(self.home, "1.1.0", firmware_key(self.home, "stranger")[0]).read_bytes()
        async with Hub() as hub, Files(other) as files, self.agent(hub, "--fetch", "cached"):
            c = await self.device(hub)
            before = (self.home / "disk").read_bytes()
            await c.send("update", self.offer(files), "device")
            self.assertEqual(await self.statuses(c, "failed"), ["received", "started", "downloading", "failed"])
            self.assertEqual((self.home / "disk").read_bytes(), before)
            await self.gone()


class Deciding(Case):
    def command(self, text):
        path = self.home / "decide"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    async def told(self, c):
        message = await c.message("device", "status_update")
        return message[4]

    async def test_a_program_decides(self):
        """Asked with the offer; its delay is kept by the agent, which comes back to the offer by itself, and over a lost connection."""
        command = self.command(f'cat >> {self.home}/asked\n[ -e {self.home}/ready ] && exit\necho "postpone 400ms a customer is being served"; : > {self.home}/ready\n')
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-command", command) as agent:
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            self.assertEqual(await self.statuses(c, "rescheduled", delay_for=300000, reason="a customer is being served"), ["received", "rescheduled"])
            self.assertEqual(files.ranges, [])
            await c.socket.close()
            await agent.ended()
            asked = [json.loads(line) for line in (self.home / "asked").read_text().splitlines()]
            self.assertEqual(asked, [{"uuid": UUID, "version": "1.1.0", "product": "Widget", "platform": "board", "architecture": "arm", "size": len(self.firmware),
                                      "checksum": hashlib.sha256(self.firmware).hexdigest().upper()}] * 2)
            self.assertTrue((self.home / "rebooted").exists())

    async def test_a_newer_offer_takes_the_place(self):
        command = self.command('grep -q ' + NEWER + ' && exit\necho "postpone 1h later"\n')
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-command", command) as agent:
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            self.assertEqual(await self.statuses(c, "rescheduled", delay_for=3600000, reason="later"), ["received", "rescheduled"])
            await c.send("update", self.offer(files, uuid=NEWER), "device")
            await self.finished(c, agent, "received", "started", "updating")
            self.assertIn(NEWER, agent.log_text().rpartition("update.installed")[2].partition("\n")[0])

    async def test_an_offer_that_has_run_out(self):
        command = self.command(f'[ -e {self.home}/ready ] && exit\necho "postpone 100ms"; : > {self.home}/ready\n')
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-command", command) as agent:
            files.turns = [("status", 403)]
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            self.assertEqual(await self.statuses(c, "rescheduled", delay_for=300000), ["received", "rescheduled"])
            self.assertEqual(await self.statuses(c, "rescheduled", delay_for=300000, reason="the offer has run out"), ["received", "started", "rescheduled"])
            await c.send("update", self.offer(files), "device")
            await self.finished(c, agent, "received", "started", "updating")

    async def test_programs_that_do_not_answer(self):
        for text, reason in (("echo no; exit 3", "the update command ended with status 3: no"), ("echo whatever", "the update command said 'whatever'"),
                             ("echo postpone soon", "the update command said 'postpone soon'"), ("sleep 100", "the update command failed: "),
                             ("yes", "the update command failed: ")):
            with self.subTest(text):
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-command", self.command(text), "--update-timeout", "500ms"):
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    self.assertEqual((await self.told(c))["status"], "received")
                    told = await self.told(c)
                    self.assertEqual((told["status"], told["delay_for"], told["reason"][:len(reason)]), ("rescheduled", 3600000, reason))
                    self.assertEqual(files.ranges, [])

    async def test_policies(self):
        hour = time.gmtime().tm_hour
        soon, later = f"{(hour + 2) % 24:02}:00", f"{(hour + 4) % 24:02}:00"
        for policy, status, least, most in (("ignore", "ignored", None, None), ("postpone 2h", "rescheduled", 7200000, 7200000),
                                            (f"window {soon}-{later}", "rescheduled", 3600000, 3 * 3600000)):
            with self.subTest(policy):
                async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-policy", policy, env={"TZ": "UTC0"}):
                    c = await self.device(hub)
                    await c.send("update", self.offer(files), "device")
                    self.assertEqual((await self.told(c))["status"], "received")
                    told = await self.told(c)
                    self.assertEqual(told["status"], status)
                    if least:
                        self.assertTrue(least <= told["delay_for"] <= most, told)
                    self.assertEqual(files.ranges, [])
        async with Hub() as hub, Files(self.firmware) as files, self.agent(hub, "--update-policy", f"window {later}-{soon}", env={"TZ": "UTC0"}) as agent:
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            await self.finished(c, agent, "received", "started", "updating")


class Proving(Case):
    """A firmware that does not prove itself."""

    def uptime(self, more):
        """A deadline that is so many seconds away."""
        return f"{int(time.clock_gettime(time.CLOCK_MONOTONIC)) + more}s"

    def new_disk(self):
        (self.home / "disk").unlink(missing_ok=True)
        make_disk(self.home / "disk", nerves_fw_validated="0", a__nerves_fw_validated="0", a__nerves_fw_version="1.1.0", a__nerves_fw_uuid=UUID)

    def old_disk(self):
        (self.home / "disk").unlink()
        make_disk(self.home / "disk")

    async def test_a_bad_one(self):
        """Judged, reverted, and the reason reaches the server when the old firmware has joined; once."""
        self.new_disk()
        async with Hub() as hub, self.agent(hub, "--validate-command", "echo the pump does not turn >&2; exit 1", "--revert-command", f"echo > {self.home}/went-back") as agent:
            c = await hub.connection()
            self.assertFalse((await c.joined("device"))["meta"]["firmware_validated"])
            await agent.ended()
            self.assertIn("validation.failed", agent.log_text())
        self.assertTrue((self.home / "went-back").exists() and (self.home / "rebooted").exists())
        (self.home / "rebooted").unlink()
        async with Hub() as hub, self.agent(hub, "--validate-command", "exit 75"):  # its own agent may come up once more
            c = await hub.connection()
            await c.joined("device")
            self.assertEqual(c.seen, [])
        self.old_disk()
        async with Hub() as hub, self.agent(hub) as agent:
            c = await self.device(hub)
            told = (await c.message("device", "status_update"))[4]
            self.assertEqual(told["status"], "failed")
            self.assertRegex(told["reason"], r"^Update failed : version 1\.1\.0 was reverted: validation command .* the pump does not turn$")
            await agent.logged("reverted ")
            await self.until(lambda: not (self.state / "reverted").exists())
        async with Hub() as hub, self.agent(hub) as agent:
            c = await self.device(hub)
            await c.send("identify", {}, "device")
            await agent.logged("identify")
            self.assertNotIn("reverted ", agent.log_text())

    async def test_one_that_cannot_say(self):
        """The deadline is over, and the command still says: ask again later."""
        self.new_disk()
        async with Hub() as hub, self.agent(hub, "--validate-command", "exit 75", "--validate-deadline", "1s", "--validate-interval", "100ms") as agent:
            c = await hub.connection()
            await c.joined("device")
            await agent.ended()
            self.assertRegex((self.state / "reverted").read_text(), f"^{UUID}\nversion 1.1.0 was reverted: not validated within 1 s of the boot\n$")

    async def test_a_server_that_is_away(self):
        """Nobody goes back for that, unless the owner wants it."""
        for offline in (False, True):
            self.new_disk()
            async with Hub() as hub, self.agent(hub, "--validate-deadline", "1s", "--validate-interval", "100ms", *["--revert-offline"] * offline) as agent:
                if offline:
                    await agent.ended()
                    self.assertIn("not validated within 1 s of the boot, nor connected", agent.log_text())
                    continue
                c = await hub.connection()
                await c.joined("device", status="error")
                await c.joined("device", status="error")
                self.assertNotIn("validation.failed", agent.log_text())
                await c.joined("device")
                await c.event("firmware_validated", "device")

    async def test_a_good_one(self):
        self.new_disk()
        async with Hub() as hub, self.agent(hub, "--validate-deadline", self.uptime(2)) as agent:
            c = await hub.connection()
            await c.joined("device")
            await c.event("firmware_validated", "device")
            self.assertNotIn("validation.failed", agent.log_text())


class Installers(Case):
    """rauc and swupdate as Debian has them, with bundles made here."""

    def certificate(self, *more):
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.home / "sign.key", "-out", self.home / "sign.crt", "-days", "100", "-subj", "/CN=signer", *more)

    def apart(self):
        """swupdate's sockets lie here, so that it meets no other one on this machine."""
        return {"TMPDIR": str(self.home)}

    async def refused(self, bundle, options, reason):
        async with Hub() as hub, Files(bundle) as files, self.agent(hub, "--fetch", "cached", *options, env=self.apart()):
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            while (message := await c.receive())[3] != "status_update" or message[4]["status"] != "failed":
                pass
            self.assertIn(reason, message[4]["reason"])

    async def installed(self, bundle, options):
        async with Hub() as hub, Files(bundle) as files, self.agent(hub, "--fetch", "cached", *options, env=self.apart()) as agent:
            c = await self.device(hub)
            await c.send("update", self.offer(files), "device")
            self.assertEqual(await self.statuses(c, "completed"), ["received", "started", "downloading", "updating", "completed"])
            await agent.ended()
            self.empty()

    @unittest.skipUnless(shutil.which("swupdate") and shutil.which("cpio"), "swupdate or cpio is not installed")
    async def test_swupdate(self):
        self.certificate("-addext", "extendedKeyUsage=emailProtection")
        (self.home / "rootfs.img").write_bytes(self.rootfs)
        target = self.home / "target"
        target.write_bytes(bytes(4 * MIB))
        (self.home / "sw-description").write_text(
            'software = { version = "1.1.0"; hardware-compatibility: [ "1.0" ]; images: ( { filename = "rootfs.img"; device = "%s"; type = "raw"; sha256 = "%s"; } ); }\n'
            % (target, hashlib.sha256(self.rootfs).hexdigest()))
        run("openssl", "cms", "-sign", "-in", self.home / "sw-description", "-out", self.home / "sw-description.sig", "-signer", self.home / "sign.crt", "-inkey", self.home / "sign.key",
            "-outform", "DER", "-nosmimecap", "-binary")
        bundle = subprocess.run(["cpio", "-o", "-H", "crc", "--quiet"], input=b"sw-description\nsw-description.sig\nrootfs.img\n", cwd=self.home, stdout=subprocess.PIPE, check=True).stdout
        await self.refused(bundle, (), "this is a SWUpdate image: the installer swupdate is not switched on on this device")
        on = ("--installer", "swupdate", "--swupdate-arg=-H", "--swupdate-arg=widget:1.0", "--swupdate-arg=-k")
        other = firmware_key(self.home, "not-a-certificate")[1]
        await self.refused(bundle, (*on, f"--swupdate-arg={other}"), "Update failed : swupdate ended with status ")
        self.assertEqual(target.read_bytes(), bytes(4 * MIB))
        await self.installed(bundle, (*on, f"--swupdate-arg={self.home}/sign.crt"))
        self.assertTrue(target.read_bytes()[:len(self.rootfs)] == self.rootfs)

    @unittest.skipUnless(shutil.which("rauc") and shutil.which("mksquashfs") and shutil.which("dbus-daemon"), "rauc, mksquashfs or dbus-daemon is not installed")
    async def test_rauc(self):
        self.certificate("-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=emailProtection,codeSigning")
        content = self.home / "content"
        content.mkdir()
        (content / "rootfs.img").write_bytes(self.rootfs)
        (content / "manifest.raucm").write_text("[update]\ncompatible=widget\nversion=1.1.0\n[image.rootfs]\nfilename=rootfs.img\n")
        run("rauc", "bundle", f"--cert={self.home}/sign.crt", f"--key={self.home}/sign.key", content, self.home / "bundle.raucb")
        bundle = (self.home / "bundle.raucb").read_bytes()
        await self.refused(bundle, (), "this is a RAUC bundle: the installer rauc is not switched on on this device")
        with self.rauc_service() as (environment, mounts):
            os.environ.update(environment)
            self.addCleanup(lambda: [os.environ.pop(name) for name in environment])
            on = ("--installer", "rauc")
            damaged = bundle[:-100] + bytes([bundle[-100] ^ 1]) + bundle[-99:]
            await self.refused(damaged, on, "Update failed : rauc ended with status 1: ")
            self.assertEqual((self.home / "slot-b").read_bytes(), bytes(4 * MIB))
            if not mounts:
                self.skipTest("a squashfs image cannot be mounted here: the signature was checked, nothing was written")
            await self.installed(bundle, on)
            self.assertTrue((self.home / "slot-b").read_bytes()[:len(self.rootfs)] == self.rootfs)
            self.assertEqual((self.home / "primary").read_text(), "B\n")

    def rauc_service(self):
        from contextlib import contextmanager

        @contextmanager
        def service():
            home = self.home
            for slot in "ab":
                (home / f"slot-{slot}").write_bytes(bytes(4 * MIB))
            (home / "primary").write_text("A\n")
            (home / "mnt").mkdir()
            backend = home / "backend"
            backend.write_text(f'#!/bin/sh\ncase "$1" in get-primary) cat {home}/primary;; set-primary) echo "$2" > {home}/primary;; get-state) echo good;; esac\n')
            backend.chmod(0o755)
            slots = "".join(f"[slot.rootfs.{i}]\ndevice={home}/slot-{s}\ntype=raw\nbootname={s.upper()}\n" for i, s in enumerate("ab"))
            (home / "system.conf").write_text(f"[system]\ncompatible=widget\nbootloader=custom\nbundle-formats=+plain\nmountprefix={home}/mnt\nstatusfile={home}/status\n"
                                              f"[keyring]\npath={home}/sign.crt\n[handlers]\nbootloader-custom-backend={backend}\n{slots}")
            bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address=1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            environment = {"DBUS_SYSTEM_BUS_ADDRESS": bus.stdout.readline().strip()}
            rauc = subprocess.Popen(["rauc", "service", "--override-boot-slot=A", f"--conf={home}/system.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    env={**os.environ, **environment})
            try:
                deadline = time.monotonic() + DEADLINE
                while b"de.pengutronix.rauc" not in subprocess.run(
                        ["dbus-send", "--print-reply", f"--bus={environment['DBUS_SYSTEM_BUS_ADDRESS']}", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"],
                        stdout=subprocess.PIPE).stdout:
                    self.assertLess(time.monotonic(), deadline, "rauc's service did not start")
                    select_tick()
                image = home / "probe.squashfs"
                run("mksquashfs", home / "content", image, "-quiet", "-no-progress")
                mounts = subprocess.run(["mount", "-t", "squashfs", "-o", "ro,loop", str(image), str(home / "mnt")], stderr=subprocess.DEVNULL).returncode == 0
                if mounts:
                    run("umount", home / "mnt")
                yield environment, mounts
            finally:
                for process in (rauc, bus):
                    process.terminate()
                    process.wait(DEADLINE)
                bus.stdout.close()

        return service()


class Journey(Agents):
    """The same agent and the real server: a postponed update in parts, whose delay the server is told, and the next one, which goes back."""

    path = "/orgs/acme/products/virtual"

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory")

    def device(self):
        return self.server.api("GET", f"{self.path}/devices/board-1", expect=200).data

    def deploy(self, version, size):
        path = self.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--version", version, "--size", size, "--key", self.key_private, "--output", path)
        firmware = self.server.upload("acme", "virtual", path).data
        self.server.api("POST", f"{self.path}/deployments", {"name": version, "firmware": firmware["uuid"], "conditions": {"version": f"< {version}", "tags": ["all"]}}, expect=201)
        self.server.api("PUT", f"{self.path}/deployments/{version}", {"deployment": {"state": "on"}})

    def life(self, *words):
        """Until it reboots; its log."""
        process, log = self.agent(self.board, *self.identity, "--reconnect-delay", "100ms", "--state-dir", self.home / "state", "--fetch", "parts", *words)
        wait_until(lambda: process.poll() is not None or "rebooting" in log.read_text(), process, "the reboot")
        self.assertEqual(process.wait(DEADLINE), 0)
        return log.read_text()

    def joined(self, text, *words):
        process, log = self.joins(self.board, *self.identity, "--reconnect-delay", "100ms", "--state-dir", self.home / "state", *words)
        wait_until(lambda: text in log.read_text(), process, text)
        process.terminate()
        self.assertEqual(process.wait(DEADLINE), 0)

    @unittest.skipUnless(shutil.which("fw_setenv"), "fw_setenv is not installed")
    def test_there_and_back(self):
        self.server.api("POST", f"{self.path}/devices", {"identifier": "board-1", "tags": ["all"]}, expect=201)
        self.board = self.disk("board-1")
        cert, key = self.pki.device("board-1", "factory")
        self.identity = ("--cert", cert, "--key", key)
        self.deploy("1.1.0", "3M")
        text = self.life("--update-policy", "postpone 300ms")
        self.assertLess(text.index("update.rescheduled"), text.index("update.started"))
        self.assertIn("text=downloading", text)
        self.joined("validated")
        self.assertEqual((self.device()["version"], self.device()["firmware_metadata"]["version"]), ("1.1.0", "1.1.0"))
        self.deploy("1.2.0", "64k")
        self.life()
        config = self.home / "fw_env.config"
        config.write_text(f"{self.board} {16 * 512:#x} {16 * 512:#x}\n")
        back = "".join(f"fw_setenv -c {config} {name} {value} && " for name, value in (("nerves_fw_active", "b"), ("nerves_fw_validated", 1), ("a.nerves_fw_validated", 0)))
        text = self.life("--validate-command", "echo no water >&2; exit 1", "--revert-command", back + "true")
        self.assertRegex(text, "validation.failed .*no water")
        self.joined("reverted text=\"version 1.2.0 was reverted: ")
        device = self.device()
        self.assertEqual(device["version"], "1.1.0")
        self.assertIsNotNone(device["updates_blocked_until"])  # for the server it is a failure, too


del Case, Agents

if __name__ == "__main__":
    unittest.main()
