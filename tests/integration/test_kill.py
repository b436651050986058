"""SIGKILL at any moment. A real server with a fleet in a rollout and people who write and upload is killed, started again on the same data, and asked:
what was answered is there, what was not is there whole or not at all, no object without a row and no row without its object, nobody marked as connected
who is not; and the fleet finishes its rollouts whatever happened.

The kill comes a seeded while after something that was seen to happen (an upload's piece, a request, a line of the server's log). NH_KILL_SEED repeats the
choices; the processes' own timing is theirs. NH_KILL_ROUNDS (20): so many kills, of which PostgreSQL gets a quarter; NH_SERVER_ENGINE=postgres: all there.
"After restart" is immediately: the moment the ready file is there."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
from collections import Counter
from pathlib import Path

import nhtest
from nhtest import DEADLINE, ROOT, Server, program, run

ROUNDS = int(os.environ.get("NH_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("NH_KILL_SEED") or random.SystemRandom().randrange(1 << 32))
REPORT = int(os.environ.get("NH_KILL_REPORT", "0"))  # a summary line each so many rounds
DEVICES = 8
PRODUCT = "/orgs/acme/products/Thermo%20Widget"
SETTLE = 120  # seconds in which a rollout must be over once the kills are; far below the half hour after which lost updates expire

# What is waited for, and how long (seconds, at most) the kill comes after it.
MOMENTS = {
    "anything": 1.5, "storm": 0.8, "piece": 0.1, "last piece": 0.2, "uploaded": 0.02, "write": 0.03, "delete": 0.03, "update sent": 0.1,
    "download": 0.5, "drain": 0.4, "start": 0.5,
}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Unanswered(Exception):
    """The server went away before it answered."""


class Moments:
    """Tells the killer what happens; only what is waited for counts."""

    def __init__(self):
        self.changed, self.wanted, self.seen = threading.Condition(), None, False

    def hit(self, name):
        with self.changed:
            if self.wanted == name:
                self.seen = True
                self.changed.notify_all()

    def wait(self, name, seconds):
        with self.changed:
            self.wanted, self.seen = name, False
            self.changed.wait_for(lambda: self.seen, seconds)
            self.wanted = None
            return self.seen


class Gate:
    """Writers pass while it is open; close() waits until none is inside."""

    def __init__(self):
        self.changed, self.open, self.inside, self.over = threading.Condition(), True, 0, False

    def enter(self):
        with self.changed:
            self.changed.wait_for(lambda: self.open or self.over)
            self.inside += not self.over
            return not self.over

    def leave(self):
        with self.changed:
            self.inside -= 1
            self.changed.notify_all()

    def set(self, open):
        with self.changed:
            self.open = open
            self.changed.notify_all()
            if not open and not self.changed.wait_for(lambda: self.inside == 0, DEADLINE):
                raise AssertionError("a writer hangs after its server was killed")

    def end(self):
        with self.changed:
            self.over = True
            self.changed.notify_all()


class Item:
    """One thing of the API, and what is known of it: `now` (as the server answered, None = absent) and, after a request without an answer, what it was to be."""

    def __init__(self, create, path, body):
        self.create, self.path, self.body = create, path, body
        self.now, self.maybe = None, []

    def check(self, world):
        answer = world.server.api("GET", self.path)
        if answer.status not in (200, 404):
            raise AssertionError(f"GET {self.path}: {answer.status}")
        found = answer.data if answer.status == 200 else None
        if found == self.now or any(self.fits(found, wanted) for wanted in self.maybe):
            world.tally["unanswered, done" if found != self.now else "unanswered, not done" if self.maybe else "answered, there"] += 1
            self.now, self.maybe = found, []
            return
        raise AssertionError(f"{self.path} is {found}, answered was {self.now}, asked for was {self.maybe}")

    @staticmethod
    def fits(found, wanted):
        if found is None or wanted is None:
            return found is wanted
        return all(found.get(key) == value for key, value in wanted.items())

    def attempt(self, world, method, path, body, wanted):
        self.maybe.append(wanted)
        world.moments.hit("delete" if method == "DELETE" else "write")
        answer = world.call(method, path, body)
        if answer.status == 503:
            return  # it may have been done all the same: nobody said that it was
        if answer.status not in (200, 201, 204):
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:300]!r}; now {self.now}, maybe {self.maybe}")
        self.now, self.maybe = (answer.data if wanted is not None else None), []

    def step(self, world, rng):
        if self.now is None:
            self.attempt(world, "POST", self.create, self.body, self.body)
        elif "identifier" in self.body and rng.random() < 0.6:
            body = {"tags": [f"t{rng.randrange(1000)}", "kill"], "description": f"d{rng.randrange(1000)}"}
            self.attempt(world, "PUT", self.path, body, body)
        else:
            self.attempt(world, "DELETE", self.path, None, None)


class Firmware(Item):
    def __init__(self, path, uuid):
        super().__init__(f"{PRODUCT}/firmwares", f"{PRODUCT}/firmwares/{uuid}", {"uuid": uuid})
        self.content = Path(path).read_bytes()

    def step(self, world, rng):
        if self.now is not None:
            return self.attempt(world, "DELETE", self.path, None, None)
        self.maybe.append(self.body)
        answer = world.upload(self.content)
        if answer.status == 503:
            return
        if answer.status != 201:
            raise AssertionError(f"upload of {self.path}: {answer.status} {answer.body[:300]!r}")
        self.now, self.maybe = answer.data, []

    def check(self, world):
        super().check(world)
        if self.now is None:
            return
        answer = world.server.api("GET", self.path + "/download")
        if answer.status != 200 or hashlib.sha256(answer.body).digest() != hashlib.sha256(self.content).digest():
            raise AssertionError(f"download of {self.path}: {answer.status}, {len(answer.body)} bytes of {len(self.content)}")


class World:
    def __init__(self, rng):
        self.rng, self.tally, self.moments, self.gate = rng, Counter(), Moments(), Gate()
        self.home = Path(tempfile.mkdtemp(prefix="nhkill-"))
        self.failures, self.threads = [], []
        self.server = Server("--drain", "3s", "--orchestrator-interval", "30s").start()
        self.postgres = "DATABASE_URL" in self.server.env
        self.server.extra += ["--device-port", str(self.server.device_port), "--web-port", str(self.server.web_port)]
        self.over = threading.Event()
        self.prepare()

    # ---- what is there before the first kill

    def prepare(self):
        server = self.server
        server.login()
        server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        server.api("POST", "/orgs/acme/products", {"name": "Thermo Widget"}, expect=201)
        self.private, self.public = nhtest.firmware_key(self.home)
        server.api("POST", "/orgs/acme/keys", {"name": "k1", "key": self.public.read_text().strip()}, expect=201)
        self.pki = nhtest.Pki(self.home / "pki")
        case = nhtest.ServerCase("register_ca")
        case.server, case.pki = server, self.pki
        case.register_ca("factory", product_name="Thermo Widget", tags=["fleet"], description="fleet")
        self.first = self.make("1.0.0")
        first = server.upload("acme", "Thermo%20Widget", self.first).data
        server.api("POST", f"{PRODUCT}/deployments", {"name": "all", "firmware": first["uuid"], "concurrent_updates": 4,
                                                      "conditions": {"version": "", "tags": []}}, expect=201)
        server.api("PUT", f"{PRODUCT}/deployments/all", {"deployment": {"state": "on"}})

    def make(self, version, size="300k"):
        path = self.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--product", "Thermo Widget", "--version", version, "--size", size, "--key", self.private,
            "--output", path)
        return path

    def uuid_of(self, path):
        listed = run(program("nh-fwup"), "-m", "-i", path).stdout
        return next(line.split('"')[1] for line in listed.splitlines() if line.startswith("meta-uuid"))

    # ---- talking to a server that may go away at any moment

    def call(self, method, path, body=None):
        try:
            return self.server.api(method, path, body)
        except (OSError, nhtest.http.client.HTTPException) as gone:
            raise Unanswered(f"{method} {path}: {gone}") from gone

    def upload(self, content):
        boundary = "kill-boundary"
        head = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x.fw\"\r\n"
                "Content-Type: application/octet-stream\r\n\r\n").encode()
        body = head + content + f"\r\n--{boundary}--\r\n".encode()

        def pieces():
            for at in range(0, len(body), 16384):
                self.moments.hit("piece" if at + 16384 < len(body) else "last piece")
                yield body[at:at + 16384]

        connection = nhtest.http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=DEADLINE)
        try:
            connection.request("POST", f"/api{PRODUCT}/firmwares", body=pieces(), headers={
                "Authorization": f"Bearer {self.server.token}", "Content-Length": str(len(body)),
                "Content-Type": f"multipart/form-data; boundary={boundary}"})
            answer = connection.getresponse()
            response = nhtest.Response(answer.status, {}, answer.read())
            self.moments.hit("uploaded")
            return response
        except (OSError, nhtest.http.client.HTTPException) as gone:
            raise Unanswered(f"upload: {gone}") from gone
        finally:
            connection.close()

    # ---- who works while it is killed

    def start_thread(self, function, *args):
        def guarded():
            try:
                function(*args)
            except BaseException as failure:  # told by the main thread, with the seed
                self.failures.append(failure)
        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()

    def items_of(self, number):
        product = f"{PRODUCT}/devices"
        key = random.Random(number).randbytes(32)
        items = [Item(product, f"{product}/w{number}-{i}", {"identifier": f"w{number}-{i}", "tags": ["new"], "description": "made"}) for i in range(4)]
        items += [Item("/orgs/acme/products", f"/orgs/acme/products/{urllib.parse.quote(f'p {number} {i}')}", {"name": f"p {number} {i}"}) for i in range(2)]
        items.append(Item("/orgs/acme/keys", f"/orgs/acme/keys/w{number}", {"name": f"w{number}", "key": nhtest.base64.b64encode(key).decode()}))
        for i in range(2):
            path = self.make(f"0.{number}.{i}")
            items += [Firmware(path, self.uuid_of(path))] * 3
        return items

    def write(self, items, seed):
        rng = random.Random(seed)
        while self.gate.enter():
            try:
                item = rng.choice(items)
                if not item.maybe:  # else its state is open until the next check
                    item.step(self, rng)
                    self.tally["writes answered"] += not item.maybe
            except Unanswered:
                self.tally["writes unanswered"] += 1
            finally:
                self.gate.leave()
            if self.server.process.poll() is not None:
                self.over.wait(0.01)  # nobody answers: until the next start

    def insist(self, function):
        """Repeats a request that can be repeated until a server answers it."""
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            try:
                if self.gate.enter():
                    try:
                        answer = function()
                    finally:
                        self.gate.leave()
                else:
                    answer = function()
                if answer.status not in (503,):
                    return answer
            except Unanswered:
                pass
            self.over.wait(0.02)
        raise AssertionError("no server answered")

    def roll_out(self):
        """Release after release for the whole fleet, until the kills are over; the last one has to end too."""
        number = 0
        while not self.over.is_set():
            number += 1
            version = f"1.{number}.0"
            path = self.make(version)
            uuid, content = self.uuid_of(path), path.read_bytes()
            answer = self.insist(lambda: self.upload(content))
            if answer.status != 201 and b"taken" not in answer.body:  # taken: the one before was done, but not answered
                raise AssertionError(f"release {version}: {answer.status} {answer.body!r}")
            answer = self.insist(lambda: self.call("PUT", f"{PRODUCT}/deployments/all", {"deployment": {"firmware": uuid}}))
            if answer.status != 200:
                raise AssertionError(f"release {version}: {answer.status} {answer.body!r}")
            self.run_fleet(version, uuid)
            self.tally["rollouts"] += 1

    def run_fleet(self, version, uuid):
        out, ca = self.home / "fleet.json", self.home / "pki" / "factory"
        out.unlink(missing_ok=True)
        done = subprocess.run(
            [program("nerveshub-fleet"), "run", "--server", f"localhost:{self.server.device_port}", "--ca", str(self.server.ca_file), "--dir", str(self.home / "fleet"),
             "--firmware", str(self.first), "--public-key", str(self.public), "--certificates", str(DEVICES), "--device-ca", f"{ca}.crt", "--device-ca-key", f"{ca}.key",
             "--download-rate", "600k", "--until-settled", "--timeout", f"{self.fleet_seconds()}s", "--expect-version", version, "--json", str(out), "--quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        devices = json.loads(out.read_text()) if out.exists() else []
        odd = [d for d in devices if (d["outcome"], d["version"], d["updates"]) != ("updated", version, 1)]
        if done.returncode != 0 or odd or len(devices) != DEVICES:
            raise AssertionError(f"rollout of {version}: status {done.returncode}, not as it should be: {odd}\n{done.stdout[-2000:]}")
        counted = dict(self.ask(f"SELECT d.identifier, count(*) FROM update_stats s JOIN devices d ON d.id = s.device_id "
                                f"WHERE s.target_firmware_uuid = '{uuid}' GROUP BY d.identifier"))
        if counted != {d["identifier"]: 1 for d in devices}:
            raise AssertionError(f"updates to {version} as the server counts them: {counted}")

    def fleet_seconds(self):
        return SETTLE + 4 * ROUNDS

    # ---- what must be true after every restart

    def ask(self, sql):
        if self.postgres:
            text = run("psql", self.server.env["DATABASE_URL"], "-qAt", "-F", "\t", "-c", sql).stdout
            return [tuple(int(cell) if cell.lstrip("-").isdigit() else cell for cell in line.split("\t")) for line in text.splitlines()]
        database = sqlite3.connect(f"file:{self.server.data_dir}/nerveshub.db?mode=ro", uri=True, timeout=DEADLINE)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def equal(self, what, got, wanted):
        if got != wanted:
            raise AssertionError(f"{what}: {got} instead of {wanted}")

    def check_database(self):
        if not self.postgres:
            self.equal("integrity", self.ask("PRAGMA integrity_check"), [("ok",)])
            self.equal("foreign keys", self.ask("PRAGMA foreign_key_check"), [])
            return
        keys = self.ask("SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text, b.attname FROM pg_constraint c "
                        "JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1] "
                        "JOIN pg_attribute b ON b.attrelid = confrelid AND b.attnum = confkey[1] WHERE contype = 'f'")
        assert len(keys) > 20
        union = " UNION ALL ".join(f"SELECT '{t}.{c}' FROM {t} x WHERE x.{c} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {u} y WHERE y.{d} = x.{c})" for t, c, u, d in keys)
        self.equal("dangling references", self.ask(union), [])

    def check_counters(self):
        for table, column in (("devices", "device_count"), ("firmwares", "firmware_count")):
            live = " AND x.deleted_at IS NULL" if table == "devices" else ""
            self.equal(column, self.ask(f"SELECT p.name, p.{column} FROM products p WHERE p.deleted_at IS NULL AND p.{column} <> "
                                        f"(SELECT count(*) FROM {table} x WHERE x.product_id = p.id{live})"), [])

    def check_files(self):
        objects = self.server.data_dir / "objects"
        found = {str(p.relative_to(objects)) for p in objects.rglob("*") if p.is_file()}
        self.equal("objects", found, {row[0] for row in self.ask("SELECT object_key FROM firmwares")})
        self.equal("loose objects", self.ask("SELECT object_key FROM loose_objects"), [])
        names = {p.name for p in self.server.data_dir.iterdir()} | {p.name for p in (self.server.data_dir / "pki").iterdir()}
        usual = {"objects", "pki", "secret.key", "node", "admin-password", "ca.key", "ca.crt", "device.key", "device.crt", "nerveshub.db",
                 "nerveshub.db-wal", "nerveshub.db-shm", "nerveshub.db-journal"}
        self.equal("files left over", names - usual, set())

    def check(self, killed_at_us):
        self.check_files()
        self.check_database()
        self.check_counters()
        late = self.ask(f"SELECT d.identifier, c.status FROM device_connections c JOIN devices d ON d.id = c.device_id "
                        f"WHERE c.status <> 'disconnected' AND c.established_at < {killed_at_us}")
        self.equal("devices of the dead server", late, [])
        ghosts = self.ask("SELECT d.identifier FROM devices d LEFT JOIN device_connections c ON c.device_id = d.id WHERE d.connected_at IS NOT NULL "
                          "AND (c.status IS NULL OR c.status <> 'connected')")
        self.equal("devices marked as connected", ghosts, [])
        for item in self.items:
            item.check(self)

    # ---- the rounds

    def watch_log(self):
        """Turns lines of the server's log into moments."""
        signs = {"rollout.run": "update sent", "device.joined": "storm"}
        path, at = self.server.home / "log", 0
        while not self.over.wait(0.005):
            with open(path, "rb") as log:
                log.seek(at)
                new = log.read()
            at += len(new)
            for sign, moment in signs.items():
                if sign.encode() in new:
                    self.moments.hit(moment)

    def kill(self, moment):
        span = MOMENTS[moment]
        if moment not in ("anything", "drain", "start", "download"):
            self.tally["moments seen" if self.moments.wait(moment, 5) else "moments not seen"] += 1
        elif moment == "download":
            self.moments.wait("update sent", 5)
        if moment == "drain":
            self.server.process.send_signal(signal.SIGTERM)
        self.over.wait(self.rng.random() * span)
        killed_at_us = time.time_ns() // 1000
        self.server.stop(signal.SIGKILL)
        self.gate.set(False)
        return killed_at_us

    def start(self, half_starts):
        for _ in range(half_starts):
            half = Half(self.server)
            half.end_after(self.over, self.rng.random() * MOMENTS["start"])
        self.server.start()

    def round(self, moment):
        killed_at_us = self.kill(moment)
        self.start(self.rng.randrange(1, 3) if moment == "start" else 0)
        self.check(killed_at_us)
        self.tally[f"at {moment}"] += 1
        self.gate.set(True)

    def play(self, rounds):
        writers = [self.items_of(number) for number in (1, 2)]
        self.items = list({id(item): item for items in writers for item in items}.values())
        for items in writers:
            self.start_thread(self.write, items, self.rng.random())
        self.start_thread(self.roll_out)
        watcher = threading.Thread(target=self.watch_log, daemon=True)
        watcher.start()
        order = []
        for number in range(1, rounds + 1):
            if not order:
                order = self.rng.sample(sorted(MOMENTS), len(MOMENTS))
            self.round(order.pop())
            if self.failures:
                raise self.failures[0]
            if REPORT and number % REPORT == 0:
                say(f"{number} rounds: {self.summary()}")
        self.over.set()
        for thread in self.threads[2:]:
            thread.join(self.fleet_seconds())
            if thread.is_alive():
                raise AssertionError("the last rollout did not end")
        self.gate.end()
        for thread in self.threads[:2]:
            thread.join(DEADLINE)
        if self.failures:
            raise self.failures[0]
        self.equal("updates in flight at the end", self.ask("SELECT count(*) FROM inflight_updates"), [(0,)])
        self.equal("the fleet", self.ask("SELECT count(*) FROM devices WHERE identifier LIKE 'cert-%' AND deleted_at IS NULL"), [(DEVICES,)])

    def summary(self):
        return ", ".join(f"{count} {name}" for name, count in sorted(self.tally.items()))

    def close(self, good):
        self.over.set()
        self.gate.end()
        status = self.server.stop()
        text = self.server.log_text()
        if good:
            self.server.remove()
            shutil.rmtree(self.home, ignore_errors=True)
            if status != 0 or "AddressSanitizer" in text or "runtime error" in text:
                raise AssertionError(f"nerveshubd ended with status {status}:\n{text[-6000:]}")
        else:
            say(f"kept: {self.server.home} {self.home}")


class Half:
    """A start that is killed, most likely before it is ready."""

    def __init__(self, server):
        log = open(server.home / "log", "ab")
        self.process = subprocess.Popen([program("nerveshubd"), "--data-dir", str(server.data_dir), "--bind", "127.0.0.1", "--metrics-port", "0", *server.extra],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **server.env})
        log.close()

    def end_after(self, event, seconds):
        event.wait(seconds)
        early = self.process.poll()
        self.process.kill()
        self.process.wait(DEADLINE)
        if early not in (None, -signal.SIGKILL):
            raise AssertionError(f"a start ended by itself with status {early}")


def first_starts(rng, rounds):
    """First starts that are cut off: keys, secret, password, schema, administrator. The next start completes what is there."""
    for number in range(rounds):
        server = Server("--device-port", "0", "--web-port", "0")
        for _ in range(rng.randrange(1, 4)):
            Half(server).end_after(threading.Event(), rng.random() ** 2 * 0.8)
        server.extra = []
        server.start()
        server.login()
        server.api("POST", "/orgs", {"name": "acme"}, expect=201)
        names = {p.name for folder in (server.data_dir, server.data_dir / "pki") for p in folder.iterdir()}
        left = {name for name in names if name.count(".") > 1}
        if left or not {"secret.key", "node", "admin-password", "ca.key", "ca.crt", "device.key", "device.crt"} <= names:
            raise AssertionError(f"after the first start number {number}: {names}")
        if server.stop() != 0:
            raise AssertionError(server.log_text()[-3000:])
        server.remove()


class Kill(unittest.TestCase):
    def rounds(self):
        share = 0 if os.environ.get("NH_SERVER_ENGINE") == "postgres" or REPORT else ROUNDS // 4
        return ROUNDS - share

    def test_nothing_answered_is_lost(self):
        say(f"NH_KILL_SEED={SEED} NH_KILL_ROUNDS={self.rounds()}")
        world, good = World(random.Random(SEED)), False
        try:
            world.play(self.rounds())
            good = True
        except BaseException:
            say(f"failed with NH_KILL_SEED={SEED}: {world.summary()}\n{world.server.log_text()[-3000:]}")
            raise
        finally:
            world.close(good)
        say(f"{self.rounds()} kills: {world.summary()}")

    def test_first_start(self):
        first_starts(random.Random(SEED), max(2, ROUNDS // 10))


@unittest.skipIf(os.environ.get("NH_SERVER_ENGINE") == "postgres" or REPORT, "runs itself on PostgreSQL, or was told which database to use")
class OnPostgres(unittest.TestCase):
    def test_kill(self):
        done = subprocess.run([str(ROOT / "scripts" / "pg-test"), "/usr/bin/python3", "-m", "unittest", "test_kill.Kill.test_nothing_answered_is_lost"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                              env={**os.environ, "NH_SERVER_ENGINE": "postgres", "NH_KILL_ROUNDS": str(max(1, ROUNDS // 4)), "NH_KILL_SEED": str(SEED),
                                   "PYTHONPATH": str(ROOT / "tests" / "integration")})
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
