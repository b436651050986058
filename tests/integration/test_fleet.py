"""Sixty virtual devices that misbehave as a seed says, against the real server: everyone ends settled, devices and server agree, and the same seed
ends the same way for every device on another server with other timing."""

import json
import sqlite3
import unittest
from collections import Counter

from nhtest import DEADLINE, ServerCase, program, run

MASK = (1 << 64) - 1
SCRIPT = {"drop": 200, "slow": 100, "fail-install": 150, "revert": 150, "duplicate": 150, "skew": 300}
SEED = 20
NAMES = [f"cert-{n:02}" for n in range(1, 41)] + [f"secret-{n:02}" for n in range(1, 21)]


class Seeded:
    """xoshiro256** over splitmix64, from their public descriptions: the judge of what the seed says."""

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = z = (seed + 0x9E3779B97F4A7C15) & MASK
            z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
            self.s.append(z ^ z >> 31)

    def next(self):
        s = self.s
        x = (s[1] * 5) & MASK
        out, t = (((x << 7 | x >> 57) & MASK) * 9) & MASK, (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = (s[3] << 45 | s[3] >> 19) & MASK
        return out

    def below(self, bound):
        while True:
            value = self.next()
            if value >= (1 << 64) % bound:
                return value % bound


def drawn(name, seed, script):
    """What the script makes of a device: one draw a misbehaviour, in the script's order, whatever its rates are."""
    for byte in name.encode():
        seed = ((seed ^ byte) * 1099511628211) & MASK
    source = Seeded(seed)
    return {kind for kind in script if source.below(1000) < script[kind]}


def expected(name, script):
    bad = drawn(name, SEED, script)
    return "failed" if "fail-install" in bad else "rolled back" if "revert" in bad else "updated"


class Sixty(ServerCase):
    loops = 1
    more = ()
    script = SCRIPT
    kinds = ("updated", "rolled back", "failed")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.register_ca(cls, "factory")
        cls.expected = {name: expected(name, cls.script) for name in NAMES}
        cls.script_file = cls.home / "script"
        cls.script_file.write_text("slow-rate=40k skew-by=45s\n" + "".join(f"{kind}={rate}\n" for kind, rate in cls.script.items()))
        for name in NAMES[:40]:
            cls.server.api("POST", f"{cls.product_path}/devices", {"identifier": name}, expect=201)
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        cls.old, cls.new = cls.make("1.0.0"), cls.make("1.1.0")
        firmware = [cls.server.upload("acme", "Thermo%20Widget", path).data for path in (cls.old, cls.new)]
        # One attempt a device: whoever failed goes into the penalty box, so that its first outcome is its last in this test.
        cls.server.api("POST", f"{cls.product_path}/deployments",
                       {"name": "all", "firmware": firmware[1]["uuid"], "concurrent_updates": 60, "device_failure_threshold": 1,
                        "conditions": {"version": "< 1.1.0", "tags": []}}, expect=201)
        cls.server.api("PUT", f"{cls.product_path}/deployments/all", {"deployment": {"state": "on"}})

    @classmethod
    def make(cls, version):
        path = cls.home / f"{version}.fw"
        run(program("nerveshub-fleet"), "make-firmware", "--product", cls.product, "--version", version, "--size", "64k", "--key", cls.key_private,
            "--output", path)
        return path

    def run_fleet(self):
        out, ca = self.home / "fleet.json", self.home / "pki" / "factory"
        done = run(program("nerveshub-fleet"), "run", "--server", f"localhost:{self.server.device_port}", "--ca", self.server.ca_file,
                   "--dir", self.home / "fleet", "--firmware", self.old, "--public-key", self.key_public,
                   "--certificates", "40", "--device-ca", f"{ca}.crt", "--device-ca-key", f"{ca}.key",
                   "--secrets", "20", "--secret-key", self.secret["key"], "--secret", self.secret["secret"],
                   "--seed", SEED, "--script", self.script_file, "--loops", self.loops, *self.more,
                   "--until-settled", "--timeout", f"{DEADLINE // 2}s", "--json", out, "--quiet", check=False)
        devices = {device["identifier"]: device for device in json.loads(out.read_text())} if out.exists() else {}
        odd = [device for name, device in devices.items() if device["outcome"] != self.expected[name]]
        self.assertEqual((done.returncode, odd), (0, []), f"{done.stderr}\n{self.server.log_text()[-3000:]}")
        return devices

    def ask_database(self, sql):
        database = sqlite3.connect(f"file:{self.server.data_dir}/nerveshub.db?mode=ro", uri=True)
        rows = database.execute(sql).fetchall()
        database.close()
        return rows

    def test_everyone_ends_as_the_seed_says(self):
        outcomes = Counter(self.expected.values())
        self.assertTrue(all(outcomes[kind] >= 5 for kind in self.kinds), outcomes)
        devices = self.run_fleet()
        self.assertEqual(sorted(devices), sorted(NAMES))
        self.assertEqual(Counter(device["outcome"] for device in devices.values()), outcomes)
        for name, device in devices.items():
            with self.subTest(name):
                good = device["outcome"] == "updated"
                self.assertEqual((device["version"], device["updates"]), ("1.1.0", 1) if good else ("1.0.0", 0))
                self.assertIn({"updated": "", "rolled back": "self-test failed", "failed": "the flash refused to write"}[device["outcome"]], device["note"])
                self.assertEqual(device["identity"], "certificate" if name.startswith("cert") else "secret")
        self.check_server(devices)

    def check_server(self, devices):
        self.assertIsNone(self.server.process.poll(), "the server lives")
        self.assertEqual(self.server.http("GET", "/status/alive").body, b"Hello, Friend!")
        versions = dict(self.ask_database("SELECT identifier, json_extract(firmware_metadata, '$.version') FROM devices"))
        self.assertEqual(versions, {name: device["version"] for name, device in devices.items()})
        self.assertEqual(self.ask_database("SELECT device_id FROM inflight_updates GROUP BY device_id HAVING count(*) > 1"), [])
        # Who rolled back had joined with the new firmware first: that update happened, once; who failed never ran it.
        ran = {name for name in NAMES if self.expected[name] != "failed"}
        counted = self.ask_database("SELECT d.identifier, count(*) FROM update_stats s JOIN devices d ON d.id = s.device_id "
                                    "WHERE s.source_firmware_uuid IS NOT NULL GROUP BY d.identifier")
        self.assertEqual(dict(counted), {name: 1 for name in ran})


class OneLoop(Sixty):
    loops = 1


class FourLoops(Sixty):
    """Other timing, another server, twenty devices that ask instead of being told: the same outcomes. No reverts, of which a server does not hear from who only asks: it would
    offer the same again."""

    loops = 4
    script, kinds = {**SCRIPT, "revert": 0}, ("updated", "failed")
    more = ("--transport", "mixed", "--poll-interval", "2s")

    def run_fleet(self):
        devices = super().run_fleet()
        self.assertEqual({name for name in NAMES if devices[name]["transport"] == "poll"}, set(NAMES[:40:2]))
        return devices


del Sixty, ServerCase

if __name__ == "__main__":
    unittest.main()
