"""The orchestrator on groups of 10 000, 100 000 and 1 000 000 devices, all of which wait for an update, on SQLite and on PostgreSQL: what a trigger takes, what it reads for each device it updates,
and how long until the last of 100 000 was told.

The devices are rows: nobody is connected, and what is measured ends with the commit that leaves the pushes. How fast pushes then reach sockets is `broadcast`."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import world

SIZES = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
RUNS = 30


class Fleet:
    """A database with one group of so many devices."""

    def __init__(self, stack, engine, count):
        self.postgres = None
        if engine == "postgres":
            self.postgres = world.Postgres()
            stack.callback(self.postgres.end)
            self.url = self.postgres.url
        else:
            folder = Path(tempfile.mkdtemp(prefix="nh-bench-rollout-", dir=world.BUILD))
            stack.callback(shutil.rmtree, folder, True)
            self.url = f"sqlite:{folder}/hub.db"
        self.run("make", count)
        if self.postgres:
            self.sql("VACUUM ANALYZE")

    def run(self, *args):
        with world.on_core(world.SERVER_CORE):
            done = subprocess.run([world.BUILD / "bench" / "nh-bench-rollout", self.url, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def sql(self, text):
        return subprocess.run(["psql", self.url, "-qAt", "-c", text], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout.strip()

    def steady(self):
        """With the rows read for each device that was updated: SQLite's steps of its virtual machine, PostgreSQL's rows."""
        found = self.run("steady", RUNS)
        found["work"] = found["steps"] / max(1, found["told"])
        return found


def rollout(c):
    """orchestrating a group of 10 000, 100 000 and 1 000 000 devices: triggers, rows read, all told"""
    for engine in ("sqlite", "postgres"):
        triggers, work, full = {}, {}, {}
        for name, count in SIZES.items():
            with contextlib.ExitStack() as stack:
                fleet = Fleet(stack, engine, max(5_000, int(count * c.scale)))
                steady, full[name] = fleet.steady(), fleet.run("full", RUNS)["median_ms"]
                triggers[name], work[name] = steady["median_ms"], steady["work"]
                what = "steps of SQLite's machine" if engine == "sqlite" else "rows that PostgreSQL read"
                c.report(f"rollout.trigger_{engine}_{name}", triggers[name], "ms", f"median of {RUNS} triggers that send 100 updates each, in a group of {steady['devices']}")
                c.report(f"rollout.full_{engine}_{name}", full[name], "ms", "a trigger while all slots are taken")
                c.report(f"rollout.read_{engine}_{name}", work[name], "", f"{what}, for each device updated")
                if name == "100k":
                    told = fleet.run("tell")
                    c.report(f"rollout.all_{engine}", told["seconds"], "s", f"until the last of {told['told']} was told: {told['runs']} triggers one after the other, all of whose slots stay taken")
                    c.report(f"rollout.all_{engine}_each", told["seconds"] / max(1, told["told"]) * 1e6, "us", "for each of them")
        c.report(f"rollout.trigger_{engine}_growth", triggers["1m"] / triggers["10k"], "x", "of the largest group against the smallest", at_most=2)
        c.report(f"rollout.full_{engine}_growth", full["1m"] / full["10k"], "x", "of the largest group against the smallest", at_most=2)
        c.report(f"rollout.read_{engine}_growth", work["1m"] / work["10k"], "x", "of the largest group against the smallest", at_most=1.2)
