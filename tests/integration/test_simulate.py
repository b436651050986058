"""A group's fleet as a file, and a release tried on it: what the server exports is what the simulation reads, whatever is wrong with a file is said, and one seed gives one answer."""

import asyncio
import json
import unittest

from clitest import CliCase
import nhtest
from nhtest import Device, nh1_headers

P = "/orgs/acme/products/widget"
RUNS = ("--runs", "1", "--days", "3", "--offline", "0")


class Simulate(CliCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.login()
        cls.server.api("POST", "/orgs/acme/keys", {"name": "builds", "key": (cls.home / "stranger.pub").read_text().strip()}, expect=201)
        cls.fw = [cls.server.upload("acme", "widget", nhtest.make_firmware(cls.home, version, cls.stranger, product="widget")).data for version in ("1.0.0", "2.0.0")]
        cls.server.api("POST", f"{P}/deployments", {"name": "crew", "firmware": cls.fw[0]["uuid"], "conditions": {}, "state": "on", "concurrent_updates": 7}, expect=201)
        cls.secret = cls.server.api("POST", f"{P}/shared_secrets", expect=201).data
        asyncio.run(cls.fill())

    @classmethod
    async def fill(cls):
        for number in range(3):
            name = f"secret-name-{number}"
            cls.server.api("POST", f"{P}/devices", {"identifier": name, "tags": ["blue"]}, expect=201)
            headers = nh1_headers(cls.secret["key"], cls.secret["secret"], name)
            async with Device(cls.server, headers=headers, path="/device-socket/websocket?vsn=2.0.0") as device:
                await device.join(cls.fw[0])

    def simulate(self, fleet, *more, **kwargs):
        path = self.home / "fleet.json"
        path.write_text(fleet if isinstance(fleet, str) else json.dumps(fleet))
        done = self.nh("rollout", "simulate", str(path), *more, **kwargs)
        return done.stderr if kwargs else done.stdout

    def test_export_and_simulate(self):
        self.server.api("PUT", f"{P}/deployments/crew/rollout/plan", {"plan": {"waves": [{"percent": 50, "gate": {"type": "manual"}}, {"percent": 100}]}}, expect=200)
        text = self.nh("rollout", "export", "crew").stdout
        self.assertNotIn("secret-name", text)
        fleet = json.loads(text)
        self.assertEqual((fleet["format"], fleet["version"], len(fleet["devices"])), ("nerveshub-fleet", 1, 3))
        self.assertEqual({d["version"] for d in fleet["devices"]}, {"1.0.0"})
        self.assertEqual(fleet["devices"][0]["tags"], ["blue"])
        self.assertEqual((fleet["group"]["version"], fleet["group"]["concurrent_updates"]), ("1.0.0", 7))
        self.assertEqual(len(fleet["plan"]["waves"]), 2)

        fleet["devices"] = [dict(fleet["devices"][0], connected=True) for _ in range(40)]
        answer = json.loads(self.simulate(fleet, *RUNS, "--output", "json"))
        healthy = answer["healthy"]
        self.assertEqual((answer["devices"], healthy["updated"]["median"], healthy["stopped"]), (40, 40, 0))
        self.assertLessEqual(healthy["peak_in_flight"]["p90"], 7)
        begins = [w["begins_seconds"]["median"] for w in healthy["waves"]]
        self.assertGreaterEqual(begins[1] - begins[0], 3600)  # people take an hour at a gate
        # the same seed, the same answer; another seed, another
        self.assertEqual(answer, json.loads(self.simulate(fleet, *RUNS, "--output", "json")))
        self.assertNotEqual(answer["healthy"], json.loads(self.simulate(fleet, *RUNS, "--output", "json", "--seed", "9"))["healthy"])
        # a firmware that never comes up is stopped before everybody has it
        fleet["plan"] = {"waves": [{"percent": 100}], "stop": {"alpha": 0.05, "tolerated": 0.02}}
        faulty = json.loads(self.simulate(fleet, *RUNS, "--output", "json", "--firmware-failure", "100%"))["faulty"]
        self.assertEqual(faulty["stopped"], 1)
        self.assertLess(faulty["hit_at_stop"]["median"], 40)
        self.assertIn("Stopped by itself", self.simulate(fleet, *RUNS))

    def test_refusals(self):
        good = {"format": "nerveshub-fleet", "version": 1, "group": {"platform": "p", "architecture": "a", "version": "1.0.0"}, "plan": None, "devices": [{"version": "1.0.0", "connected": True}]}
        device = good["devices"][0]
        for fleet, why in (
            ("", "fleet.json"),
            ("[]", "no fleet"),
            (dict(good, format="x"), "nh rollout export"),
            (dict(good, version=2), "version 2"),
            (dict(good, group={}), "platform"),
            (dict(good, plan=[]), "plan is no object"),
            (dict(good, plan={"waves": 5}), "refused: waves"),
            (dict(good, group=dict(good["group"], concurrent_updates=-1)), "refused: concurrent_updates"),
            (dict(good, devices=[]), "no devices"),
            (dict(good, devices=[device] * 20001), "at most 20000"),
            (dict(good, devices=[device, 5]), "device 1 is no object"),
            (dict(good, devices=[{"connected": True}]), "device 0 has no version"),
            (dict(good, devices=[dict(device, version="9" * 64)]), "device 0 has no version"),
            (dict(good, devices=[dict(device, tags="x")]), "device 0 has tags"),
            (dict(good, devices=[dict(device, connected=1)]), "whether it is connected"),
            (dict(good, exported_at="yesterday"), "exported_at"),
        ):
            with self.subTest(why=why):
                self.assertIn(why, self.simulate(fleet, status=1))
        for flags, why in ((("--runs", "0"), "--runs"), (("--offline", "2"), "5% or 0.05"), (("--firmware-failure", "many"), "5% or 0.05"), (("--days", "999"), "--days")):
            with self.subTest(flags=flags):
                self.assertIn(why, self.simulate(good, *flags, status=1))


if __name__ == "__main__":
    unittest.main()
