"""Every program ends without losing memory, whenever it is told to: the programs are built with AddressSanitizer, run with its leak check, and
whatever it has to say goes into a folder that must be empty at the end. Signals are sent when something was seen (a file, a log line, an answer),
never after a time."""

import asyncio
import http.server
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import zlib
from pathlib import Path

from nhtest import DEADLINE, ROOT, Device, Pki, Server, ServerCase, firmware_key, make_firmware, pem64, program, wait_until

VECTORS = ROOT / "tests" / "vectors" / "firmware"
LEAKY = "#include <stdlib.h>\nvoid *volatile kept;\nint main(void) { kept = malloc(77); kept = 0; return 0; }\n"


def sanitized():
    with open(program("nerveshubd"), "rb") as file:
        return b"__asan_init" in file.read()


class Sanitizers:
    """The environment in which a program reports into a folder of its own, and the verdict over what is there."""

    def __init__(self, home):
        self.folder = Path(home) / "sanitizers"
        self.folder.mkdir()
        log = f"log_path={self.folder}/report"
        self.env = {"ASAN_OPTIONS": f"detect_leaks=1:exitcode=99:{log}", "LSAN_OPTIONS": f"exitcode=99:{log}", "UBSAN_OPTIONS": f"print_stacktrace=1:{log}"}

    def reports(self):
        return "\n".join(path.read_text(errors="replace")[:6000] for path in sorted(self.folder.iterdir()))


@unittest.skipUnless(sanitized(), "these programs are not built with AddressSanitizer: nothing here would see a leak")
class Case(unittest.TestCase):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="nhtest-shutdown-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.sanitizers = Sanitizers(self.home)

    def clean(self, text=""):
        self.assertEqual(self.sanitizers.reports(), "", text[-3000:])

    def launch(self, name, *args, env=None):
        """Starts a program whose two outputs go to one file; the test waits for what appears there."""
        log = self.home / f"{name}-{len(list(self.home.iterdir()))}.log"
        environment = {**os.environ, **self.sanitizers.env, "HOME": str(self.home), **(env or {})}
        with open(log, "wb") as out:
            process = subprocess.Popen([program(name), *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=self.home)
        process.log = log
        self.addCleanup(self.end, process)
        return process, log

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def finish(self, process, log, sig, status=0):
        if sig:
            process.send_signal(sig)
        self.assertEqual(process.wait(DEADLINE), status, log.read_text(errors="replace")[-3000:] + self.sanitizers.reports())
        self.clean(log.read_text(errors="replace"))

    def run_program(self, name, *args, env=None, input=b""):
        environment = {**os.environ, **self.sanitizers.env, "HOME": str(self.home), **(env or {})}
        done = subprocess.run([program(name), *map(str, args)], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
                              env=environment, cwd=self.home)
        text = f"{name} {args}: {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}"
        self.assertIn(done.returncode, (0, 1), text + self.sanitizers.reports())
        self.clean(text)
        return done


class Watch(Case):
    def test_a_leak_would_be_seen_on_this_machine(self):
        source, leaky = self.home / "leaky.c", self.home / "leaky"
        source.write_text(LEAKY)
        subprocess.run(["gcc", "-O0", "-fsanitize=address", str(source), "-o", str(leaky)], check=True)
        status = subprocess.run([str(leaky)], env={**os.environ, **self.sanitizers.env}).returncode
        self.assertEqual(status, 99)
        self.assertIn("77 byte", self.sanitizers.reports())


class Daemon(Case):
    """nerveshubd in each phase of its life."""

    def server(self, *extra):
        server = Server("--drain", "1s", *extra, data_dir=self.home / "data", env=self.sanitizers.env)
        self.addCleanup(server.remove)
        self.addCleanup(lambda: server.process and server.process.poll() is None and (server.process.kill(), server.process.wait()))
        return server

    def stop(self, server, sig=signal.SIGTERM):
        self.assertEqual(server.stop(sig), 0, server.log_text()[-3000:] + self.sanitizers.reports())
        self.clean(server.log_text())

    def test_while_it_starts(self):
        """A file that the start makes is the sign; the end may come before, at, or after the next one."""
        for n, name in enumerate((".", "secret.key", "nerveshub.db", "pki/ca.key", "admin-password", "objects")):
            with self.subTest(name):
                data = self.home / f"data-{n}"
                process, log = self.launch("nerveshubd", "--data-dir", data, "--bind", "127.0.0.1", "--device-port", "0", "--web-port", "0",
                                           "--metrics-port", "0")
                wait_until((data / name).exists, process, name)
                self.finish(process, log, signal.SIGTERM)

    def test_right_after_the_start(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(sig.name):
                self.stop(self.server().start(), sig)

    def test_starts_that_fail(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            busy = str(taken.getsockname()[1])
            (self.home / "file").write_text("not a certificate")
            (self.home / "notdb").write_bytes(b"x" * 8192)
            ports = ("--bind", "127.0.0.1", "--device-port", "0", "--web-port", "0", "--metrics-port", "0", "--data-dir", self.home / "d")
            for args in (("--nonsense",), ("extra",), ("--device-port", "x"), ("--config", self.home / "none"), ("--config", self.home / "file"),
                         ("--log-level", "loud"), ("--bind", "no.such.address.invalid"), ("--web-port", busy), ("--device-port", busy),
                         ("--metrics-port", busy), ("--database", f"sqlite:{self.home}/notdb"), ("--database", "mysql://x"),
                         ("--database", "postgres://127.0.0.1:1/none"), ("--data-dir", self.home / "file" / "d"), ("--firmware-path", self.home / "file"),
                         ("--web-cert", self.home / "file", "--web-key", self.home / "file"), ("--web-cert", self.home / "file"),
                         ("--device-cert", self.home / "file", "--device-key", self.home / "none"), ("--secret-key", "short"),
                         ("--ready-file", self.home / "none" / "ready")):
                with self.subTest(args):
                    self.assertEqual(self.run_program("nerveshubd", *ports, *args).returncode, 1)
            for args in (("--help",), ("--version",), ("--check-config",)):
                self.assertEqual(self.run_program("nerveshubd", *ports, *args).returncode, 0)

    def test_with_clients_of_the_web_port(self):
        """One client in each state a connection can be in."""
        server = self.server("--drain", "1s").start()
        server.login()
        server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        server.api("POST", "/orgs/acme/products", {"name": "w"}, expect=201)
        bearer = f"Authorization: Bearer {server.token}\r\n"
        states = {
            "silent": b"",
            "half a line": b"GET /status/al",
            "half a head": b"GET /status/alive HTTP/1.1\r\nHost: x\r\n",
            "half a body": f"POST /api/orgs HTTP/1.1\r\nHost: x\r\n{bearer}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode(),
            "half a chunk": f"POST /api/orgs HTTP/1.1\r\nHost: x\r\n{bearer}Transfer-Encoding: chunked\r\n\r\n100\r\nabc".encode(),
            "half an upload": (f"POST /api/orgs/acme/products/w/firmwares HTTP/1.1\r\nHost: x\r\n{bearer}"
                               "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 10000000\r\n\r\n"
                               "--b\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x.fw\"\r\n\r\n").encode() + b"P" * 300000,
            "idle": b"GET /status/alive HTTP/1.1\r\nHost: x\r\n\r\n",
        }
        clients = {}
        for name, sent in states.items():
            clients[name] = client = socket.create_connection(("127.0.0.1", server.web_port), DEADLINE)
            self.addCleanup(client.close)
            client.sendall(sent)
        self.assertIn(b"200", clients["idle"].recv(4096))
        wait_until(lambda: any(f.stat().st_size for f in (server.data_dir / "objects").rglob("*") if f.is_file()), server.process, "the upload's file")
        self.stop(server)
        self.assertEqual([f for f in (server.data_dir / "objects").rglob("*") if f.is_file()], [], "a given-up upload leaves nothing")

    def test_clients_during_the_drain(self):
        server = self.server("--drain", "3s").start()
        with socket.create_connection(("127.0.0.1", server.web_port), DEADLINE) as busy:
            busy.sendall(b"POST /api/users/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "server.stopping" in server.log_text(), server.process, "the stop")
            for port in (server.web_port, server.device_port, server.metrics_port):
                try:
                    with socket.create_connection(("127.0.0.1", port), DEADLINE) as late:
                        late.sendall(b"GET /status/alive HTTP/1.1\r\nHost: x\r\n\r\n")
                        late.recv(100)
                except OSError:
                    pass  # closed or refused: either is an answer
            server.process.wait(DEADLINE)
            self.assertEqual(server.stop(), 0, server.log_text()[-3000:] + self.sanitizers.reports())
            self.clean(server.log_text())

    def test_a_second_signal_does_not_wait_for_the_drain(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(sig):
                server = self.server("--drain", "1h").start()
                with socket.create_connection(("127.0.0.1", server.web_port), DEADLINE) as busy:
                    busy.sendall(b"POST /api/users/login HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
                    self.assertIn(b"100", busy.recv(100))
                    server.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: "server.stopping" in server.log_text(), server.process, "the stop")
                    # The line comes just before the signal's old meaning is back: repeat until one has arrived after it.
                    deadline = time.monotonic() + DEADLINE
                    while server.process.poll() is None and time.monotonic() < deadline:
                        server.process.send_signal(sig)
                        try:
                            server.process.wait(0.05)
                        except subprocess.TimeoutExpired:
                            pass
                    self.assertEqual(server.stop(), -sig)


@unittest.skipUnless(sanitized(), "not built with AddressSanitizer")
class Devices(ServerCase):
    """The server ends with devices in each state, then the device's programs end in each of theirs."""

    server_args = ("--drain", "1s")

    @classmethod
    def setUpClass(cls):
        cls.reports = Path(tempfile.mkdtemp(prefix="nhtest-reports-"))
        cls.sanitizers = Sanitizers(cls.reports)
        cls.server_env = cls.sanitizers.env
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            reports = cls.sanitizers.reports()
            shutil.rmtree(cls.reports, ignore_errors=True)
        if reports:
            raise AssertionError(reports)

    def setUp(self):
        if self.server.process.poll() is not None:
            self.server.start()

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory")
        cls.uploaded = cls.firmware(cls, "1.0.0", size=8 << 20)
        for name in ("d-1", "d-2", "d-3"):
            cls.server.api("POST", f"{cls.product_path}/devices", {"identifier": name}, expect=201)

    def ended(self):
        self.server.process.wait(DEADLINE)
        self.assertEqual(self.server.stop(), 0, self.server.log_text()[-3000:])
        self.assertEqual(self.sanitizers.reports(), "")

    def raw_tls(self, name):
        cert, key = self.pki.device(name, "factory")
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        context.load_cert_chain(str(cert), str(key))
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.server.device_port), DEADLINE), server_hostname="localhost")

    def test_devices_in_every_state(self):
        async def session():
            cert, key = self.pki.device("d-1", "factory")
            held = [socket.create_connection(("127.0.0.1", self.server.device_port), DEADLINE) for _ in range(2)]
            held[1].sendall(b"\x16\x03\x01\x02\x00\x01")  # a client hello that never ends
            held.append(self.raw_tls("d-2"))              # a handshake and nothing more
            async with Device(self.server, cert, key) as joined:
                self.assertEqual((await joined.join(self.uploaded))["status"], "ok")
                cert, key = self.pki.device("d-3", "factory")
                async with Device(self.server, cert, key):  # upgraded, never joined
                    self.server.process.send_signal(signal.SIGTERM)
                    await joined.closed()
            for one in held:
                one.close()

        asyncio.run(session())
        self.ended()

    def test_a_download_that_is_not_read(self):
        """The device stops reading in the middle: the server's end waits for nobody longer than its drain."""
        async def offered():
            cert, key = self.pki.device("d-1", "factory")
            async with Device(self.server, cert, key) as device:
                await device.join({**self.uploaded, "uuid": "8a8b902c-d1a9-58aa-6111-04ab57c2f2a8", "version": "0.1.0"})
                self.server.api("POST", f"{self.product_path}/devices/d-1/upgrade", {"uuid": self.uploaded["uuid"]})
                return (await device.event("update"))["firmware_url"]

        url = asyncio.run(offered())
        path = re.sub(r"^https?://[^/]*", "", url)
        with self.raw_tls("d-2") as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.assertIn(b" 200 ", client.recv(1000))
            self.server.process.send_signal(signal.SIGTERM)
            self.ended()


class Commands(Case):
    """nh and nh-fwup: every command, and what can go wrong with it."""

    def leaves(self, *group):
        """Every command of `nh`, as its own help lists them."""
        text = self.run_program("nh", *group, "--help").stdout.decode()
        rows = re.findall(r"^  ([a-z][a-z -]*?)((?: [<\[][^ ]+)*)   ", text.split("Commands:")[-1].split("Global flags:")[0], re.M) if "Commands:" in text else []
        for words, arguments in rows:
            if "see: nh" in next(line for line in text.splitlines() if line.startswith(f"  {words} ")):
                yield from self.leaves(*words.split())
            else:
                yield (*group, *words.split()), ["x"] * len(arguments.split())

    def nh(self, *args, **kwargs):
        return self.run_program("nh", "--data-dir", self.home / "nh", *args, **kwargs)

    def test_nh_without_a_server_and_with_a_strange_one(self):
        commands = list(self.leaves())
        self.assertGreater(len(commands), 40, commands)

        class Strange(http.server.BaseHTTPRequestHandler):
            answers = [b"", b"{", b'{"data":', b'{"data":7}', b'{"data":[7,{"name":{}},null]}', b'{"data":{}}', b"[]"]

            def do_GET(self):
                body = self.answers[zlib.crc32(self.path.encode()) % len(self.answers)]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

            def log_message(self, *args):
                pass

        strange = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strange)
        threading.Thread(target=strange.serve_forever, daemon=True).start()
        self.addCleanup(strange.server_close)
        self.addCleanup(strange.shutdown)
        general = ("--token", "nhu_x", "--org", "acme", "--product", "w", "--non-interactive")
        for words, arguments in commands:
            with self.subTest(" ".join(words)):
                self.nh(*words, "--help")
                self.nh(*words, "--nonsense")
                self.nh(*words)
                self.nh(*words, *arguments, *general, "--uri", "http://127.0.0.1:1")
                self.nh(*words, *arguments, *general, "--uri", f"http://127.0.0.1:{strange.server_port}", "-o", "json")
        for args in ((), ("nonsense",), ("device", "nonsense"), ("--version",), ("version",), ("config", "set", "uri", "not a url"), ("config", "show")):
            self.nh(*args)

    def test_nh_against_the_server(self):
        server = Server("--drain", "1s", data_dir=self.home / "data", env=self.sanitizers.env).start()
        self.addCleanup(server.remove)
        self.addCleanup(lambda: self.end(server.process))
        password = (server.data_dir / "admin-password").read_bytes()
        key, _ = firmware_key(self.home)
        archive = make_firmware(self.home, "1.0.0", key, product="w")

        def good(*args, **kwargs):
            done = self.nh(*args, **kwargs)
            self.assertEqual(done.returncode, 0, f"{args}: {done.stderr}")
            return done.stdout.decode()

        good("config", "set", "uri", f"http://localhost:{server.web_port}")
        good("user", "auth", "--email", "admin@localhost", "--non-interactive", input=password)
        for args in (("org", "create", "acme"), ("config", "set", "org", "acme"), ("product", "create", "w"), ("config", "set", "product", "w"),
                     ("key", "create", "dev", "--password", "secret"), ("key", "list"), ("firmware", "upload", archive, "--key", "dev", "--password", "secret"),
                     ("firmware", "list"), ("device", "create", "d"), ("device", "show", "d"), ("device", "list"), ("org", "members"), ("product", "list"),
                     ("ca", "generate", "--name", "f", "--upload"), ("ca", "list"), ("product", "secret", "create"), ("product", "secret", "list")):
            good(*args)
        for args in (("org", "create", "acme"), ("key", "create", "dev", "--password", "x"), ("firmware", "upload", archive, "--key", "dev", "--password", "bad"),
                     ("firmware", "upload", self.home / "none.fw"), ("device", "show", "nobody"), ("user", "whoami", "--token", "nhu_wrong")):
            self.assertEqual(self.nh(*args).returncode, 1, args)
        self.assertEqual(server.stop(), 0, server.log_text()[-3000:])
        self.clean(server.log_text())

    def test_nh_fwup(self):
        key, public, archives = VECTORS / "keys" / "key1.priv", VECTORS / "keys" / "key1.pub", sorted(VECTORS.glob("*.fw"))
        self.assertGreater(len(archives), 10)
        disk, out = self.home / "disk.img", self.home / "out.fw"
        for archive in archives:
            with self.subTest(archive.name):
                for args in (("-m",), ("-l",), ("-V",), ("-V", "-p", public), ("-S", "-o", out, "-s", key),
                             ("-a", "-d", disk, "-t", "complete"), ("-a", "-d", disk, "-t", "upgrade", "-p", public), ("-F", "-a", "-d", disk, "-t", "none")):
                    self.run_program("nh-fwup", *args, "-i", archive)
                    self.run_program("nh-fwup", *args, input=archive.read_bytes()[:3000])
        conf = self.home / "bad.conf"
        for text in ("", "x", 'meta-product = "a', "file-resource a { host-path = \"/none\" }", "task t { on-init { raw_write() } }", "define(A, ${A})\n" * 3,
                     'include("/none")', "mbr m { partition 9 { block-offset = 1 } }", "require-fwup-version = \"99.0.0\""):
            conf.write_text(text)
            with self.subTest(conf=text):
                self.run_program("nh-fwup", "-c", "-f", conf, "-o", out)
        for source in sorted((VECTORS / "conf").glob("*.conf")):
            self.run_program("nh-fwup", "-c", "-f", source, "-o", out, "-s", key)
        for args in ((), ("--help",), ("--version",), ("-q",), ("-g", "-o", self.home / "pair"), ("-g", "-o", self.home / "pair"), ("-g", "-o", "/none/pair"),
                     ("-a",), ("-z",), ("-D",), ("--sparse-check", self.home / "sparse"), ("-S", "-i", archives[0], "-s", "/none"), ("-c", "-f", "/none", "-o", out),
                     ("-a", "-d", self.home, "-i", archives[0], "-t", "complete"), ("-V", "-p", conf, "-i", archives[0])):
            with self.subTest(args):
                self.run_program("nh-fwup", *args)


class Agents(Case):
    """nerveshub-link and nerveshub-fleet: signals while they connect, are connected, download; and bad options."""

    def setUp(self):
        super().setUp()
        self.server = Server("--drain", "1s", data_dir=self.home / "data", env=self.sanitizers.env).start()
        self.addCleanup(self.server.remove)
        self.addCleanup(lambda: self.end(self.server.process))
        self.server.login()
        self.server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        self.server.api("POST", "/orgs/acme/products", {"name": "virtual"}, expect=201)
        self.key, self.public = firmware_key(self.home)
        self.server.api("POST", "/orgs/acme/keys", {"name": "k", "key": self.public.read_text().strip()}, expect=201)
        self.secret = self.server.api("POST", "/orgs/acme/products/virtual/shared_secrets", {}, expect=201).data

    def fleet_firmware(self, version, size):
        path = self.home / f"{version}.fw"
        self.assertEqual(self.run_program("nerveshub-fleet", "make-firmware", "--version", version, "--size", size, "--key", self.key, "--output", path).returncode, 0)
        return path

    def deploy(self, path):
        uuid = self.server.upload("acme", "virtual", path).data["uuid"]
        self.server.api("POST", "/orgs/acme/products/virtual/deployments", {"name": "all", "firmware": uuid, "concurrent_updates": 60}, expect=201)
        self.server.api("PUT", "/orgs/acme/products/virtual/deployments/all", {"deployment": {"state": "on"}})

    def fleet_args(self, firmware, *more, port=None):
        return ("run", "--server", f"localhost:{port or self.server.device_port}", "--ca", self.server.ca_file, "--dir", self.home / "fleet",
                "--firmware", firmware, "--public-key", self.public, "--secrets", "5", "--secret-key", self.secret["key"],
                "--secret", self.secret["secret"], "--json", self.home / "fleet.json", *more)

    def metric(self, name):
        text = self.server.http("GET", "/metrics", port=self.server.metrics_port).body.decode()
        return int(re.search(rf"^{name} ([0-9]+)$", text, re.M).group(1))

    def online(self):
        return self.metric("nerveshub_devices_connected")

    def test_fleet(self):
        old, new = self.fleet_firmware("1.0.0", "64k"), self.fleet_firmware("2.0.0", "4M")
        for sig in (signal.SIGTERM, signal.SIGINT):
            with self.subTest("nobody answers", sig=sig.name), socket.create_server(("127.0.0.1", 0)) as deaf:
                deaf.settimeout(DEADLINE)
                process, log = self.launch("nerveshub-fleet", *self.fleet_args(old, port=deaf.getsockname()[1]))
                with deaf.accept()[0]:
                    self.finish_fleet(process, log, sig)
        with self.subTest("connected"):
            process, log = self.launch("nerveshub-fleet", *self.fleet_args(old))
            wait_until(lambda: self.online() == 5, process, "five devices")
            self.finish_fleet(process, log, signal.SIGTERM)
        self.deploy(new)
        with self.subTest("during downloads"):
            before = self.metric("nerveshub_device_pushes_total")
            process, log = self.launch("nerveshub-fleet", *self.fleet_args(old, "--download-rate", "20k"))
            wait_until(lambda: self.metric("nerveshub_device_pushes_total") > before, process, "an update")
            self.finish_fleet(process, log, signal.SIGTERM)
        with self.subTest("to the end"):
            process, log = self.launch("nerveshub-fleet", *self.fleet_args(old, "--until-settled", "--timeout", f"{DEADLINE}s"))
            self.finish(process, log, None)
        for args in ((), ("nonsense",), ("run",), ("run", "--nonsense"), ("make-firmware",), ("make-firmware", "--output", "/none/x", "--size", "64k"),
                     ("make-firmware", "--output", self.home / "x.fw", "--version", "not one"), self.fleet_args(self.home / "none.fw"),
                     self.fleet_args(old, "--ca", self.home / "none"), self.fleet_args(old, "--script", self.home / "none"), ("--help",), ("run", "--help")):
            with self.subTest(args):
                self.run_program("nerveshub-fleet", *args)

    def finish_fleet(self, process, log, sig):
        """Status 1 says that devices are not settled: that is so by intent here."""
        process.send_signal(sig)
        self.assertIn(process.wait(DEADLINE), (0, 1), log.read_text(errors="replace")[-3000:] + self.sanitizers.reports())
        self.clean(log.read_text(errors="replace"))

    def link_args(self, disk, port=None):
        secret = self.home / "secret"
        secret.write_text(self.secret["secret"])
        return ("--server", f"localhost:{port or self.server.device_port}", "--ca", self.server.ca_file, "--secret-key", self.secret["key"],
                "--secret-file", secret, "--identifier", "agent-1", "--public-key", self.public, "--device", disk, "--env-offset", 16 * 512, "--env-size", 16 * 512, "--installer", "builtin",
                "--reboot-command", "true", "--log-level", "debug")

    def fleet_disk(self, firmware):
        """A disk with firmware and environment, as the fleet makes them for its devices."""
        process, log = self.launch("nerveshub-fleet", *self.fleet_args(firmware))
        wait_until(lambda: self.online() == 5, process, "five devices")
        self.finish_fleet(process, log, signal.SIGTERM)
        return next((self.home / "fleet").glob("*.disk"))

    def test_link(self):
        old, new = self.fleet_firmware("1.0.0", "64k"), self.fleet_firmware("2.0.0", "8M")
        disk = self.fleet_disk(old)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            for sig in (signal.SIGTERM, signal.SIGINT):
                process, log = self.launch("nerveshub-link", *self.link_args(disk, closed.getsockname()[1]))
                wait_until(lambda: "disconnected" in log.read_text(), process, "a refused connection")
                self.finish(process, log, sig)
        process, log = self.launch("nerveshub-link", *self.link_args(disk))
        wait_until(lambda: "joined" in log.read_text(), process, "the join")
        self.finish(process, log, signal.SIGTERM)
        self.deploy(new)
        process, log = self.launch("nerveshub-link", *self.link_args(disk))
        wait_until(lambda: "update.started" in log.read_text(), process, "the update")
        self.finish(process, log, signal.SIGTERM)
        for more in (("--check",), ("--help",), ("--version",), ("--nonsense",), ("--check", "--ca", "/none"), ("--check", "--public-key", "x"),
                     ("--check", "--cert", "/none"), ("--check", "--secret-file", "/none"), ("--check", "--config", "/none"), ("--check", "--fwup", "/none", "--installer", "fwup")):
            with self.subTest(more):
                self.run_program("nerveshub-link", *self.link_args(disk), *more)
        self.run_program("nerveshub-link")


if __name__ == "__main__":
    unittest.main()
