"""The User API on fleets of 10 000 and 1 000 000 devices: one device, a page of 25, on SQLite and on PostgreSQL, against the bare HTTP server that answers the same bytes.

Fleets are made by SQL. Those of SQLite stay in the build folder for the next run of the same schema."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import time

import nhtest
import world

FLEETS = {"10k": 10_000, "1m": 1_000_000}
WRK = "/usr/bin/wrk"
PRODUCT = "/orgs/acme/products/Fleet"
COLUMNS = "org_id, product_id, identifier, tags, firmware_version, firmware_platform, firmware_architecture, firmware_uuid, inserted_at, updated_at"
VALUES = ("SELECT o.id, p.id, 'device-' || PADDED, '[\"line-' || (n % 10) || '\",\"batch-' || (n % 1000) || '\"]', '1.' || (n % 20) || '.0', CASE WHEN n % 2 = 0 THEN 'rpi4' ELSE 'bbb' END, "
          "'aarch64', '00000000-0000-4000-8000-00000000000' || (n % 5), n, n")
PADDED = {"sqlite": "printf('%07d', n)", "postgres": "lpad(n::text, 7, '0')"}
WHERE = "o.name = 'acme' AND p.org_id = o.id AND p.name = 'Fleet'"


def fill_sqlite(hub, count):
    database = sqlite3.connect(hub.data_dir / "nerveshub.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -400000")
    database.execute(f"WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {count}) "
                     f"INSERT INTO devices ({COLUMNS}) {VALUES.replace('PADDED', PADDED['sqlite'])} FROM count, orgs o, products p WHERE {WHERE}")
    database.execute("UPDATE products SET device_count = ? WHERE name = 'Fleet'", (count,))
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def fill_postgres(hub, count):
    """The indexes are made behind the rows, and references are not checked: they are right."""
    url = hub.env["DATABASE_URL"]
    indexes = nhtest.run("psql", url, "-qAt", "-c", "SELECT indexdef FROM pg_indexes WHERE tablename = 'devices' AND indexname <> 'devices_pkey'").stdout.splitlines()
    steps = ["SET synchronous_commit = off", "SET session_replication_role = replica", "SET maintenance_work_mem = '512MB'", *(f"DROP INDEX {line.split(' INDEX ')[1].split()[0]}" for line in indexes),
             f"INSERT INTO devices ({COLUMNS}) {VALUES.replace('PADDED', PADDED['postgres'])} FROM generate_series(1, {count}) n, orgs o, products p WHERE {WHERE}",
             *indexes, f"UPDATE products SET device_count = {count} WHERE name = 'Fleet'", "ANALYZE devices"]
    subprocess.run(["psql", url, "-q", "-v", "ON_ERROR_STOP=1", *(a for step in steps for a in ("-c", step))], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Fleet(nhtest.Server):
    """nerveshubd on the server's core with one product and so many devices."""

    def __init__(self, name, count, url=None):
        schema = hashlib.sha256(b"".join(p.read_bytes() for p in sorted((world.ROOT / "db/migrations").glob("*.sql")))).hexdigest()[:12]
        home = world.BUILD / f"bench-api-{name}-{schema}"
        for old in set(world.BUILD.glob(f"bench-api-{name}-*")) - {home}:
            shutil.rmtree(old)
        super().__init__("--loops", "1", "--log-level", "warn", data_dir=None if url else home, env={"DATABASE_URL": url} if url else None)
        self.count, self.url = count, url

    def start(self):
        made = self.data_dir / "made"
        if not self.url and self.data_dir.exists() and not made.exists():
            shutil.rmtree(self.data_dir)  # another run was interrupted
        with world.on_core(world.SERVER_CORE):
            super().start()
        self.pid = self.process.pid
        self.login()
        if not made.exists():
            self.api("POST", "/orgs", {"name": "acme"}, expect=201)
            self.api("POST", "/orgs/acme/products", {"name": "Fleet"}, expect=201)
            (fill_postgres if self.url else fill_sqlite)(self, self.count)
            made.touch()
        self.middle = f"device-{self.count // 2:07d}"
        return self

    def path(self, text):
        return f"/api{PRODUCT}/devices{text}"


def ask(port, path, seconds, token=""):
    """Requests a second, p50 and p99 in ms, of eight connections that ask again at once."""
    with world.on_core(world.LOAD_CORE):
        text = nhtest.run(WRK, "-t1", "-c8", f"-d{seconds}s", "--latency", "-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}{path}").stdout
    if "Non-2xx" in text:
        raise RuntimeError(f"{path}: {text}")
    units = {"us": 0.001, "ms": 1, "s": 1000}
    times = {p: float(v) * units[u] for p, v, u in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s)$", text, re.M)}
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), times["50"], times["99"]


def bare(body, seconds):
    """The same from the bare server."""
    file = world.BUILD / "bench-answer.json"
    file.write_bytes(body)
    with world.on_core(world.SERVER_CORE):
        process = subprocess.Popen([world.BUILD / "bench" / "nh-bench-answer", file], stdout=subprocess.PIPE, text=True)
    try:
        return ask(int(process.stdout.readline()), "/api/x", seconds)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def once(fleet, path):
    """Seconds of one request, the best of three."""
    best = None
    for _ in range(3):
        began = time.monotonic()
        fleet.api("GET", path.removeprefix("/api"), expect=200)
        spent = time.monotonic() - began
        best = spent if best is None else min(best, spent)
    return best


def measure(c, engine, fleet, name, seconds):
    """One device, and a page in the middle of the fleet, as interfaces read it."""
    token, rates = fleet.token, {}
    cursor = json.loads(fleet.api("GET", f"{PRODUCT}/devices?filters[identifier]={fleet.middle}", expect=200).body)["data"][0]["identifier"]
    after = fleet.api("GET", f"{PRODUCT}/devices?pagination[page_size]=25&pagination[page]={fleet.count // 50}", expect=200).json["pagination"]["next"]
    paths = {"device": fleet.path(f"/{cursor}"), "page": fleet.path("?pagination[page_size]=25"), "page_after": fleet.path(f"?pagination[page_size]=25&pagination[after]={after}")}
    for kind, path in paths.items():
        spent = world.Spent(fleet.pid)
        rate, p50, p99 = ask(fleet.web_port, path, seconds, token)
        rates[kind] = spent.read().all / (rate * seconds)
        if name == "1m" and kind != "page_after":
            body = fleet.http("GET", path, headers={"Authorization": f"Bearer {token}"}).body
            base = bare(body, seconds)[0]
            c.report(f"api.{kind}_{engine}", rate, "req/s", f"of {fleet.count} devices, {len(body)} bytes; p50 {p50:.2f} ms, p99 {p99:.2f} ms, 8 at a time; {rates[kind]:.0f} us of the server's CPU each")
            c.report(f"api.{kind}_{engine}_p50", p50, "ms", "")
            c.report(f"api.{kind}_{engine}_p99", p99, "ms", "")
            c.report(f"api.{kind}_{engine}_ratio", rate / base, "x", f"of the bare HTTP server's {base:.0f} req/s with the same bytes")
    return rates


def filtered(c, engine, fleet):
    for name, query in (("tag", "filters[tags]=batch-77"), ("none", "filters[identifier]=nothing-of-the-kind"), ("query", "query=platform%20%3D%20rpi4%20and%20not%20tags%20contains%20line-4")):
        c.report(f"api.filtered_{name}_{engine}", once(fleet, fleet.path(f"?pagination[page_size]=25&{query}")) * 1000, "ms", "a page with its count, which looks at devices until it has 10 000 or knows them all")
    c.report(f"api.deep_{engine}", once(fleet, fleet.path(f"?pagination[page_size]=25&pagination[page]={fleet.count // 25}")) * 1000, "ms", "the last page by number, which skips all others in an index; from a cursor it costs what the first does")


def api(c):
    """User API: one device and a page of 25, out of 10 000 and 1 000 000 devices"""
    seconds = max(1, round(2 * min(1, c.scale)))
    large = max(20_000, int(FLEETS["1m"] * c.scale))
    for engine in ("sqlite", "postgres"):
        cpu = {}
        for name, count in (("10k", FLEETS["10k"]), ("1m", large)):
            with contextlib.ExitStack() as stack:
                database = None
                if engine == "postgres":
                    database = world.Postgres()
                    stack.callback(database.end)
                fleet = Fleet(f"{name}-{count}", count, database and database.url)
                stack.callback(fleet.remove)
                stack.callback(fleet.stop)
                fleet.start()
                cpu[name] = measure(c, engine, fleet, name, seconds)
                if name == "1m":
                    filtered(c, engine, fleet)
        for kind in cpu["1m"]:
            c.report(f"api.{kind}_{engine}_growth", cpu["1m"][kind] / cpu["10k"][kind], "x", f"the server's CPU of one out of {large} devices against one out of {FLEETS['10k']}", at_most=1.5)
