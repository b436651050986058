"""Which devices are in a deployment group, changed in bulk: counted first, then done in the background, and each device that changed, and no other, is told."""

import asyncio
import concurrent.futures
import unittest

from clitest import CliCase
import nhtest
from nhtest import Device, nh1_headers, wait_until

P = "/orgs/acme/products/widget"
G = f"{P}/deployments/crew"


class Membership(CliCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.server.login()
        cls.server.api("POST", "/orgs/acme/keys", {"name": "builds", "key": (cls.home / "stranger.pub").read_text().strip()}, expect=201)
        cls.fw = [cls.server.upload("acme", "widget", nhtest.make_firmware(cls.home, version, cls.stranger, product="widget")).data for version in ("1.0.0", "2.0.0")]
        cls.secret = cls.server.api("POST", f"{P}/shared_secrets", expect=201).data

    def connect(self, identifier):
        return Device(self.server, headers=nh1_headers(self.secret["key"], self.secret["secret"], identifier), path="/device-socket/websocket?vsn=2.0.0")

    async def seen(self, identifier, tags):
        """A device that was there once, and is gone."""
        self.server.api("POST", f"{P}/devices", {"identifier": identifier, "tags": tags}, expect=201)
        async with self.connect(identifier) as device:
            await device.join(self.fw[0])

    def preview(self, change):
        return self.server.api("GET", f"{G}/membership/{change}", expect=200).data

    def members(self):
        return sorted(d["identifier"] for d in self.server.api("GET", f"{P}/devices", expect=200).data if (d["deployment_group"] or {}).get("name") == "crew")

    def told(self):
        return "\n".join(e["description"] for e in self.server.api("GET", f"{G}/audit_logs", expect=200).data)

    def becomes(self, members):
        wait_until(lambda: self.members() == members, self.server.process, f"{members}, not {self.members()}")

    def test_add_and_remove(self):
        async def go():
            for identifier, tags in (("a-1", ["blue"]), ("a-2", ["blue", "red"]), ("a-3", ["red"])):
                await self.seen(identifier, tags)
            self.server.api("POST", f"{P}/devices", {"identifier": "a-4", "tags": ["blue"]}, expect=201)
            # a group that comes after its devices, off and locked: nobody joins it by itself
            self.server.api("POST", f"{P}/deployments", {"name": "crew", "firmware": self.fw[1]["uuid"], "conditions": {"tags": ["blue"]}}, expect=201)
            self.server.api("PUT", G, {"deployment": {"lock_device_membership": True}}, expect=200)
            self.assertEqual(self.preview("add_matching"), {"change": "add_matching", "looked_at": 4, "changes": 2, "ignored": 1, "unknown": 1})
            self.assertEqual(self.members(), [])
            self.assertEqual(self.json("deployment", "add-matching", "crew", "--preview")["changes"], 2)
            self.nh("deployment", "add-matching", "crew", "--yes")
            self.becomes(["a-1", "a-2"])
            self.assertEqual(self.server.api("GET", G, expect=200).data["device_count"], 2)
            # an empty list of tags excludes nobody, whatever the operator
            for operator in ("and", "or"):
                self.server.api("PUT", G, {"deployment": {"conditions": {"tags": [], "tag_operator": operator}}}, expect=200)
                self.assertEqual(self.preview("remove_unmatched"), {"change": "remove_unmatched", "looked_at": 2, "changes": 0, "ignored": 2, "unknown": 0})
            self.server.api("PUT", G, {"deployment": {"conditions": {"tags": ["red"], "tag_operator": "and"}}}, expect=200)
            self.assertEqual(self.preview("remove_unmatched")["changes"], 1)
            self.server.api("POST", f"{G}/membership/remove_unmatched", expect=202)
            self.becomes(["a-2"])
            # put in by hand, whatever its tags; then the same by name
            answer = self.server.api("POST", f"{P}/devices/bulk", {"action": "set_deployment", "identifiers": ["a-1", "a-3"], "deployment": "crew"}, expect=200).data
            self.assertEqual(answer, {"done": 2, "failed": []})
            self.assertEqual(self.members(), ["a-1", "a-2", "a-3"])
            self.server.api("GET", f"{G}/membership/shuffle", expect=404)
            self.server.api("POST", f"{G}/membership/shuffle", expect=404)
            self.server.api("POST", f"{P}/deployments/nobody/membership/add_matching", expect=404)
            # what was done is written down at the job's end, after its last page
            for line in ("asked for all devices that match", "took in 2 devices", "let 1 devices go"):
                wait_until(lambda: line in self.told(), self.server.process, line)
        asyncio.run(go())

    def test_who_is_added_is_updated(self):
        """A connected device hears of its group without connecting anew."""
        async def go():
            self.server.api("POST", f"{P}/devices", {"identifier": "b-1", "tags": ["night"]}, expect=201)
            self.server.api("POST", f"{P}/deployments", {"name": "night", "firmware": self.fw[1]["uuid"], "conditions": {"tags": ["night"]}}, expect=201)
            self.server.api("PUT", f"{P}/deployments/night", {"deployment": {"state": "on", "lock_device_membership": True}}, expect=200)
            async with self.connect("b-1") as device:
                await device.join(self.fw[0])
                self.server.api("POST", f"{P}/deployments/night/membership/add_matching", expect=202)
                self.assertEqual((await device.event("update"))["firmware_meta"]["uuid"], self.fw[1]["uuid"])
        asyncio.run(go())


    def test_releases_at_once(self):
        """Each gets a number of its own, and the last number is the current release."""
        self.server.api("POST", f"{P}/deployments", {"name": "hasty", "firmware": self.fw[0]["uuid"], "conditions": {"tags": ["nobody"]}}, expect=201)

        def release(n):
            return self.server.api("PUT", f"{P}/deployments/hasty", {"deployment": {"firmware": self.fw[n % 2]["uuid"]}})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(release, range(24)))
        self.assertEqual([a.status for a in answers], [200] * 24, [a.body for a in answers if a.status != 200])
        self.assertEqual(sorted(a.data["current_release"]["number"] for a in answers), list(range(2, 26)))
        self.assertEqual(self.server.api("GET", f"{P}/deployments/hasty", expect=200).data["current_release"]["number"], 25)


class DeletedDevices(CliCase):
    server_args = ("--clean-up-deleted-devices", "true", "--job-speed", "600")

    def test_they_are_forgotten_after_twelve_days(self):
        self.server.login()
        for identifier in ("old", "young"):
            self.server.api("POST", f"{P}/devices", {"identifier": identifier}, expect=201)
            self.server.api("DELETE", f"{P}/devices/{identifier}", expect=204)
        self.server.sql("UPDATE devices SET deleted_at = deleted_at - 12 * 86400000000 WHERE identifier = 'old'")

        def notices():
            return [n["event_key"] for n in self.server.api("GET", f"{P}/notifications", expect=200).data]
        wait_until(lambda: len(notices()) == 1, self.server.process, "the notification")
        self.assertTrue(notices()[0].startswith("soft_deleted_device-"))
        self.server.api("POST", f"{P}/devices/old/restore", expect=404)
        self.server.api("POST", f"{P}/devices/young/restore", expect=200)


if __name__ == "__main__":
    unittest.main()
