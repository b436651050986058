"""Jobs of the scheduler, in real servers: what a killed server held is taken over, by itself when it starts again or by another server of the database, and each claim is run by one of them.

Periods are short by option; every wait is for a row or a line of a log."""

import os
import re
import secrets
import signal
import unittest

import nhtest
from nhtest import Server, wait_until

RAN = re.compile(r"job\.ran kind=(\S+) key=\S+ claim=(\d+) ")


class Holder:
    """A database session that keeps a table to itself, so that a job that needs it stands in the middle of its work."""

    def __init__(self, url, table):
        self.process = nhtest.subprocess.Popen(["psql", url, "-qAt"], stdin=nhtest.subprocess.PIPE, stdout=nhtest.subprocess.PIPE, text=True)
        self.process.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT 'held';\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "held"

    def release(self):
        self.process.communicate("COMMIT;\n", timeout=nhtest.DEADLINE)


def ran(server):
    """(kind, claim) of each job that this server ran."""
    return RAN.findall(server.log_text())


class TestOneServer(unittest.TestCase):
    def setUp(self):
        self.server = Server("--job-speed", "60", "--log-level", "debug").start()
        self.addCleanup(self.server.end)

    def test_taken_back_at_the_start(self):
        """What the last run of the same server held is its own again at once, however long the lease would last."""
        wait_until(lambda: ran(self.server), self.server.process, "a job to run")
        self.server.stop(signal.SIGKILL)
        node = (self.server.data_dir / "node").read_text().strip()
        self.server.sql(f"UPDATE jobs SET node = '{node}', ready_at = ready_at + 3600000000 WHERE kind = 'telemetry'")
        before = int(self.server.sql("SELECT claims FROM jobs WHERE kind = 'telemetry'")[0])
        self.server.start()
        wait_until(lambda: int(self.server.sql("SELECT claims FROM jobs WHERE kind = 'telemetry'")[0]) > before, self.server.process, "the job to run again")
        self.assertIn("job.recovered jobs=", self.server.log_text())

    def test_failures_are_seen(self):
        """A job that fails says why, in the log and in its row, and goes on once it can."""
        self.server.sql("ALTER TABLE user_tokens RENAME TO user_tokens_away")
        try:
            wait_until(lambda: "job.failed kind=links" in self.server.log_text(), self.server.process, "the failure")
            wait_until(lambda: self.server.sql("SELECT last_error FROM jobs WHERE kind = 'links' AND last_error IS NOT NULL"), self.server.process, "the reason")
            self.assertIn("user_tokens", self.server.sql("SELECT last_error FROM jobs WHERE kind = 'links'")[0])
        finally:
            self.server.sql("ALTER TABLE user_tokens_away RENAME TO user_tokens")
        wait_until(lambda: self.server.sql("SELECT kind FROM jobs WHERE kind = 'links' AND last_error IS NULL AND node = ''"), self.server.process, "the job to go on")


@unittest.skipUnless(os.environ.get("NH_TEST_PG_URL"), "two servers of one database need PostgreSQL: scripts/pg-test")
class TestTwoServers(unittest.TestCase):
    def setUp(self):
        env = {"DATABASE_URL": nhtest.new_postgres_database(), "SECRET_KEY_BASE": secrets.token_hex(32)}
        self.servers = []
        for _ in range(2):
            server = Server("--job-speed", "60", "--job-lease", "1s", "--log-level", "debug", env=env).start()
            self.servers.append(server)
            self.addCleanup(server.remove)
            self.addCleanup(server.stop)
        self.sql = self.servers[0].sql

    def node(self, server):
        return (server.data_dir / "node").read_text().strip()

    def holder_of(self, kind):
        return "".join(self.sql(f"SELECT node FROM jobs WHERE kind = '{kind}'"))

    def test_each_once(self):
        """No claim is run twice, none is lost, and none comes more often than its period says."""
        wait_until(lambda: int(self.sql("SELECT claims FROM jobs WHERE kind = 'links'")[0]) >= 5, self.servers[0].process, "five runs")
        self.assertEqual([server.stop() for server in self.servers], [0, 0])
        runs = [run for server in self.servers for run in ran(server)]
        self.assertEqual(len(runs), len(set(runs)))
        for row in self.sql("SELECT kind || ' ' || claims || ' ' || (due_at - inserted_at) FROM jobs WHERE kind IN ('links', 'telemetry', 'files')"):
            kind, claims, span = row.split()
            self.assertEqual({int(claim) for name, claim in runs if name == kind}, set(range(1, int(claims) + 1)))
            # Each start may ask for one run beside those of the period, which is a second here.
            self.assertLessEqual(int(claims), int(span) // 1000000 + len(self.servers))

    def test_taken_over(self):
        """Killed in the middle of a job: the other server has it as soon as the lease has ended."""
        hold = Holder(self.servers[0].env["DATABASE_URL"], "device_health")
        try:
            wait_until(lambda: self.holder_of("telemetry"), self.servers[0].process, "a server in the middle of the job")
            nodes = [self.node(server) for server in self.servers]
            victim = nodes.index(self.holder_of("telemetry"))
            survivor = self.servers[1 - victim]
            self.servers[victim].stop(signal.SIGKILL)
            wait_until(lambda: self.holder_of("telemetry") == nodes[1 - victim], survivor.process, "the other server to take it over")
        finally:
            hold.release()
        wait_until(lambda: any(kind == "telemetry" for kind, _ in ran(survivor)), survivor.process, "the job to end there")
        self.assertEqual(survivor.stop(), 0)
        self.assertEqual(self.holder_of("telemetry"), "")


if __name__ == "__main__":
    unittest.main()
