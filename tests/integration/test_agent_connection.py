"""How the agent reaches its server: by polling, through proxies, trusting several roots, with a wrong clock, by redirects, and what it tells the service
manager meanwhile. The real agent and server; where somebody has to be wrong or hostile, a TLS peer that says exactly what its test wrote down."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from nhtest import DEADLINE, ROOT, Pki, program, run, wait_until
from test_faults import faketime_library, preload
from test_identities import AgentCase as Agents

QUICK = ("--reconnect-delay", "100ms", "--poll-interval", "200ms")
PRODUCT = "/orgs/acme/products/virtual"


class Peer:
    """A TLS server that answers each connection's first request with the next of its answers (the last one again and again), and remembers the heads."""

    def __init__(self, home, answers, days=365, ca="peer-ca"):
        self.pki = Pki(home)
        self.ca = home / f"{ca}.crt"
        if not self.ca.exists():
            self.pki.ca(ca)
        cert, key = self.pki.sign("peer", ca, "/CN=peer", "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n", days)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(str(cert), str(key))
        self.answers, self.heads, self.open_now, self.most_open = list(answers), [], 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with self.lock:
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        connection.settimeout(DEADLINE)
        try:
            with self.context.wrap_socket(connection, server_side=True) as stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = stream.recv(4096)
                    if not data:
                        return
                    head += data
                with self.lock:
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                    self.heads.append(head.decode("latin-1"))
                stream.sendall(answer.encode("latin-1"))
        except OSError:
            pass
        finally:
            with self.lock:
                self.open_now -= 1

    def close(self):
        self.listener.close()


def answer(status, body="", *headers):
    return "\r\n".join([f"HTTP/1.1 {status} x", *headers, f"Content-Length: {len(body)}", "", body])


class AgentCase(Agents):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory")

    def device(self, identifier, **fields):
        self.server.api("POST", f"{PRODUCT}/devices", {"identifier": identifier, **fields}, expect=201)
        cert, key = self.pki.device(identifier, "factory")
        return "--cert", cert, "--key", key

    def show(self, identifier):
        return self.server.api("GET", f"{PRODUCT}/devices/{identifier}", expect=200).data

    def sees(self, process, log, text, count=1):
        wait_until(lambda: log.read_text().count(text) >= count, process, f"{count} times '{text}'")
        return log.read_text()

    def peer(self, *answers, **kwargs):
        peer = Peer(self.home / "peers", answers, **kwargs)
        self.addCleanup(peer.close)
        return peer

    def alone(self, server, *words, ca=None, env=None, disk=None):
        """An agent whose server is another one: later options win, but roots add up."""
        log = Path(tempfile.mkstemp(prefix="agent-", suffix=".log", dir=self.home)[1])
        roots = [word for path in ([self.server.ca_file] if ca is None else ca) for word in ("--ca", path)]
        with log.open("wb") as out:
            process = subprocess.Popen([program("nerveshub-link"), "--server", server, *map(str, roots), "--public-key", self.key_public, "--device", disk or self.disk("alone"),
                                        "--env-offset", str(16 * 512), "--env-size", str(16 * 512), "--installer", "builtin", "--reboot-command", "true", "--log-level", "debug",
                                        *QUICK, *map(str, words)], stdout=out, stderr=out, env={**os.environ, **(env or {})})
        process.log = log
        self.addCleanup(process.wait, DEADLINE)
        self.addCleanup(process.terminate)
        return process, log

    def make(self, version, *words):
        path = self.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--version", version, "--size", "64k", "--key", self.key_private, "--output", path, *words)
        return path, self.server.upload("acme", "virtual", path).data

    def deploy(self, name, firmware):
        self.server.api("POST", f"{PRODUCT}/deployments", {"name": name, "firmware": firmware["uuid"], "conditions": {"version": "", "tags": [name]}}, expect=201)
        self.server.api("PUT", f"{PRODUCT}/deployments/{name}", {"deployment": {"state": "on"}})


class Polling(AgentCase):
    def test_an_update_and_its_validation(self):
        _, firmware = self.make("1.1.0")
        identity = self.device("poll-1", tags=["polls"])
        disk = self.disk("poll-1")
        words = (*QUICK, "--transport", "poll", "--validate-command", "exit 0", *identity)
        process, log = self.agent(disk, *words)
        text = self.sees(process, log, "joined")
        self.assertIn(f"https://localhost:{self.server.device_port}/device/update", text)
        self.sees(process, log, "debug connected", 3)
        self.assertEqual((self.show("poll-1")["version"], self.show("poll-1")["connection_status"]), ("1.0.0", "disconnected"))
        self.deploy("polls", firmware)
        wait_until(lambda: "rebooting" in log.read_text(), process, "the reboot into the update")
        self.assertEqual(process.wait(DEADLINE), 0)
        text = log.read_text()
        for event in ("update.offered", "update.started", "update.installed"):
            self.assertIn(event, text)
        process, log = self.agent(disk, *words)
        text = self.sees(process, log, "validated")
        self.assertLess(text.index("joined"), text.index("validated"), "judged after the first good answer")
        self.assertEqual(self.show("poll-1")["version"], "1.1.0")

    def test_a_stranger(self):
        self.pki.ca("stranger")
        cert, key = self.pki.device("poll-stranger", "stranger")
        process, log = self.agent(self.disk("stranger"), *QUICK, "--transport", "poll", "--cert", cert, "--key", key)
        self.sees(process, log, "disconnected", 2)
        self.assertNotIn("joined", log.read_text())

    def test_what_is_said_and_what_answers_mean(self):
        nothing = json.dumps({"data": {"update_available": False, "firmware_url": None, "firmware_meta": None, "deployment_id": None}})
        cases = [
            (answer(200, nothing), "joined"),
            (answer(403, '{"status":"forbidden"}'), "the server refused: HTTP 403"),
            (answer(404, '{"errors":{"detail":"Not Found"}}'), "it may have no polling API"),
            (answer(503, "", "Retry-After: 20"), "the server refused: HTTP 503"),
            (answer(301, "", "Location: http://localhost:1/device/update"), "insecure address is not followed"),
            (answer(301, "", "Location: /device/update"), "more than 2 redirects"),
            (answer(200, "<html>"), "not one of the polling API"),
            (answer(200, "{}"), "not one of the polling API"),
            (answer(200, '{"data":{"update_available":"yes"}}'), "not one of the polling API"),
            (answer(200, "x" * 300000), "disconnected"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "disconnected"),
            ("SSH-2.0-x\r\n\r\n", "disconnected"),
        ]
        cert, key = self.pki.device("poll-2", "factory")
        for said, expected in cases:
            with self.subTest(expected, said=said[:60]):
                peer = self.peer(said)
                process, log = self.alone(f"localhost:{peer.port}", "--transport", "poll", "--cert", cert, "--key", key, ca=[peer.ca])
                text = self.sees(process, log, expected)
                if "503" in said[:20]:
                    delay = int(text.split("delay_ms=")[1].split()[0])
                    self.assertGreaterEqual(delay, 20000)
                process.terminate()
                self.assertEqual(process.wait(DEADLINE), 0)
                self.assertEqual(peer.most_open, 1, "one question at a time")

    def test_the_headers(self):
        peer = self.peer(answer(404))
        cert, key = self.pki.device("poll-3", "factory")
        process, log = self.alone(f"localhost:{peer.port}", "--transport", "poll", "--cert", cert, "--key", key, ca=[peer.ca])
        self.sees(process, log, "disconnected")
        lines = peer.heads[0].split("\r\n")
        self.assertEqual(lines[0], "GET /device/update HTTP/1.1")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.assertEqual({name: headers.get(f"X-NervesHub-{name}") for name in ("product", "version", "platform", "architecture")},
                         {"product": "virtual", "version": "1.0.0", "platform": "virtual", "architecture": "generic"})
        self.assertRegex(headers["X-NervesHub-uuid"], "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
        self.assertRegex(headers["X-NervesHub-fwup-version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_a_secret_cannot_poll(self):
        (self.home / "secret").write_text("s3cret\n")
        done = run(program("nerveshub-link"), "--server", "localhost", "--device", "/nothing", "--transport", "poll", "--secret-key", "nhp_x", "--secret-file", self.home / "secret",
                   "--identifier", "x", "--check", check=False)
        self.assertEqual((done.returncode, "polling needs a certificate" in done.stderr), (1, True), done.stderr)


class Proxies(AgentCase):
    """Through tinyproxy, which lets nobody in without the password."""

    @classmethod
    def prepare(cls):
        super().prepare()
        with socket.create_server(("127.0.0.1", 0)) as s:
            cls.port = s.getsockname()[1]
        cls.proxy_log = cls.home / "tinyproxy.log"
        conf = cls.home / "tinyproxy.conf"
        conf.write_text(f'Port {cls.port}\nListen 127.0.0.1\nTimeout 600\nLogFile "{cls.proxy_log}"\nLogLevel Connect\nBasicAuth device pAssw0rd\nAllow 127.0.0.1\n')
        cls.proxy = subprocess.Popen(["tinyproxy", "-d", "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.proxy.log = cls.proxy_log
        cls.addClassCleanup(cls.proxy.wait, DEADLINE)
        cls.addClassCleanup(cls.proxy.terminate)

        def listens():
            try:
                return socket.create_connection(("127.0.0.1", cls.port), 1).close() is None
            except OSError:
                return False
        wait_until(listens, cls.proxy, "the proxy")

    def address(self, password="pAssw%30rd"):
        return f"http://device:{password}@127.0.0.1:{self.port}"

    def tunnels(self):
        return self.proxy_log.read_text().count(f"CONNECT localhost:{self.server.device_port} ")

    def test_channel_and_download(self):
        _, firmware = self.make("1.2.0")
        before = self.tunnels()
        identity = self.device("proxied-1", tags=["proxied"])
        self.deploy("proxied", firmware)
        process, log = self.agent(self.disk("proxied-1"), *QUICK, "--proxy", self.address(), *identity)
        self.assertEqual(process.wait(DEADLINE), 0, log.read_text())
        self.assertIn("update.installed", log.read_text())
        self.assertEqual(self.tunnels() - before, 2, "the download went through it, too")
        self.assertNotIn("pAssw", log.read_text())

    def test_polls(self):
        before = self.tunnels()
        process, log = self.agent(self.disk("proxied-2"), *QUICK, "--transport", "poll", "--proxy", self.address(), *self.device("proxied-2"))
        self.sees(process, log, "debug connected", 3)
        self.assertGreaterEqual(self.tunnels() - before, 3)

    def test_a_wrong_password(self):
        identity = self.device("proxied-3")
        text = self.fails(self.disk("proxied-3"), "it wants another user name or password (HTTP 40", *QUICK, "--proxy", self.address("hunter2"), *identity).read_text()
        self.assertIn(f"proxy 127.0.0.1 port {self.port} for localhost port {self.server.device_port}", text)
        self.assertNotIn("hunter2", text)

    def test_nobody_behind_the_proxy(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        process, log = self.alone(f"localhost:{port}", "--proxy", self.address(), *self.device("proxied-4"))
        self.sees(process, log, "it refused with HTTP 5")

    def test_the_environment_counts_only_when_asked(self):
        env = {"https_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        identity = self.device("proxied-5")
        process, _ = self.joins(self.disk("proxied-5"), *QUICK, *identity, env=env)
        process.terminate()
        process.wait(DEADLINE)
        self.fails(self.disk("proxied-5"), "proxy 127.0.0.1 port 1", *QUICK, "--proxy", "environment", *identity, env=env)
        self.joins(self.disk("proxied-5"), *QUICK, "--proxy", "environment", *identity, env={**env, "no_proxy": "localhost"})


class Roots(AgentCase):
    def test_several_sources(self):
        folder = self.home / "roots"
        folder.mkdir()
        self.pki.ca("stranger-ca")
        shutil.copy(self.pki.home / "stranger-ca.crt", folder / "a.crt")
        identity = self.device("roots-1")
        own, disk = f"localhost:{self.server.device_port}", self.disk("roots-1")
        process, log = self.alone(own, *identity, ca=[folder], disk=disk)
        self.sees(process, log, "the server's certificate is not trusted", 2)
        # Roots are read for each attempt: what is put there counts from the next one on.
        shutil.copy(self.server.ca_file, folder / "b.crt")
        self.sees(process, log, "joined")
        process.terminate()
        process.wait(DEADLINE)
        process, log = self.alone(own, *identity, ca=[self.pki.home / "stranger-ca.crt", self.server.ca_file], disk=disk)
        self.sees(process, log, "joined")

    def test_a_source_without_certificates(self):
        done = run(program("nerveshub-link"), "--server", "localhost", "--device", "/nothing", "--ca", self.server.ca_file, "--ca", "/etc/passwd", *self.device("roots-2"), "--check", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "nerveshub-link: no trusted certificate in /etc/passwd\n"))


class Redirects(AgentCase):
    def target(self):
        return f"https://localhost:{self.server.device_port}/socket/websocket?vsn=2.0.0"

    def test_absolute_and_relative(self):
        peer = self.peer(answer(302, "", "Location: elsewhere?vsn=2.0.0"), answer(307, "", f"Location: {self.target()}"))
        process, log = self.alone(f"localhost:{peer.port}", *self.device("moved-1"), ca=[peer.ca, self.server.ca_file])
        text = self.sees(process, log, "joined")
        self.assertIn(f"wss://localhost:{peer.port}/socket/elsewhere?vsn=2.0.0", text)
        self.assertEqual([head.split(" ")[1] for head in peer.heads], ["/socket/websocket?vsn=2.0.0", "/socket/elsewhere?vsn=2.0.0"])

    def test_never_to_plain_and_not_in_circles(self):
        cert, key = self.pki.device("moved-2", "factory")
        home = "/socket/websocket"
        for location, paths, says in (("http://localhost:1/x", [home] * 3, "leaves TLS and is not followed"), ("ws://localhost:1/x", [home] * 3, "leaves TLS and is not followed"),
                                      ("/again", [home, "/again", "/again", home], "too many redirects"), ("ftp://localhost/", [home] * 2, "names no address")):
            with self.subTest(location):
                peer = self.peer(answer(301, "", f"Location: {location}"))
                process, log = self.alone(f"localhost:{peer.port}", "--cert", cert, "--key", key, ca=[peer.ca])
                wait_until(lambda: len(peer.heads) >= len(paths), process, "the attempts")
                self.assertEqual([head.split(" ")[1].partition("?")[0] for head in peer.heads[:len(paths)]], paths)
                self.sees(process, log, says)
                self.assertNotIn("localhost:1/", log.read_text())
                process.terminate()
                process.wait(DEADLINE)


@unittest.skipUnless(faketime_library(), "libfaketime is not installed")
class Clock(AgentCase):
    def at(self, time):
        return {"LD_PRELOAD": preload(), "FAKETIME": f"@{time}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def test_a_clock_that_is_not_set(self):
        state = self.home / "state"
        identity = self.device("clock-1")
        state.mkdir()
        (state / "clock").write_text("torn by a power cut")
        process, _ = self.joins(self.disk("clock-1"), *QUICK, "--state-dir", state, *identity)
        wait_until(lambda: re.match(r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n$", (state / "clock").read_text()), process, "the newest time that is known")
        known = (state / "clock").read_text()
        process.terminate()
        process.wait(DEADLINE)
        for words in (("--state-dir", state), ()):
            process, _ = self.joins(self.disk("clock-1"), *QUICK, *words, *identity, env=self.at("1970-01-01 00:01:00"))
            process.terminate()
            process.wait(DEADLINE)
        self.assertEqual((state / "clock").read_text(), known, "a clock that is not set proves nothing")

    def test_what_has_ended_stays_refused(self):
        """By the clock it began last year and is good for years; by the file it ended before the newest time that is known."""
        state = self.home / "newer"
        state.mkdir()
        (state / "clock").write_text("2060-01-01T00:00:00Z\n")
        text = self.fails(self.disk("clock-2"), "the server's certificate is not trusted", *QUICK, "--state-dir", state, *self.device("clock-2")).read_text()
        self.assertIn("This machine's clock says 20", text)

    def test_a_clock_that_is_ahead(self):
        text = self.fails(self.disk("clock-3"), "the server's certificate is not trusted", *QUICK, *self.device("clock-3"), env=self.at("2061-01-01 00:00:00")).read_text()
        self.assertIn("This machine's clock says 2061-01-01", text)


class ServiceManager(AgentCase):
    def manager(self, address):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(address)
        manager.settimeout(DEADLINE)
        self.addCleanup(manager.close)
        return manager

    def hears(self, manager, wanted):
        """All that came, up to the line that is waited for."""
        heard = []
        while not any(line.startswith(wanted) for line in heard):
            heard += manager.recv(4096).decode().split("\n")
        return heard

    def test_a_life(self):
        folder = Path(tempfile.mkdtemp(prefix="nh-notify-"))
        self.addCleanup(shutil.rmtree, folder)
        identity = self.device("notify-1")
        for name, address in ((str(folder / "socket"), str(folder / "socket")), (f"@nh-notify-{os.getpid()}", f"\0nh-notify-{os.getpid()}")):
            with self.subTest(name):
                manager = self.manager(address)
                process, log = self.agent(self.disk("notify-1"), *QUICK, *identity, "--validate-command", "env", env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"})
                heard = self.hears(manager, "STATUS=connected")
                self.assertEqual(heard[0], "READY=1")
                self.assertIn(f"STATUS=connecting to wss://localhost:{self.server.device_port}/socket/websocket?vsn=2.0.0", heard)
                for _ in range(3):
                    self.hears(manager, "WATCHDOG=1")
                process.terminate()
                self.assertEqual(self.hears(manager, "STOPPING=1")[-2:], ["STOPPING=1", "STATUS=stopping"])
                self.assertEqual(process.wait(DEADLINE), 0)
                self.assertNotIn("NOTIFY_SOCKET", log.read_text())

    def test_trouble_is_a_line(self):
        """A refusal's words cannot make lines of their own."""
        name = f"nh-trouble-{os.getpid()}"
        manager = self.manager(f"\0{name}")
        peer = self.peer(answer(401, "no\nREADY=1\nMAINPID=1\x7f"))
        cert, key = self.pki.device("notify-2", "factory")
        self.alone(f"localhost:{peer.port}", "--cert", cert, "--key", key, ca=[peer.ca], env={"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"})
        heard = self.hears(manager, "STATUS=not connected") + self.hears(manager, "STATUS=not connected")
        self.assertEqual((heard.count("READY=1"), heard.count("MAINPID=1"), heard.count("WATCHDOG=1")), (1, 0, 0), heard)
        status = next(line for line in heard if line.startswith("STATUS=not connected"))
        self.assertRegex(status, "^STATUS=not connected: the server refused the connection: HTTP 401 .*no READY=1 MAINPID=1 ; next attempt in 1 s$")

    def test_nobody_listens(self):
        folder = self.home / "gone"
        self.joins(self.disk("notify-3"), *QUICK, *self.device("notify-3"), env={"NOTIFY_SOCKET": str(folder)})
        done = run(program("nerveshub-link"), "--server", "localhost", "--device", "/nothing", *self.device("notify-4"), "--ca", self.server.ca_file, check=False,
                   env={**os.environ, "NOTIFY_SOCKET": "relative"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("NOTIFY_SOCKET is a path or @name", done.stderr)


class Packaging(unittest.TestCase):
    def test_the_configuration_file_names_every_option(self):
        done = run(ROOT / "tools" / "agent-config", program("nerveshub-link"), "--check", check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_configuration_file_is_one(self):
        """Every line that is commented out is understood once it is not."""
        conf = (ROOT / "packaging" / "nerveshub-link.conf").read_text()
        names = [line[1:].split(" = ")[0] for line in conf.splitlines() if line.startswith("#") and " = " in line and line[1] != " "]
        self.assertGreater(len(names), 30)
        with tempfile.TemporaryDirectory(prefix="nh-conf-") as home:
            file = Path(home) / "agent.conf"
            for name in names:
                file.write_text(f"{name} = \n")
                done = run(program("nerveshub-link"), "-c", file, "--check", check=False)
                self.assertNotIn("unknown name", done.stderr)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_the_unit(self):
        unit = (ROOT / "packaging" / "nerveshub-link.service").read_text()
        with tempfile.TemporaryDirectory(prefix="nh-unit-") as home:
            file = Path(home) / "nerveshub-link.service"
            file.write_text(unit.replace("@BINDIR@/nerveshub-link", program("nerveshub-link")))
            done = run("systemd-analyze", "verify", "--man=no", file, check=False)
            self.assertEqual((done.returncode, [line for line in done.stderr.splitlines() if "nerveshub-link" in line]), (0, []), done.stderr)


del AgentCase, Agents

if __name__ == "__main__":
    unittest.main()
