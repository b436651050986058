"""`nh device console` and `nh device shell` as people and scripts use them: on a pseudo terminal and in a pipe, with a real agent behind a real server."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import ssl
import struct
import subprocess
import termios
import time
import unittest

from nhtest import DEADLINE, Device, Person, ServerCase, nh1_headers, program, wait_until
from phoenixpeer import Agent

CONSOLE = "user:console:identifier-"


class Terminal:
    """`nh` on a pseudo terminal of its own, whose modes are looked at from outside. Use inside `with`."""

    def __init__(self, case, *args, rows=30, columns=99, token=None):
        self.case, self.args, self.size, self.token = case, args, (rows, columns), token
        self.shown = b""

    def __enter__(self):
        self.master, self.slave = os.openpty()
        self.resize(*self.size)
        self.modes = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen([program("nh"), *self.args], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=self.case.environment(self.token),
                                        preexec_fn=self.own_terminal)
        return self

    def own_terminal(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __exit__(self, kind, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def until(self, text):
        """What is shown up to the text, which is taken away."""
        end = text.encode()
        deadline = time.monotonic() + DEADLINE
        while end not in self.shown:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            self.case.assertTrue(ready, f"{text!r} is not in {self.shown!r}")
            self.shown += os.read(self.master, 65536)
        before, _, self.shown = self.shown.partition(end)
        return before.decode()

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)

    def ended(self, status):
        self.case.assertEqual(self.process.wait(DEADLINE), status)
        self.case.assertEqual(termios.tcgetattr(self.slave), self.modes)


class TerminalCase(ServerCase):
    """`nh` with nothing but its environment, and devices that a shared secret lets in."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        cls.secret = (secret["key"], secret["secret"])

    def environment(self, token=None):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NERVES_", "MIX_"))}
        return {**kept, "HOME": str(self.home), "NERVES_HUB_URI": f"http://localhost:{self.server.web_port}", "NERVES_HUB_TOKEN": token or self.server.token}

    def nh(self, *args, input=b"", status=0, token=None):
        done = subprocess.run([program("nh"), *map(str, args)], input=input, capture_output=True, timeout=DEADLINE, env=self.environment(token))
        self.assertEqual(done.returncode, status, done)
        return done

    def device(self, identifier):
        return Device(self.server, headers=nh1_headers(*self.secret, identifier), path="/device-socket/websocket?vsn=2.0.0")


class CliTerminal(TerminalCase):
    server_args = ("--open-registrations", "true", "--permission-age", "0s")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.extensions(True)
        admin = cls.server.token
        cls.server.api("POST", "/users/register", {"name": "vera", "email": "vera@example.com", "password": "correct horse battery"}, token="")
        cls.vera = cls.server.login("vera@example.com", "correct horse battery")
        cls.server.token = admin
        cls.server.api("POST", "/orgs/acme/users", {"email": "vera@example.com", "role": "view"}, expect=201)

    @classmethod
    def extensions(cls, on):
        cls.server.api("PUT", cls.product_path, {"extensions": {"local_shell": on}}, expect=200)

    def agent(self, identifier):
        return Agent(f"wss://localhost:{self.server.device_port}", "--ca", self.server.ca_file, "--console", "--local-shell", "--shell-command", "PS1='> ' sh -i",
                     "--files-directory", self.home / f"files-{identifier}", secret=self.secret, identifier=identifier, firmware=self.fw)

    @contextlib.asynccontextmanager
    async def connected(self, identifier):
        """The agent, console and shell open."""
        async with self.agent(identifier) as agent:
            await agent.logged("local_shell attached")
            async with Person(self.server) as ada:
                await ada.join(CONSOLE + identifier)
                await ada.event("metadata")
            yield agent

    def with_agent(self, identifier, story):
        """Runs story(agent) in a thread meanwhile."""
        async def run():
            async with self.connected(identifier) as agent:
                await asyncio.to_thread(story, agent)
        asyncio.run(run())

    def test_console(self):
        """Size, resize, keys that a terminal would have kept, escapes, suspension, and the way back."""
        def story(agent):
            with Terminal(self, "device", "console", "t-1") as t:
                t.until("Connected to t-1. ~. disconnects, ~? lists what else there is.")
                t.until("> ")
                self.assertTrue(t.is_raw())
                t.type("stty size; echo $((40+2)) ä€\r")
                self.assertIn("30 99", t.until("42 ä€\r\n"))
                t.resize(20, 70)
                t.type("until [ \"$(stty size)\" = '20 70' ]; do :; done; echo resized $((1+1))\r")
                t.until("resized 2")
                t.type("cat\rhere\r")
                t.until("here\r\nhere\r\n")  # the terminal's, and cat's: it is cat that the interrupt will be for
                t.type("~~\x04")  # one tilde, then the end of cat's line
                t.until("~")
                t.type("\x03")  # the device's interrupt, not ours
                t.until("^C")
                t.type("\r~?")
                t.until("~^Z  suspend nh\r\n")
                t.type("\r~\x1a")
                self.stopped(t)
                self.assertEqual(termios.tcgetattr(t.slave), t.modes)
                t.process.send_signal(signal.SIGCONT)
                wait_until(t.is_raw, t.process, "the terminal is nh's again")
                t.type("echo $((40+3))\r")
                t.until("43")
                t.type("echo a~.b\r")  # in the middle of a line it is a character like others
                t.until("a~.b\r\n")
                t.until("> ")
                t.type("\r~.")
                t.until("Disconnected from t-1")
                t.ended(0)

        self.with_agent("t-1", story)

    def stopped(self, t):
        deadline = time.monotonic() + DEADLINE
        while os.waitpid(t.process.pid, os.WUNTRACED | os.WNOHANG)[0] == 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_shell(self):
        def story(agent):
            with Terminal(self, "device", "shell", "t-2", "--escape", "^]", rows=12, columns=34) as t:
                t.until("Connected to t-2. ^]. disconnects")
                t.type("until [ \"$(stty size)\" = '12 34' ]; do :; done; echo $((40+2))\r")
                t.until("42\r\n")
                t.type("~.\r")
                t.until("~.")
                t.type("\r\x1d.")
                t.ended(0)

        self.with_agent("t-2", story)

    def test_every_end_leaves_the_terminal_as_it_was(self):
        def story(agent):
            for number, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGABRT, -signal.SIGABRT)):
                with self.subTest(number), Terminal(self, "device", "console", "t-3") as t:
                    t.until("Connected")
                    t.until("> ")
                    self.assertTrue(t.is_raw())
                    t.process.send_signal(number)
                    t.ended(status)
            with Terminal(self, "device", "console", "t-3") as t:
                t.until("> ")
                self.server.api("DELETE", f"{self.product_path}/devices/t-3", expect=204)
                t.type("echo gone\r")
                t.until("Error: the server ended the session")
                t.ended(255)

        self.with_agent("t-3", story)

    def test_connection_lost(self):
        def story(agent):
            with Terminal(self, "device", "console", "t-4") as t:
                t.until("> ")
                self.server.stop()
                t.until("Error: the server closed the connection (1012, it restarts)")
                t.ended(255)

        try:
            self.with_agent("t-4", story)
        finally:
            self.server.start()

    def test_people_see_each_other(self):
        def story(agent):
            with Terminal(self, "device", "console", "t-5") as t:
                t.until("> ")
                asyncio.run(chat())
                t.until("\r\n[admin: who broke \x3f[31mthis?]\r\n")
                t.until("\r\n[admin: closed the console]\r\n")
                t.type("\r~.")
                t.ended(0)

        async def chat():
            async with Person(self.server) as ada:
                await ada.join(CONSOLE + "t-5")
                await ada.send("message", {"event": "who broke \x1b[31mthis?"})
                await ada.event("message")

        self.with_agent("t-5", story)

    def test_refusals(self):
        """Each with its reason, and without a terminal."""
        def story(agent):
            for args, token, error in [
                (("console", "t-6"), self.vera, "you may not open the console of t-6: it takes the role manage in its organization"),
                (("shell", "t-6"), self.vera, "you may not open the shell of t-6"),
                (("console", "nobody"), None, "device nobody: api: 404"),
                (("console", "t-6"), "nhu_" + "1" * 49, "api: 401"),
                (("console", "t-6", "--escape", "ab"), None, "--escape needs one character"),
                (("console", "t-6", "--quiet", "soon"), None, "--quiet needs a duration"),
                (("console", "t-6", "--upload", "/nowhere"), None, "cannot open /nowhere"),
                (("console", "t-6", "--download", "/nowhere"), None, "there is no folder /nowhere"),
            ]:
                with self.subTest(args=args):
                    self.assertIn(error, self.nh("device", *args, status=1, token=token).stderr.decode())
            self.extensions(False)
            self.assertIn("switched off for product", self.nh("device", "shell", "t-6", status=1).stderr.decode())
            self.extensions(True)
            self.server.api("PUT", f"{self.product_path}/devices/t-6", {"extensions": {"local_shell": False}}, expect=201)
            self.assertIn("switched off for device t-6", self.nh("device", "shell", "t-6", status=1).stderr.decode())

        self.with_agent("t-6", story)
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "away"}, expect=201)
        self.assertIn("device away is not connected", self.nh("device", "console", "away", status=1).stderr.decode())
        self.assertIn("did not come to an end within --timeout", self.nh("device", "console", "away", "--wait", "--timeout", "50ms", status=1).stderr.decode())

    def test_pipe(self):
        """Input goes, output comes, and the session is over when both are; no terminal is needed and nothing but the device's words is printed."""
        def story(agent):
            with subprocess.Popen([program("nh"), "device", "console", "t-7", "--quiet", "100ms"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=self.environment()) as p:
                for line, answer in ((b"echo $((40+2)) ~. \xc3\xa4\n", b"42 ~. \xc3\xa4\r\n"), (b"echo $((40+3)) \xff\n", b"43 \xef\xbf\xbd\r\n")):
                    p.stdin.write(line)
                    p.stdin.flush()
                    shown = b""
                    while answer not in shown:
                        piece = os.read(p.stdout.fileno(), 65536)
                        self.assertTrue(piece, shown)
                        shown += piece
                p.stdin.close()
                self.assertEqual(p.stderr.read().decode(), "1 bytes of the input were no UTF-8 and were replaced: consoles carry text\n")
                self.assertEqual(p.wait(DEADLINE), 0)
            # a file as input, and the end of it all in a pipe that nobody reads
            done = subprocess.run(f"'{program('nh')}' device console t-7 --quiet 60s --timeout 50s < /dev/zero | head -c 1", shell=True, capture_output=True, timeout=DEADLINE, env=self.environment())
            self.assertEqual(len(done.stdout), 1, done)

        self.with_agent("t-7", story)

    def test_tls(self):
        """Through something that ends TLS in front of the server: trusted by SSL_CERT_FILE and by nothing else."""
        ca = self.pki.ca("proxy-ca")
        cert, key = self.pki.sign("proxy", "proxy-ca", "/CN=localhost", "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)

        async def pipe(reader, writer):
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        async def relay(reader, writer):
            inner = await asyncio.open_connection("127.0.0.1", self.server.web_port)
            await asyncio.gather(pipe(reader, inner[1]), pipe(inner[0], writer))

        async def run():
            proxy = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
            uri = f"https://localhost:{proxy.sockets[0].getsockname()[1]}"
            async with self.connected("t-10"):
                env = {**self.environment(), "NERVES_HUB_URI": uri}
                for trusted in (False, True):
                    nh = await asyncio.create_subprocess_exec(program("nh"), "device", "console", "t-10", "--quiet", "50ms", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                              stderr=asyncio.subprocess.PIPE, env={**env, **({"SSL_CERT_FILE": str(ca)} if trusted else {})})
                    if trusted:
                        nh.stdin.write(b"echo $((40+2))\n")
                        await asyncio.wait_for(nh.stdout.readuntil(b"42\r\n"), DEADLINE)
                    nh.stdin.close()
                    error = (await asyncio.wait_for(nh.stderr.read(), DEADLINE)).decode()
                    self.assertEqual(await nh.wait(), 0 if trusted else 1, error)
                    self.assertEqual("certificate" in error, not trusted, error)
            proxy.close()

        asyncio.run(run())

    def test_files(self):
        """Up to the device, whole and in order."""
        def story(agent):
            source, target = self.home / "big file.bin", self.home / "down"
            target.mkdir()
            content = os.urandom(300_001)
            source.write_bytes(content)
            (self.home / "empty").write_bytes(b"")
            done = self.nh("device", "console", "t-8", "--upload", source, "--upload", self.home / "empty", "--quiet", "50ms")
            self.assertIn("Uploaded big file.bin (300001 bytes)", done.stderr.decode())
            self.assertIn("Uploaded empty (0 bytes)", done.stderr.decode())
            files = self.home / "files-t-8"
            deadline = time.monotonic() + DEADLINE  # the agent writes behind its connection's back
            while not (files / "empty").exists() or (files / "big file.bin").stat().st_size < len(content):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            self.assertEqual((files / "big file.bin").read_bytes(), content)
            (self.home / "huge").write_bytes(b"")
            os.truncate(self.home / "huge", 10 << 20)
            self.assertIn("too large", self.nh("device", "console", "t-8", "--upload", self.home / "huge", status=1).stderr.decode())

        self.with_agent("t-8", story)

    def test_files_of_the_device(self):
        """They are kept where asked for: under a bare name, never over a file, and only whole."""
        content, folder = os.urandom(3000), self.home / "received"
        folder.mkdir()
        (folder / "taken").write_text("mine")

        async def scenario():
            async with self.device("t-9") as device:
                await device.join(self.fw)
                await device.socket.send(json.dumps(["8", "8", "console", "phx_join", {"console_version": "2.0.0"}]))
                await device.reply("8")
                nh = await asyncio.create_subprocess_exec(program("nh"), "device", "console", "t-9", "--download", folder, "--quiet", "50ms", env=self.environment(),
                                                          stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
                nh.stdin.write(b"send\n")
                self.assertEqual(await device.event("dn"), {"data": "send\n"})
                for name in ("whole.bin", "../over", "taken", ".bashrc", "half"):
                    await device.send("file-data/start", {"filename": name}, topic="console")
                    for i in range(0, len(content), 1024):
                        await device.send("file-data", {"filename": name, "chunk": i // 1024, "data": base64.b64encode(content[i:i + 1024]).decode()}, topic="console")
                    if name != "half":
                        await device.send("file-data/stop", {"filename": name}, topic="console")
                await device.send("up", {"data": "sent"}, topic="console")
                self.assertEqual(await asyncio.wait_for(nh.stdout.readexactly(4), DEADLINE), b"sent")
                nh.stdin.close()
                notes = (await asyncio.wait_for(nh.stderr.read(), DEADLINE)).decode()
                self.assertEqual(await asyncio.wait_for(nh.wait(), DEADLINE), 0)
            self.assertIn(f"[received {folder}/whole.bin, 3000 bytes]", notes)
            self.assertIn("[the file taken cannot be kept: File exists]", notes)
            self.assertEqual(notes.count("whose name is none"), 2)

        asyncio.run(scenario())
        self.assertEqual({p.name: p.read_bytes() for p in folder.iterdir()}, {"whole.bin": content, "taken": b"mine"})
        self.assertFalse((self.home / "over").exists())


class CliWatch(TerminalCase):
    """A rollout to three devices, of which one fails, as `nh watch` sees it."""

    def environment(self, token=None):
        return {**super().environment(token), "NERVES_HUB_ORG": "acme", "NERVES_HUB_PRODUCT": self.product}

    async def updated(self, device, identifier, firmware):
        await device.send("status_update", {"status": "completed"})
        await device.socket.close()
        async with self.device(identifier) as again:
            await again.join(firmware)

    async def seen(self, nh, enough):
        """The next line that is enough."""
        async with asyncio.timeout(DEADLINE):
            while True:
                line = await nh.stdout.readline()
                self.assertTrue(line, "the watch is over")
                state = json.loads(line)
                if enough(state):
                    return state

    async def joined(self, count):
        """Waits until so many channels were joined."""
        deadline = time.monotonic() + DEADLINE
        while await asyncio.to_thread(self.server.metric, "user_joins_total") < count:
            self.assertLess(time.monotonic(), deadline)
            await asyncio.sleep(0.01)

    async def roll_out(self, firmware):
        async with self.device("w-1") as one, self.device("w-2") as two, self.device("w-3") as three:
            for device in (one, two, three):
                await device.join(self.fw)
            await asyncio.to_thread(self.server.api, "PUT", f"{self.product_path}/deployments/ring%20%221%22", {"deployment": {"firmware": firmware["uuid"]}}, expect=200)
            for device in (one, two, three):
                await device.event("update")
            nh = await asyncio.create_subprocess_exec(program("nh"), "watch", 'ring "1"', "--interval", "20ms", "-o", "json", env=self.environment(), stdout=asyncio.subprocess.PIPE,
                                                      stderr=asyncio.subprocess.PIPE)
            state = await self.seen(nh, lambda s: s["updating"] == 3)
            self.assertEqual((state["name"], state["firmware"], state["total"], state["done"]), ('ring "1"', {"uuid": firmware["uuid"], "version": "2.0.0"}, 3, 0))
            await self.joined(3)
            await one.send("fwup_progress", {"stage": "downloading", "value": 42})
            state = await self.seen(nh, lambda s: s["downloading"] == 1)
            self.assertEqual(state["devices"], {"w-1": {"stage": "downloading", "percent": 42}, "w-2": {"stage": None, "percent": None}, "w-3": {"stage": None, "percent": None}})
            await self.updated(one, "w-1", firmware)
            state = await self.seen(nh, lambda s: s["done"] == 1)
            self.assertEqual((state["updating"], set(state["devices"])), (2, {"w-2", "w-3"}))
            await two.send("status_update", {"status": "failed", "reason": "the flash is worn out"})
            state = await self.seen(nh, lambda s: s["failed"] == 1)
            self.assertEqual((state["failures"], state["penalty_box"]), ({"w-2": "the flash is worn out"}, 1))
            await self.updated(three, "w-3", firmware)
            state = await self.seen(nh, lambda s: s["done"] == 2)
            self.assertEqual({k: state[k] for k in ("total", "waiting", "updating", "downloading", "done", "failed")},
                             {"total": 3, "waiting": 0, "updating": 0, "downloading": 0, "done": 2, "failed": 1})
            self.assertEqual((await nh.stderr.read()).decode(), "Error: 1 of 3 devices failed\n")
            self.assertEqual(await nh.wait(), 1)

    def test_rollout(self):
        for name in ("w-1", "w-2", "w-3"):
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": name, "tags": ["ring"]}, expect=201)
        self.server.api("POST", f"{self.product_path}/deployments", {"name": 'ring "1"', "firmware": self.fw["uuid"], "state": "on", "conditions": {"tags": ["ring"]}}, expect=201)
        asyncio.run(self.roll_out(self.firmware("2.0.0")))

        # it is over: each form of the last state, and what it is worth
        text = self.nh("watch", 'ring "1"', "--max-failures", "1").stdout.decode()
        self.assertRegex(text, r"^\S+Z 2\.0\.0: total 3 waiting 0 updating 0 downloading 0 done 2 failed 1 penalty_box 1\n$")
        lines = self.nh("watch", 'ring "1"', "-o", "csv", status=1).stdout.decode().split("\r\n")
        self.assertEqual(lines[0], "at,total,waiting,updating,downloading,done,failed,penalty_box")
        self.assertTrue(lines[1].endswith("Z,3,0,0,0,2,1,1"), lines)
        with Terminal(self, "watch", 'ring "1"', "--max-failures", "1") as t:
            t.until('ring "1": firmware 2.0.0  [################........] 2 of 3\r\n')
            t.until("  done 2  failed 1  penalty box 1 ")
            t.until("  w-2  failed: the flash is worn out\r\n")
            t.ended(0)
        with Terminal(self, "watch", 'ring "1"', "--exit-when-done=false", "--interval", "20ms") as t:
            t.until("  w-2  failed: ")
            t.until("\x1b[3A\x1b[J")  # drawn over the first
            t.until("  w-2  failed: ")
            t.process.send_signal(signal.SIGINT)
            t.ended(-signal.SIGINT)
        self.nh("watch", "--device", "w-1")
        self.nh("watch", "--device", "w-2", "--firmware", self.fw["uuid"])
        self.assertIn("1 of 1 devices failed", self.nh("watch", "--device", "w-2", status=1).stderr.decode())
        for args, error in [
            (("watch",), "watch a deployment group, or --device"),
            (("watch", "ring", "--device", "w-1"), "watch a deployment group, or --device"),
            (("watch", "nothing"), "api: 404"),
            (("watch", "ring", "--firmware", "x"), "--firmware goes with --device"),
            (("watch", "ring", "--interval", "0"), "--interval needs a duration"),
            (("watch", "ring", "--max-failures", "-1"), "--max-failures needs a number"),
        ]:
            with self.subTest(args=args):
                self.assertIn(error, self.nh(*args, status=1).stderr.decode())


if __name__ == "__main__":
    unittest.main()
