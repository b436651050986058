"""The object store on a real S3 server: the contract that a folder fulfils too, URLs that anybody may fetch from, and the whole server with its firmware in the bucket."""

import asyncio
import contextlib
import datetime
import http.server
import json
import os
import re
import tempfile
import threading
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
        ready = self.server.http("GET", "/status/ready")
        self.assertEqual((ready.status, ready.json), (503, {"ready": False, "reasons": ["the object store cannot be read or written"]}))
        self.s3.back()
        self.assertEqual(self.keys(), before)
        new = self.server.upload("acme", "Thermo%20Widget", path).data
        self.server.api("DELETE", f"{self.product_path}/firmwares/{new['uuid']}", expect=204)
        self.assertEqual(self.keys(), before)

    def test_retention(self):
        """What nobody uses goes after its time, row and object; the newest version stays."""
        old, new = (self.server.upload("acme", "Thermo%20Widget", nhtest.make_firmware(self.home, version, self.key_private)).data for version in ("3.0.0", "3.1.0"))
        self.assertEqual(self.server.stop(), 0)
        self.server.sql(f"UPDATE firmwares SET inserted_at = inserted_at - {8 * 86400 * 1000000}")
        self.server.extra = ["--firmware-days", "7", "--firmware-newest", "1", "--job-speed", "60"]
        self.server.start()
        nhtest.wait_until(lambda: len(self.keys()) == 1, self.server.process, "the old object to go")
        self.server.api("GET", f"{self.product_path}/firmwares/{old['uuid']}", expect=404)
        self.server.api("GET", f"{self.product_path}/firmwares/{new['uuid']}", expect=200)
        self.assertIn("retention.trimmed what=files rows=1", self.server.log_text())
        self.server.api("DELETE", f"{self.product_path}/firmwares/{new['uuid']}", expect=204)

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


class Lender:
    """What a cloud lends its machines keys by: an instance's metadata service and a container's agent, as their documents describe them. Amazon's own cannot run here."""

    def __init__(self, s3):
        self.s3, self.life_s, self.asked, self.closed = s3, 3600, [], False
        lender = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                ok = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
                self.answer(b"the-token" if ok else None)

            def do_GET(self):
                roles = "/latest/meta-data/iam/security-credentials/"
                ways = {roles: ("X-aws-ec2-metadata-token", "the-token", b"my role"), roles + "my%20role": ("X-aws-ec2-metadata-token", "the-token", lender.keys()),
                        "/v2/credentials/1": ("Authorization", "Bearer shown", lender.keys())}
                name, value, body = ways.get(self.path, ("", "", None))
                self.answer(body if body and self.headers[name] == value else None)

            def answer(self, body):
                lender.asked.append(self.path)
                self.send_response(200 if body and not lender.closed else 403)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def keys(self):
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.life_s)
        return json.dumps({"Code": "Success", "AccessKeyId": self.s3.access_key, "SecretAccessKey": self.s3.secret_key, "Token": "lent+token/==", "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


class Lent(nhtest.ServerCase):
    """No access key is set: the machine's role has one, for a time."""

    @classmethod
    def setUpClass(cls):
        home = tempfile.TemporaryDirectory(prefix="nhtest-s3-")
        cls.addClassCleanup(home.cleanup)
        cls.s3 = cls.enterClassContext(S3Server(home.name))
        cls.lender = cls.enterClassContext(contextlib.closing(Lender(cls.s3)))
        cls.server_env = {"FIRMWARE_UPLOAD_BACKEND": "S3", "S3_HOST": cls.s3.endpoint, "S3_REGION": cls.s3.region, "S3_BUCKET_NAME": cls.s3.bucket,
                          "AWS_EC2_METADATA_SERVICE_ENDPOINT": cls.lender.url}
        super().setUpClass()

    def again(self, **env):
        """The server, started anew with these settings; what it asked for since."""
        self.assertEqual(self.server.stop(), 0)
        self.start(env)
        return self.lender.asked

    def start(self, env):
        before = dict(self.server.env)
        self.server.env |= env
        self.lender.asked.clear()
        try:
            self.server.start()
        finally:
            self.server.env = before

    def download(self, version):
        path = nhtest.make_firmware(self.home, version, self.key_private)
        new = self.server.upload("acme", "Thermo%20Widget", path).data
        url = self.server.api("GET", f"{self.product_path}/firmwares/{new['uuid']}/download", expect=302).headers["location"]
        self.assertIn("X-Amz-Security-Token=lent%2Btoken%2F%3D%3D", url)
        self.assertEqual(Bucket.get(self, url), (200, path.read_bytes()))

    def test_instance(self):
        asked = self.again()
        self.download("1.1.0")
        roles = "/latest/meta-data/iam/security-credentials/"
        self.assertEqual(asked, ["/latest/api/token", roles, roles + "my%20role"], "once, as the keys are good for an hour")
        self.assertNotIn(self.s3.secret_key, self.server.log_text())
        self.assertNotIn("lent+token", self.server.log_text())

    def test_renewal(self):
        """Keys that end within four minutes are replaced at the next request, and serve on where the lender fails for a while."""
        self.lender.life_s = 200
        asked = self.again()
        before = len(asked)
        self.download("1.2.0")
        self.assertGreater(len(asked), before)
        self.lender.closed = True
        self.download("1.3.0")
        self.assertIn("objects.credentials state=failing", self.server.log_text())
        self.lender.closed, self.lender.life_s = False, 3600
        self.download("1.4.0")

    def test_container(self):
        token = self.home / "token"
        token.write_text("Bearer shown\n")
        agent = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.lender.url + "/v2/credentials/1", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}
        asked = self.again(**agent)
        self.download("1.5.0")
        self.assertEqual(asked, ["/v2/credentials/1"])
        self.assertEqual(self.server.stop(), 0)
        token.write_text("Bearer of another")
        with self.assertRaisesRegex(AssertionError, "no credentials are given for S3, and http://127.0.0.1:[0-9]+/v2/credentials/1 answered with 403"):
            self.start(agent)
        self.server.log.close()
        self.server.start()


if __name__ == "__main__":
    unittest.main()
