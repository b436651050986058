"""Staged rollouts with real devices: wave by wave to the end, stopped by itself and rolled back, paused, and kept within maintenance windows; and every answer of the routes and commands."""

import asyncio
import contextlib
import datetime
import json
import unittest

import nhtest
from clitest import CliCase
from nhtest import Device, nh1_headers

P = "/orgs/acme/products/widget"


class Peer:
    """A device that takes what it is sent, or fails to, until it is cancelled."""

    def __init__(self, case, name, firmware):
        self.case, self.name, self.running, self.broken = case, name, firmware, set()
        self.told = []  # uuids, in the order in which they were sent
        self.joined = asyncio.Event()

    async def live(self):
        while True:
            async with self.case.connect(self.name) as device:
                await device.join(self.running)
                self.joined.set()
                while True:
                    meta = (await device.event("update"))["firmware_meta"]
                    self.told.append(meta["uuid"])
                    await device.send("status_update", {"status": "received"})
                    if meta["uuid"] in self.broken:
                        await device.reply(await device.send("status_update", {"status": "failed", "reason": "it broke"}))
                        continue
                    await device.send("status_update", {"status": "completed"})
                    self.running = next(f for f in self.case.fw if f["uuid"] == meta["uuid"])
                    break


class Rollouts(CliCase):
    server_args = ("--orchestrator-interval", "500ms", "--job-speed", "60")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.login()
        public = (cls.home / "stranger.pub").read_text().strip()
        cls.server.api("POST", "/orgs/acme/keys", {"name": "builds", "key": public}, expect=201)
        cls.fw = [cls.server.upload("acme", "widget", nhtest.make_firmware(cls.home, version, cls.stranger, product="widget")).data for version in ("1.0.0", "2.0.0")]
        cls.secret = cls.server.api("POST", f"{P}/shared_secrets", expect=201).data

    def connect(self, identifier):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    async def api(self, *args, **kwargs):
        return await asyncio.to_thread(self.server.api, *args, **kwargs)

    async def cli(self, *args, **kwargs):
        return (await asyncio.to_thread(self.nh, *args, **kwargs)).stdout

    @contextlib.asynccontextmanager
    async def fleet(self, group, count, **fields):
        """Joined devices of a group of its own, all on the first firmware."""
        await self.api("POST", f"{P}/deployments", {"name": group, "firmware": self.fw[0]["uuid"], "state": "on", "conditions": {"tags": [group]}, **fields}, expect=201)
        peers = [Peer(self, f"{group}-{n}", self.fw[0]) for n in range(count)]
        for n, peer in enumerate(peers):
            await self.api("POST", f"{P}/devices", {"identifier": peer.name, "tags": [group] + (["canary"] if n == 0 else [])}, expect=201)
        tasks = [asyncio.create_task(peer.live()) for peer in peers]
        try:
            for peer in peers:
                await asyncio.wait_for(peer.joined.wait(), nhtest.DEADLINE)
            yield peers
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        self.assertEqual([e for e in ended if not isinstance(e, asyncio.CancelledError)], [])

    async def until(self, group, holds, what):
        """The rollout's state, as soon as that holds of it."""
        for _ in range(nhtest.DEADLINE * 10):
            shown = (await self.api("GET", f"{P}/deployments/{group}/rollout", expect=200)).data
            if holds(shown):
                return shown
            await asyncio.sleep(0.1)
        self.fail(f"{what}: {shown}\n{self.server.log_text()[-3000:]}")

    async def release(self, group):
        await self.api("PUT", f"{P}/deployments/{group}", {"deployment": {"firmware": self.fw[1]["uuid"]}}, expect=200)

    async def staged_to_the_end(self):
        async with self.fleet("stages", 5) as peers:
            said = await self.cli("rollout", "plan-set", "stages", "--wave", "tag:canary", "--wave", "50%", "--gate", "manual", "--share", "100", "--zone", "UTC", "--tolerated", "0.05")
            self.assertIn("no plan", said)
            await self.release("stages")
            shown = await self.until("stages", lambda r: [n["what"] for n in r["next"]] == ["approval"], "the canary's wave waits for approval")
            self.assertEqual((shown["state"], shown["wave"], shown["waves"][0]["size"], shown["waves"][0]["updated"], shown["waves"][0]["tags"]), ("running", 1, 1, 1, "canary"))
            self.assertEqual([p.told for p in peers], [[self.fw[1]["uuid"]], [], [], [], []])
            said = await self.cli("rollout", "show", "stages")
            self.assertIn("[####################] 1/1", said)
            self.assertIn("Waits until somebody approves the next wave", said)
            await self.cli("rollout", "approve", "stages", "--why", "fine")
            shown = await self.until("stages", lambda r: r["wave"] == 2 and [n["what"] for n in r["next"]] == ["approval"], "so does the second")
            begun = [p for p in peers if p.told]
            self.assertEqual(len(begun) - 1, shown["waves"][1]["size"])
            self.assertEqual((shown["waves"][0]["state"], shown["waves"][0]["done_by"] is not None), ("done", True))
            await self.cli("rollout", "approve", "stages")
            shown = await self.until("stages", lambda r: r["state"] == "finished", "everybody has it")
            self.assertEqual([p.told for p in peers], [[self.fw[1]["uuid"]]] * 5)
            self.assertEqual((shown["wave"], shown["evidence"]["signals"][0]["trials"], shown["evidence"]["signals"][0]["failures"]), (3, 5, 0))

    async def stopped_and_rolled_back(self):
        async with self.fleet("bad", 5, concurrent_updates=2, penalty_timeout_minutes=60) as peers:
            for peer in peers:
                peer.broken.add(self.fw[1]["uuid"])
            await self.api("PUT", f"{P}/deployments/bad/rollout/plan", {"plan": {"stop": {"tolerated": 0.01}}}, expect=200)
            await self.release("bad")
            shown = await self.until("bad", lambda r: r["state"] == "stopped", "it stops by itself")
            told = sum(len(p.told) for p in peers)
            install = next(s for s in shown["stopped_by"]["signals"] if s["signal"] == "install")
            self.assertEqual((install["failures"], told), (2, 2))
            self.assertGreaterEqual(shown["stopped_by"]["e"], shown["stopped_by"]["limit"])
            self.assertIn("devices could not install it", shown["why"])
            notes = (await self.api("GET", f"{P}/notifications", expect=200)).data
            self.assertIn("Rollout stopped", [n["title"] for n in notes])
            waiting = next(p for p in peers if not p.told)
            reasons = (await self.api("GET", f"{P}/devices/{waiting.name}/explain", expect=200)).data["reasons"]
            self.assertIn("rollout_stopped", [r["code"] for r in reasons])
            self.assertIn("rolls it back", await self.cli("rollout", "show", "bad"))
            back = json.loads(await self.cli("rollout", "rollback", "bad", "--why", "bad firmware", "-o", "json"))
            self.assertEqual((back["release"], back["firmware"]["uuid"], back["state"]), (3, self.fw[0]["uuid"], "none"))
            self.assertEqual((await self.api("POST", f"{P}/deployments/bad/rollout/rollback", {}, expect=409)).status, 409)
            self.assertEqual(sum(len(p.told) for p in peers), told)

    async def paused_and_within_windows(self):
        async with self.fleet("times", 2) as peers:
            await self.cli("rollout", "pause", "times", "--why", "lunch")
            shown = await self.until("times", lambda r: r["state"] == "paused", "it is paused")
            self.assertEqual((shown["why"], [n["what"] for n in shown["next"]]), ("lunch", ["resume"]))
            await self.cli("rollout", "resume", "times")
            now = datetime.datetime.now(datetime.timezone.utc)
            hour = lambda hours: (now + datetime.timedelta(hours=hours)).strftime("%H:%M")
            await self.cli("rollout", "plan-set", "times", "--window", f"{hour(6)}-{hour(9)}")
            await self.release("times")
            shown = await self.until("times", lambda r: [n["what"] for n in r["next"]][:1] == ["window"], "the window is shut")
            reasons = (await self.api("GET", f"{P}/devices/times-0/explain", expect=200)).data["reasons"]
            self.assertIn("outside_window", [r["code"] for r in reasons], reasons)
            self.assertEqual([p.told for p in peers], [[], []])
            # Seven hours east it is open.
            for zone in ("../x", "Europe/Atlantis", 5):
                self.assertIn("timezone", (await self.api("PUT", f"{P}/devices/times-0", {"timezone": zone}, expect=422)).json["errors"])
            await self.cli("device", "update", "times-0", "--timezone", "Etc/GMT-7")
            await self.until("times", lambda r: peers[0].told, "the device in its own zone is told")
            self.assertEqual(peers[1].told, [])
            await self.api("PUT", f"{P}/devices/times-0", {"timezone": None}, expect=201)
            plan = self.home / "plan.json"
            plan.write_text(json.dumps({"windows": [{"from": hour(-6), "to": hour(6)}], "zone": "Etc/UTC", "stop": None}))
            await self.cli("rollout", "plan-set", "times", "--file", plan, "--now")
            shown = await self.until("times", lambda r: r["state"] == "finished", "within it they are updated")
            self.assertEqual([p.told for p in peers], [[self.fw[1]["uuid"]]] * 2)
            self.assertFalse(shown["evidence"]["stops"])

    def test_rollouts(self):
        """Three groups at once, since an orchestrator's runs have their pace."""
        async def go():
            await asyncio.gather(self.staged_to_the_end(), self.stopped_and_rolled_back(), self.paused_and_within_windows())
        asyncio.run(go())

    def test_answers(self):
        at = f"{P}/deployments/quiet/rollout"
        self.server.api("POST", f"{P}/deployments", {"name": "quiet", "firmware": self.fw[0]["uuid"], "conditions": {"tags": ["nobody"]}}, expect=201)
        shown = self.server.api("GET", at, expect=200).data
        self.assertEqual((shown["state"], shown["waves"], shown["plan"], shown["default_plan"], shown["evidence"]), ("none", [], None, None, None))
        for word in ("resume", "approve", "skip", "rollback"):
            with self.subTest(word):
                self.server.api("POST", f"{at}/{word}", {}, expect=409)
        for word in ("pause", "resume", "approve", "skip", "rollback"):
            with self.subTest(word):
                self.server.api("POST", f"{P}/deployments/nobody/rollout/{word}", {}, expect=404)
        self.server.api("GET", f"{P}/deployments/nobody/rollout", expect=404)
        self.server.api("PUT", f"{P}/deployments/nobody/rollout/plan", {"plan": None}, expect=404)
        self.server.api("PUT", f"{at}/plan", {}, expect=400)
        self.server.api("PUT", f"{at}/plan", {"plan": None, "now": "yes"}, expect=400)
        errors = self.server.api("PUT", f"{at}/plan", {"plan": {"waves": [{"percent": 0}], "zone": "../x", "alpah": 1}}, expect=422).json["errors"]
        self.assertEqual(sorted(errors), ["plan", "waves[0].percent", "zone"])
        self.assertIn("waves[0].percent", self.nh("rollout", "plan-set", "quiet", "--wave", "0%", status=1).stderr)
        for flags in (("--wave", "x%"), ("--window", "always"), ("--wave", "5%", "--soak", "soon"), ("--wave", "5%", "--share", "most"), ("--wave", "5%", "--gate", "golden"), ("--gate", "manual"), ("--alpha", "small"), ("--file", "nowhere")):
            with self.subTest(flags):
                self.nh("rollout", "plan-set", "quiet", *flags, status=1)
        shown = self.json("rollout", "plan-set", "quiet", "--wave", "10%", "--wave", "tags contains x", "--gate", "time", "--soak", "1h", "--window", "sat,sun 22:00-04:00", "--not-before",
                          "2031-01-01T00:00:00Z", "--no-stop", "--now")
        self.assertEqual((shown["state"], shown["wave"], len(shown["waves"])), ("running", 0, 2))
        self.assertEqual(shown["plan"]["windows"], [{"days": ["sat", "sun"], "from": "22:00", "to": "04:00"}])
        self.assertEqual([n["what"] for n in shown["next"]][:2], ["activation", "not_before"])
        self.assertEqual(self.json("rollout", "skip", "quiet")["wave"], 3)
        self.assertEqual(self.json("rollout", "pause", "quiet")["state"], "paused")
        self.server.api("POST", f"{at}/pause", {}, expect=409)
        self.assertEqual(self.json("rollout", "plan-set", "quiet", "--none", "--now")["state"], "none")


if __name__ == "__main__":
    unittest.main()
