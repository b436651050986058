"""Starting and stopping: one clear line for each thing that is wrong, and an orderly end."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import unittest
from pathlib import Path

from nhtest import Server, program, wait_until


class Start(unittest.TestCase):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="nhtest-start-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)

    def fails(self, *args, env=None, words=()):
        done = subprocess.run([program("nerveshubd"), "--bind", "127.0.0.1", "--device-port", "0", "--web-port", "0", "--metrics-port", "0", *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                              env={**os.environ, **(env or {})})
        self.assertNotEqual(done.returncode, 0)
        lines = [line for line in done.stderr.splitlines() if line.startswith("nerveshubd: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        return lines[0]

    def test_wrong_flags_and_values(self):
        self.fails("--prot", "1", words=("--prot",))
        self.fails("--device-port", "x", words=("DEVICE_PORT", "'x'"))
        self.fails("extra", words=("extra",))
        self.fails(env={"DEVICE_SHARED_SECRETS_ENABLED": "yes"}, words=("DEVICE_SHARED_SECRETS_ENABLED", "environment"))
        self.fails("--config", str(self.home / "none"), words=("none",))

    def test_busy_port(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.fails("--data-dir", str(self.home / "d"), "--web-port", str(port), words=(str(port), "in use"))

    def test_unwritable_directory(self):
        blocker = self.home / "file"
        blocker.write_text("")
        self.fails("--data-dir", str(blocker / "data"), words=(str(blocker),))

    def test_database_of_a_newer_version(self):
        server = Server(data_dir=self.home / "d").start()
        self.assertEqual(server.stop(), 0)
        database = sqlite3.connect(self.home / "d" / "nerveshub.db")
        columns = [row[1] for row in database.execute("PRAGMA table_info(schema_migrations)")]
        names = ", ".join(columns)
        database.execute(f"INSERT INTO schema_migrations ({names}) SELECT " +
                         ", ".join("9999" if c == "version" else c for c in columns) + " FROM schema_migrations LIMIT 1")
        database.commit()
        database.close()
        self.fails("--data-dir", str(self.home / "d"), words=("9999", "newer"))
        server.remove()

    def test_first_start_makes_what_it_needs_and_second_keeps_it(self):
        server = Server(data_dir=self.home / "d").start()
        token = server.login()
        password = self.home / "d" / "admin-password"
        self.assertEqual(password.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(password.read_text().strip(), server.log_text())
        certificate = (self.home / "d" / "pki" / "ca.crt").read_bytes()
        self.assertEqual(server.stop(), 0)
        server.start()
        self.assertEqual(server.api("GET", "/users/me", token=token).status, 200)
        self.assertEqual((self.home / "d" / "pki" / "ca.crt").read_bytes(), certificate)
        metrics = server.http("GET", "/metrics", port=server.metrics_port)
        self.assertEqual(metrics.status, 200)
        self.assertIn(b"nerveshub_", metrics.body)
        self.assertEqual(server.stop(signal.SIGINT), 0)
        server.remove()

    def test_limits_can_be_set_and_are_kept(self):
        """Six peers stop in the middle of their hello where one may be worked on and one may wait: four are ended."""
        for flag in ("max-handshakes", "max-stalled", "body-rate"):
            self.fails(f"--{flag}", "0", words=(flag.upper().replace("-", "_"), "from 1 to"))
        server = Server("--loops", "1", "--max-handshakes", "1", "--max-stalled", "1", "--max-queued", "7", data_dir=self.home / "d").start()
        peers = []

        def metric(name):
            text = server.http("GET", "/metrics", port=server.metrics_port).body.decode()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"nerveshub_{name} "))

        try:
            self.assertEqual(metric("handshake_queue_max"), 7)
            for i in range(6):
                peers.append(socket.create_connection(("127.0.0.1", server.device_port)))
                peers[-1].sendall(b"\x16\x03\x01\x02\x00\x01")
            wait_until(lambda: metric("handshakes_stalled_ended_total") == 4, server.process, "four ends")
        finally:
            for peer in peers:
                peer.close()
            server.stop()
            server.remove()

    def test_check_config_names_every_source_and_hides_secrets(self):
        conf = self.home / "conf"
        conf.write_text("# comment\nDEVICE_PORT=4444\nSECRET_KEY_BASE=" + "s" * 40 + "\n")
        done = subprocess.run([program("nerveshubd"), "--check-config", "--config", str(conf), "--web-port", "4321"], stdout=subprocess.PIPE, text=True,
                              timeout=60, env={**os.environ, "DATABASE_URL": "postgres://u:hunter2@db/nh", "NERVESHUB_BODY_RATE": "2500",
                                                "DEVICE_SOCKET_DRAINER_SHUTDOWN": "45000", "FEATURES_HEALTH_INTERVAL_MINUTES": "5"})
        self.assertEqual(done.returncode, 0)
        for text in ("DEVICE_PORT=4444", "from file", "HTTP_PORT=4321", "from flag", "from environment", "NERVESHUB_BODY_RATE=2500", "NERVESHUB_MAX_HANDSHAKES=96",
                     "NERVESHUB_MAX_STALLED=2048", "NERVESHUB_MAX_QUEUED=0", "DEVICE_SOCKET_DRAINER_SHUTDOWN=45000ms", "FEATURES_HEALTH_INTERVAL_MINUTES=300000ms"):
            self.assertIn(text, done.stdout)
        for secret in ("hunter2", "s" * 40):
            self.assertNotIn(secret, done.stdout)


if __name__ == "__main__":
    unittest.main()
