"""The network between nerveshubd and its PostgreSQL: a proxy that freezes, resets, refuses and swallows connections, while people write and devices stay.
Whatever was answered stays, every request gets an answer while the network is still broken, and the server recovers without a restart."""

import threading
import unittest
from contextlib import contextmanager

from faultcase import Cluster, FaultCase, until
from faultproxy import FaultProxy
from nhtest import DEADLINE


class DatabaseNetwork(FaultCase):
    server_args = ("--workers", "6", "--database-timeout", "2s")
    WRITERS = 6

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.proxy = FaultProxy(cls.cluster.port)
        cls.server_env = {"DATABASE_URL": cls.cluster.url.replace(f":{cls.cluster.port}/", f":{cls.proxy.port}/")}
        try:
            super().setUpClass()
        except BaseException:
            cls.release()
            raise

    @classmethod
    def release(cls):
        cls.proxy.close()
        cls.cluster.close()

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.release()

    def setUp(self):
        self.doubtful = set()

    def check_nothing_lost(self):
        """A COMMIT whose answer was lost may have been made: those may be there, and only those."""
        names = self.names()
        self.assertEqual([n for n in self.answered if n not in names], [], "answered and lost")
        self.assertEqual([n for n in self.refused if n in names and n not in self.doubtful], [], "refused and there")

    def all_asked_are_answered(self):
        """While the network is broken: nobody waits for its end, and each learns that the database is away."""
        self.check_all_refused()
        self.check_answer(self.server.api("GET", "/orgs/acme/products"), 503)
        download = self.download()
        self.assertEqual((download.status, download.headers.get("retry-after")), (503, "5"))
        self.assertEqual(self.metric("database_available"), 0)
        self.steady.heartbeat()

    def test_frozen(self):
        with self.proxy.frozen():
            self.all_asked_are_answered()
        self.recovered()

    def test_refused(self):
        with self.proxy.refusing():
            self.all_asked_are_answered()
        self.recovered()

    def recovered(self):
        self.doubtful = set(self.refused)
        self.check_recovered()
        self.assertEqual(self.download().status, 200)

    @contextmanager
    def writing(self):
        """People write without pause; whatever they are told is 201 or a clear refusal."""
        stop, wrong = threading.Event(), []

        def work():
            while not stop.is_set():
                answer = self.write()
                if answer.status not in (201, 503):
                    wrong.append((answer.status, answer.body))
        threads = [threading.Thread(target=work) for _ in range(self.WRITERS)]
        for t in threads:
            t.start()
        try:
            yield
        finally:
            stop.set()
            for t in threads:
                t.join(DEADLINE)
        self.assertFalse(any(t.is_alive() for t in threads), "a request hangs")
        self.assertEqual(wrong, [])

    def goes_on(self):
        answered = len(self.answered)
        until(lambda: len(self.answered) > answered + 2 * self.WRITERS, "writes go on", self.server.log_text)
        self.steady.heartbeat()

    def test_reset(self):
        with self.writing():
            for _ in range(5):
                self.goes_on()
                self.assertGreater(self.proxy.reset(), 0)
            self.goes_on()
        self.recovered()

    def test_lost(self):
        """Connections that are dead without anybody saying so are given up, and new ones are made in their place."""
        with self.writing():
            for _ in range(2):
                self.goes_on()
                refused = len(self.refused)
                self.assertGreater(self.proxy.lose(), 0)
                until(lambda: len(self.refused) > refused, "somebody is told", self.server.log_text)
                self.goes_on()
        self.recovered()

    def test_one_after_the_other(self):
        with self.writing():
            for fault in (self.proxy.frozen, self.proxy.refusing):
                self.goes_on()
                with fault():
                    until(lambda: self.metric("database_available") == 0, "the outage is seen", self.server.log_text)
                self.proxy.reset()
            self.goes_on()
        self.recovered()


del FaultCase  # a base is no test of its own

if __name__ == "__main__":
    unittest.main()
