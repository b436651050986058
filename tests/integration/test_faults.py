"""The environment fails under the real server: disks fill up, fail and become slow, PostgreSQL restarts and freezes, the object store goes away,
descriptors run out, the clock jumps. Each time: a clear answer, one line in the log for the whole episode, a metric, everything that does not need
the broken part goes on, and the server recovers by itself, with everything it answered and nothing it refused.

NH_FAULT_SECONDS: how long PostgreSQL stays frozen (default: as short as the test needs; scripts/faults uses 60)."""

import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path


from faultcase import Cluster, Connected, FaultCase, until, works
from nhtest import DEADLINE, BUILD, Server, ServerCase, make_firmware, run

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


# ---- disks that fill up ------------------------------------------------------------------------------------------------------


def private_mounts():
    """A command that gives a program file systems of its own, or None and why not."""
    for command in (["unshare", "-m"], ["unshare", "-U", "-r", "-m"]):
        if works(*command, "sh", "-c", "mount -t tmpfs -o size=1M none /mnt"):
            return command, ""
    return None, "neither root nor unprivileged user namespaces may mount a tmpfs here"


class DiskFull(FaultCase):
    """Database and object store on small file systems of their own, which only the server sees; the test reaches them through /proc."""

    DATA_MB, OBJECTS_MB = 24, 12

    @classmethod
    def setUpClass(cls):
        command, why = private_mounts()
        if not command:
            raise unittest.SkipTest(why)
        cls.home = Path(tempfile.mkdtemp(prefix="nhtest-home-"))
        server = Server("--firmware-path", "objects")
        objects = server.home / "objects"
        server.extra[1] = str(objects)
        for folder in (server.data_dir, objects):
            folder.mkdir()
        server.wrap = [*command, "sh", "-c",
                       f"mount -t tmpfs -o size={cls.DATA_MB}M,mode=700 none {server.data_dir} && "
                       f"mount -t tmpfs -o size={cls.OBJECTS_MB}M,mode=700 none {objects} && exec \"$0\" \"$@\""]
        cls.server = server.start()
        inside = Path(f"/proc/{server.process.pid}/root")
        cls.objects_dir = inside / objects.relative_to("/")
        server.data_dir = inside / server.data_dir.relative_to("/")
        server.ca_file = server.data_dir / "pki" / "ca.crt"
        server.login()
        cls.prepare()

    def fill(self, folder):
        ballast = folder / "ballast"
        with open(ballast, "ab", buffering=0) as out:
            for size in (1 << 20, 1 << 16, 1 << 12):
                try:
                    while True:
                        out.write(b"x" * size)
                except OSError:
                    pass
        return ballast

    def test_database_full(self):
        ballast = self.fill(self.server.data_dir)
        answer = self.write_until(507)  # the first ones still find room in the log that SQLite has
        self.check_answer(answer, 507)
        self.assertEqual(self.metric("database_available"), 0)
        self.assertGreaterEqual(self.metric("storage_full_total"), 1)
        for _ in range(20):
            self.check_answer(self.write(), 507)
        self.assertEqual(len(self.lines("database.write state=failing")), 1)
        self.assertTrue(self.lines("database.write state=failing", "ENOSPC", "disk is full"))
        self.names()  # reads go on
        self.assertEqual(self.server.api("GET", f"{self.product_path}/firmwares/{self.fw1['uuid']}/download", expect=200).status, 200)
        self.steady.heartbeat()
        self.assertEqual(self.guest_status(), 503)
        ballast.unlink()
        self.check_recovered()
        until(lambda: self.write() and self.lines("database.write state=recovered"), "the log says that it is over")
        for suffix in ("", "-wal"):
            shutil.copyfile(self.server.data_dir / f"nerveshub.db{suffix}", self.home / f"copy.db{suffix}")
        with sqlite3.connect(self.home / "copy.db") as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(db.execute("PRAGMA foreign_key_check").fetchall(), [])

    def test_object_store_full(self):
        size = self.OBJECTS_MB * 1024 * 1024 // 2
        archive = make_firmware(self.home, "2.0.0", self.key_private, size=size)
        first = self.server.upload("acme", "Thermo%20Widget", archive).data
        second = make_firmware(self.home, "2.1.0", self.key_private, size=size)
        for _ in range(3):
            self.check_answer(self.server.upload("acme", "Thermo%20Widget", second, expect=None), 507)
        self.assertEqual(self.metric("objects_available"), 0)
        self.assertGreaterEqual(self.metric("storage_full_total"), 1)
        self.assertEqual(len(self.lines("objects.write state=failing", "ENOSPC")), 1)
        self.assertEqual([p for p in (self.objects_dir / ".uploads").iterdir()], [])  # what was refused takes no room
        # everything else goes on
        self.assertEqual(self.write().status, 201)
        self.steady.heartbeat()
        self.assertEqual(self.guest_status(), 101)
        path = f"{self.product_path}/firmwares/{first['uuid']}"
        self.assertTrue(self.server.api("GET", path + "/download", expect=200).body == archive.read_bytes())
        self.server.api("DELETE", path, expect=204)
        until(lambda: self.server.upload("acme", "Thermo%20Widget", second, expect=None).status == 201, "an upload once there is room", self.server.log_text)
        self.assertEqual(self.metric("objects_available"), 1)


# ---- disks that fail ------------------------------------------------------------------------------------------------------------


class Injection:
    """strace on the running server: system calls that fail or wait, from attach to detach."""

    def __init__(self, server, calls, effect):
        # quiet=attach would hide the line that is waited for
        self.process = subprocess.Popen([*AS_ROOT, "strace", "-f", "-o", "/dev/null", "-p", str(server.process.pid), "-e", f"trace={calls}",
                                         "-e", f"inject={calls}:{effect}"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" not in line:
            raise AssertionError(f"strace did not attach: {line}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGINT) if not AS_ROOT else run("sudo", "-n", "kill", "-INT", str(self.process.pid))
        self.process.communicate(timeout=DEADLINE)


def can_trace():
    if not shutil.which("strace"):
        return "strace is not installed"
    probe = subprocess.Popen(["sleep", "60"])
    try:
        tracer = subprocess.Popen([*AS_ROOT, "strace", "-o", "/dev/null", "-p", str(probe.pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        attached = "attached" in tracer.stderr.readline()
    finally:
        probe.kill()
        probe.wait()
    tracer.communicate(timeout=DEADLINE)
    return "" if attached else "strace may not attach to other processes here"


class DiskFails(FaultCase):
    server_args = ("--workers", "6")

    @classmethod
    def setUpClass(cls):
        why = can_trace()
        if why:
            raise unittest.SkipTest(why)
        super().setUpClass()

    def test_sync_fails(self):
        upload = make_firmware(self.home, "3.0.0", self.key_private)
        with Injection(self.server, "fsync,fdatasync", "error=EIO"):
            self.check_answer(self.write_until(503), 503)
            for _ in range(10):
                self.check_answer(self.write(), 503)
            self.assertEqual(self.metric("database_available"), 0)
            self.check_answer(self.server.upload("acme", "Thermo%20Widget", upload, expect=None), 503)
            self.check_nothing_lost()  # and reading works
            self.steady.heartbeat()
            self.assertEqual(self.guest_status(), 503)
        self.check_recovered()
        self.assertEqual(len(self.lines("database.write state=failing")), 1)
        self.assertEqual(len(self.lines("database.reopened")), 1)
        self.assertEqual(self.metric("database_reopened_total"), 1)
        self.assertEqual(self.server.upload("acme", "Thermo%20Widget", upload).status, 201)
        # and after a restart
        self.steady.close()
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.check_nothing_lost()
        type(self).steady = Connected(self.server, *self.identities["steady"], self.fw1)

    def test_reads_fail(self):
        """The database's file cannot be read: a device that wants its firmware is told to come back, not that there is none."""
        self.assertEqual(self.download().status, 200)
        # Whoever reads next has to look at the file, as somebody has written.
        self.write_until(201)
        with Injection(self.server, "pread64", "error=EIO"):
            answer = self.download()
        self.assertEqual((answer.status, answer.headers.get("retry-after")), (503, "5"))
        self.assertEqual(until(lambda: (lambda a: a if a.status == 200 else None)(self.download()), "downloads again").status, 200)
        self.check_recovered()

    def test_slow_disk(self):
        """Each sync takes seconds: devices that are connected notice nothing, and all that was asked is answered once."""
        answers, before = [], len(self.answered)
        writers = [threading.Thread(target=lambda: answers.append(self.write().status)) for _ in range(24)]
        with Injection(self.server, "fdatasync", "delay_enter=3000000"):
            for writer in writers:
                writer.start()
            for _ in range(10):
                self.steady.heartbeat()
            self.assertLess(len(answers), len(writers), "the disk was not slow")
        for writer in writers:
            writer.join(DEADLINE)
        self.assertEqual(answers, [201] * len(writers))
        self.assertEqual(len(set(self.answered[before:])), len(set(self.answered[before:]) & self.names()))
        self.check_recovered()


# ---- the object store goes away ---------------------------------------------------------------------------------------------------


class ObjectStoreAway(FaultCase):
    def test_away_and_back(self):
        objects, away = self.server.data_dir / "objects", self.server.data_dir / "away"
        path = f"{self.product_path}/firmwares/{self.fw1['uuid']}/download"
        stored = self.server.api("GET", path, expect=200).body
        upload = make_firmware(self.home, "4.0.0", self.key_private)
        for empty in (False, True):  # gone, and an empty mount point in its place
            shutil.copytree(objects, away)
            shutil.rmtree(objects)
            if empty:
                objects.mkdir()
            for _ in range(5):
                self.check_answer(self.server.api("GET", path), 503)
                self.check_answer(self.server.upload("acme", "Thermo%20Widget", upload, expect=None), 503)
            self.assertEqual(self.metric("objects_available"), 0)
            self.assertEqual(self.write().status, 201)
            self.assertIn("retry-after", self.server.api("GET", path).headers)
            self.steady.heartbeat()
            self.assertEqual(self.guest_status(), 101)
            if empty:
                objects.rmdir()
            away.rename(objects)
            self.assertTrue(self.server.api("GET", path, expect=200).body == stored)
        self.server.upload("acme", "Thermo%20Widget", upload)
        self.assertEqual(self.metric("objects_available"), 1)
        self.assertLessEqual(len(self.lines("objects.read state=failing", "mount it")), 2)


# ---- descriptors ---------------------------------------------------------------------------------------------------------------------


class DescriptorsExhausted(FaultCase):
    server_args = ("--loops", "1", "--workers", "4")

    @classmethod
    def setUpClass(cls):
        cls.limit = 300
        original = Server.start

        def limited(server):
            server.wrap = ["prlimit", f"--nofile={cls.limit}:{cls.limit}"]
            return original(server)
        Server.start = limited
        try:
            super().setUpClass()
        finally:
            Server.start = original

    def test_flood_of_connections(self):
        kept = http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=DEADLINE)
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}

        def ask(method, path, body=None):
            kept.request(method, "/api" + path, body=body and json.dumps(body), headers=headers)
            answer = kept.getresponse()
            answer.read()
            return answer.status
        self.assertEqual(ask("GET", "/orgs/acme/products"), 200)
        flood, before = [], len(os.listdir(f"/proc/{self.server.process.pid}/fd"))
        for _ in range(self.limit + 100):
            try:
                flood.append(socket.create_connection(("127.0.0.1", self.server.device_port), timeout=DEADLINE))
            except OSError:
                break
        until(lambda: len(os.listdir(f"/proc/{self.server.process.pid}/fd")) > before + 20, "the flood is in")
        # what is connected goes on, with database and files: the reserve is theirs
        for i in range(10):
            self.assertEqual(ask("POST", "/orgs/acme/products", {"name": f"flood{i}"}), 201)
            self.assertEqual(ask("GET", f"{self.product_path}/firmwares/{self.fw1['uuid']}/download"), 200)
        self.steady.heartbeat()
        self.assertEqual(self.lines("database.write state=failing") + self.lines("objects.read state=failing"), [])
        for s in flood:
            s.close()
        kept.close()
        self.check_recovered()


# ---- the clock ------------------------------------------------------------------------------------------------------------------------


def faketime_library():
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def preload():
    """libfaketime in front of the server, behind the sanitizer's library where it was built with one."""
    linked = subprocess.run(["ldd", str(BUILD / "src" / "nerveshubd" / "nerveshubd")], stdout=subprocess.PIPE, text=True).stdout
    sanitizer = [line.split("=>")[1].split()[0] for line in linked.splitlines() if "libasan" in line or "libtsan" in line]
    return ":".join([*sanitizer, str(faketime_library())])


class ClockSteps(FaultCase):
    @classmethod
    def setUpClass(cls):
        if not faketime_library():
            raise unittest.SkipTest("libfaketime is not installed")
        cls.control = Path(tempfile.mkdtemp(prefix="nhtest-clock-")) / "offset"
        cls.control.write_text("+0\n")
        cls.server_env = {"LD_PRELOAD": preload(), "FAKETIME_TIMESTAMP_FILE": str(cls.control), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                          "FAKETIME_DONT_RESET": "1"}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.control.parent)

    def step(self, seconds):
        self.control.write_text(f"{seconds:+d}\n")
        wanted = time.time() + seconds

        def stepped():
            date = self.server.http("GET", "/status/alive").headers["date"]
            at = time.mktime(time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
            return abs(at - wanted) < 120
        until(stepped, f"the server's clock stands {seconds} s off", self.server.log_text)

    def test_an_hour_each_way(self):
        fw2 = self.firmware("1.1.0")
        self.server.api("PUT", f"{self.product_path}/devices/steady", {"tags": ["clock"]}, expect=201)
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "all", "firmware": fw2["uuid"], "conditions": {"tags": ["clock"]}},
                        expect=201)
        self.server.api("PUT", f"{self.product_path}/deployments/all", {"deployment": {"state": "on"}}, expect=200)
        self.steady.close()
        type(self).steady = Connected(self.server, *self.identities["steady"], self.fw1)  # a join looks for its group
        self.assertIn("firmware_url", self.steady.event("update"))
        for number, seconds in enumerate((3600, 0, -3600, 0), 1):
            self.step(seconds)
            until(lambda: self.metric("clock_steps_total") == number, "the step is noticed", self.server.log_text)
            self.assertEqual(self.write().status, 201)  # the token is good, the group commit goes on
            self.steady.heartbeat()
            self.assertEqual(self.connection_status("steady"), "connected")
            self.assertEqual(self.guest_status(), 101)
            until(lambda: self.connection_status("guest") == "disconnected", "the guest's end is written")
        self.check_nothing_lost()
        self.assertEqual(len(self.lines("clock.stepped")), 4)
        # an update that was under way all the time still is
        self.assertEqual([m for m in self.steady.device.seen if m[3] == "update"], [])


# ---- PostgreSQL ---------------------------------------------------------------------------------------------------------------------------


class PostgresFails(FaultCase):
    server_args = ("--workers", "6", "--database-timeout", "2s")

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.server_env = {"DATABASE_URL": cls.cluster.url}
        try:
            super().setUpClass()
        except BaseException:
            cls.cluster.close()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.cluster.close()

    def check_nothing_lost(self):
        """A COMMIT whose answer was lost may have been made: those may be there, and only those."""
        names = self.names()
        self.assertEqual([n for n in self.answered if n not in names], [], "answered and lost")
        self.assertEqual([n for n in self.refused if n in names and n not in self.doubtful], [], "refused and there")

    def setUp(self):
        self.doubtful = set()

    def writers(self, count, stop):
        """Writers without pause, as long as stop is not set; whatever is answered is 201 or a clear refusal."""
        wrong = []

        def work():
            while not stop.is_set():
                answer = self.write()
                if answer.status not in (201, 503):
                    wrong.append(answer)
        threads = [threading.Thread(target=work) for _ in range(count)]
        for t in threads:
            t.start()
        return threads, wrong

    def test_restarted(self):
        stop = threading.Event()
        before = len(self.lines("database.write state=failing"))
        threads, wrong = self.writers(4, stop)
        for _ in range(2):
            answered = len(self.answered)
            self.cluster.control("restart", "-m", "immediate")
            until(lambda: len(self.answered) > answered + 10, "writes go on", self.server.log_text)
            self.steady.heartbeat()
        stop.set()
        for t in threads:
            t.join(DEADLINE)
        self.assertEqual([w.body for w in wrong], [])
        self.doubtful = set(self.refused)  # the server says of each that it may have been made
        self.check_recovered()
        self.assertLessEqual(len(self.lines("database.write state=failing")) - before, 3)

    def test_frozen(self):
        seconds = float(os.environ.get("NH_FAULT_SECONDS", "0"))
        self.cluster.signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        try:
            self.check_all_refused()
            self.assertEqual(self.server.api("GET", "/orgs/acme/products").status, 503)
            self.assertEqual(self.guest_status(), 503)
            self.assertEqual(self.metric("database_available"), 0)
            while time.monotonic() - frozen_at < seconds:
                self.steady.heartbeat()
                self.check_answer(self.write(), 503)
        finally:
            self.cluster.signal(signal.SIGCONT)
        self.doubtful = set(self.refused)
        self.check_recovered()

    def test_ends_of_connections_wait(self):
        """A device that goes away while the database is away is shown as disconnected afterwards; one that came back in between is not."""
        names = [f"visitor-{i}" for i in range(2)]
        devices = []
        for name in names:
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": name}, expect=201)
            cert, key = self.pki.device(name, "factory")
            devices.append(Connected(self.server, cert, key, self.fw1))
        self.cluster.control("stop", "-m", "immediate")
        try:
            self.check_answer(self.write_until(503), 503)
            devices[0].close()
            devices[1].close()
            until(lambda: self.metric("device_disconnects_pending") == 2, "two ends wait", self.server.log_text)
        finally:
            self.cluster.control("start", "-l", self.cluster.home / "log")
        self.write_until(201)
        back = Connected(self.server, devices[1].cert, devices[1].key, self.fw1)
        until(lambda: self.metric("device_disconnects_pending") == 0, "the ends are written", self.server.log_text)
        until(lambda: self.connection_status(names[0]) == "disconnected", "the one that left is gone")
        self.assertEqual(self.connection_status(names[1]), "connected")
        back.close()
        self.doubtful = set(self.refused)
        self.check_recovered()


del ServerCase, FaultCase  # bases are no tests of their own

if __name__ == "__main__":
    unittest.main()
