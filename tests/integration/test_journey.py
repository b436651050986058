"""The User API from the first login to an active deployment group, and what a stranger sees of it."""

import base64
import subprocess
import unittest

from nhtest import ServerCase, firmware_key, make_firmware, program


class Journey(ServerCase):
    def test_login_and_whoami(self):
        self.assertEqual(self.server.api("GET", "/users/me", expect=200).data["email"], "admin@localhost")
        refused = self.server.api("POST", "/users/login", {"email": "admin@localhost", "password": "wrong"}, token="", expect=401)
        self.assertEqual(refused.json["errors"]["detail"], "Authentication failed, please check your username and password and try again.")
        for scheme in ("Basic", "Bearer nhu_wrong", "token x"):
            self.assertEqual(self.server.api("GET", "/users/me", token="", headers={"Authorization": scheme}).status, 401)

    def test_general_http_rules(self):
        answer = self.server.api("GET", "/users/me", expect=200)
        self.assertEqual(answer.headers["content-type"], "application/json; charset=utf-8")
        self.assertIn("date", answer.headers)
        self.assertIn("x-request-id", answer.headers)
        self.assertEqual(self.server.api("GET", "/nothing/here").status, 404)
        self.assertEqual(self.server.http("GET", "/status/alive").body, b"Hello, Friend!")
        self.assertEqual(self.server.api("POST", "/users/login", b"{broken", token="", headers={"Content-Type": "application/json"}).status, 400)

    def test_names_are_unique_and_required(self):
        for path, body in (("/orgs/acme/products", {"name": "Thermo Widget"}),
                           ("/orgs/acme/keys", {"name": "k1", "key": base64.b64encode(bytes(32)).decode()})):
            with self.subTest(path):
                answer = self.server.api("POST", path, body, expect=422)
                self.assertTrue(answer.json["errors"])

    def test_firmware_journey(self):
        uploaded = self.firmware("3.0.0")
        self.assertEqual((uploaded["version"], uploaded["product"], uploaded["tool"]), ("3.0.0", "Thermo Widget", "fwup"))
        listed = self.server.api("GET", f"{self.product_path}/firmwares", expect=200).data
        self.assertIn(uploaded["uuid"], [row["uuid"] for row in listed])
        created = self.server.api("POST", f"{self.product_path}/deployments", {"name": "main", "firmware": uploaded["uuid"]}, expect=201).data
        self.assertEqual((created["state"], created["is_active"]), ("off", False))
        self.server.api("PUT", f"{self.product_path}/deployments/main", {"deployment": {"state": "on"}})
        self.assertEqual(self.server.api("GET", f"{self.product_path}/deployments/main", expect=200).data["state"], "on")
        self.assertEqual(self.server.api("DELETE", f"{self.product_path}/firmwares/{uploaded['uuid']}").status, 422, "in use by a release")

    def refused(self, content, *words):
        before = self.objects()
        answer = self.server.upload("acme", "Thermo%20Widget", content, expect=None)
        self.assertEqual(answer.status, 422, answer.body)
        text = answer.body.decode().lower()
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(self.objects(), before, "a refused upload leaves nothing behind")

    def objects(self):
        return sorted(str(p) for p in (self.server.data_dir / "objects").rglob("*") if p.is_file())

    def test_bad_firmware_is_refused_with_a_reason(self):
        good = make_firmware(self.home, "4.0.0", self.key_private).read_bytes()
        stranger, _ = firmware_key(self.home, "stranger")
        broken = bytearray(good)
        broken[len(broken) // 2] ^= 1
        self.refused(b"hello", "format")
        self.refused(b"", "format")
        self.refused(good[:len(good) // 2])
        self.refused(bytes(broken))
        self.refused(make_firmware(self.home, "4.0.1", stranger).read_bytes(), "sign")
        self.refused(make_firmware(self.home, "4.0.2", self.key_private, product="Other").read_bytes(), "other", "thermo widget")
        unsigned = self.home / "unsigned.fw"
        subprocess.run([program("nh-fwup"), "-c", "-f", str(self.home / "4.0.0.conf"), "-o", str(unsigned)], check=True)
        self.refused(unsigned.read_bytes(), "sign")
        self.assertEqual(self.server.upload("acme", "Thermo%20Widget", good).status, 201)
        self.refused(good, "already been taken")

    def test_metadata_expands_nothing(self):
        conf = self.home / "env.conf"
        conf.write_text('meta-product = "Thermo Widget"\nmeta-version = "5.0.0"\nmeta-platform = "p"\nmeta-architecture = "a"\n'
                        'meta-author = "\\${DATABASE_URL}"\ntask complete { on-init { info("x") } }\n')
        out = self.home / "env.fw"
        subprocess.run([program("nh-fwup"), "-c", "-f", str(conf), "-o", str(out), "-s", str(self.key_private)], check=True)
        self.assertEqual(self.server.upload("acme", "Thermo%20Widget", out).data["author"], "${DATABASE_URL}")


class Stranger(ServerCase):
    """A user of another organization sees nothing of acme's, whatever the route."""

    server_args = ("--open-registrations", "true")

    def test_foreign_user_sees_nothing(self):
        self.server.api("POST", "/users/register", {"name": "eve", "email": "eve@example.com", "password": "correct horse battery"}, token="")
        token = self.server.api("POST", "/users/login", {"email": "eve@example.com", "password": "correct horse battery"}, token="",
                                expect=200).data["token"]
        firmware = self.firmware("1.0.0")
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "d-1"}, expect=201)
        reads = ["/orgs/acme", "/orgs/acme/users", "/orgs/acme/keys", "/orgs/acme/keys/k1", "/orgs/acme/products", self.product_path,
                 f"{self.product_path}/firmwares", f"{self.product_path}/firmwares/{firmware['uuid']}",
                 f"{self.product_path}/firmwares/{firmware['uuid']}/download", f"{self.product_path}/devices", f"{self.product_path}/devices/d-1",
                 f"{self.product_path}/devices/d-1/certificates", f"{self.product_path}/deployments", "/orgs/acme/ca_certificates",
                 "/orgs/acme/ca_certificates/verification_token"]
        for path in reads:
            with self.subTest(path):
                self.assertIn(self.server.api("GET", path, token=token).status, (401, 404))
        writes = [("POST", "/orgs/acme/products", {"name": "x"}), ("POST", "/orgs/acme/keys", {"name": "x", "key": base64.b64encode(bytes(32)).decode()}),
                  ("DELETE", "/orgs/acme/keys/k1", None), ("DELETE", self.product_path, None), ("POST", f"{self.product_path}/devices", {"identifier": "x"}),
                  ("PUT", f"{self.product_path}/devices/d-1", {"description": "x"}), ("DELETE", f"{self.product_path}/devices/d-1", None),
                  ("POST", f"{self.product_path}/devices/d-1/reboot", None), ("DELETE", f"{self.product_path}/firmwares/{firmware['uuid']}", None),
                  ("POST", f"{self.product_path}/deployments", {"name": "x", "firmware": firmware["uuid"]})]
        for method, path, body in writes:
            with self.subTest(f"{method} {path}"):
                self.assertIn(self.server.api(method, path, body, token=token).status, (401, 404))
                self.assertEqual(self.server.api(method, path, body, token="").status, 401)
        self.assertEqual([o["name"] for o in self.server.api("GET", "/orgs", token=token, expect=200).data if o["name"] == "acme"], [])


del ServerCase

if __name__ == "__main__":
    unittest.main()
