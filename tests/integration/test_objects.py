"""The object store on a real S3 server: the contract that a folder fulfils too, and URLs that anybody may fetch from."""

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

    def contract(self):
        env = os.environ | {"NH_S3_ENDPOINT": self.s3.endpoint, "NH_S3_REGION": self.s3.region, "NH_S3_BUCKET": self.s3.bucket, "NH_S3_KEY_ID": self.s3.access_key, "NH_S3_SECRET": self.s3.secret_key}
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

    def get(self, url, part=None):
        request = urllib.request.Request(url, headers={"Range": part} if part else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()


if __name__ == "__main__":
    unittest.main()
