"""Devices that ask instead of holding a connection: the polling API with the headers of every client in the field."""

import hashlib
import http.client
import json
import ssl
import unittest

from nhtest import ServerCase
from test_devices import download

NOTHING = {"update_available": False, "firmware_url": None, "firmware_meta": None, "deployment_id": None}


class Polling(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw1, cls.fw2 = cls.firmware(cls, "1.0.0"), cls.firmware(cls, "1.1.0")
        cls.register_ca(cls, "factory")

    def device(self, identifier, **fields):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier, **fields}, expect=201)
        return self.pki.device(identifier, "factory")

    def show(self, identifier):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}", expect=200).data

    def deploy(self, name, **fields):
        self.server.api("POST", f"{self.product_path}/deployments", {"name": name, "firmware": self.fw2["uuid"], "conditions": {"version": "< 1.1.0", "tags": [name]}, **fields}, expect=201)
        self.server.api("PUT", f"{self.product_path}/deployments/{name}", {"deployment": {"state": "on"}})

    def get(self, path, pair=None, headers=None):
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        if pair:
            context.load_cert_chain(*map(str, pair))
        connection = http.client.HTTPSConnection("localhost", self.server.device_port, context=context, timeout=60)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers
        finally:
            connection.close()

    def says(self, firmware, prefix="X-NervesHub-", **more):
        names = {"uuid": firmware["uuid"], "product": firmware["product"], "architecture": firmware["architecture"], "platform": firmware["platform"], "version": firmware["version"], **more}
        return {"Content-Type": "application/json", **{prefix + name: value for name, value in names.items()}}

    def poll(self, pair, firmware, **kwargs):
        status, body, headers = self.get("/device/update", pair, self.says(firmware, **kwargs))
        self.assertEqual(status, 200, body)
        self.assertTrue(headers["content-type"].startswith("application/json"))
        return body["data"]

    def test_who_am_i(self):
        pair = self.device("me-1")
        self.assertEqual(self.get("/device/me", pair)[:2], (200, {"data": {"identifier": "me-1"}}))
        self.assertEqual(self.get("/device/me", pair, {"Accept": "application/json"})[0], 200)
        self.assertEqual(self.get("/device/me", pair, {"Accept": "text/html"})[0], 406)
        self.assertEqual(self.get("/device/me")[:2], (403, {"status": "forbidden"}))
        self.assertEqual(self.get("/device/update")[:2], (403, {"status": "forbidden"}))
        self.assertEqual(self.get("/device/else", pair)[:2], (404, {"errors": {"detail": "Not Found"}}))
        self.assertEqual(self.show("me-1")["connection_status"], "disconnected")

    def test_an_update_from_question_to_question(self):
        pair = self.device("poll-1", tags=["poll"])
        self.assertEqual(self.poll(pair, self.fw1), NOTHING)
        self.assertEqual(self.show("poll-1")["version"], "1.0.0")
        self.deploy("poll")
        data = self.poll(pair, self.fw1, prefix="x-nerveshub-", vcs_identifier="abc", **{"fwup-version": "1.10.1"})
        self.assertTrue(data["update_available"])
        self.assertEqual(data["firmware_meta"]["uuid"], self.fw2["uuid"])
        self.assertIsInstance(data["deployment_id"], int)
        status, _, content = download(self.server, data["firmware_url"])
        self.assertEqual((status, hashlib.sha256(content).hexdigest().upper()), (200, data["checksum"]))
        with self.subTest("still installing"):
            self.assertEqual(self.poll(pair, self.fw1), NOTHING)
        with self.subTest("runs it"):
            more = {"vcs-identifier": "def", "author": "", "fwup-version": "1.10.1", "application_part0_devpath": "/dev/mmcblk0p3"}
            self.assertEqual(self.poll(pair, self.fw2, prefix="X-NervesHubLinkHTTP-", **more), NOTHING)
            device = self.show("poll-1")
            self.assertEqual(device["version"], "1.1.0")
            metadata = device["firmware_metadata"]
            self.assertEqual((metadata["vcs_identifier"], metadata["author"], metadata["fwup_version"]), ("def", None, "1.10.1"))

    def test_slots_are_shared_with_everybody(self):
        pairs = [self.device(f"slot-{n}", tags=["slots"]) for n in (1, 2)]
        self.deploy("slots", concurrent_updates=1)
        self.assertTrue(self.poll(pairs[0], self.fw1)["update_available"])
        self.assertEqual(self.poll(pairs[1], self.fw1), NOTHING)
        self.assertEqual(self.poll(pairs[0], self.fw2), NOTHING)
        self.assertTrue(self.poll(pairs[1], self.fw1)["update_available"])

    def test_a_deleted_device_is_refused(self):
        pair = self.device("gone-1")
        self.assertEqual(self.get("/device/me", pair)[0], 200)
        self.server.api("DELETE", f"{self.product_path}/devices/gone-1", expect=204)
        try:
            self.assertEqual(self.get("/device/me", pair)[0], 403)
        except (ssl.SSLError, ConnectionError):
            pass  # the handshake already says no

    def test_without_metadata_nothing_is_known_and_nothing_is_written_twice(self):
        pair = self.device("bare-1", tags=["poll"])
        for _ in range(3):
            self.assertEqual(self.get("/device/update", pair)[1]["data"], NOTHING)
        entries = self.server.api("GET", f"{self.product_path}/devices/bare-1").data
        self.assertIsNone(entries["firmware_metadata"])


if __name__ == "__main__":
    unittest.main()
