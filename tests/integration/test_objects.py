"""The object store on a real S3 server: the contract that a folder fulfils too, URLs that anybody may fetch from, and the whole server with its firmware in the bucket."""

import asyncio
import os
import re
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import nhtest
from s3server import S3Server


class Bucket(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        home = tempfile.TemporaryDirectory(prefix="nhtest-s3-")
        cls.addClassCleanup(home.cleanup)
        cls.s3 = cls.enterClassContext(S3Server(home.name))

    def contract(self, **more):
        env = os.environ | {"NH_S3_ENDPOINT": self.s3.endpoint, "NH_S3_REGION": self.s3.region, "NH_S3_BUCKET": self.s3.bucket, "NH_S3_KEY_ID": self.s3.access_key, "NH_S3_SECRET": self.s3.secret_key} | more
        done = nhtest.run(Path(nhtest.BUILD) / "tests" / "unit" / "objects" / "test_objects_contract", env=env, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_contract(self):
        url = re.search(r"# url (\S+)", self.contract())[1]
        self.assertEqual(self.get(url), (200, b"0123456789"))
        self.assertEqual(self.get(url, "bytes=3-5"), (206, b"345"))
        self.assertEqual(self.get(url.replace("url-a_b", "url-a_c"))[0], 403, "the signature is of this object only")
        self.assertEqual(self.get(url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"))[0], 403, "and of this time")
        # Nothing stays behind but what was left on purpose, also not of uploads in parts.
        status, listing = self.s3.request("GET", f"/{self.s3.bucket}")
        self.assertEqual((status, re.findall(rb"<Key>(.*?)</Key>", listing)), (200, [b"contract/url-a_b.fw"]))
        status, uploads = self.s3.request("GET", f"/{self.s3.bucket}", query="uploads=")
        self.assertEqual((status, re.findall(rb"<UploadId>", uploads)), (200, []))

    def test_contract_with_the_bucket_as_host(self):
        output = self.contract(NH_S3_AS_HOST="1", NH_S3_ENDPOINT=self.s3.endpoint.replace("127.0.0.1", "localhost"))
        self.assertRegex(output, rf"# url http://{self.s3.bucket}\.localhost:\d+/contract/url-a_b\.fw\?X-Amz-")

    def get(self, url, part=None):
        request = urllib.request.Request(url, headers={"Range": part} if part else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()


class Server(nhtest.ServerCase):
    """Firmware goes into the bucket and from there to devices; the server hands out URLs."""

    @classmethod
    def setUpClass(cls):
        home = tempfile.TemporaryDirectory(prefix="nhtest-s3-")
        cls.addClassCleanup(home.cleanup)
        cls.s3 = cls.enterClassContext(S3Server(home.name))
        cls.server_env = {"FIRMWARE_UPLOAD_BACKEND": "S3", "S3_HOST": cls.s3.endpoint, "S3_REGION": cls.s3.region, "S3_BUCKET_NAME": cls.s3.bucket,
                          "S3_ACCESS_KEY_ID": cls.s3.access_key, "S3_SECRET_ACCESS_KEY": cls.s3.secret_key}
        super().setUpClass()

    get = Bucket.get

    def keys(self):
        status, listing = self.s3.request("GET", f"/{self.s3.bucket}")
        self.assertEqual(status, 200)
        return re.findall(r"<Key>(.*?)</Key>", listing.decode())

    def test_life_of_a_firmware(self):
        self.assertEqual(self.keys(), [])
        path = nhtest.make_firmware(self.home, "1.1.0", self.key_private)
        new = self.server.upload("acme", "Thermo%20Widget", path).data
        self.assertEqual(len(self.keys()), 1)
        self.assertIn(new["uuid"], self.keys()[0])
        self.assertFalse(any((self.server.data_dir / "spool").iterdir()))
        answer = self.server.api("GET", f"{self.product_path}/firmwares/{new['uuid']}/download", expect=302)
        self.assertEqual(self.get(answer.headers["location"]), (200, path.read_bytes()))
        self.offered(new, path)
        refused = self.server.upload("acme", "Thermo%20Widget", b"PK\x03\x04 no archive", expect=None)
        self.assertEqual(refused.status, 422)
        self.assertEqual(len(self.keys()), 1, "a refused upload leaves nothing behind")
        self.server.api("DELETE", f"{self.product_path}/firmwares/{new['uuid']}", expect=204)
        self.assertEqual(self.keys(), [])
        self.assertNotIn(self.s3.secret_key, self.server.log_text())

    def test_away(self):
        """The bucket is out of reach for a while: a clear answer, nothing half there, and all is well once it is back."""
        path = nhtest.make_firmware(self.home, "2.0.0", self.key_private)
        before = self.keys()
        self.s3.away()
        answer = self.server.upload("acme", "Thermo%20Widget", path, expect=None)
        self.assertEqual(answer.status, 503, answer.body)
        self.assertIn("objects.write state=failing", self.server.log_text())
        self.assertEqual(self.server.api("GET", f"{self.product_path}/firmwares", expect=200).data, [])
        self.assertEqual(self.server.http("GET", "/status/alive").status, 200)
        self.s3.back()
        self.assertEqual(self.keys(), before)
        new = self.server.upload("acme", "Thermo%20Widget", path).data
        self.server.api("DELETE", f"{self.product_path}/firmwares/{new['uuid']}", expect=204)
        self.assertEqual(self.keys(), before)

    def offered(self, new, path):
        """A device is sent the bucket's URL itself: whole, and the rest of it after an interruption."""
        old = self.firmware("1.0.0")
        secret = self.server.api("POST", f"{self.product_path}/shared_secrets", {}, expect=201).data
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "all", "firmware": new["uuid"], "conditions": {"version": "< 1.1.0", "tags": []}}, expect=201)
        self.server.api("PUT", f"{self.product_path}/deployments/all", {"deployment": {"state": "on"}})

        async def update():
            headers = nhtest.nh1_headers(secret["key"], secret["secret"], "reader")
            async with nhtest.Device(self.server, headers=headers, path="/device-socket/websocket?vsn=2.0.0") as device:
                await device.join(old)
                return await device.event("update")
        offer = asyncio.run(update())
        self.assertTrue(offer["firmware_url"].startswith(self.s3.endpoint + "/"), offer["firmware_url"])
        whole = path.read_bytes()
        self.assertEqual(self.get(offer["firmware_url"]), (200, whole))
        self.assertEqual(self.get(offer["firmware_url"], "bytes=1000-"), (206, whole[1000:]))
        self.server.api("DELETE", f"{self.product_path}/deployments/all", expect=204)
        self.server.api("DELETE", f"{self.product_path}/firmwares/{old['uuid']}", expect=204)


if __name__ == "__main__":
    unittest.main()
