"""`nerveshub-fleet load` against the real server: by certificate and by shared secret, steered and for people; devices that are thrown out come back."""

import json
import subprocess
import unittest

import nhtest


class Load:
    """A steered load: one command, one answer."""

    def __init__(self, *args):
        self.process = subprocess.Popen([nhtest.program("nerveshub-fleet"), "load", "--steer", *map(str, args)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def do(self, line):
        self.tell(line)
        return self.hear()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(nhtest.DEADLINE)


class LoadTest(nhtest.ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls().register_ca("load-ca", product_name=cls.product, tags=[], description="load")

    def runTest(self):
        pass

    def by_certificate(self, prefix):
        return ["--server", f"127.0.0.1:{self.server.device_port}", "--ca", self.server.ca_file, "--dir", self.home / "ids", "--prefix", prefix, "--product", self.product,
                "--device-ca", self.pki.home / "load-ca.crt", "--device-ca-key", self.pki.home / "load-ca.key"]

    def connected(self, prefix, count):
        return [self.server.api("GET", f"{self.product_path}/devices/{prefix}-{i}", expect=200).data["connection_status"] for i in range(count)] == ["connected"] * count

    def test_steered(self):
        load = Load("--count", 12, *self.by_certificate("steer"))
        self.assertEqual(load.ready, {"ready": 12})
        answer = load.do("connect 5")
        self.assertEqual((answer["done"], answer["wanted"], answer["connected"], answer["joined"]), ("connect", 5, 5, 0))
        self.assertEqual((answer["connect"]["count"], answer["join"]["count"]), (5, 0))
        answer = load.do("join")
        self.assertEqual((answer["done"], answer["joined"], answer["join"]["count"]), ("join", 5, 5))
        self.assertTrue(self.connected("steer", 5))
        answer = load.do("online 12 3")
        self.assertEqual((answer["connected"], answer["joined"], answer["connects"], answer["joins"]), (12, 12, 12, 12))
        self.assertTrue(self.connected("steer", 12))
        answer = load.do("heartbeat 500/s 200ms")
        self.assertEqual((answer["done"], answer["heartbeats"], answer["unanswered"]), ("heartbeat", 100, 0))
        self.assertEqual(answer["heartbeat"]["count"], 100)
        self.assertLessEqual(answer["heartbeat"]["p50_us"], answer["heartbeat"]["max_us"])
        answer = load.do("reconnect")
        self.assertEqual((answer["done"], answer["joined"], answer["joins"], answer["failures"]), ("reconnect", 12, 24, 0))
        answer = load.do("drop")
        self.assertEqual((answer["done"], answer["wanted"], answer["connected"]), ("drop", 0, 0))
        self.assertEqual(load.end(), 0)

    def test_pushes_are_counted(self):
        load = Load("--count", 4, *self.by_certificate("push"))
        load.do("online 4")
        self.assertEqual(load.do("receive 4")["pushes"], 4)  # extensions:get, once a device
        load.tell("receive 4")
        load.tell("report")
        for i in range(4):
            self.server.api("POST", f"{self.product_path}/devices/push-{i}/reconnect", expect=204)
        # Told to reconnect, each joins again and is asked again.
        answer = load.hear()
        self.assertEqual((answer["done"], answer["pushes"], answer["lost"]), ("receive", 8, 4))
        self.assertEqual(load.hear()["done"], "report")
        self.assertEqual(load.end(), 0)

    def test_what_is_no_command(self):
        load = Load("--count", 1, *self.by_certificate("bad"))
        for line in ("jump", "connect", "connect x", "connect 0", "connect 1 2 3 4", "heartbeat 5/s", "heartbeat 0/s 1s", "heartbeat 5/s soon", "receive", "reconnect"):
            answer = load.do(line)
            self.assertEqual(answer["error"], line)
            self.assertTrue(answer["expected"])
        self.assertEqual(load.do("online 1")["joined"], 1)  # none of them left anything behind
        load.tell("quit")
        self.assertEqual(load.process.wait(nhtest.DEADLINE), 0)
        load.end()

    def test_by_secret(self):
        secret = self.server.api("POST", f"{self.product_path}/shared_secrets", {}, expect=201).data
        load = Load("--count", 3, "--server", f"127.0.0.1:{self.server.device_port}", "--ca", self.server.ca_file, "--prefix", "secret", "--product", self.product,
                    "--secret-key", secret["key"], "--secret", secret["secret"])
        self.assertEqual(load.do("online 3")["joined"], 3)
        self.assertTrue(self.connected("secret", 3))
        self.assertEqual(load.end(), 0)

    def test_for_people(self):
        out = self.home / "load.json"
        done = nhtest.run(nhtest.program("nerveshub-fleet"), "load", "--count", 6, "--heartbeat", "100ms", "--duration", "300ms", "--json", out, *self.by_certificate("people"))
        self.assertIn("6 of 6 devices joined", done.stdout)
        self.assertIn("heartbeat to answer", done.stdout)
        report = json.loads(out.read_text())
        self.assertEqual((report["online"]["joined"], report["heartbeats"]["heartbeats"]), (6, 18))

    def test_refusals(self):
        for args, text in (
            (["load", "--server", "localhost:1"], "--device-ca"),
            (["load", "--device-ca", "/nowhere", "--device-ca-key", "/nowhere"], "/nowhere"),
            (["load", "--count", "0"], "--count"),
            (["load", "--count", "1000000", "--secret-key", "k", "--secret", "s"], "descriptors"),
            (["load", "--secret-key", "k", "--secret", "s"], "HOST:PORT"),
            (["load", "extra"], "extra"),
        ):
            done = nhtest.run(nhtest.program("nerveshub-fleet"), *args, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)


class RestartTest(nhtest.ServerCase):
    """A server that goes away and comes back on the same ports and data: every device finds it again without being told."""

    def test_restart(self):
        self.register_ca("load-ca", product_name=self.product, tags=[], description="load")
        server = type(self).server
        load = Load("--count", 8, "--server", f"127.0.0.1:{server.device_port}", "--ca", server.ca_file, "--dir", self.home / "ids", "--product", self.product,
                    "--device-ca", self.pki.home / "load-ca.crt", "--device-ca-key", self.pki.home / "load-ca.key")
        self.assertEqual(load.do("online 8")["joined"], 8)
        load.do("receive 8")  # what they are asked right after the join
        server.extra += ["--drain", "200ms"]
        server.stop()
        server.extra += ["--device-port", str(server.device_port)]
        load.tell("receive 8")  # each is asked for its extensions again after it joined again
        server.start()
        answer = load.hear()
        self.assertEqual((answer["joined"], answer["lost"], answer["joins"]), (8, 8, 16))
        self.assertEqual(load.end(), 0)


if __name__ == "__main__":
    unittest.main()
