"""Archives from the upload to the device: told at the join, told when a release comes, fetched by a signed link, verified with the organization's key."""

import asyncio
import unittest
import urllib.parse

from nhtest import Device, ServerCase, firmware_key, make_firmware, program, run
from test_devices import download


class Archives(ServerCase):
    server_args = ("--archive-max-size", "100000", "--orchestrator-interval", "1s")

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = cls.firmware(cls, "1.0.0")
        cls.register_ca(cls, "factory")
        cls.files = {}

    def archive(self, version, expect=201, **kwargs):
        path = make_firmware(self.home, version, kwargs.pop("key", self.key_private), product="Anything", platform="generic", architecture="generic", **kwargs)
        answer = self.server.upload("acme", "Thermo%20Widget", path, kind="archive", expect=expect)
        if expect == 201:
            self.files[answer.data["uuid"]] = path
        return answer

    def device(self, identifier):
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier, "tags": [identifier]}, expect=201)
        cert, key = self.pki.device(identifier, "factory")
        return Device(self.server, cert, key)

    def group(self, name, **fields):
        body = {"name": name, "firmware": self.fw["uuid"], "conditions": {"version": "", "tags": [name]}, "state": "on", **fields}
        return self.server.api("POST", f"{self.product_path}/deployments", body, expect=201).data

    def release(self, name, **fields):
        return self.server.api("PUT", f"{self.product_path}/deployments/{name}", {"deployment": {"firmware": self.fw["uuid"], **fields}}, expect=200).data

    def fetched(self, told):
        """The file behind the link, once our own tool has verified it with the organization's key."""
        status, headers, body = download(self.server, told["url"])
        self.assertEqual((status, len(body)), (200, told["size"]))
        self.assertEqual(headers["accept-ranges"], "bytes")
        path = self.home / "fetched.fw"
        path.write_bytes(body)
        run(program("nh-fwup"), "-V", "-i", path, "-p", self.key_public)
        return body

    def test_told_at_the_join(self):
        data = self.archive("2.0.0").data
        self.assertEqual(self.group("at-join", archive=data["uuid"])["archive_uuid"], data["uuid"])

        async def story():
            async with self.device("at-join") as device:
                await device.join(self.fw)
                told = await device.event("archive")
                self.assertEqual({k: told[k] for k in ("uuid", "version", "platform", "architecture", "description", "uploaded_at")},
                                 {"uuid": data["uuid"], "version": "2.0.0", "platform": "generic", "architecture": "generic", "description": None,
                                  "uploaded_at": data["inserted_at"]})
                self.assertEqual(self.fetched(told), self.files[data["uuid"]].read_bytes())
                self.links(told["url"])
            # An API that knows no archives is told of none: the reboot comes behind everything that the join brings.
            async with self.device("at-join-old") as device:
                self.server.api("PUT", f"{self.product_path}/devices/at-join-old", {"tags": ["at-join"]}, expect=201)
                await device.join(self.fw, device_api_version="1.9.0")
                self.server.api("POST", f"{self.product_path}/devices/at-join-old/reboot", expect=204)
                await device.event("reboot")
                self.assertNotIn("archive", [m[3] for m in device.seen])
        asyncio.run(story())

    def links(self, url):
        """The link is the right, on both ports; nothing else is."""
        parts = urllib.parse.urlsplit(url)
        self.assertTrue(parts.path.startswith("/uploads/archives/"))
        web = f"http://127.0.0.1:{self.server.web_port}{parts.path}"
        self.assertEqual(download(self.server, f"{web}?{parts.query}")[0], 200)
        self.assertEqual(download(self.server, f"{web}?{parts.query}", {"Range": "bytes=10-19"})[::2], (206, download(self.server, url)[2][10:20]))
        self.assertEqual(download(self.server, web)[0], 403)
        self.assertEqual(download(self.server, f"{web}?{parts.query[:-1]}")[0], 403)
        self.assertEqual(download(self.server, f"{web.replace('archives/', 'archives/9')}?{parts.query}")[0], 403)
        self.assertEqual(download(self.server, f"http://127.0.0.1:{self.server.web_port}{self.server.signed('/uploads/archives/999/none.fw')}")[0], 404)

    def test_told_when_a_release_comes(self):
        first, second = self.archive("3.0.0").data["uuid"], self.archive("3.1.0").data["uuid"]
        self.group("released")

        async def story():
            async with self.device("released") as device:
                await device.join(self.fw)
                for uuid in (first, second):
                    self.assertEqual(self.release("released", archive=uuid)["archive_uuid"], uuid)
                    self.assertEqual((await device.event("archive"))["uuid"], uuid)
                # A change of its row tells it again.
                self.server.api("PUT", f"{self.product_path}/devices/released", {"description": "x"}, expect=201)
                self.assertEqual((await device.event("archive"))["uuid"], second)
                # Of an archive that its group has no more nothing does.
                self.assertIsNone(self.release("released")["archive_uuid"])
                self.server.api("PUT", f"{self.product_path}/devices/released", {"description": "y"}, expect=201)
                self.server.api("POST", f"{self.product_path}/devices/released/reboot", expect=204)
                await device.event("reboot")
                self.assertNotIn("archive", [m[3] for m in device.seen])
        asyncio.run(story())

    def test_deleted_only_when_nobody_needs_it(self):
        uuid = self.archive("4.0.0").data["uuid"]
        path = f"{self.product_path}/archives/{uuid}"
        self.group("needed", archive=uuid)
        refused = self.server.api("DELETE", path, expect=409)
        self.assertEqual(refused.json["errors"], {"deployment_releases": ["Archive has associated deployment releases"]})
        self.assertEqual(self.server.api("GET", path + "/download", expect=200).body, self.files[uuid].read_bytes())
        self.server.api("DELETE", f"{self.product_path}/deployments/needed", expect=204)
        objects = lambda: sorted(p.name for p in (self.server.data_dir / "objects").rglob("*.fw"))
        self.assertTrue([name for name in objects() if name.startswith(uuid)])
        self.server.api("DELETE", path, expect=204)
        self.server.api("GET", path, expect=404)
        self.assertFalse([name for name in objects() if name.startswith(uuid)])

    def test_refused_uploads(self):
        stranger, _ = firmware_key(self.home, "stranger")
        detail = self.archive("5.0.0", key=stranger, expect=422).json["errors"]["detail"]
        self.assertTrue(detail.startswith("The archive signature does not match any"), detail)
        self.archive("5.0.1", size=200000, expect=413)
        self.assertEqual(self.server.api("GET", f"{self.product_path}/archives/none", expect=404).status, 404)
        self.server.api("GET", f"{self.product_path}/archives", token="nobody", expect=401)


if __name__ == "__main__":
    unittest.main()
