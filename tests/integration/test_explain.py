"""Why a device is updated or not: what the server and `nh` say, and that the remedies which they name do what they promise. What a release would do: counted, and nothing changed by it."""

import asyncio
import datetime
import shlex
import unittest

import nhtest
from clitest import CliCase
from nhtest import Device, nh1_headers

P = "/orgs/acme/products/widget"


class Explain(CliCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.login()
        public = (cls.home / "stranger.pub").read_text().strip()
        cls.server.api("POST", "/orgs/acme/keys", {"name": "builds", "key": public}, expect=201)
        cls.fw = [cls.server.upload("acme", "widget", nhtest.make_firmware(cls.home, version, cls.stranger, product="widget")).data for version in ("1.0.0", "2.0.0", "3.0.0")]
        cls.secret = cls.server.api("POST", f"{P}/shared_secrets", expect=201).data

    def connect(self, identifier):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    def explain(self, identifier):
        return self.server.api("GET", f"{P}/devices/{identifier}/explain", expect=200).data

    def reason(self, identifier, code):
        return next((r for r in self.explain(identifier)["reasons"] if r["code"] == code), None)

    def group(self, name, **fields):
        """Off, and for devices with a tag of its name only."""
        body = {"name": name, "firmware": self.fw[1]["uuid"], "conditions": {"tags": [name]}}
        self.server.api("POST", f"{P}/deployments", body, expect=201)
        return self.server.api("PUT", f"{P}/deployments/{name}", {"deployment": fields}, expect=200).data if fields else None

    def device(self, identifier, **fields):
        self.server.api("POST", f"{P}/devices", {"identifier": identifier, **fields}, expect=201)
        return f"{P}/devices/{identifier}"

    def act(self, remedy):
        """The request that it names, as it stands there."""
        action = remedy["action"]
        answer = self.server.api(action["method"], action["path"].removeprefix("/api"), action["body"])
        self.assertIn(answer.status, (200, 201, 204), answer.body)

    def test_remedies_do_what_they_promise(self):
        """A tag that the release asks for keeps updates away meanwhile, and is what is found last."""
        async def go():
            path = self.device("cured", tags=["ward"])
            self.group("ward", state="on", release_tags=["ward", "well"])
            async with self.connect("cured") as device:
                await device.join(self.fw[0])
                tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
                for code, method, where, body in (
                        ("updates_disabled", "PUT", path, {"updates_enabled": False}),
                        ("penalty_box", "PUT", path, {"updates_blocked_until": tomorrow}),
                        ("deployment_group_inactive", "PUT", f"{P}/deployments/ward", {"deployment": {"state": "off"}}),
                        ("network_interface", "PUT", f"{P}/deployments/ward", {"deployment": {"release_network_interfaces": ["wifi"]}}),
                        ("release_tags", "GET", path, None)):
                    with self.subTest(code):
                        self.server.api(method, where, body)
                        found = self.reason("cured", code)
                        self.assertIsNotNone(found, self.explain("cured"))
                        self.act(next(r for r in found["remedies"] if r["action"]))
                        self.assertIsNone(self.reason("cured", code))
                update = await device.event("update")
                self.assertEqual(update["firmware_meta"]["uuid"], self.fw[1]["uuid"])
                self.assertEqual(self.explain("cured")["history"]["in_flight"]["sent_by"], "deployment_group")
        asyncio.run(go())

    def test_a_device_without_a_group(self):
        async def go():
            self.device("alone", tags=["team"])
            self.group("team", state="on", lock_device_membership=True)
            async with self.connect("alone") as device:
                await device.join(self.fw[0])
                said = self.explain("alone")
                self.assertEqual([r["code"] for r in said["reasons"]], ["no_deployment_group"])
                self.assertEqual(said, self.server.api("GET", "/devices/alone/explain", expect=200).data)
                team = next(g for g in said["membership"]["groups"] if g["deployment_group"] == "team")
                self.assertEqual((team["result"], team["member"], said["membership"]["would_join"]), ("locked", False, None))
                self.act(team["remedies"][0])
                await device.event("update")
                self.assertEqual(self.explain("alone")["membership"]["deployment_group"], "team")
        asyncio.run(go())

    def test_nh_says_it_and_its_commands_work(self):
        async def go():
            self.device("told", tags=["told"])
            self.group("told", state="on", release_tags=["never"])
            async with self.connect("told") as device:
                await device.join(self.fw[0])
                self.nh("device", "update", "told", "--updates-enabled=false")
                text = self.nh("device", "explain", "told").stdout
                self.assertIn("Device told gets no update now", text)
                self.assertIn("(updates_disabled)", text)
                self.assertIn("missing [never]", text)
                command = next(line for line in text.splitlines() if line.strip().startswith("nh device update told"))
                self.nh(*shlex.split(command)[1:])
                said = self.json("device", "explain", "told")
                self.assertEqual([r["code"] for r in said["reasons"]], ["release_tags"])
                # what the group has is refused for the same reasons
                refused = self.server.api("POST", f"{P}/devices/told/upgrade/available", expect=409).json
                self.assertIn("lacks a tag", refused["errors"]["detail"])
        asyncio.run(go())

    def test_what_the_group_has_goes_ahead_of_its_slots(self):
        """The only slot is another's; a person does not wait for it."""
        async def go():
            self.device("first", tags=["slots"])
            self.device("second", tags=["slots"])
            self.group("slots", state="on", concurrent_updates=1)
            async with self.connect("first") as first, self.connect("second") as second:
                await first.join(self.fw[0])
                await first.event("update")
                await second.join(self.fw[0])
                said = self.explain("second")
                self.assertEqual([r["code"] for r in said["reasons"]], ["no_free_slot"], said)
                self.assertEqual(said["deployment_group"]["queues"]["normal"], {"limit": 1, "in_flight": 1, "free": 0, "takes_device": True})
                self.nh("device", "upgrade", "second")
                self.assertEqual((await second.event("update"))["firmware_meta"]["uuid"], self.fw[1]["uuid"])
                self.assertTrue(self.server.api("GET", f"{P}/devices/second", expect=200).data["updates_enabled"])
        asyncio.run(go())

    def test_a_plan_changes_nothing(self):
        async def go():
            for name in ("planned-1", "planned-2"):
                self.device(name, tags=["planned"])
            self.group("planned", state="on", release_tags=["never"])
            async with self.connect("planned-1") as one, self.connect("planned-2") as two:
                await one.join(self.fw[0])
                await two.join(self.fw[1])
                plan = f"{P}/deployments/planned/plan"
                now = self.server.api("GET", plan, expect=200).data
                self.assertEqual(now["devices"], {"up_to_date": 1, "in_flight": 0, "ready": 0, "waiting": 0, "held": 1, "total": 2})
                self.assertEqual([(r["code"], r["devices"], r["alone"]) for r in now["reasons"]], [("release_tags", 1, 1)])
                supposed = self.server.api("POST", plan, {"deployment": {"firmware": self.fw[2]["uuid"], "release_tags": [], "state": "off"}}, expect=200).data
                self.assertEqual(supposed["devices"], {"up_to_date": 0, "in_flight": 0, "ready": 2, "waiting": 0, "held": 0, "total": 2})
                self.assertEqual([b["code"] for b in supposed["blockers"]], ["deployment_group_inactive"])
                self.assertEqual((supposed["release"]["number"], supposed["bytes"]["full"]), (2, 2 * supposed["bytes"]["firmware"]))
                self.assertEqual(sum(s["devices"] for s in supposed["bytes"]["sources"]), 2)
                self.assertIn("firmware", self.server.api("POST", plan, {"deployment": {"firmware": "none"}}, expect=422).json["errors"])
                self.server.api("POST", plan, {"else": 1}, expect=400)
                self.server.api("GET", f"{P}/deployments/nobody/plan", expect=404)
                # neither release nor audit entry nor update came of it
                shown = self.server.api("GET", f"{P}/deployments/planned", expect=200).data
                self.assertEqual((shown["current_release"]["number"], shown["is_active"]), (1, True))
                said = [e["description"] for e in self.server.api("GET", f"{P}/deployments/planned/audit_logs", expect=200).data]
                self.assertFalse([text for text in said if "release 2" in text or "inactive" in text], said)
                text = self.nh("rollout", "plan", "planned", "--firmware", self.fw[2]["uuid"]).stdout
                self.assertIn("#2 (supposed)", text)
                self.assertIn("release_tags", text)
                self.assertEqual(self.json("rollout", "plan", "planned")["devices"]["held"], 1)
        asyncio.run(go())


if __name__ == "__main__":
    unittest.main()
